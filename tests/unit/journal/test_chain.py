from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.journal.chain import genesis, link, verify
from quarterdeck.journal.events import Decision
from quarterdeck.journal.record import StoredEvent

texts = st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=12)


def chain(what: list[str], run_id: str = "r") -> list[StoredEvent]:
    rows: list[StoredEvent] = []
    previous = genesis(run_id)
    for number, text in enumerate(what):
        body = Decision(path=f"a/{number}", what=text, why="", at=1.5).model_dump_json()
        row = StoredEvent(run_id, number + 1, "decision", f"a/{number}", 1.5, "", body, previous, link(previous, body))
        rows.append(row)
        previous = row.hash
    return rows


def renumbered(rows: list[StoredEvent]) -> list[StoredEvent]:
    return [replace(row, seq=number + 1) for number, row in enumerate(rows)]


def check(rows: list[StoredEvent], of: list[StoredEvent]) -> tuple[int, str] | None:
    broken = verify("r", rows, of[-1].hash, len(of))
    return None if broken is None else (broken.seq, broken.how)


@given(texts)
def test_an_untouched_chain_holds(what: list[str]) -> None:
    rows = chain(what)
    assert check(rows, rows) is None


@given(texts, st.data())
def test_a_changed_row_is_named(what: list[str], data: st.DataObject) -> None:
    rows = chain(what)
    n = data.draw(st.integers(0, len(rows) - 1))
    body = rows[n].body.replace('"why":""', '"why":"forged"')
    clumsy = [*rows]
    clumsy[n] = replace(rows[n], body=body)
    assert check(clumsy, rows) == (n + 1, "changed")
    careful = [*rows]
    careful[n] = replace(rows[n], body=body, hash=link(rows[n].previous_hash, body))
    assert check(careful, rows) == (n + 1, "changed")


@given(texts, st.data())
def test_a_dropped_row_is_named(what: list[str], data: st.DataObject) -> None:
    rows = chain(what)
    n = data.draw(st.integers(0, len(rows) - 1))
    rest = rows[:n] + rows[n + 1 :]
    assert check(rest, rows) == (n + 1, "dropped")
    assert check(renumbered(rest), rows) == (n + 1, "dropped")


@given(texts, st.data())
def test_an_inserted_row_is_named(what: list[str], data: st.DataObject) -> None:
    rows = chain(what)
    n = data.draw(st.integers(0, len(rows)))
    previous = rows[n - 1].hash if n else genesis("r")
    body = Decision(path="a/x", what="forged", why="", at=1.5).model_dump_json()
    forged = StoredEvent("r", 0, "decision", "a/x", 1.5, "", body, previous, link(previous, body))
    assert check(renumbered([*rows[:n], forged, *rows[n:]]), rows) == (n + 1, "inserted")


@given(texts, st.data())
def test_a_cut_end_is_noticed(what: list[str], data: st.DataObject) -> None:
    rows = chain(what)
    n = data.draw(st.integers(0, len(rows) - 1))
    assert check(rows[:n], rows) == (n + 1, "dropped")


def test_rows_of_another_run_do_not_fit() -> None:
    rows = chain(["a", "b"], "other")
    assert check(rows, rows) == (1, "changed")


def test_columns_must_say_what_the_body_says() -> None:
    rows = chain(["a"])
    row = rows[0]
    for forged in (
        replace(row, kind="task.started"),
        replace(row, path="b"),
        replace(row, at=2.0),
        replace(row, request_hash="x"),
    ):
        assert check([forged], rows) == (1, "changed")
