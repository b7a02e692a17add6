"""What is not kept is not looked for, and what another process kept is heard of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from quarterdeck.journal import replies
from quarterdeck.journal.store import Store
from quarterdeck.models import kept
from quarterdeck.models.kept import Kept


async def test_what_another_store_keeps_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    with Store.open(url) as here, Store.open(url) as there:
        known = Kept()
        assert not await known.may_hold(here, "k" * 64)
        await there.writer.ask(partial(replies.put, key="k" * 64, model="m", reply="{}", seconds=60.0))
        assert not await known.may_hold(here, "k" * 64)  # not asked again so soon: at worst one call too many
        monkeypatch.setattr(kept, "STALE_SECONDS", 0.0)
        assert await known.may_hold(here, "k" * 64)
        assert not await known.may_hold(here, "x" * 64)


async def test_what_this_process_keeps_is_known_at_once(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        known = Kept()
        assert not await known.may_hold(store, "k" * 64)
        known.add(store, "k" * 64)
        assert await known.may_hold(store, "k" * 64)


async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MAX_ENTRIES", 2)
    monkeypatch.setattr(kept, "STALE_SECONDS", 0.0)
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        known = Kept()
        for number in range(5):
            known.add(store, f"{number}" * 64)
        await known.may_hold(store, "0" * 64)
        assert not await known.may_hold(store, "0" * 64)
