"""A loopback model that answers any crew: what its schema or tools ask for, from what stands in the conversation."""

from __future__ import annotations

import json
import re
from typing import Any

from quarterdeck.testing import HttpAnswer

_PASSAGE = re.compile(r"^source: (.+)\n(?:heading: .*\n)?text: ((?:.|\n)+?)(?=\n\nsource: |\Z)", re.MULTILINE)
_FIRST_FACT = re.compile(r"\bF1\b\W+(.{20,300})")


def agreeable(body: dict[str, Any]) -> HttpAnswer:
    """Answer one request: ask each worker once, fill in the schema, else say a sentence."""
    if calls := _delegations(body):
        return HttpAnswer(tool_calls=calls)
    wanted = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if wanted is None:
        return HttpAnswer("All is well in the harbour.")
    if wanted["properties"].keys() == {"steps", "answer"}:
        return HttpAnswer(json.dumps(_plan(wanted)))
    return HttpAnswer(json.dumps(_Filler(body, wanted).value("", wanted)))


def _plan(wanted: dict[str, Any]) -> dict[str, Any]:
    """Plan one step, by the first worker there is."""
    worker = wanted["$defs"]["Step"]["properties"]["worker"]["enum"][1]
    return {"steps": [{"id": "look", "does": "Look at it.", "worker": worker}], "answer": "look"}


def _delegations(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    done = any(message["role"] == "tool" for message in body["messages"])
    for tool in body.get("tools") or ():
        workers = tool["function"]["parameters"]["properties"].get("worker", {}).get("enum", ())
        if workers and not done:
            arguments = [json.dumps({"worker": worker, "work": f"Look at it as {worker}."}) for worker in workers]
            return tuple((tool["function"]["name"], one) for one in arguments)
    return ()


class _Filler:
    """Makes the least that satisfies a schema; quotes are copied from what tools returned."""

    def __init__(self, body: dict[str, Any], schema: dict[str, Any]) -> None:
        self._definitions = schema.get("$defs", {})
        self._passages = [item for message in body["messages"] for item in _items(message)]
        self._said = "\n".join(str(message.get("content")) for message in body["messages"])
        self._source = ""

    def value(self, name: str, schema: dict[str, Any]) -> Any:
        """Return a value for a schema; `name` is that of its field."""
        if "$ref" in schema:
            return self.value(name, self._definitions[schema["$ref"].rsplit("/", 1)[-1]])
        if "anyOf" in schema:
            return self.value(name, schema["anyOf"][0])
        if "enum" in schema or "const" in schema:
            return self._keep(name, schema["enum"][0] if "enum" in schema else schema["const"])
        match schema.get("type"):
            case "object":
                return {key: self.value(key, part) for key, part in schema.get("properties", {}).items()}
            case "array":
                return self._list(name, schema)
            case "boolean":
                return True
            case "integer" | "number":
                return schema.get("minimum", 1)
            case _:
                return self._text(name)[: schema.get("maxLength", 400)]

    def _list(self, name: str, schema: dict[str, Any]) -> list[Any]:
        least = max(1, schema.get("minItems", 0))
        return [self.value(name, schema["items"]) for _ in range(min(least, schema.get("maxItems", least)))]

    def _keep(self, name: str, value: Any) -> Any:
        if name == "source":
            self._source = value
        return value

    def _text(self, name: str) -> str:
        if name in ("quote", "claim"):
            return next((_sentence(item["text"]) for item in self._passages if item["source"] == self._source), "")
        if name == "text":  # a sentence of a report says what the first fact says
            fact = _FIRST_FACT.search(self._said)
            return fact[1] if fact else "Nothing."
        return "What do the documents say about a run?" if name == "questions" else f"the {name}"


def _items(message: dict[str, Any]) -> list[dict[str, str]]:
    """Return the passages that a message shows, each as lines `source: ...` and `text: ...`."""
    found = _PASSAGE.findall(str(message.get("content")))
    return [{"source": source, "text": text} for source, text in found]


def _sentence(text: str) -> str:
    """Return the first whole sentence of prose in a passage."""
    found = [part.strip() for part in re.split(r"(?<=\.)\s|\n\n", text)]
    plain = [part for part in found if 40 <= len(part) <= 240 and part.endswith(".") and not set(part) & set('`|"*[{')]
    return (plain or found)[0]
