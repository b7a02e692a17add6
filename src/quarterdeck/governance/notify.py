"""Telling people what needs them: a signed webhook, Slack, e-mail; tried again a few times, never in a run's way."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import JournalError, QuarterdeckError
from quarterdeck.governance.escalation import ESCALATE
from quarterdeck.governance.printable import printable
from quarterdeck.journal.events import ApprovalAsked, Decision, RunWaiting

if TYPE_CHECKING:
    from quarterdeck.governance.call import ToolCall
    from quarterdeck.journal.events import Event
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.spec.governance import NotifySpec

TIMESTAMP = "Quarterdeck-Timestamp"
SIGNATURE = "Quarterdeck-Signature"
DELIVERY = "Quarterdeck-Delivery"
REPLAY_WINDOW = 300
"""Seconds for which a receiver should take a signed request; it should also take each delivery only once."""
ATTEMPTS = 4
BASE_SECONDS = 0.5
SETTLE_SECONDS = 15.0
QUEUE_LIMIT = 100
MAX_TEXT = 4000
_TIMEOUT = 10.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

Send = Callable[["Notice"], Awaitable[None]]


class NotSent(QuarterdeckError):
    """A channel refused a notice for good; another attempt would not help."""


class Notice(dict[str, Any]):
    """What is told: JSON-able fields, `text` among them."""


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `Quarterdeck-Signature` for a request.

    Args:
        secret: Shared with the receiver.
        timestamp: Of the header `Quarterdeck-Timestamp`, in seconds since 1970.
        body: The request's body, byte by byte.
    """
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"v1={signed}"


def is_authentic(
    secret: str, timestamp: str, signed: str, body: bytes, *, now: float | None = None, window: float = REPLAY_WINDOW
) -> bool:
    """Return whether a request came from who shares the secret, just now: for receivers of the webhook.

    Args:
        secret: Shared with Quarterdeck.
        timestamp: The header `Quarterdeck-Timestamp`.
        signed: The header `Quarterdeck-Signature`.
        body: The request's body as it arrived.
        now: Seconds since 1970; the clock's if not given.
        window: How old, or how far ahead, a request may be, in seconds.
    """
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    fresh = abs((time.time() if now is None else now) - int(timestamp)) <= window
    return hmac.compare_digest(signature(secret, int(timestamp), body).encode(), signed.encode()) and fresh


class Notifier:
    """Tells people of one run; each notice goes out beside the run's work, and a failure is recorded.

    Args:
        spec: Whom to tell.
        journal: Of the run; a notice that could not be delivered is recorded there.
        environ: Where the secrets stand that `spec` names.
        attempts: How often each channel is tried.
        base: The first pause between attempts, in seconds; doubled each time, with jitter.
        mask: Takes secrets out of what is told; None for nothing.
    """

    def __init__(
        self,
        spec: NotifySpec,
        journal: RunJournal,
        *,
        environ: Mapping[str, str] = os.environ,
        attempts: int = ATTEMPTS,
        base: float = BASE_SECONDS,
        mask: Callable[[str], str] | None = None,
    ) -> None:
        self._mask = mask or str
        self._journal = journal
        self._environ = environ
        self._attempts = attempts
        self._base = base
        self._channels = _channels(spec, environ)
        self._at_work: set[asyncio.Task[None]] = set()
        self.reads_text = False

    def __bool__(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self._channels)

    def __call__(self, event: Event) -> None:
        """Hear of an event of the run once it is committed; tell people of those that need them."""
        if isinstance(event, ApprovalAsked):
            wants = f"{event.agent or event.task} wants {event.tool or event.reason}: {event.needs}"
            self._send(
                "approval.asked", f"{wants}\nquarterdeck approvals show {event.id}", id=event.id, tool=event.tool,
                path=event.path, effect=event.effect, reason=event.reason, expires_at=event.expires_at,
                arguments_hash=event.arguments_hash,
            )  # fmt: skip
        elif isinstance(event, Decision) and event.chosen == ESCALATE:
            who = printable(event.agent or event.task)
            self._send(
                "escalated", f"{who} {event.what}: {printable(event.why)}\nquarterdeck runs show {self._journal.id}",
                path=event.path,
            )  # fmt: skip
        elif isinstance(event, RunWaiting) and event.code not in ("approval", "unknown_effect"):
            self._send("run.waiting", event.evidence, code=event.code)

    def tell(self, text: str, call: ToolCall | None = None) -> None:
        """Tell people something, such as a call that was made and that they should know of.

        Args:
            text: What happened; nothing secret.
            call: The call it is about.
        """
        about = {"tool": call.name, "effect": call.effect or ""} if call else {}
        self._send("tool.called" if call else "notice", text, **about)

    def alert(self, text: str, tool: str) -> None:
        """Tell people of something unusual.

        Args:
            text: What; nothing secret.
            tool: The tool that it is about.
        """
        self._send("alert", text, tool=tool)

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the run's work that may tell people something; `settle` waits for it too."""
        task = asyncio.ensure_future(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until what was told has gone out or failed, at most so long; give up what is left and record that."""
        end = time.monotonic() + seconds
        while self._at_work:  # what was at work may have had more to tell
            _, late = await asyncio.wait(set(self._at_work), timeout=max(0.0, end - time.monotonic()))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _send(self, kind: str, text: str, **fields: Any) -> None:
        if not self._channels:
            return
        if len(self._at_work) >= QUEUE_LIMIT:
            self._failed("all", f"more than {QUEUE_LIMIT} notices wait already")
            return
        notice = Notice(
            kind=kind, run_id=self._journal.id, crew=self._journal.crew, text=self._mask(text)[:MAX_TEXT],
            at=time.time(), delivery=secrets.token_hex(12), **fields,
        )  # fmt: skip
        for name, send in self._channels.items():
            self.attend(self._deliver(name, send, notice))

    async def _deliver(self, name: str, send: Send, notice: Notice) -> None:
        why = ""
        try:
            for attempt in range(self._attempts):
                if attempt:
                    await asyncio.sleep(self._base * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
                try:
                    await send(notice)
                    return
                except NotSent as error:
                    why = str(error)
                    break
                except Exception as error:  # whatever a channel raises: telling people must not fail the run
                    why = _in_words(error)
        except asyncio.CancelledError:
            self._failed(name, f"not delivered when the run stopped {why}".strip())
            raise
        self._failed(name, why)

    def _failed(self, name: str, why: str) -> None:
        try:
            self._journal.note(Decision(path="", what=f"notify {name} failed", why=why[:500]))
        except JournalError:
            return  # the run says so itself


def _in_words(error: Exception) -> str:
    """Return an error without its text: addresses in it can hold secrets."""
    status = getattr(error, "status", None) or getattr(error, "smtp_code", None)
    return f"{type(error).__name__}{f' {status}' if status else ''}"


class _Unavailable(Exception):
    """A channel failed in a way that may pass."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def _channels(spec: NotifySpec, environ: Mapping[str, str]) -> dict[str, Send]:
    channels: dict[str, Send] = {}
    if spec.webhook:
        channels["webhook"] = partial(_webhook, spec.webhook, _secret(spec.webhook_secret_env, environ))
    if spec.slack_url_env:
        channels["slack"] = partial(_slack, _secret(spec.slack_url_env, environ))
    if spec.email_to:
        channels["email"] = partial(_email, spec, _secret(spec.smtp_env, environ))
    return channels


def _secret(name: str | None, environ: Mapping[str, str]) -> Callable[[], str]:
    def read() -> str:
        value = environ.get(name, "").strip() if name else ""
        if not value:
            raise NotSent(
                f"the environment variable {name} is not set"
                if name
                else "config/governance.yaml names no secret for it"
            )
        return value

    return read


async def _webhook(url: str, secret: Callable[[], str], notice: Notice) -> None:
    body = json.dumps(notice, sort_keys=True).encode()
    now = int(time.time())
    headers = {
        TIMESTAMP: str(now), SIGNATURE: signature(secret(), now, body), DELIVERY: notice["delivery"],
        "Content-Type": "application/json",
    }  # fmt: skip
    await _post(url, body, headers)


async def _slack(url: Callable[[], str], notice: Notice) -> None:
    said = f"{notice['crew']} run {notice['run_id']}: {notice['text']}"
    for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # or a model could write links and @channel
        said = said.replace(plain, escaped)
    await _post(url(), json.dumps({"text": said}).encode(), {"Content-Type": "application/json"})


async def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    import httpx

    async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client:
        async with client.stream("POST", url, content=body, headers=headers) as reply:  # its body is never read
            status = reply.status_code
    if status in _PASSING:
        raise _Unavailable(status)
    if not 200 <= status < 300:
        raise NotSent(f"the receiver answered {status}")


async def _email(spec: NotifySpec, server: Callable[[], str], notice: Notice) -> None:
    from quarterdeck.governance.email import deliver

    await asyncio.to_thread(deliver, server(), spec.email_from, spec.email_to, notice)
