from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quarterdeck.journal.chain import genesis, link
from quarterdeck.testing import answer, error, text


def test_the_first_changed_event_is_named(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    script([answer({"facts": ["a"]}), text("Welcome.")])
    assert cli("run", "hello").code == 0
    fine = cli("audit", "verify", "LAST")
    assert fine.code == 0 and "are as they were recorded" in fine.out
    with sqlite3.connect(workspace / "runs" / "journal.db") as database:
        database.execute("update events set body = replace(body, 'facts', 'fakes') where seq = 3")
    database.close()
    broken = cli("audit", "verify", "LAST")
    assert broken.code == 4 and "event 3 was changed" in broken.out


def keyed(cli: Any, workspace: Path, monkeypatch: Any) -> str:
    """Give the workspace a key; return the public part."""
    made = json.loads(cli("audit", "new-key", "--json").out)
    monkeypatch.setenv("HARBOUR_AUDIT", made["private_key"])
    (workspace / "config" / "governance.yaml").write_text("audit: {key_env: HARBOUR_AUDIT}\n")
    return str(made["public_key"])


def write_anew(workspace: Path) -> None:
    """Change an event and compute every hash after it, as an administrator can."""
    with sqlite3.connect(workspace / "runs" / "journal.db") as database:
        [(run,)] = database.execute("select id from runs").fetchall()
        previous = genesis(run)
        for seq, body in database.execute("select seq, body from events order by seq").fetchall():
            body = body.replace("Welcome.", "Go away.")
            head = link(previous, body)
            database.execute(
                "update events set body=?, previous_hash=?, hash=? where seq=?", (body, previous, head, seq)
            )
            previous = head
        database.execute("update runs set head = ?", (previous,))
    database.close()


def test_a_journal_written_anew_is_found_out_by_its_signature(
    cli: Any, workspace: Path, script: Callable[..., Any], monkeypatch: Any
) -> None:
    public = keyed(cli, workspace, monkeypatch)
    script([answer({"facts": ["a"]}), text("Welcome.")])
    assert cli("run", "hello").code == 0
    fine = cli("audit", "verify", "LAST")
    assert fine.code == 0 and fine.out.endswith("and signed\n")
    monkeypatch.delenv("HARBOUR_AUDIT")
    assert cli("audit", "verify", "LAST").code != 0 and "not set" in cli("audit", "verify", "LAST").err
    (workspace / "config" / "governance.yaml").write_text(f"audit: {{public_key: {public}}}\n")
    assert cli("audit", "verify", "LAST").out.endswith("and signed\n")
    write_anew(workspace)
    forged = cli("audit", "verify", "LAST")
    last = json.loads(cli("runs", "show", "LAST", "--json").out)["events"]
    assert forged.code == 4 and f"event {len(last)} is not what was signed" in forged.out
    told = json.loads(cli("audit", "verify", "LAST", "--json").out)
    assert (told["intact"], told["event"], told["signature"]) == (False, len(last), "forged")
    with sqlite3.connect(workspace / "runs" / "journal.db") as database:
        database.execute("update runs set summary = '{}'")
    database.close()
    gone = cli("audit", "verify", "LAST")
    assert gone.code == 4 and "nobody signed it" in gone.out
    (workspace / "config" / "governance.yaml").write_text("autonomy: medium\n")
    chain = cli("audit", "verify", "LAST")
    assert chain.code == 0 and "chain only: no key is configured" in chain.out


def test_without_its_key_no_run_begins(cli: Any, workspace: Path, script: Callable[..., Any], monkeypatch: Any) -> None:
    keyed(cli, workspace, monkeypatch)
    monkeypatch.setenv("HARBOUR_AUDIT", "no key")
    script([])
    done = cli("run", "hello")
    assert done.code == 2 and "HARBOUR_AUDIT" in done.err and "no key" in done.err


def test_a_cancelled_run_is_signed_too(cli: Any, workspace: Path, script: Callable[..., Any], monkeypatch: Any) -> None:
    keyed(cli, workspace, monkeypatch)
    script([error("refused")])
    assert cli("run", "hello").code != 0
    with sqlite3.connect(workspace / "runs" / "journal.db") as database:
        database.execute("update runs set status = 'waiting', code = 'approval'")
    database.close()
    assert cli("runs", "cancel", "LAST").code == 0
    assert cli("audit", "verify", "LAST").out.endswith("and signed\n")


def test_nothing_unusual(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    script([answer({"facts": ["a"]}), text("Welcome.")])
    assert cli("run", "hello").code == 0
    assert cli("audit", "alerts").out == "Nothing unusual was noticed in the last 7d.\n"
    assert json.loads(cli("audit", "alerts", "--json").out) == []
