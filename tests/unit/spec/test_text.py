from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.errors import SpecError
from quarterdeck.spec.text import MAX_BYTES, MAX_JSON_BYTES, read_document, read_text

N = MAX_BYTES - 1000
LAUGHS = "a: &a [l,l,l,l,l,l,l,l,l,l]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)
HOSTILE = {
    "billion laughs": (LAUGHS, "more than 10,000 values"),
    "merged laughs": ("a: &a {b: 1, c: 2}\n" + "".join(f"k{i}: {{<<: *a}}\n" for i in range(3000)), "more than"),
    "deep flow": ("[" * N, "nested deeper"),
    "deep block": ("- " * (N // 2), "nested deeper"),
    "deep mappings": ("{a: " * (N // 4), "nested deeper"),
    "many keys": ("".join(f"k{i}: v\n" for i in range(90_000)), "more than 10,000 values"),
    "many items": ("[" + "a," * (N // 2), "more than 10,000 values"),
    "many anchors": ("[" + ",".join(f"&a{i} x" for i in range(70_000)), "more than 10,000 values"),
    "unterminated": ('a: "' + '\\"' * (N // 2 - 4), "not valid YAML"),
    "2 MB": ("x" * 2_000_000, "larger than 1,000,000"),
    "python tag": ("a: !!python/object/apply:os.system [ls]", "tag"),
    "own tag": ("a: !secret x", "tag"),
    "alias in itself": ("a: &a [*a]", "contains itself"),
    "alias of nothing": ("a: *b", "no anchor"),
}


def quickest(work: Callable[[], None]) -> float:
    """Return the CPU seconds of the best of five runs: the others tell of the machine's other work."""
    times = []
    for _ in range(5):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_fast_and_small(name: str, tmp_path: Path) -> None:
    text, what = HOSTILE[name]
    file = tmp_path / "x.yaml"
    file.write_text(text)

    def refuse() -> None:
        with pytest.raises(SpecError, match=what):
            read_document(file, "x.yaml")

    assert quickest(refuse) < 0.1
    tracemalloc.start()
    with pytest.raises(SpecError) as caught:
        read_document(file, "x.yaml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    assert caught.value.problems[0].file == "x.yaml"


@pytest.mark.parametrize("unit", ["/*", "//\n", '\\"', '"', ", ", "{", '"a",'])
def test_hostile_json_takes_linear_time(unit: str) -> None:
    text = '"' + unit * ((MAX_JSON_BYTES - 1) // len(unit))

    def read() -> None:
        with contextlib.suppress(SpecError):
            read_text(text, "x.json", json=True)

    assert quickest(read) < 0.3


def problem_of(text: str, **kind: bool) -> str:
    with pytest.raises(SpecError) as caught:
        read_text(text, "f", **kind)
    return str(caught.value)


def test_mistakes_are_said_with_line_and_column() -> None:
    assert problem_of("a: 1\n b: 2") == "f:2:3  not valid YAML: mapping values are not allowed in this context"
    assert problem_of("a:\n\tb: 1").startswith("f:2:1  ") and "spaces, not tabs" in problem_of("a:\n\tb: 1")
    assert problem_of("a: 1\n---\nb: 1") == "f:2:1  a second document in one file; keep one a file"
    assert problem_of("{[a]: 1}").startswith("f:1:2  a key must be plain text")


def test_all_duplicate_keys_are_told() -> None:
    assert problem_of("a: 1\nb: {c: 1, c: 2}\na: 3").splitlines() == [
        'f:2:11  b: key "c" stands twice, first in line 2; keep one',
        'f:3:1  key "a" stands twice, first in line 1; keep one',
    ]


def test_a_file_that_is_not_utf8_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("a: 1\nbc: ü".encode("latin-1"))
    with pytest.raises(SpecError, match=r"x:2:5  not UTF-8 \(byte 0xfc\)"):
        read_document(tmp_path / "x.yaml", "x")
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_document(tmp_path / "y.yaml", "y")


def test_scalars_are_what_they_look_like() -> None:
    text = "[on, yes, 12:30, 2024-01-01, 1.5, -3, ~, '1', true, 1e3, 1e999, 1.0.0, .nan]"
    assert read_text(text, "f").data == [
        *("on", "yes", "12:30", "2024-01-01", 1.5, -3, None, "1", True, 1000.0, "1e999", "1.0.0", ".nan")
    ]
    assert read_text("{on: 1, no: 2, 2024: 3, ~: 4}", "f").data == {"on": 1, "no": 2, "2024": 3, "~": 4}


def test_anchors_and_merges_of_honest_size_work() -> None:
    document = read_text("d: &d {x: 1, y: 2}\ne: {<<: *d, y: 3}\nf: *d", "f")
    assert document.data == {"d": {"x": 1, "y": 2}, "e": {"x": 1, "y": 3}, "f": {"x": 1, "y": 2}}


def test_positions_are_those_of_keys_and_items() -> None:
    document = read_text("a:\n  b: [x, y]\n", "f")
    assert document.position(("a", "b")) == (2, 3)
    assert document.position(("a", "b", 1)) == (2, 10)
    assert document.position(("a", "b", "nowhere")) == (2, 3)
    assert str(document.problem(("a", "b"), "wrong")) == "f:2:3  a.b: wrong"


def test_json_with_comments() -> None:
    text = '{ // hi\n "a":1, /* x\n */ "b":["\\ud83d\\ude00","http://x",],\t"c":true, "d": "a,]",\n}'
    document = read_text(text, "f", json=True)
    assert document.data == {"a": 1, "b": ["\U0001f600", "http://x"], "c": True, "d": "a,]"}
    assert document.position(("b",)) == (3, 5)
    assert problem_of('{"a": 1 "b": 2}', json=True).startswith("f:1:12  not valid JSON")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.booleans())
def test_no_text_raises_anything_else(text: str, json: bool) -> None:
    try:
        read_text(text, "f", json=json)
    except SpecError:
        pass
