"""mail.send against an SMTP server on loopback."""

from __future__ import annotations

import email
import email.policy
import json
import os
import smtplib
import socket
import socketserver
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.governance.trial_gate import trial
from tests.unit.shipped_tools.service_call import CANARY, SHIPPED, call, context

from quarterdeck.errors import ToolError, Waiting
from quarterdeck.governance.email import deliver
from quarterdeck.governance.policy import Policy
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.services import MailSpec, ServicesConfig
from quarterdeck.tools import mailing

SPEC = {"smtp_env": "SMTP_PLACE", "sender": "crew@example.org", "recipients": ["*@example.org"], "max_bytes": 100_000}


class PostOffice:
    """A small SMTP server: what arrived, and what it refuses.

    `refuse` says by verb what is answered, `.` standing for the end of a message: a line of text, or "" to hang up.
    """

    def __init__(self) -> None:
        self.port = 0
        self.letters: list[tuple[list[str], EmailMessage]] = []
        self.refuse: dict[str, str] = {}
        self.logins: list[str] = []


@pytest.fixture
def office(loopback: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostOffice]:
    office = PostOffice()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, text: str) -> None:
            if not text:
                raise ConnectionError("the office hangs up")
            self.wfile.write(text.encode() + b"\r\n")

        def handle(self) -> None:
            receivers: list[str] = []
            self.say("220 office")
            while line := self.rfile.readline().decode().strip():
                verb = line.split()[0].upper()
                if verb in office.refuse:
                    self.say(office.refuse[verb].replace("LINE", line))
                elif verb == "EHLO":
                    self.say("250-office\r\n250 AUTH PLAIN")
                elif verb == "AUTH":
                    office.logins.append(line)
                    self.say("235 welcome")
                elif verb == "RCPT":
                    address = line.partition("<")[2].partition(">")[0]
                    known = not address.startswith("nobody")
                    receivers += [address] if known else []
                    self.say("250 ok" if known else "550 nobody here")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (data := self.rfile.readline()) != b".\r\n":
                        lines.append(data.removeprefix(b".") if data.startswith(b"..") else data)
                    message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    office.letters.append((receivers, message))
                    self.say(office.refuse.get(".", "250 taken"))
                else:
                    self.say("221 bye" if verb == "QUIT" else "250 ok")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        office.port = server.server_address[1]
        monkeypatch.setenv("SMTP_PLACE", f"smtp://crew:{CANARY}@127.0.0.1:{office.port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield office
        server.shutdown()


async def send(folder: Path, spec: dict[str, Any] | None = None, **more: Any) -> Any:
    given = {"to": ["a@example.org"], "subject": "Tide", "body": "At 12:04.", **more}
    return await call("mail.send", context(folder, {"mail": {**SPEC, **(spec or {})}}), **given)


async def test_a_message_arrives_once_and_as_it_was_written(office: PostOffice, tmp_path: Path) -> None:
    (tmp_path / "report.md").write_bytes(b"# Report\n\xff")
    sent = await send(tmp_path, cc=["b@example.org"], body="Grüße\n.\nend", attachments=["report.md"])
    receivers, message = office.letters[0]
    assert len(office.letters) == 1 and receivers == ["a@example.org", "b@example.org"] == sent["sent_to"]
    assert (message["From"], message["To"], message["Cc"]) == ("crew@example.org", "a@example.org", "b@example.org")
    body = message.get_body()
    assert body is not None and body.get_content().replace("\r\n", "\n") == "Grüße\n.\nend\n"
    attached = next(message.iter_attachments())
    assert attached.get_filename() == "report.md" and attached.get_payload(decode=True) == b"# Report\n\xff"
    assert message["Message-ID"] == sent["message_id"]


async def test_the_same_call_has_the_same_message_id(office: PostOffice, tmp_path: Path) -> None:
    ids = [(await send(tmp_path))["message_id"] for _ in range(2)]
    assert ids[0] == ids[1] and ids[0].endswith("@example.org>")
    spec = MailSpec.model_validate(SPEC)
    assert mailing.message_id(spec, "r1:b") != ids[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": ["a@example.org\r\nBcc: x@evil.com"]}, {"to": ["a@example.org, x@evil.com"]}, {"to": ["x@evil.com"]},
        {"to": ["a@example.org.evil.com"]}, {"to": ["a@evil.com <a@example.org>"]}, {"to": []},
        {"to": ["@example.org"]},
        {"to": ["x@evil.com\0@example.org"]}, {"to": ["<x@evil.com>@example.org"]}, {"to": ["a@b@example.org"]},
        {"cc": ["x@evil.com"]}, {"subject": "a\r\nBcc: x@evil.com"}, {"subject": "a\nb"}, {"subject": "a\u2028b"},
        {"to": [f"a{n}@example.org" for n in range(11)]}, {"body": "a" * 150_000}, {"bcc": ["x@evil.com"]},
        {"attachments": ["../secret"]}, {"attachments": ["/etc/passwd"]}, {"attachments": ["link"]},
        {"attachments": ["missing"]}, {"attachments": ["big"]}, {"subject": ""},
    ],
)  # fmt: skip
async def test_what_must_not_be_sent_is_not_sent(office: PostOffice, tmp_path: Path, wrong: dict[str, Any]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "big").write_bytes(b"a" * 100_001)
    with pytest.raises(ToolError):
        await send(folder, **wrong)
    assert not office.letters


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(subject=st.text(max_size=60), body=st.text(max_size=200))
def test_no_text_becomes_a_header(subject: str, body: str) -> None:
    spec = MailSpec.model_validate(SPEC)
    try:
        message = mailing.message_of(spec, ["a@example.org"], [], subject, body, [], "k")
    except (ToolError, UnicodeEncodeError):
        return
    read = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
    assert sorted(name.lower() for name in read) == sorted(name.lower() for name in message)
    assert str(read["To"]) == "a@example.org" and read["Bcc"] is None


@pytest.mark.parametrize("verb", ["AUTH", "MAIL", "DATA", "EHLO"])
async def test_no_refusal_shows_the_password(office: PostOffice, tmp_path: Path, verb: str) -> None:
    office.refuse[verb] = f"535 no {CANARY} LINE"
    with pytest.raises(ToolError) as caught:
        await send(tmp_path)
    assert CANARY not in str(caught.value)


async def test_who_is_refused_is_told(office: PostOffice, tmp_path: Path) -> None:
    sent = await send(tmp_path, to=["a@example.org", "nobody@example.org"])
    assert sent["sent_to"] == ["a@example.org"] and sent["refused"] == ["nobody@example.org"]
    with pytest.raises(ToolError, match="none of the addresses"):
        await send(tmp_path, to=["nobody@example.org"])
    assert CANARY not in json.dumps(sent)


async def test_nobody_answers(
    loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, office: PostOffice
) -> None:
    for place in ("smtp://127.0.0.1:1", f"http://a:{CANARY}@x", ""):
        monkeypatch.setenv("SMTP_PLACE", place)
        with pytest.raises(ToolError) as caught:
            await send(tmp_path)
        assert CANARY not in str(caught.value)
    with pytest.raises(ToolError, match="declares no `mail`"):
        await call("mail.send", context(tmp_path, {}), to=["a@example.org"], subject="a", body="b")


@pytest.mark.parametrize(
    ("verb", "reply", "error_class", "unsent"),
    [
        ("EHLO", "", "unavailable", True),
        ("AUTH", "535 no", "tool", True),
        ("AUTH", "454 not now", "unavailable", True),
        ("MAIL", "421 closing", "unavailable", True),
        ("MAIL", "550 not you", "tool", True),
        ("MAIL", "", "unavailable", True),
        ("RCPT", "450 later, please", "unavailable", True),
        ("RCPT", "550 nobody", "tool", True),
        ("DATA", "451 not now", "unavailable", True),
        (".", "451 not now", "unavailable", True),
        (".", "554 spam", "tool", True),
        (".", "", "unavailable", False),
        (".", "so-so", "lost", False),
    ],
)
async def test_a_code_says_whether_to_try_again_and_a_lost_line_that_nobody_knows(
    office: PostOffice, tmp_path: Path, verb: str, reply: str, error_class: str, unsent: bool
) -> None:
    office.refuse[verb] = reply
    with pytest.raises(ToolError) as told:
        await send(tmp_path)
    assert (told.value.error_class, told.value.unsent) == (error_class, unsent)
    assert ("nobody knows" in str(told.value)) is not unsent and len(office.letters) == (verb == ".")


@pytest.mark.parametrize("reply", ["", "500 no goodbye"])
async def test_how_the_server_says_goodbye_changes_nothing(office: PostOffice, tmp_path: Path, reply: str) -> None:
    office.refuse["QUIT"] = reply
    assert (await send(tmp_path))["sent_to"] == ["a@example.org"] and len(office.letters) == 1


async def test_an_answer_that_does_not_come_is_a_timeout(
    loopback: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SMTP_PLACE", f"smtp://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ToolError, match="did not answer in time") as told:
            await send(tmp_path, {"seconds": 1})
    assert (told.value.error_class, told.value.unsent) == ("timeout", True)


@pytest.mark.parametrize("lost", [True, False])
async def test_a_letter_goes_out_once(office: PostOffice, tmp_path: Path, lost: bool) -> None:
    office.refuse["." if lost else "MAIL"] = ""
    declared = {"mail.send": {"effect": "external", "sinks": {}, "retries": {"unavailable": 1}}}
    policy = Policy(GovernanceConfig.model_validate({"autonomy": "high", "tools": declared}))
    services = ServicesConfig.model_validate({"mail": SPEC})
    async with trial(tmp_path, {"mail.send": SHIPPED["mail.send"]}, policy=policy, services=services) as run:
        sending = run.call("mail.send", to=["a@example.org"], subject="Tide", body="At 12:04.")
        if lost:
            with pytest.raises(Waiting, match="nobody knows whether it was done"):
                await sending
        else:
            result = await sending
            assert (result.status, result.error_class) == ("error", "unavailable")
    assert (len(office.letters), len(office.logins)) == ((1, 1) if lost else (0, 2))


def test_what_the_tool_says_of_itself() -> None:
    manifest = SHIPPED["mail.send"].manifest
    assert manifest.effect == "irreversible" and not manifest.idempotent
    assert manifest.sinks == {"to": "recipient", "cc": "recipient", "attachments": "path"}


@pytest.mark.parametrize("place", ["http://mail.example.org", "smtp://", "smtp://a:b@mail.example.org:port", "mail"])
async def test_a_place_that_is_no_mail_server_is_named_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("SMTP_PLACE", place)
    with pytest.raises(ToolError, match="env:SMTP_PLACE holds no URL such as smtps://"):
        await send(tmp_path)


async def test_without_tls_no_password_leaves_this_machine(
    office: PostOffice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarterdeck.tools.smtp._ON_THIS_MACHINE", frozenset())
    with pytest.raises(ToolError, match="offers no TLS, so no password is sent") as told:
        await send(tmp_path)
    assert CANARY not in str(told.value)
    notice = dict.fromkeys(("crew", "run_id", "kind", "delivery", "text"), "x")
    with pytest.raises(smtplib.SMTPNotSupportedError, match="no password is sent"):
        deliver(os.environ["SMTP_PLACE"], "a@x.example", ["b@x.example"], notice)
    assert not office.letters and not office.logins
