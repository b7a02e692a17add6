"""Telling people: one signed request a notice, tried again where that helps, bounded, recorded where it fails."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.governance.call import ToolCall
from quarterdeck.governance.email import message_of
from quarterdeck.governance.notify import (
    DELIVERY,
    QUEUE_LIMIT,
    SIGNATURE,
    TIMESTAMP,
    Notifier,
    is_authentic,
    signature,
)
from quarterdeck.journal.events import ApprovalAsked, Decision, RunWaiting
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.spec.governance import NotifySpec

SECRET = "a-shared-secret"
ENVIRON = {"HOOK_SECRET": SECRET}


class Receiver:
    """A web server that answers with the statuses it is given, then with 200, and keeps what it got."""

    def __init__(self, statuses: list[int]) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(statuses.pop(0) if statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def statuses() -> list[int]:
    return []


@pytest.fixture
def receiver(loopback: None, statuses: list[int]) -> Iterator[Receiver]:
    receiver = Receiver(statuses)
    yield receiver
    receiver.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[RunJournal]:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await RunJournal.start(
            store, crew="refunds", spec={}, inputs={}, spec_hash="", version="0"
        ) as journal:
            yield journal


def notifier(journal: RunJournal, environ: dict[str, str] = ENVIRON, **spec: Any) -> Notifier:
    return Notifier(NotifySpec.model_validate(spec), journal, environ=environ, base=0.001)


def hook(receiver: Receiver) -> dict[str, Any]:
    return {"webhook": receiver.url, "webhook_secret_env": "HOOK_SECRET"}


async def failures(journal: RunJournal) -> list[Decision]:
    journal.flush()
    await journal.append(Decision(path="end", what="end", why=""))
    events = [row.event for row in journal.store.events(journal.id)]
    return [event for event in events if isinstance(event, Decision) and event.what.startswith("notify")]


ASKED = ApprovalAsked(
    path="tell/turn-1/tool-1", agent="clerk", id="a2b3c4", reason="tier", needs="it is external", tool="mail.send",
    arguments={"to": "ann"}, arguments_hash="h",
)  # fmt: skip


async def test_an_escalation_is_told_and_other_decisions_are_not(journal: RunJournal, receiver: Receiver) -> None:
    told = notifier(journal, **hook(receiver))
    journal.listen(told)
    where = {"path": "do/turn-3/tool-1/escalated", "agent": "clerk"}
    why = "mail.send: again\nState   approved"
    await journal.append(Decision(**where, what="goes round in circles", why=why, chosen="escalate"))
    await journal.append(Decision(path="do/route", what="route", why="first rung", chosen="cheap"))
    await told.settle()
    ((_, body),) = receiver.got
    notice = json.loads(body)
    assert (notice["kind"], notice["path"]) == ("escalated", where["path"])
    assert notice["text"].splitlines() == [
        "clerk goes round in circles: mail.send: again\\nState   approved", f"quarterdeck runs show {journal.id}",
    ]  # fmt: skip


async def test_a_question_is_one_signed_request(journal: RunJournal, receiver: Receiver) -> None:
    told = notifier(journal, **hook(receiver))
    journal.listen(told)
    await journal.append(ASKED)
    await told.settle()
    ((headers, body),) = receiver.got
    assert is_authentic(SECRET, headers[TIMESTAMP], headers[SIGNATURE], body)
    said = json.loads(body)
    assert (said["kind"], said["id"], said["run_id"]) == ("approval.asked", "a2b3c4", journal.id)
    assert "quarterdeck approvals show a2b3c4" in said["text"] and said["delivery"] == headers[DELIVERY]
    assert "arguments" not in said and await failures(journal) == []


def test_a_signature_holds_for_one_body_one_time_and_one_secret() -> None:
    body = b'{"text": "x"}'
    signed = signature(SECRET, 1000, body)
    assert is_authentic(SECRET, "1000", signed, body, now=1299)
    assert not is_authentic(SECRET, "1000", signed, body, now=1301), "replayed later"
    assert not is_authentic(SECRET, "1000", signed, body, now=699)
    assert not is_authentic(SECRET, "1299", signed, body, now=1299), "another time"
    assert not is_authentic(SECRET, "1000", signed, body + b" ", now=1000)
    assert not is_authentic("other", "1000", signed, body, now=1000)
    for timestamp in ("", "-1000", "1e3", "\u0661", "9" * 20):
        assert not is_authentic(SECRET, timestamp, signed, body, now=1000)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_passing_failure_is_tried_again_as_the_same_delivery(
    journal: RunJournal, receiver: Receiver, statuses: list[int], status: int
) -> None:
    statuses += [status, status]
    told = notifier(journal, **hook(receiver))
    told.tell("It was sent.", ToolCall("mail.send", {}, "", "h", effect="external"))
    await told.settle()
    assert len(receiver.got) == 3 and len({headers[DELIVERY] for headers, _ in receiver.got}) == 1
    assert all(is_authentic(SECRET, headers[TIMESTAMP], headers[SIGNATURE], body) for headers, body in receiver.got)
    assert await failures(journal) == []


async def test_attempts_are_bounded_and_a_failure_is_recorded(
    journal: RunJournal, receiver: Receiver, statuses: list[int]
) -> None:
    statuses += [500] * 50
    told = notifier(journal, **hook(receiver))
    told.tell("x")
    await told.settle()
    (failed,) = await failures(journal)
    assert len(receiver.got) == 4 and "webhook" in failed.what and "500" in failed.why


@pytest.mark.parametrize("status", [400, 401, 404, 302])
async def test_what_is_refused_for_good_is_not_tried_again(
    journal: RunJournal, receiver: Receiver, statuses: list[int], status: int
) -> None:
    statuses += [status]
    told = notifier(journal, **hook(receiver))
    told.tell("x")
    await told.settle()
    (failed,) = await failures(journal)
    assert len(receiver.got) == 1 and f"answered {status}" in failed.why


async def test_nothing_goes_out_unsigned(journal: RunJournal, receiver: Receiver) -> None:
    for environ in ({}, {"HOOK_SECRET": " "}):
        told = notifier(journal, environ, **hook(receiver))
        told.tell("x")
        await told.settle()
    bare = notifier(journal, webhook=receiver.url)
    bare.tell("x")
    await bare.settle()
    assert receiver.got == []
    assert ["HOOK_SECRET is not set" in failed.why for failed in await failures(journal)] == [True, True, False]


async def test_a_receiver_that_hangs_holds_nothing_up(journal: RunJournal, loopback: None) -> None:
    server = socket.create_server(("127.0.0.1", 0))  # takes connections, and never says anything
    port = server.getsockname()[1]
    told = notifier(journal, webhook=f"http://127.0.0.1:{port}/", webhook_secret_env="HOOK_SECRET")
    began = time.monotonic()
    told.tell("x")
    assert time.monotonic() - began < 0.05
    await told.settle(0.05)
    assert time.monotonic() - began < 1
    server.close()
    (failed,) = await failures(journal)
    assert "not delivered when the run stopped" in failed.why


async def test_the_queue_is_bounded(journal: RunJournal, loopback: None) -> None:
    told = notifier(journal, webhook="http://127.0.0.1:1/", webhook_secret_env="HOOK_SECRET")
    for _ in range(QUEUE_LIMIT + 1):
        told.tell("x")
    assert "100 notices wait" in (await failures(journal))[0].why
    await told.settle(0)


async def test_slack_is_told_without_markup(journal: RunJournal, receiver: Receiver) -> None:
    told = notifier(journal, {"SLACK": receiver.url}, slack_url_env="SLACK")
    told(RunWaiting(code="limit_usd", evidence="<!channel> <http://evil|click> & $0.50 used up"))
    told(RunWaiting(code="approval", evidence="told already when it was asked"))
    await told.settle()
    ((_, body),) = receiver.got
    said = json.loads(body)
    assert set(said) == {"text"} and "&lt;!channel&gt; &lt;http://evil|click&gt; &amp; $0.50" in said["text"]
    assert receiver.url not in said["text"]


async def test_secrets_are_masked_and_never_told(journal: RunJournal, loopback: None) -> None:
    url = "http://127.0.0.1:1/services/T0/B0/verysecret"
    told = Notifier(
        NotifySpec(slack_url_env="SLACK"), journal, environ={"SLACK": url}, base=0.001, mask=lambda text: "***"
    )
    told.tell("the key is sk-123")
    await told.settle()
    (failed,) = await failures(journal)
    assert "verysecret" not in failed.why and "127.0.0.1" not in failed.why and failed.why == "ConnectError"


class Mail(socketserver.StreamRequestHandler):
    """As much SMTP as a sender needs; keeps the messages on its server."""

    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline():
            verb = line.decode().split()[0].upper()
            self.server.seen.append(line.decode().strip())  # type: ignore[attr-defined]
            if verb == "DATA":
                self.say("354 go on")
                message = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    message += part
                self.server.messages.append(message.decode())  # type: ignore[attr-defined]
            self.say("221 bye" if verb == "QUIT" else "250 fine")
            if verb == "QUIT":
                return

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def mail(loopback: None) -> Iterator[Any]:
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    server.messages, server.seen = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_e_mail_goes_out_over_smtp(journal: RunJournal, mail: Any) -> None:
    told = notifier(
        journal, {"SMTP": f"smtp://127.0.0.1:{mail.server_address[1]}"},
        email_to=("ann@port.example", "bob@port.example"), email_from="crew@port.example", smtp_env="SMTP",
    )  # fmt: skip
    journal.listen(told)
    await journal.append(ASKED)
    await told.settle()
    (message,) = mail.messages
    assert "To: ann@port.example, bob@port.example" in message and "quarterdeck approvals show a2b3c4" in message
    assert sum(line.lower().startswith("rcpt to") for line in mail.seen) == 2
    assert await failures(journal) == []


def test_no_text_becomes_a_header() -> None:
    notice = {
        "crew": "x\r\nBcc: evil@example.com", "run_id": "r", "kind": "k", "delivery": "d", "text": "Bcc: a\n.\nQUIT"
    }  # fmt: skip
    message = message_of("", ["ann@port.example"], notice)
    assert message["Bcc"] is None and message.get_all("To") == ["ann@port.example"]


async def test_nobody_is_told_where_nobody_is_named(journal: RunJournal) -> None:
    told = notifier(journal)
    told.tell("x")
    await told.settle()
    assert await failures(journal) == []
