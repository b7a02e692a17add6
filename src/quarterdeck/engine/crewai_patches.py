"""The one place where a library is changed at run time: why, and until when."""

from __future__ import annotations

from typing import Any


def spare_the_file_store(task: Any, file_store: Any) -> None:
    """Let a CrewAI task that ends leave the file store alone while there is none.

    crewai 1.15.30 starts a thread with an event loop of its own at the end of each task to empty a store that is off
    unless files are given, and the loop of all runs waits for it: 0.23 ms of CPU a task, and most of a second for a
    hundred crews at once. Once a store is there, its own function is called as before. Goes when CrewAI asks first.

    Args:
        task: The module `crewai.task`.
        file_store: The module `crewai.utilities.file_store`.
    """
    clear = task.clear_task_files

    def clear_if_there_is_a_store(task_id: Any) -> None:
        if file_store._file_store is not None:
            clear(task_id)

    task.clear_task_files = clear_if_there_is_a_store


def spare_the_console(bus: Any, listener: Any, events: Any) -> None:
    """Take CrewAI's own console off the events of a task that begins and ends; other listeners stay.

    crewai 1.15.30 hands each of these events to a pool of threads for a console that is silenced anyway: 0.35 ms of CPU
    a task. Goes when CrewAI asks first whether anything is to be shown.

    Args:
        bus: `crewai_event_bus`.
        listener: The module of CrewAI's own listener.
        events: The module `crewai.events.types.task_events`.
    """
    for event in (events.TaskStartedEvent, events.TaskCompletedEvent, events.TaskFailedEvent):
        for handler in bus._sync_handlers.get(event, ()):
            if handler.__module__ == listener.__name__:
                bus.off(event, handler)
