"""The signature of a run: who has not the key cannot write its journal anew, however well the chain fits.

Signed is the hash of the run's last event (Ed25519). As each event carries the hash of the one before, that covers all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select, update

from quarterdeck.errors import InputError
from quarterdeck.journal.record import to_json
from quarterdeck.journal.tables import runs

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.record import RunRecord, StoredEvent
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.governance import AuditSpec

KEY = "signature"
"""Where a signature stands in the summary of a run."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the signature of a run says of it.

    Attributes:
        state: `signed`: all events; `partly`: events came after it; `unsigned`: there is none; `forged`: it is not of
            these events, or not by this key; `unchecked`: no key is configured.
        seq: The event to look at: the last one that is signed, or the one that is not what was signed; 0 for none.
    """

    state: Literal["signed", "partly", "unsigned", "forged", "unchecked"]
    seq: int = 0


class Signer:
    """Signs with a private key.

    Args:
        secret: 32 bytes in base64, as `new_key` gives them.

    Raises:
        ValueError: It is no such key.
    """

    def __init__(self, secret: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret, validate=True))
        self.public = _text(self._key.public_key().public_bytes_raw())

    def sign(self, run_id: str, seq: int, head: str) -> dict[str, Any]:
        """Return the signature of a run up to an event, as JSON-able data."""
        return {"seq": seq, "key": self.public, "value": _text(self._key.sign(_message(run_id, seq, head)))}


def new_key() -> tuple[str, str]:
    """Return a new private key and its public key, both in base64."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = _text(Ed25519PrivateKey.generate().private_bytes_raw())
    return secret, Signer(secret).public


def signer_of(spec: AuditSpec, environ: Mapping[str, str]) -> Signer | None:
    """Return who signs the runs of a workspace; None when its configuration names no key.

    Raises:
        InputError: The key that it names is not there, or is none.
    """
    if spec.key_env is None:
        return None
    secret = environ.get(spec.key_env, "").strip()
    if secret:
        try:
            return Signer(secret)
        except ValueError:
            pass
    raise InputError(
        f"{spec.key_env}, which config/governance.yaml names under audit.key_env, is "
        f"{'no key' if secret else 'not set'}; runs would not be signed, so nothing was run. "
        "Make a key: quarterdeck audit new-key"
    )


def signed(
    transition: dict[str, Any] | None, signer: Signer | None, run_id: str, seq: int, head: str
) -> dict[str, Any] | None:
    """Return the new status of a run with a signature over all its events, where it stops and there is a key."""
    if transition is None or signer is None or transition["status"] == "running":
        return transition
    return transition | {"summary": _with(transition["summary"], signer.sign(run_id, seq, head))}


async def sign_head(store: Store, run_id: str) -> None:
    """Sign a run anew that does not go on, after something was recorded of it; nothing without a key.

    Raises:
        JournalError: The database cannot be written.
    """
    if store.writer.signer is not None:
        await store.writer.ask(partial(_sign_head, run_id=run_id, signer=store.writer.signer))


def prove(record: RunRecord, rows: Sequence[StoredEvent], public: str) -> Proof:
    """Say what the signature of a run is worth.

    Args:
        record: The run.
        rows: All its events; their chain holds.
        public: The public key that is trusted, in base64; empty for none.
    """
    if not public:
        return Proof("unchecked")
    found = record.summary.get(KEY)
    if not isinstance(found, dict):
        return Proof("unsigned")
    seq = found.get("seq")
    if not isinstance(seq, int) or not 0 < seq <= len(rows):
        return Proof("forged", len(rows))
    if not _is_signed(public, _message(record.id, seq, rows[seq - 1].hash), found.get("value")):
        return Proof("forged", seq)
    return Proof("signed" if seq == len(rows) else "partly", seq)


def _is_signed(public: str, message: bytes, value: Any) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(value, validate=True), message)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _message(run_id: str, seq: int, head: str) -> bytes:
    return f"quarterdeck run {run_id} up to event {seq}: {head}".encode()


def _sign_head(connection: Connection, run_id: str, signer: Signer) -> None:
    row = connection.execute(
        select(runs.c.status, runs.c.summary, runs.c.last_seq, runs.c.head).where(runs.c.id == run_id).with_for_update()
    ).one()
    if row.status != "running":
        summary = _with(row.summary, signer.sign(run_id, row.last_seq, row.head))
        connection.execute(update(runs).where(runs.c.id == run_id).values(summary=summary))


def _with(summary: str, signature: dict[str, Any]) -> str:
    return to_json({**json.loads(summary), KEY: signature})


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
