from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.models.stages import Waits
from tests.unit.tools.site import Page, Seen, Site, serving

from quarterdeck.errors import LimitReached, ModelError
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import ModelCalled
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.memory.embedder import EmbeddedEmbedder, Embedder, LiteLLMEmbedder, _batches, embedder_of
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.models import weights
from quarterdeck.models.catalog import Catalog
from quarterdeck.models.retry import Retry
from quarterdeck.models.weights_sources import Mirror
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.models import ModelsConfig
from quarterdeck.testing import HashEmbedder

PARAPHRASES = [
    ("The cat chased the mouse through the kitchen.", "A feline ran after a rodent across the cooking area."),
    ("How do I reset my password?", "I forgot my login secret and need a new one."),
    ("The stock market fell sharply on Monday.", "Shares lost a lot of value at the start of the week."),
    ("She plays the violin in an orchestra.", "She is a string musician in a symphony ensemble."),
    ("Heavy rain caused flooding in the valley.", "Downpours put the low-lying land under water."),
    ("The company hired fifty new engineers.", "The firm recruited dozens of technical staff."),
    ("Take this medicine twice a day after meals.", "Swallow the pills when you have eaten, morning and night."),
    ("The train to Paris leaves at noon.", "Departure by rail for the French capital is at midday."),
    ("Our cat is afraid of thunderstorms.", "Loud weather scares our pet kitty."),
    ("The bridge is closed for repairs.", "You cannot cross the river there as it is being mended."),
    ("Bake the bread for forty minutes.", "Leave the loaf in the oven for two thirds of an hour."),
    ("The judge dismissed the case.", "The court threw out the lawsuit."),
    ("Wind turbines generate electricity.", "Power is produced by windmills."),
    ("The patient has a high fever.", "The sick person's body temperature is elevated."),
    ("He apologised for being late.", "He said sorry that he did not arrive on time."),
    ("The museum is free on Sundays.", "No entrance fee to see the art at the weekend's end."),
    ("My phone battery runs out quickly.", "The mobile does not hold its charge for long."),
    ("The children built a sandcastle.", "Kids made a fortress on the beach."),
    ("Unemployment rose to eight percent.", "More people are out of work than before."),
    ("The plane was delayed by fog.", "Poor visibility made the flight late."),
    ("I would like a refund for this order.", "Please give me my money back for the purchase."),
    ("The novel won a literary prize.", "The book received an award for fiction."),
    ("Plants need sunlight to grow.", "Without light vegetation does not develop."),
    ("The harbour was dredged to let larger ships in.", "They deepened the port so that big vessels can enter."),
    ("The teacher praised her students.", "The class was commended by its instructor."),
    ("Turn off the lights when you leave.", "Switch the lamps out as you go."),
    ("The team scored in the last minute.", "A goal came right before the final whistle."),
    ("The software update fixes a security hole.", "The new version of the program closes a vulnerability."),
    ("Coffee keeps me awake at night.", "Caffeine stops me from sleeping."),
    ("The city banned cars from its centre.", "Vehicles are no longer allowed downtown."),
]


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def real() -> EmbeddedEmbedder:
    return EmbeddedEmbedder()


@pytest.mark.real
async def test_paraphrases_find_each_other(real: EmbeddedEmbedder) -> None:
    texts = await real.embed([text for text, _ in PARAPHRASES])
    queries = await real.embed([query for _, query in PARAPHRASES])
    nearest = [max(range(len(texts)), key=lambda at: cosine(query, texts[at])) for query in queries]
    hits = sum(found == number for number, found in enumerate(nearest))
    assert hits / len(PARAPHRASES) >= 0.8, hits


@pytest.mark.real
async def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(real: EmbeddedEmbedder) -> None:
    long = "The harbour was dredged to let larger ships in. " * 60
    texts = ["wind", "", long, "A\ud800 half", "The harbour was dredged."]
    together = await real.embed(texts)
    assert [len(vector) for vector in together] == [real.dimension] * 5
    for text, vector in zip(texts, together, strict=True):
        assert math.isclose(math.sqrt(cosine(vector, vector)), 1, rel_tol=1e-5)
        (alone,) = await real.embed([text])
        assert cosine(alone, vector) > 0.999  # padding has no share in the mean
    assert cosine(together[2], together[4]) > 0.4 > cosine(together[0], together[4])


async def test_without_weights_one_line_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="quarterdeck models pull embedder --yes") as failed:
        await EmbeddedEmbedder().embed(["wind"])
    assert failed.value.kind == "no_weights" and "\n" not in str(failed.value)


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"cannot be loaded.*Delete model\.onnx"):
        await EmbeddedEmbedder(tmp_path / "model.onnx", tmp_path / "tokenizer.json").embed(["wind"])


def test_weights_come_with_their_tokenizer_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = {"model.onnx": b"model", "tokenizer.json": b"tokens"}
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, content in data.items():
        (sources / name).write_bytes(content)
    made = [
        weights.Weights(name, name, name, len(text), hashlib.sha256(text).hexdigest(), "", Mirror("x", "1", 1))
        for name, text in data.items()
    ]  # fmt: skip
    known = weights.Weights("tiny", "embedder", "model.onnx", 5, made[0].sha256, "", made[0].mirror, (made[1],))
    monkeypatch.setattr(weights, "KNOWN", (known,))
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "models"))
    path = weights.pull("embedder", source=sources / "model.onnx", progress=lambda done, whole: None)
    assert weights.installed("embedder") == path
    assert weights.path_of(made[1]).read_bytes() == b"tokens"
    weights.path_of(made[1]).unlink()
    assert weights.installed("embedder") is None


def test_batches_are_bounded_and_hold_texts_of_like_length() -> None:
    lengths = [256, 3, 200, 5, *[4] * 300]
    batches = list(_batches(lengths))
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    assert all(len(batch) <= 64 and max(lengths[at] for at in batch) * len(batch) <= 512 for batch in batches)
    assert len(batches) < 10


async def test_too_many_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="10,001 texts"):
        await EmbeddedEmbedder().embed(["x"] * 10_001)
    assert await EmbeddedEmbedder().embed([]) == []


async def test_the_one_for_tests_is_an_embedder_too() -> None:
    embedder: Embedder = HashEmbedder()
    near, same, far = await embedder.embed(["the deep port", "port, the DEEP", "a wind farm"])
    assert cosine(near, same) > 0.999 > 0.2 > cosine(near, far)


def answer(seen: Seen) -> Page:
    texts = json.loads(seen.body)["input"]
    rows = [
        {"object": "embedding", "index": at, "embedding": [float(len(text)), 1.0, 2.0]} for at, text in enumerate(texts)
    ]
    body = {"object": "list", "data": rows[::-1], "model": "emb", "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    return Page(json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def catalog(site: Site) -> Catalog:
    entry = {"api_base": f"{site.url}/v1", "price": {"input": 1.0, "output": 1.0}}
    return Catalog(ModelsConfig.model_validate({"default": "openai/emb", "models": {"openai/emb": entry}}), {})


@asynccontextmanager
async def running(store: Store, limits: Limits, run_id: str = "") -> AsyncIterator[CallContext]:
    options: dict[str, Any] = {"crew": "c", "spec": {}, "inputs": {}, "spec_hash": "", "version": "1"}
    journal = await (RunJournal.resume(store, run_id) if run_id else RunJournal.start(store, **options))
    async with journal:
        allowance = Allowance(limits, journal.totals, Ledger(journal, limits))
        yield CallContext(journal, allowance, "memory", "", "", asyncio.get_running_loop().time() + 60)


async def test_a_hosted_model_within_a_run_is_budgeted_recorded_and_replayed(
    loopback_model: object, tmp_path: Path
) -> None:
    with serving() as site, Store.open(f"sqlite:///{tmp_path}/j.db") as store:
        site.pages["/v1/embeddings"] = answer
        models = catalog(site)
        async with running(store, Limits(usd=1)) as context:
            embedder = LiteLLMEmbedder("openai/emb", models, context, mask=lambda text: text.replace("hunter2", "***"))
            vectors = await embedder.embed(["port", "my hunter2"])
            assert embedder.dimension == 3 and [round(cosine(one, one), 5) for one in vectors] == [1, 1]
            assert vectors[0][0] == pytest.approx(4 / math.sqrt(21))  # in the order of the texts
            run_id = context.journal.id
        (called,) = [row.event for row in store.chain(run_id)[0] if isinstance(row.event, ModelCalled)]
        assert called.path.startswith("memory/embed-") and called.model == "openai/emb"
        assert Decimal(called.cost_usd or 0) == Decimal("0.000007")
        assert "hunter2" not in json.dumps(called.request) and "hunter2" not in site.seen[0].body.decode()
        async with running(store, Limits(usd=1), run_id) as context:
            again = await LiteLLMEmbedder(
                "openai/emb", models, context, mask=lambda text: text.replace("hunter2", "***")
            ).embed(["port", "my hunter2"])
        assert again == vectors and len(site.seen) == 1
        async with running(store, Limits(usd=0.000001)) as context:
            with pytest.raises(LimitReached):
                await LiteLLMEmbedder("openai/emb", models, context).embed(["port"])
        assert len(site.seen) == 1
        await models.close()


async def test_a_hosted_model_outside_of_a_run_and_one_that_does_not_embed(loopback_model: object) -> None:
    with serving() as site:
        site.pages["/v1/embeddings"] = answer
        models = catalog(site)
        embedder = embedder_of("openai/emb", models)
        assert len(await embedder.embed(["x"] * 130)) == 130 and len(site.seen) == 3
        site.pages["/v1/embeddings"] = Page(
            b'{"data": [], "object": "list"}', headers={"Content-Type": "application/json"}
        )
        with pytest.raises(ModelError) as failed:
            await embedder.embed(["x"])
        assert failed.value.kind == "malformed"
        await models.close()


async def test_a_hosted_model_that_changes_its_dimension_adds_nothing(loopback_model: object, tmp_path: Path) -> None:
    """A vector of another length cannot be compared: it is refused, and what was there is searched as before."""
    scope = Scope("acme", "desk")
    with serving() as site, Store.open(f"sqlite:///{tmp_path}/j.db") as store:
        site.pages["/v1/embeddings"] = answer
        models = catalog(site)
        longterm = LongTerm(store, embedder_of("openai/emb", models))
        await longterm.add([Item("", scope, "The harbour master likes herring.")])
        site.pages["/v1/embeddings"] = lambda seen: Page(
            answer(seen).body.replace(b"1.0, 2.0]", b"1.0, 2.0, 3.0]"), headers={"Content-Type": "application/json"}
        )
        fresh = LongTerm(store, embedder_of("openai/emb", models))
        found = await fresh.search("harbour", scope)
        assert len(found) == 1 and "meaning" not in found[0].why, "by words: no vector is of its length"
        site.pages["/v1/embeddings"] = Page(
            b'{"data": [{"object": "embedding", "index": 0, "embedding": [1.0, "x"]}], "object": "list"}',
            headers={"Content-Type": "application/json"},
        )
        with pytest.raises(ModelError):
            await longterm.add([Item("", scope, "The harbour master is Anna.")])
        assert (await longterm.stats())["items"] == 1
        await models.close()


async def test_a_hosted_model_that_has_no_time_is_asked_again_and_paid_once(
    loopback_model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits()
    defaults = Retry.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "sleep", waits)
    with serving() as site, Store.open(f"sqlite:///{tmp_path}/j.db") as store:
        busy = Page(b'{"error": {"message": "slow down", "type": "rate"}}', 429, {"Content-Type": "application/json"})
        site.pages["/v1/embeddings"] = lambda seen: busy if len(site.seen) < 3 else answer(seen)
        models = catalog(site)
        async with running(store, Limits(usd=1)) as context:
            vectors = await LiteLLMEmbedder("openai/emb", models, context).embed(["port"])
            run_id = context.journal.id
        assert len(vectors) == 1 and len(site.seen) == 3 and waits.seconds
        kinds = [row.kind for row in store.chain(run_id)[0]]
        assert kinds.count("model.failed") == 2 and kinds.count("model.called") == 1
        (called,) = [row.event for row in store.chain(run_id)[0] if isinstance(row.event, ModelCalled)]
        assert Decimal(called.cost_usd or 0) == Decimal("0.000007")
        await models.close()
