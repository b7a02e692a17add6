"""`quarterdeck memory`: what crews remember, one scope at a time: searched, shown, corrected, deleted, taken along."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.memory.erasure import Receipt
    from quarterdeck.memory.face import Memory
    from quarterdeck.memory.item import Item, Recalled, Scope
    from quarterdeck.spec.workspace import Workspace

app = options.make_app("See, correct and delete what crews remember. A scope is matched exactly; see stats for those.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The memory's whole id.")]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose; or QUARTERDECK_TENANT.")]
Crew = Annotated[str, typer.Option("--crew", metavar="NAME", help="The crew's; without it, those of no crew.")]
Agent = Annotated[str, typer.Option("--agent", metavar="NAME", help="The agent's; without it, those of no agent.")]
User = Annotated[str, typer.Option("--user", metavar="NAME", help="About whom; without it, those about nobody.")]
Agree = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
MAX_EDIT_BYTES = 1_000_000
_SINGULAR = {"memories": "memory", "vectors": "vector", "episodes": "episode", "replies": "reply", "trials": "trial"}
PROFILE = "standard"
"""Where no crew says which."""
MAX_CREWS = 100
"""Files that are read to find the profile of a workspace."""


@app.command("search")
def search(
    query: Annotated[str, typer.Argument(help="In any words.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="At most so many.")] = 10,
    tenant: Tenant = "",
    crew: Crew = "",
    agent: Agent = "",
    user: User = "",
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Search what is remembered, the best first, each with why it was found."""
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with _open(database, tenant, crew, agent, user) as memory:
        found = memory.recall(query, limit)
        if json:
            screen.data([_recalled(one) for one in found])
            return
        if memory.without_meaning:
            print(memory.without_meaning, file=sys.stderr)
    for one in found:
        screen.line(f"{one.item.id}  {one.score:.2f}  {_line(one.item.kind)}  {_line(one.item.text)}")
        screen.line(f"    {one.why}; from {_line(one.item.source) or 'no source'}, {_line(one.item.origin)}")
    if not found:
        screen.line("Nothing fits in this scope.")


@app.command("show")
def show(
    memory_id: Id,
    tenant: Tenant = "",
    crew: Crew = "",
    agent: Agent = "",
    user: User = "",
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Show a memory whole: where it comes from, how sure it is, and what it replaced or what replaced it."""
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with _open(database, tenant, crew, agent, user) as memory:
        item, versions = memory.get(memory_id), memory.history(memory_id)
    if json:
        screen.data({**_object(item), "history": [_object(one) for one in versions]})
        return
    for label, text in _lines(item):
        screen.line(f"{label:<11}{_line(text, 0)}")
    for one in versions:
        if one.id != item.id:
            screen.line(f"{'Also':<11}{_when(one.created_at)}  {one.id}  {_line(one.text)}")


@app.command("edit")
def edit(
    memory_id: Id,
    text: Annotated[str | None, typer.Option("--text", metavar="TEXT", help="Instead of opening $EDITOR.")] = None,
    tenant: Tenant = "",
    crew: Crew = "",
    agent: Agent = "",
    user: User = "",
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Correct a memory: the new text is recalled from now on, the old one stays in its history."""
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with _open(database, tenant, crew, agent, user) as memory:
        old = memory.get(memory_id)
        changed = _edited(old.text) if text is None else text
        if changed.strip() == old.text.strip():
            raise InputError("The text is the same. Nothing was changed.")
        item = memory.edit(memory_id, changed, source=f"edited by {options.user_name() or 'a person'}")
    if json:
        screen.data(_object(item))
    else:
        screen.line(f"{memory_id} is replaced by {item.id}.")


@app.command("delete")
def delete(
    memory_id: Annotated[str, typer.Argument(metavar="[ID]", help="One memory; or --user NAME alone.")] = "",
    tenant: Tenant = "",
    crew: Crew = "",
    agent: Agent = "",
    user: User = "",
    rewrite: Annotated[bool, typer.Option("--rewrite", help="Rewrite a database however large it is.")] = False,
    yes: Agree = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Delete a memory with its earlier versions, or an episode; with --user alone, all that is known of that user.

    The receipt says what was removed, how that was proved, and what only a person can remove.
    """
    from quarterdeck.cli.screen import Screen

    if not memory_id and (not user or crew or agent):
        raise InputError(
            "Name a memory, or --user NAME (and no crew or agent) to delete everything about a user. For a whole "
            "scope: quarterdeck memory reset. Nothing was deleted."
        )
    screen = Screen()
    with _open(database, tenant, crew, agent, user) as memory:
        if memory_id:
            _agree(f"Delete {_named(memory, memory_id)}", yes=yes)
            receipt = memory.forget(memory_id)
        else:
            _agree(f"Delete everything that is remembered about {_line(user)}, in all crews?", yes=yes)
            receipt = memory.forget(user=user, rewrite=rewrite)
    _show_receipt(receipt, screen, json=json)


@app.command("reset")
def reset(
    tenant: Tenant = "",
    crew: Crew = "",
    agent: Agent = "",
    user: User = "",
    trials: Annotated[bool, typer.Option("--trials", help="Begin the trials of the crew's tools anew too.")] = False,
    yes: Agree = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Delete all memories and episodes of exactly one scope; for a whole crew also the model answers kept for it.

    With --trials the tools that the crew has called are on trial again, for all crews. The journal stays as it is.
    """
    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.learned import forget
    from quarterdeck.journal.sync import run_sync

    whole_crew = bool(crew) and not agent and not user
    if trials and not whole_crew:
        raise InputError("--trials is for a whole crew: name --crew, no agent and no user. Nothing was deleted.")
    screen = Screen()
    with _open(database, tenant, crew, agent, user) as memory:
        _agree(f"Delete all {'that was learned' if whole_crew else 'memories'} of {_scope(memory.scope)}?", yes=yes)
        receipt = memory.forget(everything=True)
        if whole_crew:
            receipt.removed.update(run_sync(forget(memory.store, memory.scope.tenant, crew, trials=trials)))
    _show_receipt(receipt, screen, json=json)


@app.command("export")
def export(
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Instead of the screen.")] = None,
    tenant: Tenant = "",
    crew: Crew = "",
    agent: Agent = "",
    user: User = "",
    database: options.Database = None,
) -> None:
    """Write all memories and episodes of exactly one scope as JSON lines."""
    from quarterdeck.cli.screen import Screen

    with _open(database, tenant, crew, agent, user) as memory:
        if file is None:
            screen = Screen(terminal=False)
            for row in memory.export():
                screen.data(row)
            return
        try:
            with file.open("x", encoding="utf-8") as out:
                screen = Screen(out, terminal=False)
                for row in memory.export():
                    screen.data(row)
        except FileExistsError:
            raise InputError(f"{file} is there already. Name another file; nothing was written.") from None
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror}.") from None


@app.command("rebuild")
def rebuild(json: options.Json = False, database: options.Database = None) -> None:
    """Make the indexes of text and of vectors anew from the database, and prove that they hold every memory."""
    from quarterdeck.cli.screen import Screen

    screen = Screen()

    def tell(done: int, of: int) -> None:
        if not json:
            print(f"\r{done:,} of {of:,}", end="", file=sys.stderr, flush=True)

    with _open(database) as memory:
        counts = memory.rebuild(tell if screen.terminal else None)
    if screen.terminal and not json:
        print(file=sys.stderr)
    if json:
        screen.data(counts)
    else:
        screen.columns((name.replace("_", " "), _figure(value)) for name, value in counts.items())


@app.command("stats")
def stats(
    tenant: Tenant = "",
    everything: Annotated[bool, typer.Option("--all", help="All tenants, and the index that they share.")] = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Count what is remembered, by scope and kind; without a tenant by all, with the state of the index."""
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with _open(database, tenant) as memory:
        told = memory.stats(everything=everything)
    if json:
        screen.data(told)
        return
    scopes = told.pop("scopes", [])
    screen.columns((name.replace("_", " "), _figure(value) or "-") for name, value in told.items())
    for one in scopes:
        names = ("crew", "agent", "user") if "tenant" in told else ("tenant", "crew", "agent", "user")
        where = " ".join(f"{name}={one[name]}" for name in names if one[name]) or "(no crew)"
        size = f"{one['items']:,} {'item' if one['items'] == 1 else 'items'}"
        screen.line(f"{where}  {one['kind']}  {size}  {one['characters']:,} characters")


def _open(database: str | None, tenant: str = "", crew: str = "", agent: str = "", user: str = "") -> Memory:
    """Open the memory that a command means."""
    import os

    from quarterdeck.memory.face import Memory
    from quarterdeck.spec.workspace import Workspace

    workspace = Workspace.find()
    try:
        return Memory(
            workspace=workspace, database_url=database, tenant=tenant or os.environ.get("QUARTERDECK_TENANT", ""),
            crew=crew, agent=agent, user=user, profile=_profile(workspace, crew),
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{error}. Nothing was done.") from None


def _profile(workspace: Workspace, crew: str) -> str:
    """Return the profile of a crew; without one, of all the workspace's crews where they agree; else `standard`.

    A file that is wrong is passed over: what is remembered can be seen and deleted all the same.
    """
    from quarterdeck.errors import SpecError
    from quarterdeck.spec.load import load_memory
    from quarterdeck.spec.text import read_document

    known = crew in workspace.crew_names()
    found = set()
    for path in [workspace.crew_path(crew)] if known else workspace.own_crews()[:MAX_CREWS]:
        try:
            data = read_document(path, workspace.shown(path)).data
            name = data.get("memory") if isinstance(data, dict) else None
            if isinstance(name, str) and load_memory(name, workspace).longterm is not None:
                found.add(name)
        except (InputError, SpecError):
            continue
    return found.pop() if len(found) == 1 else PROFILE


def _named(memory: Memory, memory_id: str) -> str:
    """Return what would be deleted, as the end of a question.

    Raises:
        InputError: There is no such memory or episode in this scope.
    """
    from quarterdeck.memory.inventory import find_episode

    goal = find_episode(memory.store, memory.scope, memory_id)
    what = f"episode {memory_id}: {_line(goal)}" if goal else f"memory {memory_id}: {_line(memory.get(memory_id).text)}"
    return what.rstrip(".") + "?"


def _agree(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{question} Say --yes to do it. Nothing was deleted.")
    if not typer.confirm(question):
        raise InputError("Nothing was deleted.")


def _edited(text: str) -> str:
    """Let a person change a text in their editor."""
    import os
    import shlex
    import subprocess
    from tempfile import TemporaryDirectory

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    if not editor or not sys.stdin.isatty():
        raise InputError("No editor can be opened here: set EDITOR, or say --text TEXT. Nothing was changed.")
    with TemporaryDirectory(prefix="quarterdeck-") as folder:  # readable by this user alone
        file = Path(folder) / "memory.txt"
        file.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
        except (OSError, ValueError) as error:
            raise InputError(f"The editor {editor} cannot be started: {error}. Nothing was changed.") from None
        if ended != 0:
            raise InputError(f"The editor {editor} ended with {ended}. Nothing was changed.")
        with file.open("rb") as changed:
            return changed.read(MAX_EDIT_BYTES).decode("utf-8", "replace")


def _show_receipt(receipt: Receipt, screen: Screen, *, json: bool) -> None:
    if json:
        screen.data(receipt.as_dict())
        return
    counts = [(name, count) for name, count in receipt.removed.items() if count]
    removed = ", ".join(f"{count:,} {_SINGULAR.get(name, name) if count == 1 else name}" for name, count in counts)
    screen.line(f"Removed: {removed or 'nothing, for there was nothing'}.")
    if receipt.proof:
        screen.line(f"Proof: {receipt.proof}.")
    if receipt.left:
        screen.line("Left for you to look at:")
        screen.columns((f"  {one.what}", one.where, one.advice) for one in receipt.left)


def _recalled(one: Recalled) -> dict[str, Any]:
    return {**_object(one.item), "score": round(one.score, 4), "why": one.why, "parts": one.parts}


def _object(item: Item) -> dict[str, Any]:
    from dataclasses import asdict

    data = asdict(item)
    return {**data.pop("scope"), **data}


def _lines(item: Item) -> list[tuple[str, str]]:
    lines = [("Text", item.text), ("Scope", _scope(item.scope)), ("Kind", item.kind), ("Source", item.source or "-")]
    lines += [("Origin", item.origin), ("Confidence", f"{item.confidence:.2f}"), ("Since", _when(item.created_at))]
    lines.append(("Until", _when(item.expires_at) if item.expires_at else "it is deleted"))
    if item.superseded_by:
        lines.append(("Replaced", f"by {item.superseded_by}"))
    return lines


def _scope(scope: Scope) -> str:
    from dataclasses import asdict

    return ", ".join(f"{name} {value}" for name, value in asdict(scope).items() if value) or "no crew and no user"


def _when(at: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(part)}" for name, part in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _line(text: str, width: int = 100) -> str:
    from quarterdeck.cli.text import one_line

    return one_line(text, width)
