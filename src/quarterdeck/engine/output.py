"""The declared shape of an answer: its JSON Schema, and reading what a model wrote against it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from quarterdeck.spec.template import as_text

if TYPE_CHECKING:
    from quarterdeck.tools.evidence import Evidence


class OutputType:
    """A pydantic model that an answer must satisfy.

    Args:
        model: The model. Where it has a classmethod `narrowed(schema, evidence)`, that limits the schema to what
            this run really has.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model
        self._schema = model.model_json_schema()
        self._narrowed = getattr(model, "narrowed", None)

    def schema(self, evidence: Evidence) -> dict[str, Any]:
        """Return the JSON Schema for a model that can be constrained."""
        if self._narrowed is None:
            return self._schema
        narrowed: dict[str, Any] = self._narrowed(json.loads(json.dumps(self._schema)), evidence)
        return narrowed

    def read(self, text: str) -> BaseModel:
        """Read an answer.

        Raises:
            ValueError: It is no JSON or does not fit; the message tells a model what to mend.
        """
        try:
            return self.model.model_validate_json(_json_in(text))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}" for problem in error.errors()[:5]
            )
            raise ValueError(problems) from None

    def restore(self, data: Any) -> Any:
        """Return a recorded output as an instance of the model."""
        return self.model.model_validate(data)


def _json_in(text: str) -> str:
    """Return the outermost JSON object or list of a text: models like to wrap it in a fence or a sentence."""
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if not starts:
        return text
    start = min(starts)
    end = text.rfind("}" if text[start] == "{" else "]")
    return text[start : end + 1] if end > start else text[start:]


def plain(value: Any) -> Any:
    """Return an output, or a list or mapping with outputs in it, as JSON-able data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return value


def shown(value: Any) -> str:
    """Return an output as other agents read it: what its model's `shown()` says, else as text.

    The outputs of a `for_each` task come under the items that they are about.
    """
    if hasattr(value, "shown"):
        return str(value.shown())
    if isinstance(value, list) and all(
        isinstance(entry, dict) and entry.keys() == {"item", "output"} for entry in value
    ):
        return "\n".join(f"### {as_text(entry['item'])}\n{shown(entry['output'])}" for entry in value)
    return as_text(value)
