"""The crews that are killed: their models and tools write a line for each thing they do, so that it can be counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.output import OutputType
from quarterdeck.engine.scope import Parts
from quarterdeck.errors import ModelError, Rejected
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.models.port import ModelReply, ModelRequest, OnText, Provider, Usage
from quarterdeck.models.wire import request_to_json
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.output import model_from_fields
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import Step, answer, call, text, together
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.evidence import Evidence
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import ToolContext

LOG = "done.log"
BUSY_NOTES = "busy-*"
WORDS = {"goal": "Get there.", "backstory": "You are old."}


class Log:
    """Lines appended to a file: what the kernel has taken survives the death of the process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.path = path

    def add(self, what: str, key: str) -> None:
        os.write(self._descriptor, f"{what} {key}\n".encode())

    def has(self, what: str, key: str) -> bool:
        return f"{what} {key}\n" in self.path.read_text()


class Oracle:
    """A model that says something else each time it is asked: a repeated call would make the run diverge.

    Args:
        log: Where it notes each answer.
        patient: It only answers once another process has been told that the run is busy.
    """

    def __init__(self, log: Log, *, patient: bool) -> None:
        self._log = log
        self._patient = patient
        self._refused: set[str] = set()

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        key = fingerprint(request_to_json(request))
        task, said = task_of(request), step(request)
        while self._patient and not any(self._log.path.parent.glob(BUSY_NOTES)):
            await asyncio.sleep(0.005)
        if "unreadable" in task and not self._log.has("unreadable", task):
            self._log.add("unreadable", task)
            raise ModelError("half a JSON object", "malformed")
        if "busy" in task and key not in self._refused:
            self._refused.add(key)
            raise ModelError("too many requests", "rate_limited", retry_after=0.001)
        self._log.add("model", key)
        return ModelReply("".join(said.pieces), said.tool_calls, Usage(10, 5), model=request.model, finish=said.finish)

    async def close(self) -> None:
        """Hold nothing."""


def task_of(request: ModelRequest) -> str:
    """Return what was asked: the last thing before the expected output."""
    return request.messages[1].content.split("\n\nExpected output:")[0].rsplit("\n\n", 1)[-1]


def step(request: ModelRequest) -> Step:
    """Answer by the task's description, and by how far the conversation is."""
    task = task_of(request)
    turns = sum(message.role == "assistant" for message in request.messages)
    noise = text(f"thought {os.getpid()}")
    match task.split():
        case ["Plan", *_]:
            return answer({"ports": ["Kiel", "Riga", "Turku"]})
        case ["Sound", port, *_] if turns == 0:
            return together(noise, call("depth.sound", port=port), call("depth.mark", port=port))
        case ["Sound", "Riga", *_] if turns == 1:
            return together(noise, call("depth.guess", port="Riga"))
        case ["Sound", port, *_]:
            return text(f"{port} is charted")
        case ["Judge", *_]:
            again = [] if "round 2" in task else ["Riga"]
            return answer({"good": not again, "again": again})
        case ["Dawdle", *_] if request.tools:
            return together(noise, call("depth.sound", port=f"Dover {turns}"))
        case ["Steer", *_] if turns < 2:
            return together(noise, call("depth.sound", port=f"{task} {turns}"))
        case ["Command", *_]:
            return _command(turns, noise)
    return text(f"{task}: done")


def _command(turns: int, noise: Step) -> Step:
    orders = [
        together(noise, call("delegate", worker="mate", work="Steer north by the stars.")),
        together(noise, call("delegate", worker="mate", work="Steer north by the stars!")),
        text("We are there."),
        together(noise, call("delegate", worker="cook", work="Boil the beans."),
                 call("delegate", worker="mate", work="Count every rope on board.")),
        together(noise, call("delegate", worker="cook", work="Paint the hull in red.")),
        text("Now we are there."),
    ]  # fmt: skip
    return orders[min(turns, len(orders) - 1)]


def tools(log: Log) -> dict[str, Any]:
    """Return tools, sync and async, that log the key under which they are called."""

    def sound(port: str, context: ToolContext) -> str:
        """Measure the depth of a port.

        Args:
            port: Where.
        """
        log.add("tool", context.idempotency_key)
        return f"{len(port)} fathoms"

    async def mark(port: str, context: ToolContext) -> str:
        """Mark a port on the chart.

        Args:
            port: Where.
        """
        log.add("tool", context.idempotency_key)
        return f"{port} marked"

    def write(name: str, content: str, context: ToolContext) -> str:
        """Write a file.

        Args:
            name: Its name.
            content: Its content.
        """
        log.add("tool", context.idempotency_key)
        context.folder.mkdir(parents=True, exist_ok=True)
        (context.folder / name).write_text(content)
        return name

    named: dict[str, Callable[..., Any]] = {"depth.sound": sound, "depth.mark": mark, "output.write": write}
    harmless = tool(effect="read", owner="tests", sinks={})
    return {name: tool_from_function(harmless(function), name) for name, function in named.items()}


def noted(output: Any, evidence: Evidence) -> Any:
    """Guardrail: leave a note and refuse nothing."""
    evidence.notes.append(f"checked round {evidence.round}")
    return output


def picky(output: str, evidence: Evidence) -> str:
    """Guardrail: refuse an answer that calls no tool first."""
    if not evidence.receipts:
        raise Rejected("Sound the depth first.")
    return output


def count(evidence: Evidence) -> dict[str, Any]:
    """Run function: sum up what earlier tasks left, notes included."""
    return {"notes": list(evidence.earlier_notes), "tasks": sorted(evidence.outputs)}


SEA = {"tools": ("depth.sound", "depth.mark"), **WORDS}
CREWS: dict[str, dict[str, Any]] = {
    "survey": {
        "agents": {"pilot": {"role": "Pilot", **SEA}},
        "tasks": {
            "plan": {"agent": "pilot", "description": "Plan the voyage (busy)."},
            "gather": {
                "agent": "pilot",
                "for_each": "plan.ports",
                "context": (),
                "description": "Sound {item} in round {round}.",
                "guardrails": ("x.py:picky", "x.py:noted"),
            },
            "judge": {
                "agent": "pilot",
                "description": "Judge the depths (unreadable) in round {round}",
                "loop": {"back_to": "gather", "until": "good", "only": "again", "max": 2},
            },
            "count": {"run": "tools/x.py:count"},
            "report": {"agent": "pilot", "description": "Report.", "save_as": "report.md"},
        },
    },
    "convoy": {
        "process": "graph",
        "agents": {"pilot": {"role": "Pilot", **SEA}},
        "tasks": {
            "port": {"agent": "pilot", "description": "Steer to port"},
            "starboard": {"agent": "pilot", "description": "Steer to starboard"},
            "drift": {"agent": "pilot", "description": "Dawdle at sea", "max_turns": 2},
            "never": {"agent": "pilot", "description": "Never.", "when": "inputs.storm", "needs": ("port",)},
            "count": {"run": "tools/x.py:count", "needs": ("port", "starboard", "drift", "never")},
            "meet": {"agent": "pilot", "description": "Meet.", "needs": ("count",)},
        },
        "inputs": {"storm": {"type": "boolean", "default": False}},
    },
    "bridge": {
        "process": "hierarchical",
        "agents": {
            "captain": {"role": "Captain", **WORDS},
            "mate": {"role": "Mate", **SEA},
            "cook": {"role": "Cook", **SEA},
        },
        "hierarchical": {"manager": "captain", "ask_everyone": True, "max_delegations": 3},
        "tasks": {"command": {"description": "Command the ship."}},
    },
}
"""Between them: structured output, items side by side, a loop back, denied and repeated calls, a file saved, retries,
answers that cannot be read, a branch that runs out of turns, a skipped one, delegation with its caps."""


def crew_of(name: str, folder: Path, model: Provider, **changes: Any) -> Crew:
    """Return a crew whose journal and log stand in a folder.

    Args:
        name: Which one.
        folder: Where.
        model: Answers its calls.
        changes: Declared otherwise.
    """
    log = Log(folder / LOG)
    declared = CREWS[name]
    parts = Parts(
        tools=tools(log),
        outputs={
            "plan": OutputType(model_from_fields("plan", {"ports": ["string"]})),
            "judge": OutputType(model_from_fields("judge", {"good": "boolean", "again": ["string"]})),
        },
        guardrails={"gather": (picky, noted)},
        functions={"count": count},
    )
    return Crew(
        CrewSpec.model_validate({"crew": name, **declared, **changes}),
        workspace=Workspace(folder),
        database_url=url_of(folder),
        catalog=ScriptedCatalog(model),
        parts=parts,
    )


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/journal.db"
