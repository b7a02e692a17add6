"""A cross-encoder puts what is recalled in order; where it cannot, the order of the search stands and no run fails."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools.site import Page, Seen, Site, serving

from quarterdeck import Memory
from quarterdeck.errors import JournalError, LimitReached, ModelError
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import ModelCalled
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.memory import rerank
from quarterdeck.memory.item import Item, Recalled, Scope
from quarterdeck.memory.rerank import HostedReranker, LocalReranker, Reranked, Reranker, reranker_of
from quarterdeck.models.catalog import Catalog
from quarterdeck.models.port import Usage
from quarterdeck.models.prices import Price, PriceTable, cost
from quarterdeck.models.redact import Redactor
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.governance import RedactSpec
from quarterdeck.spec.memory import LongtermSpec, MemoryProfile
from quarterdeck.spec.models import ModelsConfig
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder

SCOPE = Scope("acme", "desk")
MODEL = "hosted_vllm/judge"


def recalled(text: str, score: float = 0.5, **parts: float) -> Recalled:
    return Recalled(Item(text, SCOPE, text), score, f"text {score:.2f}", {"text": score, **parts})


class Found:
    """A search that finds what it is told to, and remembers how much was asked for."""

    def __init__(self, *found: Recalled) -> None:
        self.found = list(found)
        self.limits: list[int] = []

    async def search(self, query: str, scope: Scope, limit: int) -> list[Recalled]:
        self.limits.append(limit)
        return self.found[:limit]


class Says:
    """A reranker that answers by a rule, and remembers what it was asked."""

    def __init__(self, rule: Callable[[str], float]) -> None:
        self.rule = rule
        self.asked: list[tuple[str, list[str]]] = []

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((query, list(texts)))
        return [self.rule(text) for text in texts]


def fails(error: BaseException) -> Reranker:
    def rule(text: str) -> float:
        raise error

    return Says(rule)


async def ask(search: Reranked, limit: int = 6) -> list[str]:
    return [one.item.text for one in await search.search("which?", SCOPE, limit)]


async def test_what_answers_best_comes_first_and_the_search_decides_between_equals() -> None:
    found = Found(recalled("a", 0.9), recalled("b", 0.8), recalled("c", 0.7), recalled("d", 0.6))
    scores = {"a": 0.1, "b": 0.4, "c": 0.83, "d": 0.4}
    told: list[str] = []
    best = await Reranked(found, Says(scores.__getitem__), told.append).search("which?", SCOPE, 3)
    assert [one.item.text for one in best] == ["c", "b", "d"]
    assert best[0].why == "cross-encoder 0.83, text 0.70"
    assert best[0].score == 0.83 and best[0].parts == {"text": 0.7, "cross-encoder": 0.83}
    assert found.limits == [rerank.CANDIDATES] and told == []


async def test_what_it_reads_is_bounded() -> None:
    says = Says(len)
    search = Reranked(Found(*(recalled(f"{at} " + "x" * 9000) for at in range(100))), says, print)
    assert len(await search.search("q" * 9000, SCOPE, 50)) == 50
    assert len(await search.search("which?", SCOPE, 6)) == 6
    [(query, fifty), (_, thirty)] = says.asked
    assert len(query) == 1000 and len(fifty) == 50 and len(thirty) == 30
    assert {len(text) for text in fifty} == {2000}


async def test_raw_numbers_of_a_network_become_shares_in_the_same_order() -> None:
    scores = {"a": -11.2, "b": 8.6, "c": 0.0}
    found = await Reranked(Found(*map(recalled, "abc")), Says(scores.__getitem__), print).search("q", SCOPE, 6)
    assert [one.item.text for one in found] == ["b", "c", "a"]
    assert found[1].score == 0.5 and all(0 <= one.score <= 1 for one in found)


async def test_numbers_that_are_the_same_share_are_still_in_order() -> None:
    scores = {"a": 40.0, "b": 90.0}
    found = await Reranked(Found(*map(recalled, "ab")), Says(scores.__getitem__), print).search("q", SCOPE, 6)
    assert [one.item.text for one in found] == ["b", "a"] and found[0].score == found[1].score == 1


async def test_a_text_that_stands_above_already_is_not_listed_beside_itself() -> None:
    found = Found(recalled("a"), recalled("a again", repeated=-0.2), recalled("b"))
    assert await ask(Reranked(found, Says({"a": 0.9, "a again": 0.9, "b": 0.6}.__getitem__), print)) == [
        "a", "b", "a again",
    ]  # fmt: skip


async def test_one_find_or_none_is_not_asked_about() -> None:
    says = Says(len)
    assert await ask(Reranked(Found(recalled("a")), says, print)) == ["a"]
    assert await ask(Reranked(Found(), says, print)) == []
    assert await ask(Reranked(Found(*map(recalled, "ab")), says, print), 0) == []
    assert says.asked == []


@pytest.mark.parametrize(
    "error", [ModelError("It is down.", "server"), LimitReached("The budget is used up.", "usd")], ids=["down", "poor"]
)
async def test_a_failure_leaves_the_order_of_the_search_is_told_once_and_rests(error: Exception) -> None:
    told: list[str] = []
    now = [0.0]
    says = Says(len)
    broken = fails(error)
    search = Reranked(Found(*map(recalled, "abc")), broken, told.append, lambda: now[0])
    assert await ask(search, 2) == ["a", "b"] == await ask(search, 2)
    assert isinstance(broken, Says) and len(broken.asked) == 1, "left alone for a while"
    now[0] = rerank.REST + 1
    assert await ask(search, 2) == ["a", "b"] and len(broken.asked) == 2
    assert told == [f"Recalled in the order of the search, without the reranker: {error}"]
    assert says.asked == []


async def test_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "SECONDS", 0.01)

    class Hangs:
        async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
            await asyncio.Event().wait()
            return []

    told: list[str] = []
    assert await ask(Reranked(Found(*map(recalled, "ba")), Hangs(), told.append)) == ["b", "a"]
    assert told == ["Recalled in the order of the search, without the reranker: it did not answer within 0.01 s"]


async def test_a_journal_that_fails_is_no_matter_of_the_reranker() -> None:
    with pytest.raises(JournalError):
        await ask(Reranked(Found(*map(recalled, "ab")), fails(JournalError("full")), print))


def answer(seen: Seen) -> Page:
    """Rank by length, the last one first, as Cohere's protocol has it."""
    asked = json.loads(seen.body)
    rows = [{"index": at, "relevance_score": len(text) / 100} for at, text in enumerate(asked["documents"])]
    return page({"id": "1", "results": rows[::-1], "usage": {"total_tokens": 9}})


def page(body: Any, status: int = 200) -> Page:
    return Page(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def catalog(site: Site) -> Catalog:
    entry = {"api_base": f"{site.url}/v1", "price": {"input": 1.0, "output": 1.0}}
    return Catalog(ModelsConfig.model_validate({"default": "openai/x", "models": {MODEL: entry}}), {})


@asynccontextmanager
async def running(store: Store, limits: Limits, run_id: str = "") -> AsyncIterator[CallContext]:
    options: dict[str, Any] = {"crew": "c", "spec": {}, "inputs": {}, "spec_hash": "", "version": "1"}
    journal = await (RunJournal.resume(store, run_id) if run_id else RunJournal.start(store, **options))
    async with journal:
        allowance = Allowance(limits, journal.totals, Ledger(journal, limits))
        yield CallContext(journal, allowance, "memory", "", "", asyncio.get_running_loop().time() + 60)


async def test_a_hosted_one_within_a_run_is_budgeted_recorded_and_replayed(
    loopback_model: object, tmp_path: Path
) -> None:
    def mask(text: str) -> str:
        return text.replace("hunter2", "***")

    with serving() as site, Store.open(f"sqlite:///{tmp_path}/j.db") as store:
        site.pages["/v1/rerank"] = answer
        models = catalog(site)
        async with running(store, Limits(usd=1)) as context:
            scores = await HostedReranker(MODEL, models, context, mask=mask).scores("hunter2?", ["long one", "", "abc"])
            run_id = context.journal.id
        assert scores == [0.08, 0.01, 0.03], "in the order of the texts"
        (sent,) = [json.loads(seen.body) for seen in site.seen]
        assert sent["query"] == "***?" and sent["documents"] == ["long one", " ", "abc"] and sent["model"] == "judge"
        (called,) = [row.event for row in store.chain(run_id)[0] if isinstance(row.event, ModelCalled)]
        assert called.path.startswith("memory/rerank-") and called.model == MODEL and called.prompt_tokens == 9
        assert Decimal(called.cost_usd or 0) == Decimal("0.000009") and "hunter2" not in json.dumps(called.request)
        async with running(store, Limits(usd=1), run_id) as context:
            again = await HostedReranker(MODEL, models, context, mask=mask).scores("hunter2?", ["long one", "", "abc"])
        assert again == scores and len(site.seen) == 1
        async with running(store, Limits(usd=0.000001)) as context:
            with pytest.raises(LimitReached):
                await HostedReranker(MODEL, models, context).scores("q", ["a"])
        assert len(site.seen) == 1, "what the budget does not reach is not sent"
        await models.close()


async def test_personal_data_does_not_reach_a_hosted_one(loopback_model: object, tmp_path: Path) -> None:
    with serving() as site, Store.open(f"sqlite:///{tmp_path}/j.db") as store:
        site.pages["/v1/rerank"] = answer
        models = catalog(site)
        redactor = Redactor(RedactSpec(pii=("email",)), models.chain)
        async with running(store, Limits(usd=1)) as context:
            ranks = HostedReranker(MODEL, models, context, redactor=redactor)
            assert len(await ranks.scores("Who is anna@example.org?", ["anna@example.org leads", "b"])) == 2
        assert "<EMAIL_1> leads" in site.seen[0].body.decode() and "anna@" not in site.seen[0].body.decode()
        await models.close()


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"results": [{"index": 0, "relevance_score": 0.5}]}, 200, "malformed"),
        ({"results": [{"index": 0, "relevance_score": 0.5}, {"index": 7, "relevance_score": 0.5}]}, 200, "malformed"),
        ({"error": {"message": "bad key"}}, 401, "no_key"),
        ({"error": {"message": "on fire"}}, 500, "server"),
    ],
    ids=["one too few", "another text", "refused", "down"],
)
async def test_what_a_hosted_one_does_wrong_is_told(loopback_model: object, body: Any, status: int, kind: str) -> None:
    with serving() as site:
        site.pages["/v1/rerank"] = page(body, status)
        models = catalog(site)
        with pytest.raises(ModelError) as failed:
            await HostedReranker(MODEL, models).scores("q", ["a", "b"])
        assert failed.value.kind == kind
        await models.close()


async def test_a_model_that_does_not_rank_or_is_not_known_leaves_the_order(loopback_model: object) -> None:
    config = ModelsConfig.model_validate({"default": "local", "models": {"local": {"provider": "embedded"}}})
    for name in ("nobody/knows-this", "relevance"):
        told: list[str] = []
        search = Reranked(Found(*map(recalled, "ab")), reranker_of(name, Catalog(config, {})), told.append)
        assert await ask(search) == ["a", "b"]
        assert name.partition("/")[0] in told[0]


def test_what_is_charged_by_request_is_known_set_aside_and_settled() -> None:
    facts = PriceTable().facts("cohere/rerank-v3.5")
    assert facts is not None and facts.price is not None and facts.price.request == Decimal("0.002")
    assert not facts.price.free
    assert cost(facts.price, Usage(), 2) == Decimal("0.004")
    by_token = PriceTable().facts("voyage/rerank-2.5")
    assert by_token is not None and cost(by_token.price, Usage(prompt_tokens=100)) == Decimal("0.000005")
    assert cost(by_token.price, Usage()) is None, "not reported, so not guessed"
    assert cost(Price(Decimal(1), Decimal(1)), Usage(prompt_tokens=2)) == 2


def field(number: int, value: bytes | int) -> bytes:
    """Return one field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def onnx_file(outputs: int = 1) -> bytes:
    """Return a network that says for each row the sum of its token ids and of twice its type ids, `outputs` times."""

    def node(kind: bytes, inputs: Sequence[bytes], output: bytes, *attributes: bytes) -> bytes:
        names = b"".join(field(1, name) for name in inputs)
        return field(1, names + field(2, output) + field(4, kind) + b"".join(field(5, one) for one in attributes))

    def value(name: bytes, kind: int, second: bytes) -> bytes:
        shape = field(1, field(2, b"rows")) + field(1, second)
        return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))

    to_float = field(1, b"to") + field(3, 1) + field(20, 2)
    keep = field(1, b"keepdims") + field(3, 1) + field(20, 2)
    axes = field(1, 1) + field(2, 7) + field(8, b"axes") + field(7, varint(1))
    graph = node(b"Add", [b"input_ids", b"token_type_ids"], b"one") + node(b"Add", [b"one", b"token_type_ids"], b"sum")
    graph += node(b"Cast", [b"sum"], b"floats", to_float)
    graph += node(b"ReduceSum", [b"floats", b"axes"], b"total" if outputs > 1 else b"logits", keep)
    if outputs > 1:
        axis = field(1, b"axis") + field(3, 1) + field(20, 2)
        graph += node(b"Concat", [b"total"] * outputs, b"logits", axis)
    graph += field(2, b"tiny") + field(5, axes)
    for name in (b"input_ids", b"token_type_ids"):
        graph += field(11, value(name, 7, field(2, b"length")))
    graph += field(12, value(b"logits", 1, field(1, outputs)))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def write_network(folder: Path, outputs: int = 1) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "[SEP]": 1, "port": 5, "crane": 9}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=[("[SEP]", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tiny.onnx").write_bytes(onnx_file(outputs))
    return folder / "tiny.onnx"


async def test_a_network_on_this_machine_reads_query_and_text_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_network(tmp_path / "reranker")
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path))
    by_name = reranker_of("reranker/tiny.onnx", Catalog(ModelsConfig(default="local"), {}))
    assert isinstance(by_name, LocalReranker)
    # "port [SEP]" is 6; the text "crane [SEP]" is 10, and 2 more for each of its two tokens
    assert await by_name.scores("port", ["crane", "x", "port crane", ""]) == [20, 11, 27, 9]
    assert await LocalReranker(str(path)).scores("port", ["crane"] * 20) == [20] * 20
    # of 512 tokens 3 are the query and what stands behind query and text: the text is cut
    assert await by_name.scores("port", ["crane " * 3000]) == [6 + 11 * 509 + 3]


async def test_a_network_that_is_missing_damaged_or_another_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"reranker .*none\.onnx cannot be loaded.*tokenizer\.json there") as missing:
        await LocalReranker(str(tmp_path / "none.onnx")).scores("q", ["a"])
    assert missing.value.kind == "no_weights" and "models pull" not in str(missing.value)
    for name in ("bad.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        await LocalReranker(str(tmp_path / "bad.onnx")).scores("q", ["a"])
    with pytest.raises(ModelError, match="name a cross-encoder"):
        await LocalReranker(str(write_network(tmp_path / "two", 2))).scores("q", ["a", "b"])


def test_the_face_recalls_in_its_order_and_logs_once_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("QUARTERDECK_DATABASE_URL", raising=False)
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "models"))
    write_network(tmp_path / "models")

    def opened(name: str) -> Memory:
        profile = MemoryProfile(longterm=LongtermSpec(rerank=name))
        return Memory(workspace=Workspace(tmp_path), crew="desk", profile=profile, embedder=HashEmbedder())

    with opened("tiny.onnx") as memory:
        memory.remember("The old port is where the ferry to Hull leaves.", source="a test")
        memory.remember("A crane for the ferry to Hull: a crane, and one more crane.", source="a test")
        first, second = memory.recall("Where does the ferry to Hull leave?")
        assert first.item.text.startswith("A crane") and first.why.startswith("cross-encoder 1.00, ")
        assert first.parts["cross-encoder"] == first.score >= second.score
    with caplog.at_level(logging.WARNING), opened("gone.onnx") as memory:
        for _ in range(2):
            assert memory.recall("Where does the ferry to Hull leave?")[0].item.text.startswith("The old port")
    assert caplog.text.count("without the reranker") == 1
