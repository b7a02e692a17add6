from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from quarterdeck.spec.output import MAX_ITEMS, MAX_TEXT, model_from_fields

FIELDS: dict[str, Any] = {
    "title": "string",
    "score?": "number",
    "verdict": "yes | no",
    "facts": [{"claim": "string", "n": "integer"}],
    "tags": ["string"],
    "place": {"ok": "boolean"},
}
RIGHT = {"title": "t", "verdict": "no", "facts": [{"claim": "c", "n": 1}], "tags": ["a"], "place": {"ok": True}}


def test_the_model_takes_what_was_declared() -> None:
    model = model_from_fields("my-task", FIELDS)
    assert model.__name__ == "MyTask"
    assert model.model_validate(RIGHT).model_dump() == {**RIGHT, "score": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": "x" * (MAX_TEXT + 1)},
        {"tags": ["a"] * (MAX_ITEMS + 1)},
        {"verdict": "maybe"},
        {"extra": 1},
        {"score": float("nan")},
        {"place": {}},
        {"facts": [{"claim": "c", "n": 1, "more": 2}]},
    ],
)
def test_the_model_refuses_anything_else(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model_from_fields("t", FIELDS).model_validate({**RIGHT, **wrong})


def test_the_schema_bounds_lists_and_texts_and_wastes_no_tokens() -> None:
    schema = model_from_fields("t", FIELDS).model_json_schema()
    assert schema["properties"]["title"] == {"type": "string", "maxLength": MAX_TEXT}
    assert schema["properties"]["tags"]["maxItems"] == MAX_ITEMS
    assert schema["required"] == ["title", "verdict", "facts", "tags", "place"]
    assert '"title":' not in str(schema["$defs"]).replace("'", '"')


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "between 1 and 50 fields"),
        ({"a": "strng"}, 'a: "strng" is no kind'),
        ({"a": {"b": ["string", "number"]}}, "a.b: a list holds the kind of its items"),
        ({"a": "x | x"}, "different words"),
        ({"a b": "string"}, "no field name"),
        ({"_a": "string"}, "no field name"),
        ({"json": "string"}, "choose another word"),
        ({"a": "string", "a?": "string"}, "declared twice"),
        ({"a": [[[[[[["string"]]]]]]]}, "nested deeper"),
        ({"a": None}, "is no kind"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        model_from_fields("t", fields)
