"""`quarterdeck tools`: what each tool does to the world, what of it needs a person, and the trials of new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.lint import Listed
    from quarterdeck.governance.trials import TriedCall
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.governance import GovernanceConfig

app = options.make_app("List and check tools, and agree to what new ones would do.")
Name = Annotated[str, typer.Argument(metavar="TOOL", help="Such as output.write, or payments.refund@2.")]
INVALID = 2
MAX_SHOWN = 5


@app.command("list")
def list_tools(json: options.Json = False) -> None:
    """List the tools: effect, tier at the present dial, sinks, owner, and the server or service they come from.

    No code of the workspace is run, and no server is started.
    """
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    config, tools, left_out = _read()
    _tell(left_out)
    if json:
        screen.data([_as_object(tool, config) for tool in tools.values()])
        return
    screen.line(f"autonomy: {config.autonomy}")
    screen.columns([_row(tool, config) for tool in tools.values()])


@app.command("show")
def show_tool(name: Name, json: options.Json = False) -> None:
    """Show one tool: what is declared of it, where, and what becomes of its calls."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.lint import FILE

    screen = Screen()
    config, tools, left_out = _read()
    tool = _find(name, tools, left_out)
    facts = _as_object(tool, config)
    if json:
        screen.data(facts)
        return
    screen.columns([
        ("effect", facts["effect"] or "nobody has said: forbidden"),
        ("tier", f"{facts['tier']}  ({facts['decided_by']})"),
        ("sinks", _sinks(tool)),
        ("owner", facts["owner"] or "nobody has said"),
        ("version", facts["version"]),
        *([] if tool.origin == FILE else [("from", tool.origin)]),
        ("runs in", facts["runs_in"]),
        ("declared", f"{tool.declared.file}:{tool.declared.line}"),
    ])  # fmt: skip
    for problem in _problems(tool):
        screen.line(problem, "yellow")


@app.command("check")
def check_tools(json: options.Json = False) -> None:
    """Find what the workspace's own tools leave open. Exit codes: 0 all fine, 2 there are problems.

    Warnings are what tools of servers leave open, and what descriptions could say better.
    """
    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.text import count
    from quarterdeck.governance import lint
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.loading import check_file, tool_files, tool_names

    screen = Screen()
    _, tools, left_out = _read()
    _tell(left_out)
    workspace = Workspace.find()
    own = tool_files([workspace.root / "tools"])
    names = tool_names(own)
    problems = sorted(
        {*lint.check_tools(tools, names), *(problem for file in own for problem in check_file(file, workspace.root))}
    )
    wrong = {problem.file for problem in problems}
    others = [name for name, tool in tools.items() if tool.origin != lint.FILE]
    warned = [*lint.check_tools(tools, others)]
    warned += [problem for problem in lint.advise(tools, names) if problem.file not in wrong]
    checked = len(names) + len(others)
    if json:
        told = {"problems": [str(problem) for problem in problems], "warnings": [str(problem) for problem in warned]}
        screen.data({**told, "checked": {"tools": checked}})
        raise typer.Exit(INVALID if problems else 0)
    for problem in warned:
        screen.line(f"warning: {problem}")
    if problems:
        for problem in problems:
            screen.line(str(problem))
    else:
        screen.line(f"{count(checked, 'tool')}: all fine.")
    raise typer.Exit(INVALID if problems else 0)


@app.command("trials")
def list_trials(json: options.Json = False, database: options.Database = None) -> None:
    """List the tools that change something, and to how many of their calls a person has agreed."""
    from quarterdeck.cli.runs import open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.trials import agreed, key_of
    from quarterdeck.spec.workspace import Workspace, starter

    screen = Screen()
    config, tools, left_out = _read()
    _tell(left_out)
    wanted = config.trial.verified_calls
    root, known = Workspace.find().root, starter() / "tools"
    keys = {
        key_of(name, tool.manifest.version): tool
        for name, tool in tools.items()
        if _acts(tool) and not (root / tool.declared.file).resolve().is_relative_to(known)
    }
    with open_store(database) as store:
        counts = agreed(store, keys)
    rows = [{"tool": key, "agreed": counts[key], "wanted": wanted, "in_trial": counts[key] < wanted} for key in keys]
    if json:
        screen.data(rows)
        return
    screen.columns([
        (str(row["tool"]), f"{row['agreed']} of {wanted}", "in shadow" if row["in_trial"] else "acts") for row in rows
    ])  # fmt: skip
    if wanted and not rows:
        screen.line("Nothing is in trial: no tool of this workspace itself changes anything.")
        return
    screen.line(
        "No trials are asked for (trial.verified_calls in config/governance.yaml)."
        if not wanted
        else "See the next call of one, and agree to it: quarterdeck tools agree TOOL"
    )


@app.command("agree")
def agree_to(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to the call that is shown.")] = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Show the next call of a tool in trial, and agree that it was right. Without --yes it is only shown."""
    import asyncio

    from quarterdeck.cli.runs import open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance import trials

    screen = Screen()
    config, tools, left_out = _read()
    tool = _find(name, tools, left_out)
    key = trials.key_of(tool.name, tool.manifest.version)
    if not _acts(tool):
        raise InputError(f"{key} only reads, so there is nothing to agree to.")
    with open_store(database) as store:
        call, seen = _next(store, tool)
        if yes and call is not None:
            seen = asyncio.run(trials.agree(store, tool.declared.base, tool.manifest.version, seen))
    told = {"tool": key, "agreed": seen, "wanted": config.trial.verified_calls, "call": _call_object(call)}
    if json:
        screen.data(told)
        return
    if call is None:
        screen.line(
            f"There is no call of {key} that nobody has agreed to. Let a crew use it: it is recorded, not done."
        )
        return
    _show_call(key, call, screen)
    screen.line(
        f"Agreed: {seen} of {config.trial.verified_calls}."
        if yes
        else f"Was that right? Agree with: quarterdeck tools agree {name} --yes"
    )


def _read() -> tuple[GovernanceConfig, dict[str, Listed], list[str]]:
    """Return the operator's file, its dial where it stands for this process, the tools, and what is left out."""
    import os

    from quarterdeck.governance.dial import dial_of
    from quarterdeck.governance.foreign import foreign
    from quarterdeck.governance.lint import listed
    from quarterdeck.spec.load import load_governance
    from quarterdeck.spec.workspace import Workspace

    workspace = Workspace.find()
    config = load_governance(workspace)
    config = config.model_copy(update={"autonomy": dial_of(config, os.environ)})
    others, left_out = foreign(workspace, config)
    return config, listed(workspace, config) | others, left_out


def _tell(left_out: list[str]) -> None:
    import sys

    for line in left_out:
        print(line, file=sys.stderr)


def _find(name: str, tools: dict[str, Listed], left_out: list[str]) -> Listed:
    from quarterdeck.spec.problem import did_you_mean

    if name not in tools:
        _tell(left_out)
        raise InputError(f'No tool "{name[:128]}"{did_you_mean(name, tools) or "; see: quarterdeck tools list"}')
    return tools[name]


def _acts(tool: Listed) -> bool:
    return tool.manifest.effect is not None and tool.manifest.effect != "read"


def _row(tool: Listed, config: GovernanceConfig) -> tuple[str, ...]:
    from quarterdeck.governance.lint import FILE

    facts = _as_object(tool, config)
    origin = "" if tool.origin == FILE else tool.origin
    return tool.name, facts["effect"] or "?", facts["tier"], _sinks(tool), facts["owner"] or "?", origin


def _sinks(tool: Listed) -> str:
    sinks = tool.manifest.sinks
    if sinks is None:
        return "?"
    return ", ".join(f"{name} ({kind})" for name, kind in sinks.items()) or "none"


def _problems(tool: Listed) -> list[str]:
    from quarterdeck.governance.lint import check_tools

    return [str(problem) for problem in check_tools({tool.name: tool}, [tool.name])]


def _as_object(tool: Listed, config: GovernanceConfig) -> dict[str, Any]:
    from quarterdeck.governance.lint import tier_of

    verdict = tier_of(tool, config)
    shadowed = config.autonomy == "shadow" and _acts(tool) and verdict.tier != "forbidden"
    return {
        "tool": tool.name, "effect": tool.manifest.effect, "tier": "shadow" if shadowed else verdict.tier,
        "decided_by": verdict.rule, "sinks": tool.manifest.sinks, "owner": tool.manifest.owner,
        "version": tool.manifest.version, "file": tool.declared.file, "line": tool.declared.line, "from": tool.origin,
        "runs_in": tool.declared.place(tool.manifest.isolated), "open": list(tool.open),
    }  # fmt: skip


def _next(store: Store, tool: Listed) -> tuple[TriedCall | None, int]:
    """Return the first call that nobody has agreed to, and how many come before it."""
    from quarterdeck.governance import trials

    name, version = tool.declared.base, tool.manifest.version
    key = trials.key_of(name, version)
    seen = trials.agreed(store, [key])[key]
    calls = trials.calls_of(store, name, version)
    return (calls[seen] if seen < len(calls) else None), seen


def _call_object(call: TriedCall | None) -> dict[str, Any] | None:
    if call is None:
        return None
    return {"run": call.run_id, "path": call.path, "arguments": call.arguments, "status": call.status}


def _show_call(key: str, call: TriedCall, screen: Screen) -> None:
    import json

    from quarterdeck.cli.text import one_line

    done = "would have done" if call.status == "shadowed" else "did"
    screen.line(f"{key} {done}, in run {call.run_id} at {call.path}:")
    rows = [
        (f"  {name}", one_line(json.dumps(value, ensure_ascii=False), 2000)) for name, value in call.arguments.items()
    ]
    screen.columns(rows or [("  (no arguments)",)])
