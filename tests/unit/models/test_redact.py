"""Personal data and secrets in prompts: taken out before anybody outside sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models.stages import Next, ask, chain_of, context_of, model_of

from quarterdeck.errors import SpecError
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.models.personal import find, finders
from quarterdeck.models.port import Message, ModelReply, ToolOffer, ToolRequest
from quarterdeck.models.redact import Mask, Redact, Redactor
from quarterdeck.models.wire import request_to_json
from quarterdeck.spec.governance import RedactSpec

ALL = RedactSpec(pii=("email", "phone", "iban", "credit_card", "ip"), regions=("DE", "GB"))
HOW = finders(ALL.pii, ALL.regions)
HOSTED = model_of("openai/gpt")
EMBEDDED = ResolvedModel("local", "embedded", 8192, None, True)

PLANTED = {
    "EMAIL": ["anna@example.org", "a.b+c@mail.example.co.uk", "o'neil@x.example", "jörg@müller.example",
              "A_1@EX-AMPLE.ORG"],
    "IBAN": ["DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "gb82 west 1234 5698 7654 32",
             "FR1420041010050500013M02606", "NO93-8601-1117-947"],
    "CREDIT_CARD": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009"],
    "IP": ["192.168.10.14", "8.8.8.8", "2001:db8::8a2e:370:7334", "fe80::1", "::ffff:10.0.0.1"],
    "PHONE": ["+49 30 901820", "+1 650-253-0000", "030 901820", "+442079460958", "(020) 7946 0958"],
}  # fmt: skip
AROUND = ["{}", "Write to {}.", "({})", "to:{},", "'{}'", '{{"x": "{}"}}', "a\n{}\nb", "<{}>", "{}; then", "was {}, is"]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in PLANTED.items() for value in values])
def test_personal_data_is_found_whole(kind: str, value: str, around: str) -> None:
    text = around.format(value)
    assert value in [text[start:end] for start, end, found in find(text, HOW) if found == kind]


@pytest.mark.parametrize(
    "text",
    ["a @ b", "user@host", "DE00370400440532013000", "4111111111111112", "1.2.3.4.5", "999.1.1.1", "12:30",
     "Chapter 12", "sha 3b1c9de2f0a4", "version 10.2", "in 2023", "::", "10:45:30", "EUR 1,234.50", "1234567890123",
     "0000000000000000"],
)  # fmt: skip
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert find(text, finders(("email", "iban", "credit_card", "ip"))) == []


def test_of_two_readings_the_surer_one_counts() -> None:
    found = find("DE89 3704 0044 0532 0130 00", HOW)
    assert [kind for *_, kind in found] == ["IBAN"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["a" * 50_000, "a.@" * 20_000, "1 " * 30_000, "DE12" * 15_000, ":" * 50_000,
                                  "a@b" * 20_000, "a@" + "b." * 30_000, "1." * 30_000, "abcd:" * 15_000])  # fmt: skip
def test_no_text_makes_it_slow(text: str) -> None:
    find(text, finders(("email", "iban", "credit_card", "ip")))


def test_what_cannot_be_found_is_not_promised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path))
    with pytest.raises(SpecError, match=r"redact.pii: the model that finds person and location .* models pull names"):
        Redactor(RedactSpec(pii=("email", "person", "location")), chain_of(HOSTED))


def redact(next_stage: Next, *models: ResolvedModel, spec: RedactSpec = ALL) -> Redact:
    return Redact(next_stage, Redactor(spec, chain_of(*(models or (HOSTED,)))))


async def test_the_provider_never_gets_it_and_the_run_gets_it_back() -> None:
    said = ModelReply(
        "Wrote to <EMAIL_1>.", (ToolRequest("1", "mail.send", {"to": ["<EMAIL_1>"], "n": 1}, '{"to": ["<EMAIL_1>"]}'),)
    )
    stage = Next(said)
    request = ask(
        words="Mail anna@example.org about DE89370400440532013000, not anna@example.org's chief bo@x.example."
    )
    reply = await redact(stage).complete(request, context_of())
    assert stage.requests[0].messages[0].content == "Mail <EMAIL_1> about <IBAN_1>, not <EMAIL_1>'s chief <EMAIL_2>."
    assert reply.text == "Wrote to anna@example.org."
    assert reply.tool_calls[0].arguments == {"to": ["anna@example.org"], "n": 1}
    assert reply.tool_calls[0].raw == '{"to": ["anna@example.org"]}'


async def test_every_part_of_a_request_is_redacted() -> None:
    stage = Next()
    call = ToolRequest("1", "crm.find", {"mail": {"to": ["anna@example.org"]}}, '{"x": "anna@example.org"}')
    request = ask(
        tools=(ToolOffer("crm.find", "Ask anna@example.org.", {"properties": {"a": {"enum": ["anna@example.org"]}}}),),
        schema={"enum": ["anna@example.org"]},
    )
    planted = [
        Message("system", "anna@example.org"),
        Message("assistant", "", (call,)),
        Message("tool", "anna@example.org"),
    ]
    request = type(request)(**{**vars_of(request), "messages": tuple(planted)})
    await redact(stage).complete(request, context_of())
    sent = orjson.dumps(request_to_json(stage.requests[0])).decode()
    assert "anna" not in sent and sent.count("<EMAIL_1>") == 7


def vars_of(request: Any) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__slots__}


async def test_the_same_conversation_is_redacted_alike_each_turn() -> None:
    stage = Next()
    port = redact(stage)
    first = [Message("user", "a@x.example and b@x.example")]
    for messages in (first, [*first, Message("assistant", "c@x.example, a@x.example")], first):
        request = ask()
        await port.complete(type(request)(**{**vars_of(request), "messages": tuple(messages)}), context_of())
    assert stage.requests[0] == stage.requests[2]
    assert [message.content for message in stage.requests[1].messages] == [
        "<EMAIL_1> and <EMAIL_2>", "<EMAIL_3>, <EMAIL_1>"
    ]  # fmt: skip


async def test_a_placeholder_that_somebody_wrote_stays_what_it_is() -> None:
    stage = Next(ModelReply("<EMAIL_1> <EMAIL_2> <EMAIL_9>"))
    reply = await redact(stage).complete(ask(words="<EMAIL_1> is not a@x.example"), context_of())
    assert stage.requests[0].messages[0].content == "<EMAIL_1> is not <EMAIL_2>"
    assert reply.text == "<EMAIL_1> a@x.example <EMAIL_9>"


@pytest.mark.parametrize(
    ("models", "spec", "redacted"),
    [
        ([HOSTED], ALL, True),
        ([EMBEDDED], ALL, False),
        ([EMBEDDED, HOSTED], ALL, True),
        ([HOSTED], RedactSpec(pii=("email",), models=("openai/*",)), True),
        ([HOSTED], RedactSpec(pii=("email",), models=("anthropic/*",)), False),
        ([HOSTED], RedactSpec(), False),
    ],
)
async def test_for_which_models(models: list[ResolvedModel], spec: RedactSpec, redacted: bool) -> None:
    stage = Next()
    await redact(stage, *models, spec=spec).complete(ask(words="a@x.example"), context_of())
    assert (stage.requests[0].messages[0].content == "<EMAIL_1>") is redacted


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterdeck.models.redact.MAX_KNOWN_BYTES", 100)
    redactor = Redactor(ALL, chain_of(HOSTED))
    for number in range(50):
        await redactor.spans(f"a{number}@x.example")
    assert sum(map(len, redactor._found)) <= 100


async def test_secrets_are_masked_both_ways() -> None:
    stage = Next(ModelReply("the key is canary", (ToolRequest("1", "t", {"a": "canary"}, "canary"),)))
    port = Mask(stage, lambda text: text.replace("canary", "[secret]"))
    reply = await port.complete(ask(words="canary", schema={"const": "canary"}), context_of())
    assert "canary" not in str(stage.requests[0]) and "canary" not in str(reply)
    request = ask()
    await Mask(stage, None).complete(request, context_of())
    assert stage.requests[1] is request


@given(
    st.lists(st.sampled_from([value for values in PLANTED.values() for value in values]), max_size=6),
    st.text(max_size=30),
)
async def test_what_goes_out_comes_back(values: list[str], around: str) -> None:
    text = around + " | ".join(["", *values, ""]) + around
    stage = Next()
    port = redact(stage)
    await port.complete(ask(words=text), context_of())
    echo = Next(ModelReply(stage.requests[0].messages[0].content))
    assert (await redact(echo).complete(ask(words=text), context_of())).text == text
    assert all(value not in stage.requests[0].messages[0].content for value in values if "@" in value)
