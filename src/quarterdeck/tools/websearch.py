"""Asking a search engine: SearXNG, Brave or Tavily, with one shape of results."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlencode

from quarterdeck.errors import ToolError
from quarterdeck.tools.egress import Request
from quarterdeck.tools.services import Service, as_json, secret, service_reach

if TYPE_CHECKING:
    from quarterdeck.spec.services import SearchSpec

BRAVE = "https://api.search.brave.com"
TAVILY = "https://api.tavily.com"
MAX_BYTES = 2_000_000
MAX_TITLE = 300
MAX_SNIPPET = 1_000
_TAG = re.compile(r"<[^<>]{0,200}>")


class Hit(TypedDict):
    """One result."""

    title: str
    url: str
    snippet: str
    published: str


async def search(spec: SearchSpec, query: str, limit: int) -> list[Hit]:
    """Return what a search engine finds, best first.

    Args:
        spec: Which engine, where it is and which variable holds its key.
        query: What to look for.
        limit: How many results.

    Raises:
        ToolError: It does not answer, or does not like the key or the query.
    """
    key = secret(spec.key_env) if spec.key_env else ""
    base = (spec.url or {"brave": BRAVE, "tavily": TAVILY}[spec.provider]).rstrip("/")
    service = Service(
        spec.provider, service_reach(base, private=spec.private), [(spec.key_env, key)] if spec.key_env else []
    )
    answer = await service.json(_request(spec, base, query, limit, key))
    found = _results(spec.provider, answer)
    if found is None:
        raise ToolError(f"{spec.provider} answered with something else than results. Is its URL the right one?")
    hits = [_hit(result) for result in found if isinstance(result, dict)]
    return [hit for hit in hits if hit["url"].startswith(("http://", "https://"))][:limit]


def _request(spec: SearchSpec, base: str, query: str, limit: int, key: str) -> Request:
    headers = {"Accept": "application/json"}
    if spec.provider == "searxng":
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = f"{base}/search?{urlencode({'q': query, 'format': 'json'})}"
        return Request("GET", url, headers, max_bytes=MAX_BYTES, seconds=spec.seconds)
    if spec.provider == "brave":
        headers["X-Subscription-Token"] = key
        url = f"{base}/res/v1/web/search?{urlencode({'q': query[:400], 'count': min(limit, 20)})}"
        return Request("GET", url, headers, max_bytes=MAX_BYTES, seconds=spec.seconds)
    headers |= {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = as_json({"query": query, "max_results": min(limit, 20)})
    return Request("POST", f"{base}/search", headers, body, max_bytes=MAX_BYTES, seconds=spec.seconds)


def _results(provider: str, answer: Any) -> list[Any] | None:
    """Return the list of results in an engine's answer; None where there is none."""
    if not isinstance(answer, dict):
        return None
    if provider == "brave":
        if answer.get("type") == "search" and "web" not in answer:
            return []  # its way to say that nothing was found
        answer = answer.get("web")
    found = answer.get("results") if isinstance(answer, dict) else None
    return found if isinstance(found, list) else None


def _hit(result: dict[str, Any]) -> Hit:
    snippet = result.get("content") or result.get("description") or ""
    published = result.get("publishedDate") or result.get("page_age") or result.get("published_date") or ""
    return {
        "title": _plain(result.get("title"), MAX_TITLE),
        "url": str(result.get("url") or "")[:2048],
        "snippet": _plain(snippet, MAX_SNIPPET),
        "published": str(published)[:40],
    }


def _plain(value: Any, limit: int) -> str:
    """Return text without the markup that engines put around what matched."""
    return " ".join(html.unescape(_TAG.sub("", str(value or "")[: 2 * limit])).split())[:limit]
