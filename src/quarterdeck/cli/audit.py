"""`quarterdeck audit`: whether the journal still says what was recorded, who signed it, and what was unusual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli import options

if TYPE_CHECKING:
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.journal.signature import Proof
    from quarterdeck.spec.governance import AuditSpec

app = options.make_app("Check the journal itself, and see what was unusual.")
SINCE = "7d"


@app.command("verify")
def verify(run_id: options.RunId, json: options.Json = False, database: options.Database = None) -> None:
    """Check a run: its hash chain, and its signature where a key is configured.

    Names the first event that was changed, dropped or inserted. Exit codes: 0 fine, 4 not as it was recorded.
    """
    from quarterdeck.cli.runs import find_run, open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.journal.chain import verify as chain_broken
    from quarterdeck.journal.signature import Proof, prove
    from quarterdeck.spec.load import load_governance
    from quarterdeck.spec.workspace import Workspace

    screen = Screen()
    with open_store(database, read_only=True) as store:
        record = find_run(store, run_id)
        rows, head, last = store.chain(record.id)
        broken = chain_broken(record.id, rows, head, last)
        proof = Proof("forged") if broken else prove(record, rows, _public(load_governance(Workspace.find()).audit))
    bad = broken is not None or _is_bad(record, proof)
    if json:
        seq = broken.seq if broken else proof.seq if proof.state == "forged" else None
        signature = None if broken else proof.state
        screen.data({"run_id": record.id, "intact": not bad, "event": seq, "signature": signature})
    elif broken is not None:
        screen.line(str(broken))
    else:
        screen.line(_words(record, proof))
    if bad:
        raise typer.Exit(4)


@app.command("new-key")
def new_key(json: options.Json = False) -> None:
    """Make a key that signs runs. The private part is shown once, here, and kept nowhere."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.journal.signature import new_key

    screen = Screen()
    secret, public = new_key()
    if json:
        screen.data({"private_key": secret, "public_key": public})
        return
    screen.line(f"private  {secret}")
    screen.line(f"public   {public}")
    screen.line("Put the private one into a variable, QUARTERDECK_AUDIT_KEY say, of the processes that run crews, and")
    screen.line("in config/governance.yaml: audit: {key_env: QUARTERDECK_AUDIT_KEY, public_key: the public one}")


@app.command("alerts")
def list_alerts(
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="What was raised since then: 12h, 7d, 2026-11-01.")
    ] = SINCE,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """List the bursts of tool calls that were noticed, and what was escalated, newest first."""
    from dataclasses import asdict

    from quarterdeck.cli.runs import open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.since import read_since
    from quarterdeck.governance.monitor import alerts

    screen, then = Screen(), read_since(since)
    with open_store(database, read_only=True) as store:
        found = alerts(store, then)
    if json:
        screen.data([asdict(alert) for alert in found])
    elif found:
        screen.columns([(f"run {one.run_id}", f"{one.crew} crew", one.tool, one.why) for one in found])
    else:
        screen.line(f"Nothing unusual was noticed in the last {since}.")


def _public(spec: AuditSpec) -> str:
    """Return the public key that is trusted here; empty for none."""
    import os

    from quarterdeck.journal.signature import signer_of

    if spec.public_key is not None:
        return spec.public_key
    signer = signer_of(spec, os.environ)
    return signer.public if signer else ""


def _is_bad(record: RunRecord, proof: Proof) -> bool:
    """Return whether the signature is wrong, or missing although no process is at work that has yet to sign."""
    at_work = record.status == "running" and not record.interrupted
    return proof.state == "forged" or (proof.state in ("partly", "unsigned") and not at_work)


def _words(record: RunRecord, proof: Proof) -> str:
    fine = f"run {record.id}: all {record.last_seq} events are as they were recorded"
    match proof.state:
        case "signed":
            return f"{fine}, and signed"
        case "unchecked":
            return f"{fine} (chain only: no key is configured, see audit in config/governance.yaml)"
        case "forged":
            return f"run {record.id}: event {proof.seq} is not what was signed; it was written anew without the key"
        case "partly":
            return f"run {record.id}: the chain holds, but what came after event {proof.seq} is not signed"
    if record.status == "running":
        return f"run {record.id}: the chain holds; it is signed when the run ends or waits"
    return f"run {record.id}: the chain holds, but nobody signed it: it ended without the key, or was written anew"
