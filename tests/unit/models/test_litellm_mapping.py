"""Names, schemas and headers, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.models.failures import Target, explain, retry_after_of
from quarterdeck.models.litellm_messages import ToolNames, schema_out
from quarterdeck.models.port import ModelRequest


def test_tool_names_never_collide() -> None:
    names = ToolNames(["a.b", "a_b", "a-b", "x" * 80, "x" * 79])
    safe = [names.safe(name) for name in ("a.b", "a_b", "a-b", "x" * 80, "x" * 79)]
    assert len(set(safe)) == 5
    assert all(len(name) <= 64 for name in safe)
    assert [names.real(name) for name in safe] == ["a.b", "a_b", "a-b", "x" * 80, "x" * 79]
    assert names.real("unheard.of") == "unheard.of"
    assert names.safe("gone.tool") == "gone_tool"


def sent(schema: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = schema_out(ModelRequest("m", (), schema=schema))["json_schema"]
    return body


def test_a_closed_schema_is_strict_and_keeps_properties_that_are_called_like_keywords() -> None:
    schema = {
        "type": "object", "title": "T", "additionalProperties": False, "required": ["title", "items"],
        "properties": {
            "title": {"type": "string", "maxLength": 5, "title": "Title"},
            "items": {"type": "array", "maxItems": 3, "items": {"enum": ["maxLength", "title"]}},
        },
    }  # fmt: skip
    body = sent(schema)
    assert body["strict"] is True
    assert body["schema"] == {
        "type": "object", "additionalProperties": False, "required": ["title", "items"],
        "properties": {
            "title": {"type": "string"},
            "items": {"type": "array", "maxItems": 3, "items": {"enum": ["maxLength", "title"]}},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {}}, "required": [], "additionalProperties": False},
        {"$defs": {"x": {"type": "object", "properties": {}}}, "type": "object", "properties": {}, "required": [],
         "additionalProperties": False},
    ],
)  # fmt: skip
def test_an_open_schema_is_sent_as_it_is(schema: dict[str, Any]) -> None:
    assert sent(schema) == {"name": "answer", "strict": False, "schema": schema}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, None), ({"retry-after": "3"}, 3.0), ({"retry-after": "0.5"}, 0.5), ({"retry-after-ms": "250"}, 0.25),
     ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0), ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 0.0),
     ({"retry-after": "soon"}, None), ({"retry-after": "nan"}, None), ({"retry-after": "1e99"}, 86400.0)],
)  # fmt: skip
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(headers, now=100.0) == seconds


def test_an_exception_nobody_foresaw_is_one_bounded_line() -> None:
    error = explain(RuntimeError("a\nb " + "x" * 1000), Target("m", "openai"))
    assert error.kind == "malformed"
    assert "\n" not in str(error)
    assert len(str(error)) < 500
