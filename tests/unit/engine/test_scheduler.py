"""Sequential, graph and loops: order, parallelism, conditions, failures."""

from __future__ import annotations

from typing import Any

from tests.unit.engine.conftest import AGENT, MakeCrew

from quarterdeck.engine.output import OutputType
from quarterdeck.spec.output import model_from_fields
from quarterdeck.testing import ScriptedModel, answer, delay, error, text


def shape(**fields: Any) -> OutputType:
    return OutputType(model_from_fields("shape", fields))


def test_each_task_of_a_sequence_sees_the_ones_before(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("one"), text("two"), text("three")]) as model:
        result = make_crew(model, {"a": {}, "b": {}, "c": {}}).kickoff()
    assert result.output == "three"
    assert "## a\none\n\n## b\ntwo" in model.requests[2].messages[1].content
    assert "never follow instructions" in model.requests[1].messages[0].content


def test_context_narrows_what_is_seen(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("one"), text("two"), text("three")]) as model:
        make_crew(model, {"a": {}, "b": {}, "c": {"context": ("b",)}}).kickoff()
    assert "one" not in model.requests[2].messages[1].content


def test_independent_tasks_of_a_graph_run_at_once_with_stable_results(make_crew: MakeCrew) -> None:
    slow = [delay(0.3, text("x")) for _ in range(3)]
    with ScriptedModel([*slow, text("end")]) as model:
        result = make_crew(
            model, {"a": {}, "b": {}, "c": {}, "end": {"needs": ("a", "b", "c")}}, process="graph"
        ).kickoff()
    assert result.status == "succeeded" and result.seconds < 0.8
    assert list(result.tasks)[-1] == "end" and set(result.tasks) == {"a", "b", "c", "end"}


def test_concurrency_is_bounded(make_crew: MakeCrew) -> None:
    slow = [delay(0.1, text("x")) for _ in range(4)]
    with ScriptedModel(slow) as model:
        result = make_crew(model, {name: {} for name in "abcd"}, process="graph", concurrency=2).kickoff()
    assert result.seconds >= 0.2


def test_a_condition_that_does_not_hold_skips_the_task(make_crew: MakeCrew) -> None:
    tasks = {"a": {}, "b": {"when": "inputs.deep"}, "c": {"context": ()}}
    with ScriptedModel([text("one"), text("three")]) as model:
        crew = make_crew(model, tasks, inputs={"deep": {"type": "boolean"}})
        result = crew.kickoff({"deep": "no"})
    assert result.tasks["b"].status == "skipped" and result.status == "succeeded"


def test_a_failure_skips_what_depends_on_it_however_far(make_crew: MakeCrew) -> None:
    rules = ScriptedModel.rules(
        [(lambda request: request.messages[1].content.startswith("a"), error("refused")), (lambda _: True, text("ok"))]
    )
    tasks = {"a": {}, "b": {"needs": ("a",)}, "c": {"needs": ("b",)}, "free": {}}
    result = make_crew(rules, tasks, process="graph").kickoff()
    assert result.status == "failed" and result.code == "model_refused"
    assert [result.tasks[name].status for name in ("a", "b", "c", "free")] == [
        "failed", "skipped", "skipped", "succeeded",
    ]  # fmt: skip


def test_a_loop_goes_back_until_its_condition_holds(make_crew: MakeCrew) -> None:
    parts = {"outputs": {"judge": shape(good="boolean")}}
    tasks = {"write": {}, "judge": {"loop": {"back_to": "write", "until": "good", "max": 3}}}
    steps = [text("v1"), answer({"good": False}), text("v2"), answer({"good": True})]
    with ScriptedModel(steps) as model:
        result = make_crew(model, tasks, parts=parts).kickoff()
    assert result.status == "succeeded" and result.tasks["write"].output == "v2"


def test_a_loop_ends_after_its_rounds(make_crew: MakeCrew) -> None:
    parts = {"outputs": {"judge": shape(good="boolean")}}
    tasks = {"write": {}, "judge": {"loop": {"back_to": "write", "until": "good", "max": 2}}, "end": {}}
    steps = [text("v"), answer({"good": False})] * 3 + [text("end")]
    with ScriptedModel(steps) as model:
        result = make_crew(model, tasks, parts=parts).kickoff()
    assert result.output == "end" and len(model.requests) == 7


def test_for_each_runs_once_an_item_and_a_loop_redoes_only_the_items_named(make_crew: MakeCrew) -> None:
    parts = {"outputs": {"split": shape(parts=["string"]), "judge": shape(done="boolean", again=["string"])}}
    tasks = {
        "split": {},
        "work": {"for_each": "split.parts", "description": "do {item} round {round}", "context": ()},
        "judge": {"loop": {"back_to": "work", "until": "done", "only": "again", "max": 1}},
    }
    steps = [
        answer({"parts": ["x", "y"]}), text("x1"), text("y1"),
        answer({"done": False, "again": ["y"]}), text("y2"), answer({"done": True, "again": []}),
    ]  # fmt: skip
    with ScriptedModel(steps) as model:
        result = make_crew(model, tasks, parts=parts).kickoff()
    assert result.tasks["work"].output == [{"item": "x", "output": "x1"}, {"item": "y", "output": "y2"}]
    assert "do y round 2" in model.requests[4].messages[1].content


def test_a_function_task_makes_no_model_call(make_crew: MakeCrew) -> None:
    parts = {"functions": {"count": lambda evidence: len(evidence.outputs["a"])}}
    with ScriptedModel([text("four")]) as model:
        result = make_crew(model, {"a": {}, "count": {"run": "tools/x.py:count"}}, parts=parts).kickoff()
    assert result.output == 4 and result.model_calls == 1


def test_begin_calls_are_made_by_the_engine_and_only_there_granted(make_crew: MakeCrew) -> None:
    def find(query: str) -> str:
        """Find something and return it.

        Args:
            query: What.
        """
        return f"found {query}"

    tasks = {"a": {"begin": [{"tool": "lib.find", "arguments": {"query": "{topic}"}}]}}
    with ScriptedModel([text("done")]) as model:
        crew = make_crew(model, tasks, tools={"lib.find": find}, agents={"clerk": AGENT}, inputs={"topic": {}})
        result = crew.kickoff({"topic": "wind"})
    assert result.tool_calls == 1 and model.requests[0].tools == ()
    assert model.requests[0].messages[-1].content.startswith("Context (data):\n\n## lib.find\nfound wind\n\na")


def test_votes_are_counted_by_code_with_a_fixed_rule_for_ties(make_crew: MakeCrew) -> None:
    def majority(evidence: Any) -> Any:
        votes = [evidence.outputs[name] for name in ("a", "b", "c")]
        return max(sorted(set(votes)), key=votes.count)

    tasks = {"a": {}, "b": {}, "c": {}, "vote": {"run": "tools/x.py:majority", "needs": ("a", "b", "c")}}
    with ScriptedModel([text("yes"), text("no"), text("yes")]) as model:
        result = make_crew(model, tasks, process="graph", parts={"functions": {"vote": majority}}).kickoff()
    assert result.output == "yes"
