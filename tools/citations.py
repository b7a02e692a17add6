"""Facts, verdicts and sentences that can be traced to a source: shapes for the agents, and the code that checks them.

A model only proposes. What counts as a fact, as answered and as supported is decided here, from the passages that
receipts show were really read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from quarterdeck.errors import Rejected
from quarterdeck.tools.evidence import Evidence
from quarterdeck.tools.quoting import find_quote, gives_orders, is_long_enough, paragraph_around
from quarterdeck.tools.recollection import look_up, same_question
from quarterdeck.tools.support import unsupported
from quarterdeck.tools.wording import key_of, markdown, place, sentences_of, short, without_marks

__all__: list[str] = []

MAX_QUESTIONS = 3
MAX_FACTS = 3
MAX_SENTENCES = 12
MAX_PASSAGES = 60
_QUESTION_SCHEMA: JsonDict = {"type": "string", "minLength": 8, "maxLength": 160}
_STRICT_SCHEMA = ConfigDict(json_schema_extra={"additionalProperties": False})


class Questions(BaseModel):
    """The questions into which a topic is split."""

    model_config = _STRICT_SCHEMA

    questions: list[str] = Field(
        max_length=20, json_schema_extra={"minItems": 1, "maxItems": MAX_QUESTIONS, "items": _QUESTION_SCHEMA}
    )


class Fact(BaseModel):
    """One thing that a document says."""

    model_config = _STRICT_SCHEMA

    source: str = Field(max_length=500, description="The source of the passage.")
    quote: str = Field(
        max_length=900,
        description="Words copied exactly from that passage.",
        json_schema_extra={"minLength": 12, "maxLength": 260},
    )
    claim: str = Field(
        max_length=900, description="What the quote says, in one sentence.", json_schema_extra={"maxLength": 180}
    )
    answers_question: Literal["yes", "no"] = "yes"
    heading: SkipJsonSchema[str] = ""


class Facts(BaseModel):
    """What was found for one question; `refused` is filled in by code."""

    model_config = _STRICT_SCHEMA

    facts: list[Fact] = Field(max_length=60, json_schema_extra={"maxItems": MAX_FACTS})
    refused: SkipJsonSchema[list[str]] = []

    @classmethod
    def narrowed(cls, schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
        """Limit sources to the passages that were read; without any there can be no fact."""
        sources = list(passages_read(evidence))[:MAX_PASSAGES]
        if sources:
            # asked last and every time, or small models fill the list up with whatever stands in the passages
            schema["$defs"]["Fact"]["required"] = ["source", "quote", "claim", "answers_question"]
            schema["$defs"]["Fact"]["properties"]["source"]["enum"] = sources
        else:
            schema["properties"]["facts"]["maxItems"] = 0
        return schema

    def shown(self) -> str:
        """Return the facts as other agents read them: the words of the documents, not those of a model."""
        return "\n".join(f'- "{fact.quote}"' for fact in self.facts) or "(no facts)"


class Judgement(BaseModel):
    """Whether the facts answer the question."""

    model_config = _STRICT_SCHEMA

    answered: Literal["yes", "no"]


class Verdict(BaseModel):
    """Whether the facts answer one question."""

    model_config = _STRICT_SCHEMA

    question: str = Field(max_length=1000)
    answered: bool


class Verdicts(BaseModel):
    """A verdict a question, and what follows from them."""

    model_config = _STRICT_SCHEMA

    verdicts: list[Verdict] = Field(max_length=20)
    all_answered: bool = False
    unanswered: list[str] = []
    facts: list[dict[str, str]] = []


class Known(BaseModel):
    """What is known before anything is searched: facts by question, and the questions that are left."""

    model_config = _STRICT_SCHEMA

    found: list[dict[str, Any]] = Field(default=[], max_length=20)
    open: list[str] = Field(default=[], max_length=20)


class Sentence(BaseModel):
    """One sentence of the report and the facts that it rests on."""

    model_config = _STRICT_SCHEMA

    text: str = Field(max_length=1000, json_schema_extra={"maxLength": 220})
    facts: list[str] = Field(max_length=20, json_schema_extra={"minItems": 1, "maxItems": 3})


class Report(BaseModel):
    """The report before it is rendered; `removed` is filled in by code."""

    model_config = _STRICT_SCHEMA

    title: str = Field(max_length=300, json_schema_extra={"maxLength": 100})
    sentences: list[Sentence] = Field(max_length=60, json_schema_extra={"maxItems": MAX_SENTENCES})
    removed: SkipJsonSchema[list[str]] = []

    @classmethod
    def narrowed(cls, schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
        """Limit the facts of a sentence to those there are; without any there can be no sentence."""
        names = list(named_facts(gathered(evidence)))
        if names:
            schema["$defs"]["Sentence"]["properties"]["facts"]["items"]["enum"] = names
            schema["properties"]["sentences"]["maxItems"] = min(len(names), MAX_SENTENCES)
        else:
            schema["properties"]["sentences"]["maxItems"] = 0
        return schema


def passages_read(evidence: Evidence) -> dict[str, dict[str, str]]:
    """Return the passages that tools really returned in this task, by source."""
    found: dict[str, dict[str, str]] = {}
    for receipt in evidence.receipts:
        if receipt.tool in ("documents.search", "documents.read") and isinstance(receipt.result, list):
            for item in receipt.result:
                if isinstance(item, dict) and isinstance(item.get("source"), str) and isinstance(item.get("text"), str):
                    found.setdefault(item["source"], item)
    return found


def gathered(evidence: Evidence) -> list[tuple[str, list[Fact]]]:
    """Return the questions with their facts, as the tasks `known` and `gather` left them."""
    found = []
    for entry in [*_known(evidence), *(evidence.outputs.get("gather") or [])]:
        output = entry.get("output") or {} if isinstance(entry, dict) else {}
        facts = [Fact.model_validate(fact) for fact in output.get("facts", [])] if isinstance(output, dict) else []
        if isinstance(entry, dict):
            found.append((str(entry.get("item", "")), facts))
    return found


def named_facts(found: list[tuple[str, list[Fact]]]) -> dict[str, Fact]:
    """Return all facts as F1, F2 ... in the order of the questions; a quote within another counts once."""
    facts: list[Fact] = []
    for _, own in found:
        for fact in own:
            if not any(fact.source == other.source and fact.quote in other.quote for other in facts):
                facts = [other for other in facts if other.source != fact.source or other.quote not in fact.quote]
                facts.append(fact)
    return {f"F{number}": fact for number, fact in enumerate(facts, 1)}


def known_facts(evidence: Evidence) -> Known:
    """Return the questions that earlier runs have answered, with their facts (the function of a `run:` task)."""
    questions = (evidence.outputs.get("questions") or {}).get("questions", [])
    facts, gone = look_up(evidence.memories, str(evidence.inputs.get("sources") or ""))
    found = []
    for question in questions:
        own = [fact for fact in facts if same_question(question, fact.question)]
        if own:
            known = [Fact(source=one.source, quote=one.quote, claim=one.quote, heading=one.heading) for one in own]
            output = {"facts": [fact.model_dump() for fact in known]}
            found.append({"item": question, "since": min(one.since for one in own), "output": output})
    if gone:
        evidence.notes.append(f"{gone} remembered facts no longer stand in the documents")
    if found:
        evidence.notes.append(f"{len(found)} of {len(questions)} questions were answered by earlier runs")
    answered = {entry["item"] for entry in found}
    return Known(found=found, open=[question for question in questions if question not in answered])


def _known(evidence: Evidence) -> list[dict[str, Any]]:
    known: list[dict[str, Any]] = (evidence.outputs.get("known") or {}).get("found", [])
    return known


def number_facts(evidence: Evidence) -> str:
    """Return the facts with the names that the writer has to use, a line each (the function of a `run:` task)."""
    return "\n".join(f"{name}: {fact.quote}" for name, fact in named_facts(gathered(evidence)).items())


def questions_are_different(output: Questions, evidence: Evidence) -> Questions:
    """Keep each question once, and as many as will be worked on (a guardrail).

    Raises:
        Rejected: None is left.
    """
    kept: dict[str, str] = {}
    for question in output.questions:
        if key_of(question) and not gives_orders(question):
            kept.setdefault(key_of(question), " ".join(question.split()))
    if not kept:
        raise Rejected("Ask at least one question.")
    return Questions(questions=list(kept.values())[:MAX_QUESTIONS])


def quotes_are_verbatim(output: Facts, evidence: Evidence) -> Facts:
    """Keep the facts whose quote stands in a passage that was read (a guardrail).

    What earlier rounds found stays. A source that is wrong is put right; a claim that says more than its quote
    becomes the quote; everything else that does not hold is dropped, with a note.
    """
    passages = passages_read(evidence)
    before = [facts for question, facts in gathered(evidence) if question == str(evidence.item)]
    kept = {fact.quote.lower(): fact for facts in before for fact in facts}
    refused = []
    for fact in output.facts[:MAX_FACTS]:
        checked = _checked(fact, passages)
        if isinstance(checked, str):
            refused.append(f'"{short(fact.quote)}": {checked}')
        else:
            kept.setdefault(checked.quote.lower(), checked)
    evidence.notes += [f"quote refused: {reason}" for reason in refused]
    return Facts(facts=list(kept.values())[:20], refused=refused)


def _checked(fact: Fact, passages: dict[str, dict[str, str]]) -> Fact | str:
    """Return a fact put right, or what is wrong with it."""
    named = [fact.source] if fact.source in passages else []
    for source in (*named, *(other for other in passages if other != fact.source)):
        quote = find_quote(fact.quote, passages[source]["text"])
        if quote is not None:
            break
    else:
        return "stands in no passage that was read"
    if not is_long_enough(quote) or key_of(quote) == key_of(passages[source].get("heading", "")):
        return "too short to prove anything"
    if gives_orders(paragraph_around(quote, passages[source]["text"])) or gives_orders(fact.claim):
        return "speaks to the reader as an instruction, and documents are data"
    if fact.answers_question == "no":
        return "does not answer the question"
    heading = passages[source].get("heading", "")
    heading = "" if gives_orders(heading) else heading
    claim = " ".join(fact.claim.split())
    if not claim or unsupported(claim, [quote, heading]):
        claim = quote
    return Fact(source=source, quote=quote, claim=claim, heading=heading)


def verdicts(evidence: Evidence) -> Verdicts:
    """Return what is answered, from the critic's judgements in the task `judge` (the function of a `run:` task).

    A question without a fact never is, nor is one without a judgement.
    """
    said = {
        key_of(str(entry["item"])): (entry.get("output") or {}).get("answered") == "yes"
        for entry in evidence.outputs.get("judge") or []
    }
    said |= {key_of(entry["item"]): True for entry in _known(evidence)}
    found = [
        Verdict(question=question, answered=bool(facts) and said.get(key_of(question), False))
        for question, facts in gathered(evidence)
    ]
    open_ones = [verdict.question for verdict in found if not verdict.answered]
    facts = [
        {"group": question, "source": fact.source, "quote": fact.quote}
        for question, own in gathered(evidence)
        for fact in own
        if question not in open_ones
    ]
    return Verdicts(verdicts=found, all_answered=not open_ones, unanswered=open_ones, facts=facts)


def sentences_are_supported(output: Report, evidence: Evidence) -> Report:
    """Remove the sentences that the facts they name do not support (a guardrail).

    What the writer puts under one head is judged sentence by sentence: a true one stays without the explanation that
    follows it. If nothing is left, the report is the facts as they stand: asking a small model again costs a minute
    and brings the same.
    """
    facts = named_facts(gathered(evidence))
    questions = " ".join(question for question, _ in gathered(evidence))
    kept: dict[str, Sentence] = {}
    removed = []
    for written in output.sentences:
        named = [name for name in dict.fromkeys(written.facts) if name in facts]
        support = [part for name in named for part in (facts[name].quote, facts[name].heading)]
        for text in sentences_of(without_marks(written.text)):
            reason = unsupported(text, support, context=questions) if named else "names no fact"
            if not reason and gives_orders(text):
                reason = "is an instruction"
            if reason:
                removed.append(f"{text} ({reason})")
            elif key_of(text) not in kept:
                kept[key_of(text)] = Sentence(text=text, facts=named)
    evidence.notes += [f"removed as unsupported: {text}" for text in removed]
    if facts and not kept:
        evidence.notes.append("no sentence was supported; the report is the facts as they stand")
        kept = {name: Sentence(text=fact.quote, facts=[name]) for name, fact in facts.items()}
    topic = str(evidence.inputs.get("topic") or "Report")
    title = " ".join(output.title.split())
    words = [topic, questions, *(fact.quote for fact in facts.values())]
    if not title or gives_orders(title) or unsupported(title, words, share=0.0):
        title = topic[:200]
    return Report(title=title, sentences=list(kept.values()), removed=removed)


def render_report(evidence: Evidence) -> str:
    """Return the finished report as Markdown (the function of a `run:` task).

    It takes the facts from the task `gather`, and sentences and verdicts from the latest outputs that have them.
    """
    report = _last_with(evidence.outputs, "sentences")
    verdicts = _last_with(evidence.outputs, "verdicts")
    return render(
        Report.model_validate(report) if report else None,
        gathered(evidence),
        Verdicts.model_validate(verdicts) if verdicts else None,
        title=str(evidence.inputs.get("topic") or "Report"),
        known={entry["item"]: entry["since"] for entry in _known(evidence)},
    )


def render(
    report: Report | None,
    found: list[tuple[str, list[Fact]]],
    verdicts: Verdicts | None,
    notes: Sequence[str] = (),
    title: str = "Report",
    known: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return a report as Markdown: sentences with their marks, the sources, what is open, what was removed.

    Args:
        report: What the writer wrote and the checks left; without a sentence the facts themselves are listed.
        found: The questions with their facts.
        verdicts: What the critic said, or None.
        notes: More lines for the last section.
        title: Where the report has none.
        known: The questions that earlier runs have answered, each with the day.
    """
    facts = named_facts(found)
    sentences = report.sentences if report else []
    if not sentences:
        sentences = [Sentence(text=fact.claim, facts=[name]) for name, fact in facts.items()]
    open_ones = [question for question, own in found if not own or (verdicts and question in verdicts.unanswered)]
    parts = [f"# {markdown((report.title if report else '') or title)}"]
    marks: dict[str, int] = {}
    parts += _paragraphs(sentences, facts, found, marks) or ["The sources answer none of the questions."]
    if marks:
        cited = [(mark, facts[name]) for name, mark in marks.items()]
        lines = [f'- [{mark}] {place(fact.source)}: "{markdown(fact.quote)}"' for mark, fact in cited]
        parts += ["## Sources", "\n".join(lines)]
    since = [(mark, known.get(_asked(facts[name], found))) for name, mark in marks.items()]
    if lines := [f"- [{mark}]: found by a run of {day}, and looked up again" for mark, day in since if day]:
        parts += ["## Known from earlier runs", "\n".join(lines)]
    if open_ones:
        parts += ["## Not answered by the sources", "\n".join(f"- {markdown(question)}" for question in open_ones)]
    removed = [*(report.removed if report else []), *notes]
    if removed:
        parts += ["## Removed as unsupported", "\n".join(f"- {markdown(text)}" for text in removed[:60])]
    return "\n\n".join(parts) + "\n"


def _paragraphs(
    sentences: list[Sentence], facts: dict[str, Fact], found: list[tuple[str, list[Fact]]], marks: dict[str, int]
) -> list[str]:
    """Return the text, a paragraph a question, and number the facts in the order in which they are cited."""
    paragraphs: list[list[str]] = []
    before = ""
    for sentence in sentences:
        named = [name for name in sentence.facts if name in facts]
        if not named:
            continue
        about = _asked(facts[named[0]], found)
        if not paragraphs or about != before:
            paragraphs.append([])
            before = about
        cited = "".join(f"[{marks.setdefault(name, len(marks) + 1)}]" for name in named)
        paragraphs[-1].append(f"{markdown(sentence.text)} {cited}")
    return [" ".join(paragraph) for paragraph in paragraphs]


def _asked(fact: Fact, found: list[tuple[str, list[Fact]]]) -> str:
    return next((question for question, own in found if fact in own), "")


def _last_with(outputs: dict[str, Any], key: str) -> dict[str, Any] | None:
    """Return the latest output that has a field, whatever its task is called."""
    return next((out for out in reversed(list(outputs.values())) if isinstance(out, dict) and key in out), None)
