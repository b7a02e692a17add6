from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from quarterdeck.errors import SpecError, ToolError
from quarterdeck.tools.arguments import MAX_BYTES, validate
from quarterdeck.tools.signature import tool_from_crewai, tool_from_function
from quarterdeck.tools.tool import Tool, ToolContext


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Spot(BaseModel):
    x: int
    y: int = 0


class Tree(BaseModel):
    children: list[Tree] = []


def everything(
    copy: str,
    count: Annotated[int, Field(ge=1, le=9)],
    spots: list[Spot],
    mode: Literal["a", "b"] = "a",
    colour: Colour = Colour.RED,
    ratio: float | None = None,
    flag: bool = False,
    context: ToolContext | None = None,
) -> str:
    """Do everything
    there is.

    Args:
        copy: A name that pydantic's models have too.
        count (int): How many,
            over two lines.
        spots: Where.
        mode: Which way.
        colour: In which colour.
        ratio: How much.
        flag: Whether.

    Returns:
        This is no argument: nothing.
    """
    return copy


@pytest.fixture(scope="module")
def tool() -> Tool:
    return tool_from_function(everything, "x.everything")


def test_the_schema_says_what_signature_and_docstring_say(tool: Tool) -> None:
    properties = tool.parameters["properties"]
    assert tool.description == "Do everything there is."
    assert tool.takes_context and "context" not in properties
    assert list(properties) == ["copy", "count", "spots", "mode", "colour", "ratio", "flag"]
    assert tool.parameters["required"] == ["copy", "count", "spots"]
    assert tool.parameters["additionalProperties"] is False
    assert properties["count"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
        "description": "How many, over two lines.",
    }
    assert properties["mode"]["enum"] == ["a", "b"] and properties["mode"]["default"] == "a"
    assert properties["colour"]["enum"] == ["red", "blue"] and properties["colour"]["description"] == "In which colour."
    assert properties["spots"]["items"]["properties"]["x"] == {"type": "integer"}
    assert "$ref" not in str(tool.parameters) and "$defs" not in tool.parameters
    assert properties["ratio"]["anyOf"] == [{"type": "number"}, {"type": "null"}]


def test_arguments_come_as_the_function_takes_them(tool: Tool) -> None:
    valid = validate(tool, {"copy": 5, "count": "3", "spots": [{"x": 1}], "colour": "blue", "flag": "true"})
    assert valid == {"copy": "5", "count": 3, "spots": [Spot(x=1)], "colour": Colour.BLUE, "flag": True}


def test_every_problem_is_told_at_once(tool: Tool) -> None:
    with pytest.raises(ToolError) as caught:
        validate(tool, {"count": 12, "spot": [], "mode": "c", "ratio": "much", "spots": [{"x": "?"}]})
    text = str(caught.value)
    for part in (
        '"copy" is missing',
        'unknown argument "spot"; did you mean "spots"',
        "less than or equal to 9",
        "'a' or 'b'",
        '"ratio"',
        '"spots.0.x"',
        "It takes: copy, count, spots, mode (optional)",
    ):
        assert part in text, text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_are_finite(tool: Tool, number: float) -> None:
    with pytest.raises(ToolError, match="ratio"):
        validate(tool, {"copy": "a", "count": 1, "spots": [], "ratio": number})


def test_large_and_odd_arguments_are_refused(tool: Tool) -> None:
    with pytest.raises(ToolError, match="more than 64,000"):
        validate(tool, {"copy": "x" * MAX_BYTES, "count": 1, "spots": []})
    with pytest.raises(ToolError, match="no JSON"):
        validate(tool, {"copy": object(), "count": 1, "spots": []})
    nested: list[Any] = []
    for _ in range(2000):
        nested = [nested]
    with pytest.raises(ToolError, match="no JSON"):
        validate(tool, {"copy": nested})


def test_a_tool_may_declare_a_longer_text() -> None:
    def save(text: Annotated[str, Field(max_length=100_000)]) -> None:
        """Save a text.

        Args:
            text: The text.
        """

    tool = tool_from_function(save)
    assert len(validate(tool, {"text": "x" * 100_000})["text"]) == 100_000
    with pytest.raises(ToolError, match="at most 100000 characters"):
        validate(tool, {"text": "x" * 100_001})
    with pytest.raises(ToolError, match="more than 464,000"):
        validate(tool, {"text": "x" * 500_000})


def test_a_flood_of_unknown_arguments_gives_a_short_answer(tool: Tool) -> None:
    with pytest.raises(ToolError) as caught:
        validate(tool, {f"a{number}": 1 for number in range(3000)})
    assert len(str(caught.value)) < 3000


def test_a_tool_with_a_bare_schema_is_checked_by_it() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = Tool("far.away", "From elsewhere.", schema, lambda n: n)
    assert validate(tool, {"n": 1}) == {"n": 1}
    with pytest.raises(ToolError, match=r'"n": .*integer'):
        validate(tool, {"n": "x"})
    with pytest.raises(ToolError, match="required"):
        validate(tool, {})


def test_missing_types_and_descriptions_are_all_named() -> None:
    def poor(a, b: int, *rest: str):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        pass

    with pytest.raises(SpecError) as caught:
        tool_from_function(poor)
    whats = {problem.where: problem.what for problem in caught.value.problems}
    assert "no docstring" in whats["poor"]
    assert "no type" in whats["poor.a"]
    assert "no description" in whats["poor.b"]
    assert "*args" in whats["poor.rest"]
    assert all(problem.file == __file__ and problem.line > 1 for problem in caught.value.problems)


def test_types_that_no_schema_can_tell_are_problems() -> None:
    def recursive(tree: Tree) -> None:
        """Take a tree.

        Args:
            tree: Which contains itself.
        """

    def unknown(x: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Take something.

        Args:
            x: Of a type that is not there.
        """

    for function in (recursive, unknown):
        with pytest.raises(SpecError, match="cannot be told to a model"):
            tool_from_function(function)


class CrewArguments(BaseModel):
    query: str = Field(description="What to look for.")
    limit: int = 3


class CrewTool:
    name = "Search the Web!"
    description = "Searches."
    args_schema = CrewArguments

    def _run(self, query: str, limit: int) -> str:
        return f"{query} {limit}"


def test_a_crewai_tool_is_wrapped_without_crewai() -> None:
    tool = tool_from_crewai(CrewTool())
    assert (tool.name, tool.description) == ("search_the_web", "Searches.")
    assert tool.parameters["properties"]["query"]["description"] == "What to look for."
    assert tool.function(**validate(tool, {"query": "x"})) == "x 3"
    with pytest.raises(ToolError, match='unknown argument "queri"; did you mean "query"'):
        validate(tool, {"queri": "x"})
    with pytest.raises(TypeError, match="no CrewAI tool"):
        tool_from_crewai(object())
