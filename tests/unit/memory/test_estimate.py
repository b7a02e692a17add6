"""The estimate of tokens: hardly ever too low, against the two encodings that OpenAI's models use."""

from __future__ import annotations

import json
from base64 import b32encode, b64encode
from collections.abc import Callable
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.memory.real_tokens import ENCODINGS, PROSE, real

from quarterdeck.memory.estimate import estimate

HEX = "0123456789abcdef"
CODE = 'def f(self, path: Path) -> None:\n    if path.exists():\n        return self._read(path)["key"] or {}\n\n'


def drawn(random: Random, first: int, last: int) -> str:
    return "".join(chr(random.randint(first, last)) for _ in range(3000))


def table(random: Random) -> str:
    return "\n".join(",".join(f"{random.uniform(-1000, 1000):.6f}" for _ in range(8)) for _ in range(100))


KINDS: dict[str, Callable[[Random], str]] = {
    "a table of numbers": table,
    "single digits": lambda r: ",".join(str(r.randrange(10)) for _ in range(3000)),
    "digits and spaces": lambda r: "1 2 3 " * 700,
    "JSON of digits": lambda r: json.dumps([[r.randrange(10) for _ in range(10)] for _ in range(200)]),
    "JSON of numbers": lambda r: json.dumps([{"id": r.randrange(10**6), "x": r.random()} for _ in range(200)]),
    "base64": lambda r: b64encode(r.randbytes(5000)).decode(),
    "base32": lambda r: b32encode(r.randbytes(3000)).decode(),
    "hex": lambda r: r.randbytes(3000).hex(),
    "UUIDs": lambda r: "\n".join(str(UUID(int=r.getrandbits(128))) for _ in range(200)),
    "lower case": lambda r: drawn(r, 97, 122),
    "upper case": lambda r: drawn(r, 65, 90),
    "all of ASCII": lambda r: drawn(r, 33, 126),
    "control characters": lambda r: drawn(r, 0, 31),
    "one letter a line": lambda r: "a\n" * 1500,
    "two letters a line": lambda r: "a b\n" * 1500,
    "one letter a word": lambda r: " ".join(drawn(r, 97, 122)),
    "newlines": lambda r: "\n" * 3000,
    "newlines and spaces": lambda r: "\n \n" * 1000,
    "DNA": lambda r: "".join(r.choice("ACGT") for _ in range(4000)),
    "code": lambda r: CODE * 30,
    "markup": lambda r: '<div class="a"><tr><td>12</td><td>x</td></tr></div>\n' * 60,
    "Chinese": lambda r: "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。" * 30,
    "rare Chinese": lambda r: drawn(r, 0x4E00, 0x9FA5),
    "rarer Chinese": lambda r: drawn(r, 0x3400, 0x4DB0),
    "the rarest Chinese": lambda r: drawn(r, 0x20000, 0x2A6D0),
    "Korean": lambda r: drawn(r, 0xAC00, 0xD7A3),
    # ruff: noqa: RUF001
    "Russian": lambda r: "Все люди рождаются свободными и равными в своём достоинстве и правах. " * 40,
    "Arabic": lambda r: "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. " * 30,
    "Hindi": lambda r: "सभी मनुष्यों को गौरव और अधिकारों के मामले में समानता प्राप्त है। " * 30,
    "Ethiopic": lambda r: "የሰው፡ልጅ፡ሁሉ፡ሲወለድ፡ነጻና፡በክብርና፡በመብትም፡እኩልነት፡ያለው፡ነው። " * 30,
    "Finnish": lambda r: "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. " * 30,
    "emoji": lambda r: drawn(r, 0x1F300, 0x1F64F),
    "boxes": lambda r: drawn(r, 0x2500, 0x257F),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_at_least_nine_tenths_of_what_is_true(kind: str, encoding: str) -> None:
    text = KINDS[kind](Random(7))
    assert estimate(text) >= 0.9 * real(text, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_prose_has_less_than_twice_as_many_as_it_has(encoding: str) -> None:
    assert real(PROSE, encoding) < estimate(PROSE) < 2 * real(PROSE, encoding)


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6), st.integers(0, 9))
def test_mixed_text_is_no_different(kinds: list[str], seed: int) -> None:
    random = Random(seed)
    text = "\n".join(KINDS[kind](random)[:600] for kind in kinds)
    assert all(estimate(text) >= 0.88 * real(text, encoding) for encoding in ENCODINGS)


@given(st.text())
def test_any_text_has_an_estimate_of_at_most_a_token_a_byte(text: str) -> None:
    assert (estimate(text) == 0) == (text == "")
    assert estimate(text) <= 1.4 * len(text.encode("utf-8", "replace")) + 1


def test_half_a_character_is_no_error() -> None:
    assert estimate("\ud800") > 0
