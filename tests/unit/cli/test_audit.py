from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quarterdeck.testing import answer, text


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
