"""How the tools that use a network fail, through the whole gate: each class of error leads to its strategy.

The counterparts are real servers on loopback. Mail stands in `test_mail.py`, MCP in `tests/unit/tools/test_mcp.py`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.governance.trial_gate import Trial, trial
from tests.unit.shipped_tools.service_call import SHIPPED
from tests.unit.tools.site import Page, Seen, Site, serving

from quarterdeck.errors import Waiting
from quarterdeck.governance.breaker import RULES
from quarterdeck.governance.executed import Executed
from quarterdeck.governance.policy import Policy
from quarterdeck.journal.answer import answer
from quarterdeck.journal.events import ApprovalAnswered, RunWaiting
from quarterdeck.journal.store import Store
from quarterdeck.models.circuits import Circuits, Pass
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.declared import load_services
from quarterdeck.tools.failures import of_status
from quarterdeck.tools.manifest import tool

BODY: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {}}}}}
QUERY = {"parameters": [{"name": "q", "in": "query", "schema": {"type": "string"}}]}
SHOP = {
    "openapi": "3.1.0",
    "paths": {"/it": {"get": {"operationId": "look", **QUERY}, "post": {"operationId": "pay", **BODY}}},
}
RETRIES = dict.fromkeys(("unavailable", "rate_limited", "timeout", "lost"), 1)
JSON = {"Content-Type": "application/json"}


@dataclass
class Network:
    """A server, how long it may take, the tools that ask it, and the waits before they ask again."""

    site: Site
    folder: Path
    waits: list[float]
    seconds: float = 20.0

    def open(self, url: str = "", resume: str = "", **more: Any) -> AbstractAsyncContextManager[Trial]:
        """Open a run whose tools may be tried once more for every class, and have a substitute."""
        place = url or self.site.url
        services, made = load_services(_workspace(self.folder, place, self.seconds))
        tools: dict[str, Any] = {one.name: one for one in made} | {"spare.act": spare}
        tools |= {name: SHIPPED[name] for name in ("web.fetch", "web.search", "slack.post")}
        declared = {name: {"sinks": {}, "retries": RETRIES, "substitute": "spare.act"} for name in tools}
        declared["spare.act"] = {}
        policy = Policy(GovernanceConfig.model_validate({"autonomy": "high", "tools": declared}))
        return trial(self.folder, tools, policy=policy, services=services, resume=resume, **more)


@tool(effect="external", owner="tests", sinks={})
async def spare(q: str = "", url: str = "", query: str = "", text: str = "", body: Any = None) -> str:
    """Act elsewhere.

    Args:
        q: Any.
        url: Any.
        query: Any.
        text: Any.
        body: Any.
    """
    return "the substitute"


def _workspace(folder: Path, url: str, seconds: float) -> Workspace:
    (folder / "config").mkdir(exist_ok=True)
    port = int(url.rpartition(":")[2])
    services = {
        "apis": {"shop": {"spec": "config/shop.yaml", "base_url": url, "owner": "shop", "private": True,
                          "seconds": seconds, "max_bytes": 1000}},
        "web": {"networks": ["127.0.0.1/32"], "ports": [port], "robots": False, "seconds": seconds},
        "search": {"provider": "searxng", "url": url, "private": True, "seconds": seconds},
        "slack": {"webhook_env": "SLACK_URL", "private": True},
    }  # fmt: skip
    (folder / "config" / "services.yaml").write_text(yaml.safe_dump(services))
    (folder / "config" / "shop.yaml").write_text(yaml.safe_dump(SHOP))
    return Workspace(folder)


@pytest.fixture
def network(loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setitem(Executed.__init__.__kwdefaults__ or {}, "sleep", sleep)
    with serving() as site:
        monkeypatch.setenv("SLACK_URL", f"{site.url}/it")
        yield Network(site, tmp_path, waits)


def hangs_up(seen: Seen) -> Page:
    raise ConnectionError("the server takes the request and hangs up")


def says_nothing() -> Iterator[bytes]:
    import time

    time.sleep(3)
    yield b""


def later(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def refused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return f"http://127.0.0.1:{gone.getsockname()[1]}"


PAGES: dict[str, Any] = {
    "hangs up": hangs_up,
    "says nothing": Page(chunks=says_nothing, headers=JSON),
    "is no JSON": Page(b"{", headers=JSON),
    "is too long": Page(b"x" * 2000, headers=JSON),
    "sends on": Page(status=302, headers={"Location": "/other"}),
    "429": Page(b"slowly", 429),
    "429 after 7 s": Page(b"slowly", 429, {"Retry-After": "7"}),
    "503 after 7 s": Page(b"slowly", 503, {"Retry-After": "7"}),
    **{str(status): Page(b"x" * 5000, status) for status in (400, 401, 403, 404, 408, 422, 500, 502, 503, 504)},
}


@pytest.mark.parametrize(
    ("page", "error_class", "asked", "waits"),
    [
        ("hangs up", "unavailable", 2, 0), ("says nothing", "timeout", 2, 0), ("500", "unavailable", 2, 0),
        ("502", "unavailable", 2, 0), ("503", "unavailable", 2, 0), ("504", "unavailable", 2, 0),
        ("429", "rate_limited", 2, 0), ("429 after 7 s", "rate_limited", 2, 7), ("503 after 7 s", "rate_limited", 2, 7),
        ("408", "timeout", 2, 0),
    ],
)  # fmt: skip
async def test_what_may_pass_is_tried_again_and_then_done_by_the_substitute(
    network: Network, page: str, error_class: str, asked: int, waits: float
) -> None:
    network.site.pages["/it"] = PAGES[page]
    network.seconds = 1.0 if page == "says nothing" else 20.0
    async with network.open() as run:
        result = await run.call("shop.look", q="x")
        assert (result.status, result.value) == ("ok", "the substitute")
        (failed,) = [one for one in run.events("decision") if one.path.endswith("/substitute")]
        (again,) = [one for one in run.events("decision") if "/attempt-" in one.path]
    assert failed.chosen == "spare.act" and "shop.look is called again" in again.what
    assert len(network.site.seen) == asked and len(network.waits) == 1 and network.waits[0] >= waits
    async with network.open() as run:
        assert (await _alone(run, network)).error_class == error_class


async def _alone(run: Trial, network: Network) -> Any:
    """Make the call below the substitute, so that its own failure is what comes back."""
    return await run.call("shop.look", at="turn-1/tool-1/substitute", q="x")


@pytest.mark.parametrize("page", ["400", "401", "403", "404", "422", "sends on", "is no JSON", "is too long"])
async def test_what_will_fail_again_is_the_agent_s_to_change(network: Network, page: str) -> None:
    network.site.pages["/it"] = PAGES[page]
    async with network.open(circuits=(circuits := Circuits(RULES))) as run:
        for n in range(RULES.consecutive + 1):
            result = await run.call("shop.look", q=f"number {n} {'x' * n}")
            assert (result.status, result.error_class) in (("error", "tool"), ("denied", "repeated"))
        assert not [one for one in run.events("decision") if one.path.endswith(("/substitute", "/breaker"))]
        assert isinstance(circuits.enter("shop.look"), Pass)
    assert not network.waits


@pytest.mark.parametrize("name", ["shop.look", "web.fetch", "web.search", "slack.post", "shop.pay"])
async def test_every_tool_says_that_nobody_is_there(
    network: Network, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nothing was sent, so that it is tried again and replaced, whatever it would have done."""
    url = refused()
    monkeypatch.setenv("SLACK_URL", f"{url}/it")
    given = {"web.fetch": {"url": f"{url}/it"}, "web.search": {"query": "x"}, "slack.post": {"text": "x"}}
    async with network.open(url) as run:
        alone = await run.call(name, at="turn-9/tool-1/substitute", **given.get(name, {}))
        assert (alone.status, alone.error_class, len(network.waits)) == ("error", "unavailable", 1)
        result = await run.call(name, **given.get(name, {}))
        assert (result.status, result.value, len(network.waits)) == ("ok", "the substitute", 2)


@pytest.mark.parametrize("page", ["503", "429 after 7 s", "hangs up"])
@pytest.mark.parametrize(("name", "path"), [("web.fetch", "/it"), ("web.search", "/search")])
async def test_every_reading_tool_says_what_may_pass(network: Network, name: str, path: str, page: str) -> None:
    network.site.pages[path] = PAGES[page]
    given = {"url": network.site.url + "/it"} if name == "web.fetch" else {"query": "x"}
    async with network.open() as run:
        assert (await run.call(name, **given)).value == "the substitute"
    assert len(network.site.seen) == 2 and (page != "429 after 7 s" or network.waits[0] >= 7)


async def test_a_date_to_wait_for_is_kept(network: Network) -> None:
    network.site.pages["/it"] = Page(status=429, headers={"Retry-After": later(30)})
    async with network.open() as run:
        await run.call("shop.look", q="x")
    assert 25 < network.waits[0] < 32


async def test_a_wait_past_the_deadline_is_not_begun(network: Network) -> None:
    network.site.pages["/it"] = Page(status=503, headers={"Retry-After": later(3600)})
    async with network.open() as run:
        await run.call("shop.look", q="x")
    assert len(network.site.seen) == 1 and not network.waits


async def test_the_circuit_opens_and_the_next_call_closes_it(network: Network) -> None:
    now = [0.0]
    network.site.pages["/it"] = Page(status=503)
    async with network.open(circuits=Circuits(RULES, lambda: now[0])) as run:
        words = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
        for word in words[: RULES.consecutive + 1]:
            assert (await run.call("shop.look", q=word)).value == "the substitute"
        assert len(network.site.seen) == 2 * RULES.consecutive  # one more each by `retries`; none while it is open
        now[0] += RULES.cool_off + 1
        network.site.pages["/it"] = Page(b'"here"', headers=JSON)
        assert [(await run.call("shop.look", q=word)).value for word in words[-2:]] == ["here", "here"]
        said = [one.chosen for one in run.events("decision") if one.path.endswith("/breaker")]
    assert said == ["open", "half-open", "closed"]


@pytest.mark.parametrize("name", ["shop.pay", "slack.post"])
@pytest.mark.parametrize("page", ["hangs up", "500", "502", "503", "sends on"])
async def test_a_request_that_was_sent_and_lost_is_a_person_s_to_judge(network: Network, name: str, page: str) -> None:
    await _lost_and_never_repeated(network, name, page)


@pytest.mark.parametrize("page", ["is no JSON", "is too long", "says nothing"])
async def test_an_answer_that_cannot_be_read_is_lost(network: Network, page: str) -> None:
    await _lost_and_never_repeated(network, "shop.pay", page)


async def _lost_and_never_repeated(network: Network, name: str, page: str) -> None:
    network.site.pages["/it"] = PAGES[page]
    network.seconds = 1.0 if page == "says nothing" else 20.0
    given = {"body": {"eur": 5}} if name == "shop.pay" else {"text": "Paid."}
    async with network.open() as run:
        run_id = run.journal.id
        with pytest.raises(Waiting, match="nobody knows whether it was done"):
            await run.call(name, **given)
        (asked,) = run.events("approval.asked")
        assert (asked.reason, asked.tool) == ("unknown_effect", name)
        await run.journal.wait(RunWaiting(code="unknown_effect"))
    with Store.open(f"sqlite:///{network.folder}/journal.db") as store:
        said = ApprovalAnswered(path=asked.path, id=asked.id, answer="approved", choice="skip",
                                arguments_hash=asked.arguments_hash)  # fmt: skip
        await answer(store, run_id, said)
    async with network.open(resume=run_id) as run:
        result = await run.call(name, **given)
        assert (result.status, result.error_class) == ("unknown", "unknown_effect")
    assert [one.method for one in network.site.seen] == ["POST"] and not network.waits


@pytest.mark.parametrize(("page", "error_class"), [("400", "tool"), ("401", "tool"), ("422", "tool")])
async def test_a_request_that_was_refused_did_nothing(network: Network, page: str, error_class: str) -> None:
    network.site.pages["/it"] = PAGES[page]
    async with network.open() as run:
        result = await run.call("shop.pay", body={})
        assert (result.status, result.error_class) == ("error", error_class)
    assert len(network.site.seen) == 1


async def test_a_request_that_came_too_often_is_done_by_the_substitute(network: Network) -> None:
    network.site.pages["/it"] = PAGES["429 after 7 s"]
    async with network.open() as run:
        assert (await run.call("shop.pay", body={})).value == "the substitute"
    assert len(network.site.seen) == 1  # sent, so that it is not simply sent again


async def test_tls_that_does_not_hold_leaves_nothing(network: Network) -> None:
    port = network.site.port
    async with network.open() as run:
        result = await run.call("web.fetch", at="turn-1/tool-1/substitute", url=f"https://127.0.0.1:{port}/it")
        assert (result.status, result.error_class) == ("error", "unavailable")


async def test_what_is_not_allowed_is_no_failure_of_the_network(network: Network) -> None:
    async with network.open() as run:
        for url in ("http://10.0.0.1/", "http://127.0.0.1:1/", "no address"):
            assert (await run.call("web.fetch", url=url)).error_class == "tool"
    assert not network.waits and not network.site.seen


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), (" 7 ", 7.0), ("0", 0.0), ("999999999", 999999999.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
     ("", None), ("-1", None), ("soon", None), ("1e9", None), ("7.5", None), ("nan", None), ("9" * 5000, None),
     ("\u0667", None), ("Wed, 99 Oct 2015 07:28:00 GMT", None), ("0, 0 Jan 0 0:0:0", None)],
)  # fmt: skip
def test_a_retry_after_is_seconds_or_a_date_or_nothing(said: str, seconds: float | None) -> None:
    error = of_status("busy", 429, said)
    assert (error.error_class, error.retry_after) == ("rate_limited", seconds)
    assert of_status("busy", 503, said).error_class == ("unavailable" if seconds is None else "rate_limited")
