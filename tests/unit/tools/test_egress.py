"""What tools can connect to: nothing but what is public, or what the operator opened."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tools.site import Page, Seen, Site, serving

from quarterdeck.errors import ToolError
from quarterdeck.tools.addresses import PRIVATE, refusal
from quarterdeck.tools.egress import Egress, Reach, Request, checked_url

HIDDEN_ADDRESSES = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::",
    "2002:0a00:0001::1", "2001:0:7f00:1::", "2001::1", "2001:db8::1", "2001:10::1", "3fff::1", "100::1", "fc00::1",
    "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1",
    "2606:4700:0:0:0:5efe:7f00:1", "2606:4700::200:5efe:a00:1", "2620:4f:8000::1",
]  # fmt: skip
ODD_URLS = [
    "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://127.1/",
    "http://127.0.1/", "http://0177.0.0.1/", "http://00000177.0.0.1/", "http://127.0.0.01/", "http://127.0.0.1./",
    "http://0/", "http://0x/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[::1]/", "http://[::]/", "http://[::1%25lo]/", "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/", "http://\uff11\uff12\uff17.0.0.1/", "http://user@8.8.8.8/", "http://user:password@8.8.8.8/",
    "http://8.8.8.8@127.0.0.1/", "http://127.0.0.1#@example.com/", "http://127.0.0.1?@example.com/",
    "http://example.com\\@127.0.0.1/", "http://example.com%2f@127.0.0.1/", "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1%2eexample.com/", "http://exam ple.com/", "http://example.com\t/",
    "http://example.com\r\nHost: a/",
    "http:///127.0.0.1/", "http:/127.0.0.1/", "http:127.0.0.1", "//127.0.0.1/", "///127.0.0.1", "127.0.0.1",
    "localhost",
    "file:///etc/passwd", "FILE:///etc/passwd", "ftp://8.8.8.8/", "gopher://8.8.8.8:70/_", "dict://8.8.8.8:2628/",
    "ldap://8.8.8.8/", "data:text/html,a", "javascript:alert(1)", "jar:http://8.8.8.8!/", "unix:///run/docker.sock",
    "ws://8.8.8.8/", "http://8.8.8.8:22/", "http://8.8.8.8:6379/", "http://8.8.8.8:0/", "http://8.8.8.8:65536/",
    "http://8.8.8.8:80:80/", "https://8.8.8.8:8443/", "http://-evil-/", "http://a..b/", "http://.example.com/", "http://",
    "http://8.8.8.8/" + "a" * 3000, "", "http://0x7F.1/", "http://0177.1/", "http://4294967295/", "http://0300.0250.1.1/",
    "http://127%2e0%2e0%2e1/", "http://[::ffff:0x7f.0.0.1]/", "http://[2002:7f00:1::]:22/", "sftp://8.8.8.8/",
]  # fmt: skip
TRANSLATED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
NAMES = ["localhost", "localhost.localdomain", "metadata.google.internal", "127.0.0.1.nip.io", "intranet", "a.b.local"]


def literal(address: str) -> str:
    return f"http://[{address.replace('%', '%25')}]/" if ":" in address else f"http://{address}/"


FORMS = [*map(literal, HIDDEN_ADDRESSES), *ODD_URLS]


def test_there_are_enough_forms() -> None:
    assert len({*FORMS, *NAMES}) >= 120


@pytest.mark.parametrize("url", FORMS)
async def test_no_form_of_a_url_gets_through(url: str) -> None:
    """Sockets are closed in this test: an attempt to connect would raise something else than a ToolError."""
    with pytest.raises(ToolError):
        await Egress(Reach(), resolve=never).send(Request("GET", url))


@pytest.mark.parametrize("address", HIDDEN_ADDRESSES)
async def test_no_name_leads_to_a_hidden_address(address: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8", address]

    with pytest.raises(ToolError, match="must not be connected to"):
        await Egress(Reach(), resolve).send(Request("GET", "http://harmless.example.com/"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_local_name_is_judged_by_its_address(name: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254" if "metadata" in host else "127.0.0.1"]

    with pytest.raises(ToolError, match="must not be connected to"):
        await Egress(Reach(), resolve).send(Request("GET", f"http://{name}/"))


async def never(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_python_calls_private_is_never_public(address: IPv4Address | IPv6Address) -> None:
    translated = isinstance(address, IPv6Address) and any(address in block for block in TRANSLATED)
    meant = IPv4Address(int(address) & 0xFFFFFFFF) if translated else address
    if not meant.is_global or meant.is_multicast or meant.is_reserved:
        assert refusal(str(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_open(address: str) -> None:
    assert refusal(address) == ""


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "::ffff:169.254.169.254"])
def test_metadata_stays_closed_whatever_is_opened(address: str) -> None:
    assert refusal(address, [ip_network("0.0.0.0/0"), ip_network("::/0"), *PRIVATE])


def test_hosts_are_matched_as_a_whole() -> None:
    reach = Reach(hosts=("*.example.org", "example.org"))
    assert str(checked_url("https://docs.example.org/a#b", reach)) == "https://docs.example.org/a"
    for url in ("https://example.org.evil.com/", "https://notexample.org/", "https://evil.com/?example.org"):
        with pytest.raises(ToolError, match="not among the hosts"):
            checked_url(url, reach)


@pytest.fixture
def site(loopback: None) -> Iterator[Site]:
    with serving() as site:
        yield site


def opened(site: Site, **more: object) -> Reach:
    return Reach(ports=frozenset({site.port}), networks=(ip_network("127.0.0.1/32"),), **more)  # type: ignore[arg-type]


async def to_the_site(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def test_what_is_opened_is_read(site: Site) -> None:
    site.pages["/"] = Page("Grüße".encode("latin-1"), headers={"Content-Type": "text/plain; charset=latin-1"})
    answer = await Egress(opened(site)).send(Request("GET", site.url + "/", {"X-A": "b"}))
    assert (answer.status, answer.kind, answer.text()) == (200, "text/plain", "Grüße")
    assert site.seen[0].headers["x-a"] == "b" and "cookie" not in site.seen[0].headers


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[::1]/", "//10.0.0.1/", "file:///etc/passwd",
     "http://2130706433/", "http://a@127.0.0.1/", "http://hidden.example.com/", "gopher://127.0.0.1/", "http://a b/",
     "http://127.0.0.1:1/", "\\\\10.0.0.1\\a"],
)  # fmt: skip
async def test_a_redirect_is_checked_like_any_url(site: Site, target: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1"]

    site.pages["/"] = Page(status=302, headers={"Location": target})
    with pytest.raises(ToolError):
        await Egress(opened(site), resolve).send(Request("GET", site.url + "/", redirects=5))
    assert len(site.seen) == 1


async def test_redirects_are_followed_five_times_at_most(site: Site) -> None:
    asked: list[str] = []

    async def permit(url: str) -> None:
        asked.append(url)

    site.pages["/0"] = Page(status=302, headers={"Location": "1"})
    site.pages["/1"] = Page(b"here")
    answer = await Egress(opened(site)).send(Request("GET", site.url + "/0", redirects=5), permit)
    assert answer.body == b"here" and asked == [site.url + "/0", site.url + "/1"] and answer.url == asked[-1]
    site.pages["/loop"] = Page(status=307, headers={"Location": "/loop"})
    site.seen.clear()
    with pytest.raises(ToolError, match="more than 5 times"):
        await Egress(opened(site)).send(Request("GET", site.url + "/loop", redirects=9))
    assert len(site.seen) == 6


async def test_the_address_that_was_checked_is_the_one_connected_to(site: Site) -> None:
    """A name that resolves otherwise a moment later: each connection has one look-up, and takes what it said."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    site.pages["/"] = Page(b"a")
    egress = Egress(opened(site), rebinding)
    assert (await egress.send(Request("GET", f"http://rebind.example.com:{site.port}/"))).body == b"a"
    assert len(answers) == 1
    with pytest.raises(ToolError, match="must not be connected to"):
        await egress.send(Request("GET", f"http://rebind.example.com:{site.port}/"))


async def test_the_socket_itself_is_checked(site: Site) -> None:
    from quarterdeck.tools import egress

    with pytest.raises(PermissionError):
        Egress(Reach())._socket((2, 1, 6, "", ("127.0.0.1", 80)))
    assert egress.MAX_REDIRECTS == 5


async def test_no_proxy_of_the_environment_is_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://10.0.0.1:3128")
    monkeypatch.setenv("http_proxy", "http://10.0.0.1:3128")
    site.pages["/"] = Page(b"direct")
    assert (await Egress(opened(site)).send(Request("GET", site.url + "/"))).body == b"direct"


@pytest.mark.parametrize("how", ["length", "endless", "gzip", "deflate"])
async def test_a_body_is_bounded_after_it_is_decompressed(site: Site, how: str) -> None:
    written = 0

    def endless() -> Iterator[bytes]:
        nonlocal written
        for _ in range(2000):
            written += 100_000
            yield b"a" * 100_000

    bomb = b"\0" * 50_000_000
    site.pages["/"] = {
        "length": Page(b"a" * 200_000),
        "endless": Page(chunks=endless),
        "gzip": Page(gzip.compress(bomb), headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"}),
        "deflate": Page(zlib.compress(bomb), headers={"Content-Encoding": "deflate", "Content-Type": "text/plain"}),
    }[how]
    with pytest.raises(ToolError, match="more than 100,000 bytes"):
        await Egress(opened(site)).send(Request("GET", site.url + "/", max_bytes=100_000))
    assert written < 20_000_000


async def test_time_and_kind_are_bounded(site: Site) -> None:
    def slow() -> Iterator[bytes]:
        import time

        for _ in range(20):
            time.sleep(0.02)
            yield b"a"

    site.pages["/slow"] = Page(chunks=slow)
    with pytest.raises(ToolError, match=r"within 0.1 s"):
        await Egress(opened(site)).send(Request("GET", site.url + "/slow", seconds=0.1))
    site.pages["/image"] = Page(b"a", headers={"Content-Type": "image/png"})
    with pytest.raises(ToolError, match="of the kind image/png"):
        await Egress(opened(site)).send(Request("GET", site.url + "/image", kinds=frozenset({"text/html"})))


def breaks_off() -> Iterator[bytes]:
    yield b"half"
    raise OSError("the rest is lost")


def hangs_up(seen: Seen) -> Page:
    raise OSError("nothing is answered")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("page", [hangs_up, Page(chunks=breaks_off, headers={"Content-Length": "9"})])
async def test_what_is_lost_was_sent_once(site: Site, method: str, page: Any) -> None:
    site.pages["/"] = page
    with pytest.raises(ToolError, match=r"breaks off|no connection") as told:
        await Egress(opened(site)).send(Request(method, site.url + "/"))
    assert (told.value.error_class, told.value.unsent, len(site.seen)) == ("unavailable", False, 1)


@pytest.mark.parametrize(
    ("found", "error_class"), [([], "unavailable"), (["127.0.0.1"], "unavailable"), (["10.0.0.1"], "tool")]
)
async def test_what_never_left_is_said_to_be_unsent(site: Site, found: list[str], error_class: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return found

    reach = Reach(ports=frozenset({1}), networks=(ip_network("127.0.0.1/32"),))
    with pytest.raises(ToolError) as told:
        await Egress(reach, resolve).send(Request("POST", "http://nobody.example.com:1/"))
    assert (told.value.error_class, told.value.unsent) == (error_class, True)


async def test_a_name_that_is_looked_up_too_long_is_unsent(site: Site) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(ToolError) as told:
        await Egress(opened(site), resolve).send(Request("POST", f"http://slow.example.com:{site.port}/", seconds=0.05))
    assert (told.value.error_class, told.value.unsent) == ("timeout", True)


async def test_after_a_redirect_something_was_sent(site: Site) -> None:
    site.pages["/"] = Page(status=302, headers={"Location": "http://127.0.0.1:1/"})
    reach = Reach(ports=frozenset({site.port, 1}), networks=(ip_network("127.0.0.1/32"),))
    with pytest.raises(ToolError) as told:
        await Egress(reach).send(Request("GET", site.url + "/", redirects=1))
    assert (told.value.error_class, told.value.unsent) == ("unavailable", False)


async def test_an_error_page_is_cut_and_not_refused(site: Site) -> None:
    site.pages["/"] = Page(b"x" * 5000, 503)
    answer = await Egress(opened(site)).send(Request("POST", site.url + "/", max_bytes=1000))
    assert (answer.status, len(answer.body)) == (503, 1000)


async def test_an_error_names_no_query(site: Site) -> None:
    with pytest.raises(ToolError) as caught:
        await Egress(Reach(ports=frozenset({1}), networks=PRIVATE)).send(
            Request("GET", "http://127.0.0.1:1/a?key=canary")
        )
    assert "canary" not in str(caught.value) and "http://127.0.0.1:1/a could not be read" in str(caught.value)


async def test_a_certificate_must_hold(site: Site) -> None:
    """A server that speaks no TLS at all stands for one whose certificate does not hold: neither is read."""
    with pytest.raises(ToolError) as told:
        await Egress(opened(site)).send(Request("GET", f"https://127.0.0.1:{site.port}/"))
    assert (told.value.error_class, told.value.unsent) == ("unavailable", True)


async def test_a_cancelled_request_ends_at_once(site: Site) -> None:
    def slow() -> Iterator[bytes]:
        import time

        time.sleep(0.3)
        yield b"a"

    site.pages["/"] = Page(chunks=slow)
    task = asyncio.create_task(Egress(opened(site)).send(Request("GET", site.url + "/")))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
