"""web.fetch, web.search and slack.post against servers on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.shipped_tools.service_call import CANARY, SHIPPED, call, context
from tests.unit.tools.site import Page, Seen, Site, serving
from tests.unit.tools.test_passages import pdf

from quarterdeck.errors import ToolError

HTML = (
    b"<html><head><title>Tides</title></head><body><h1>High water</h1><p>At 12:04.</p><script>x</script></body></html>"
)


@pytest.fixture
def site(loopback: None) -> Iterator[Site]:
    with serving() as site:
        yield site


def web(site: Site, **more: Any) -> dict[str, Any]:
    return {"web": {"networks": ["127.0.0.1/32"], "ports": [site.port], **more}}


async def test_a_page_comes_as_text_with_its_source_and_time(site: Site, tmp_path: Path) -> None:
    site.pages["/tides"] = Page(HTML)
    page = await call("web.fetch", context(tmp_path, web(site)), url=site.url + "/tides")
    assert page["source"] == site.url + "/tides" and page["title"] == "Tides"
    assert page["text"] == "High water\n\nAt 12:04." and page["retrieved"].endswith("+00:00")
    assert [seen.path for seen in site.seen] == ["/robots.txt", "/tides"]
    assert site.seen[1].headers["user-agent"] == "Quarterdeck"


async def test_a_long_page_comes_in_parts_and_is_asked_for_once(site: Site, tmp_path: Path) -> None:
    site.pages["/long"] = Page(
        b"\n\n".join(b"Paragraph %d is here." % n for n in range(800)), headers={"Content-Type": "text/plain"}
    )
    where = context(tmp_path, web(site))
    first = await call("web.fetch", where, url=site.url + "/long")
    last = await call("web.fetch", where, url=site.url + "/long", part=first["parts"])
    assert first["parts"] > 2 and "Paragraph 0 " in first["text"] and "Paragraph 799 " in last["text"]
    assert len(site.seen) == 2
    with pytest.raises(ToolError, match="parts"):
        await call("web.fetch", where, url=site.url + "/long", part=99)


async def test_a_pdf_is_read(site: Site, tmp_path: Path) -> None:
    site.pages["/a.pdf"] = Page(pdf("Low water"), headers={"Content-Type": "application/pdf"})
    page = await call("web.fetch", context(tmp_path, web(site)), url=site.url + "/a.pdf")
    assert page["text"] == "Low water"


async def test_robots_are_honoured_also_after_a_redirect(site: Site, tmp_path: Path) -> None:
    site.pages["/robots.txt"] = Page(b"User-agent: *\nDisallow: /private", headers={"Content-Type": "text/plain"})
    site.pages["/go"] = Page(status=302, headers={"Location": "/private/a"})
    site.pages["/private/a"] = Page(HTML)
    where = context(tmp_path, web(site))
    for path in ("/private/a", "/go"):
        with pytest.raises(ToolError, match=r"robots\.txt"):
            await call("web.fetch", where, url=site.url + path)
    assert "/private/a" not in [seen.path for seen in site.seen]
    assert (await call("web.fetch", context(tmp_path, web(site, robots=False)), url=site.url + "/go"))[
        "title"
    ] == "Tides"


async def test_nothing_private_is_read_by_default(tmp_path: Path) -> None:
    where = context(tmp_path, {})
    for url in ("http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/", "file:///etc/passwd"):
        with pytest.raises(ToolError):
            await call("web.fetch", where, url=url)


async def test_what_fails_is_told(site: Site, tmp_path: Path) -> None:
    site.pages["/image"] = Page(b"a", headers={"Content-Type": "image/png"})
    site.pages["/empty"] = Page(b"<html></html>")
    where = context(tmp_path, web(site))
    for path, why in {"/missing": "HTTP 404", "/image": "image/png", "/empty": "no text"}.items():
        with pytest.raises(ToolError, match=why):
            await call("web.fetch", where, url=site.url + path)


SEARXNG = {
    "results": [
        {
            "title": "A <b>tide</b>",
            "url": "https://a.example/",
            "content": "high &amp; low",
            "publishedDate": "2026-01-02",
        }
    ]
}
BRAVE = {
    "type": "search",
    "web": {
        "results": [
            {
                "title": "A tide",
                "url": "https://a.example/",
                "description": "<strong>high</strong> &amp; low",
                "page_age": "2026-01-02",
            }
        ]
    },
}
TAVILY = {
    "results": [
        {"title": "A tide", "url": "https://a.example/", "content": "high & low", "published_date": "2026-01-02"},
        {"title": "x", "url": "javascript:alert(1)"},
    ]
}


@pytest.mark.parametrize(
    ("provider", "path", "answer"),
    [("searxng", "/search", SEARXNG), ("brave", "/res/v1/web/search", BRAVE), ("tavily", "/search", TAVILY)],
)
async def test_every_engine_gives_the_same_shape(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, path: str, answer: Any
) -> None:
    monkeypatch.setenv("SEARCH_VALUE", CANARY)
    site.pages[path] = Page(json.dumps(answer).encode(), headers={"Content-Type": "application/json"})
    spec = {"provider": provider, "url": site.url, "private": True, "key_env": "SEARCH_VALUE"}
    found = await call("web.search", context(tmp_path, {"search": spec}), query="tides & times", limit=3)
    assert found == [
        {"title": "A tide", "url": "https://a.example/", "snippet": "high & low", "published": "2026-01-02"}
    ]
    seen = site.seen[0]
    sent = json.loads(seen.body)["query"] if seen.method == "POST" else parse_qs(urlsplit(seen.path).query)["q"][0]
    assert sent == "tides & times"
    assert CANARY in (seen.headers.get("authorization", "") + seen.headers.get("x-subscription-token", ""))


@pytest.mark.parametrize("status", [200, 401, 429, 500, 302])
async def test_no_failure_of_an_engine_shows_its_key(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def echo(seen: Seen) -> Page:
        return Page(
            json.dumps({"you sent": seen.headers}).encode(),
            status,
            {"Content-Type": "application/json", "Location": "/x"},
        )

    monkeypatch.setenv("SEARCH_VALUE", CANARY)
    site.pages["/res/v1/web/search"] = echo
    spec = {"provider": "brave", "url": site.url, "private": True, "key_env": "SEARCH_VALUE"}
    with pytest.raises(ToolError) as caught:
        await call("web.search", context(tmp_path, {"search": spec}), query="a")
    assert CANARY not in str(caught.value) and len(site.seen) == 1


async def test_an_engine_at_a_private_address_is_reached_only_if_that_is_declared(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="must not be connected to"):
        await call("web.search", context(tmp_path, {"search": {"provider": "searxng", "url": site.url}}), query="a")
    with pytest.raises(ToolError, match="declares no `search`"):
        await call("web.search", context(tmp_path, {}), query="a")
    assert not site.seen


async def test_slack_gets_one_plain_message(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_URL", f"{site.url}/services/{CANARY}")
    site.pages[f"/services/{CANARY}"] = Page(b"ok")
    where = context(tmp_path, {"slack": {"webhook_env": "SLACK_URL", "private": True}})
    assert await call("slack.post", where, text="Done <!channel> & <http://evil|here>") == "posted"
    assert json.loads(site.seen[0].body) == {"text": "Done &lt;!channel&gt; &amp; &lt;http://evil|here&gt;"}
    site.pages[f"/services/{CANARY}"] = lambda seen: Page(f"no {seen.path}".encode(), 404)
    with pytest.raises(ToolError) as caught:
        await call("slack.post", where, text="again")
    assert "HTTP 404" in str(caught.value) and CANARY not in str(caught.value)


def test_what_the_tools_say_of_themselves() -> None:
    fetch, search, post = (SHIPPED[name].manifest for name in ("web.fetch", "web.search", "slack.post"))
    assert (fetch.effect, fetch.sinks, fetch.trusted) == ("read", {"url": "url"}, False)
    assert (search.effect, search.sinks, search.trusted) == ("read", {"query": "other"}, False)
    assert (post.effect, post.sinks, post.idempotent) == ("external", {"text": "other"}, False)
