"""robots.txt as RFC 9309 reads it."""

from __future__ import annotations

import time

import pytest

from quarterdeck.errors import ToolError
from quarterdeck.tools.egress import Response
from quarterdeck.tools.robots import Robots, Rule, allowed, parse


@pytest.mark.parametrize(
    ("text", "path", "may"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nAllow: /a\nDisallow: /a", "/a", True),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf?page=1", True),
        ("User-agent: *\nDisallow: /a*b*c", "/a-b-c-d", False),
        ("User-agent: *\nDisallow: /$", "/", False),
        ("User-agent: *\nDisallow: /$", "/a", True),
        ("User-agent: other\nDisallow: /", "/a", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: quarterdeck\nDisallow: /b", "/a", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: Quarterdeck\nAllow: /", "/a", True),
        ("User-agent: other\nUser-agent: QUARTERDECK\nDisallow: /a # not this", "/a", False),
        ("User-agent: quarterdeck\nDisallow: /a\n\nUser-agent: quarterdeck\nDisallow: /b", "/b", False),
        ("user-agent:*\ndisallow:/a?id=", "/a?id=1", False),
        ("User-agent: *\nDisallow: /%61%2Fb", "/a%2fb", False),
        ("User-agent: *\nDisallow: /ü", "/%C3%BC", False),
        ("Disallow: /\nUser-agent: *\nDisallow: /b", "/a", True),
        ("<html>not found</html>", "/a", True),
    ],
)
def test_rules(text: str, path: str, may: bool) -> None:
    assert allowed(parse(text, "Quarterdeck/1.0 (a crew)"), path) is may


def test_no_pattern_makes_it_slow() -> None:
    started = time.monotonic()
    allowed((Rule("/" + "a*" * 400 + "b", allows=False),), "/" + "a" * 2000)
    assert time.monotonic() - started < 0.5


async def test_a_site_is_asked_once_and_an_unwell_one_is_left_alone() -> None:
    asked: list[str] = []
    status = {"a.example.com": 200, "b.example.com": 503, "c.example.com": 404}

    async def read(url: str) -> Response:
        asked.append(url)
        return Response(url, status[url.split("/")[2]], "text/plain", "", b"User-agent: *\nDisallow: /private")

    robots = Robots("Quarterdeck", read)
    await robots.permit("https://a.example.com/x")
    await robots.permit("https://a.example.com/y")
    assert asked == ["https://a.example.com/robots.txt"]
    with pytest.raises(ToolError, match="does not want /private/z"):
        await robots.permit("https://a.example.com/private/z?q=1")
    with pytest.raises(ToolError):
        await robots.permit("https://b.example.com/x")
    await robots.permit("https://c.example.com/private")
