"""`quarterdeck prompts`: the exact words that agents get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.preview import Preview

app = options.make_app("Show what agents are told.")


@app.callback()
def _prompts() -> None:
    """Show what agents are told."""


@app.command("show")
def show_prompts(
    crew: Annotated[str, typer.Argument(metavar="CREW", help="A crew's name or path.")],
    agent: Annotated[str, typer.Option("--agent", help="Only this agent.")] = "",
    task: Annotated[str, typer.Option("--task", help="Only this task.")] = "",
    inputs: options.Inputs = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A model or group in place of the agents' own.")] = "",
    json: options.Json = False,
) -> None:
    """Show the first messages of each agent; what is only known in a run stands as {placeholder}."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.parts import load_parts
    from quarterdeck.engine.preview import preview
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_crew, load_models
    from quarterdeck.spec.workspace import Workspace

    workspace = Workspace.find()
    spec = load_crew(crew, workspace)
    _known(agent, "agent", spec.agents)
    _known(task, "task", spec.tasks)
    given = options.read_pairs(inputs, "--input")
    for name in given:
        _known(name, "input", spec.inputs)
    previews = [
        one
        for one in preview(spec, load_parts(spec, workspace), Catalog(load_models(workspace)), given, model=model)
        if agent in ("", one.agent) and task in ("", one.task)
    ]
    screen = Screen()
    if json:
        from dataclasses import asdict

        from quarterdeck.models.wire import message_to_json

        screen.data([
            {
                "task": one.task, "agent": one.agent, "model": one.model,
                "messages": [message_to_json(message) for message in one.messages],
                "tools": [asdict(tool) for tool in one.tools],
                "schema": one.schema,
            }
            for one in previews
        ])  # fmt: skip
        return
    for one in previews:
        _show(one, screen)
    if not previews:
        screen.line("No task is done by this agent itself; its work comes from a manager, or from code.")


def _known(name: str, kind: str, known: Iterable[str]) -> None:
    if name and name not in (names := list(known)):
        from quarterdeck.spec.problem import did_you_mean

        there = ", ".join(names) or "none"
        raise InputError(f'No {kind} "{name[:100]}"{did_you_mean(name, names)}; there are: {there}.')


def _show(one: Preview, screen: Screen) -> None:
    import json

    from quarterdeck.cli.text import call_text

    screen.line(f"task {one.task}  agent {one.agent}  model {one.model}", "bold")
    for message in one.messages:
        screen.line(f"-- {message.role}{f' ({message.name})' if message.name else ''}", "dim")
        for call in message.tool_calls:
            screen.line(call_text(call.name, call.arguments))
        if message.content:
            screen.line(message.content)
    for tool in one.tools:
        screen.line(f"-- tool {tool.name}", "dim")
        screen.line(f"{tool.description}\n{json.dumps(tool.parameters, ensure_ascii=False)}")
    if one.schema is not None:
        screen.line("-- the answer is held to", "dim")
        screen.line(json.dumps(one.schema, ensure_ascii=False))
    screen.line()
