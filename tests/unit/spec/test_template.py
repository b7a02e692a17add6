from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from quarterdeck.spec.template import fill, placeholders


class Facts(BaseModel):
    n: int


def test_placeholders() -> None:
    assert placeholders('{topic} {gather.facts} {{no}} {"a": 1} {} { x } {1} {a-b}') == {"topic", "gather.facts", "a-b"}


def test_fill() -> None:
    values = {"topic": "wind", "gather": {"n": [1, "é"]}, "none": None, "yes": True, "model": Facts(n=1)}
    text = 'About {topic}: {gather.n} {none}|{yes} {model} {model.n}. Answer {"topic": "{x}"} {{topic}}'
    assert fill(text, values) == 'About wind: [1, "é"] |true {"n":1} 1. Answer {"topic": "{x}"} {{topic}}'


@given(st.text(), st.text())
def test_values_are_never_filled_again(value: str, other: str) -> None:
    assert fill("<{a}|{b}>", {"a": value, "b": other}) == f"<{value}|{other}>"


@given(st.text())
def test_text_without_known_names_is_untouched(text: str) -> None:
    assert fill(text, {}) == text
