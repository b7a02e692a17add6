"""APIs by their OpenAPI document: a tool an operation, against a server on loopback."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.shipped_tools.service_call import CANARY, call, context
from tests.unit.tools.site import Page, Seen, Site, serving

from quarterdeck.errors import SpecError, ToolError
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.declared import load_services
from quarterdeck.tools.openapi import Unusable, operations
from quarterdeck.tools.tool import Tool

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "http://169.254.169.254/"}],
    "paths": {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "summary": "List pets.",
                "parameters": [
                    {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "limit", "in": "query", "schema": {"$ref": "#/components/schemas/Limit"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}},
                ],
            },
            "post": {
                "operationId": "addPet",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            },
        },
        "/pets/{petId}": {
            "parameters": [{"name": "petId", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {"operationId": "getPet"},
            "put": {"operationId": "changePet", "requestBody": {"content": {"application/json": {"schema": {}}}}},
            "delete": {"operationId": "deletePet"},
        },
        "/photo": {"post": {"operationId": "photo", "requestBody": {"required": True, "content": {"image/png": {}}}}},
    },
    "components": {
        "schemas": {
            "Limit": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 100},
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "example": "Rex"},
                    "owner": {"type": "string", "nullable": True},
                    "parent": {"$ref": "#/components/schemas/Pet"},
                },
            },
        }
    },
}


@pytest.fixture
def site(loopback: None) -> Iterator[Site]:
    with serving() as site:
        yield site


def workspace(root: Path, services: dict[str, Any], document: Any = DOCUMENT) -> Workspace:
    (root / "config").mkdir(exist_ok=True)
    (root / "config" / "services.yaml").write_text(yaml.safe_dump(services))
    (root / "config" / "pets.yaml").write_text(yaml.safe_dump(document))
    return Workspace(root)


def api(site: Site | None = None, **more: Any) -> dict[str, Any]:
    url = f"{site.url}/v1" if site else "https://api.example.org/v1"
    return {"apis": {"pets": {"spec": "config/pets.yaml", "base_url": url, "owner": "shop", "private": True, **more}}}


def tools(root: Path, services: dict[str, Any], document: Any = DOCUMENT) -> dict[str, Tool]:
    return {tool.name: tool for tool in load_services(workspace(root, services, document))[1]}


def test_each_operation_is_a_typed_tool(tmp_path: Path) -> None:
    made = tools(tmp_path, api())
    assert {name: tool.manifest.effect for name, tool in made.items()} == {
        "pets.listPets": "read", "pets.addPet": "external", "pets.getPet": "read", "pets.changePet": "external",
        "pets.deletePet": "irreversible",
    }  # fmt: skip
    listed = made["pets.listPets"]
    assert listed.description == "List pets." and listed.manifest.owner == "shop"
    assert listed.manifest.sinks == {"tag": "other", "limit": "other", "X_Trace": "other"}
    assert listed.parameters["properties"] == {
        "tag": {"type": "array", "items": {"type": "string"}},
        "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 100},
        "X_Trace": {"type": "string"},
    }
    body = made["pets.addPet"].parameters["properties"]["body"]
    assert body["properties"]["owner"]["type"] == ["string", "null"] and body["properties"]["parent"] == {}
    assert made["pets.deletePet"].manifest.sinks == {"petId": "other"}
    assert made["pets.deletePet"].manifest.idempotent and not made["pets.addPet"].manifest.idempotent


async def test_a_call_asks_the_declared_host_and_no_other(site: Site, tmp_path: Path) -> None:
    site.pages["/v1/pets"] = Page(b'{"pets": [{"name": "Rex"}]}', headers={"Content-Type": "application/json"})
    made = tools(tmp_path, api(site))
    where = context(tmp_path, {})
    answer = await call(made["pets.listPets"], where, tag=["a b", "c&d=1"], limit=5, X_Trace="t1")
    assert answer == {"pets": [{"name": "Rex"}]}
    assert site.seen[0].path == "/v1/pets?tag=a+b&tag=c%26d%3D1&limit=5"
    assert site.seen[0].headers["x-trace"] == "t1" and "idempotency-key" not in site.seen[0].headers
    await call(made["pets.addPet"], where, body={"name": "Ada", "owner": None})
    assert json.loads(site.seen[1].body) == {"name": "Ada", "owner": None}
    assert site.seen[1].headers["idempotency-key"] == "r1:a"


@pytest.mark.parametrize(
    "value", ["..", ".", "", "../admin", "a/../../admin", "..\\admin", "/..", "a\nb", "a\0", "x/./y"]
)  # fmt: skip
async def test_a_path_argument_stays_in_its_place(tmp_path: Path, value: str) -> None:
    with pytest.raises(ToolError, match="plain value"):
        await call(tools(tmp_path, api())["pets.getPet"], context(tmp_path, {}), petId=value)


@pytest.mark.parametrize(
    ("value", "path"), [("a/b", "a%2Fb"), ("%2e%2e", "%252e%252e"), ("a?b#c", "a%3Fb%23c"), ("//evil", "%2F%2Fevil"),
                        ("@evil", "@evil"), ("é", "%C3%A9")],
)  # fmt: skip
async def test_a_path_argument_is_escaped(site: Site, tmp_path: Path, value: str, path: str) -> None:
    site.pages[f"/v1/pets/{path}"] = Page(b"", 204)
    done = await call(tools(tmp_path, api(site))["pets.deletePet"], context(tmp_path, {}), petId=value)
    assert done == {"done": "DELETE /pets/{petId}"} and site.seen[0].path == f"/v1/pets/{path}"


async def test_arguments_are_checked_by_the_document(tmp_path: Path) -> None:
    made = tools(tmp_path, api())
    for name, wrong in (
        ("pets.listPets", {"limit": 0}),
        ("pets.listPets", {"Authorization": "mine"}),
        ("pets.listPets", {"X_Trace": "a\r\nX-Evil: b"}),
        ("pets.addPet", {}),
        ("pets.addPet", {"body": {"owner": "x"}}),
        ("pets.getPet", {"petId": "1", "url": "http://evil"}),
    ):
        with pytest.raises(ToolError):
            await call(made[name], context(tmp_path, {}), **wrong)


@pytest.mark.parametrize("kind", ["bearer", "header", "query", "basic"])
@pytest.mark.parametrize("status", [200, 403, 500])
async def test_the_secret_reaches_the_api_and_nobody_else(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, status: int
) -> None:
    def echo(seen: Seen) -> Page:
        said = {"headers": seen.headers, "path": seen.path}
        return Page(json.dumps(said).encode(), status, {"Content-Type": "application/json"})

    value = f"user:{CANARY}" if kind == "basic" else CANARY
    monkeypatch.setenv("PETS_VALUE", value)
    site.pages["/v1/pets"] = echo
    made = tools(tmp_path, api(site, auth={"kind": kind, "secret_env": "PETS_VALUE", "name": "X-Pets"}))
    try:
        shown = json.dumps(await call(made["pets.listPets"], context(tmp_path, {})))
    except ToolError as error:
        shown = str(error)
    encoded = base64.b64encode(value.encode()).decode()
    assert CANARY not in shown and encoded not in shown and CANARY[::-1] not in shown
    arrived = json.dumps(site.seen[0].headers) + site.seen[0].path
    assert (encoded if kind == "basic" else CANARY) in arrived


async def test_a_redirect_is_not_followed_and_a_long_answer_not_taken_in(site: Site, tmp_path: Path) -> None:
    made = tools(tmp_path, api(site, max_bytes=1000))
    site.pages["/v1/pets"] = Page(status=302, headers={"Location": "http://169.254.169.254/"})
    with pytest.raises(ToolError, match="not followed"):
        await call(made["pets.listPets"], context(tmp_path, {}))
    site.pages["/v1/pets"] = Page(b"a" * 2000)
    with pytest.raises(ToolError, match="more than 1,000 bytes"):
        await call(made["pets.listPets"], context(tmp_path, {}))


async def test_a_private_address_needs_the_operator_s_word(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="must not be connected to"):
        await call(tools(tmp_path, api(site, private=False))["pets.listPets"], context(tmp_path, {}))
    assert not site.seen


@pytest.mark.parametrize(
    ("more", "document", "words"),
    [
        ({"operations": ["listPet"]}, DOCUMENT, 'no operation "listPet"'),
        ({"operations": ["photo"]}, DOCUMENT, "its body is not JSON"),
        ({"operations": ["nothing*"]}, DOCUMENT, "matches"),
        ({"spec": "../pets.yaml"}, DOCUMENT, "no file"),
        ({}, {"swagger": "2.0"}, "no OpenAPI 3 document"),
        ({"base_url": "https://user:pw@example.org/"}, DOCUMENT, "base_url"),
        ({"auth": {"kind": "header", "secret_env": "X"}}, DOCUMENT, "needs name"),
    ],
)
def test_what_is_declared_wrong_is_told_with_its_place(
    tmp_path: Path, more: dict[str, Any], document: Any, words: str
) -> None:
    with pytest.raises(SpecError, match=r"config/services\.yaml:\d+:\d+") as caught:
        tools(tmp_path, api(**more), document)
    assert words in str(caught.value)


def test_references_to_other_documents_are_not_followed() -> None:
    document = {
        "openapi": "3.1.0",
        "paths": {"/a": {"get": {"operationId": "a", "parameters": [{"$ref": "file:///etc/passwd"}]}}},
    }
    assert operations(document)[0] == [] and "another document" in operations(document)[1]["a"]


KEYS = st.sampled_from(
    [
        "get",
        "parameters",
        "$ref",
        "schema",
        "name",
        "in",
        "paths",
        "/a",
        "a",
        "requestBody",
        "content",
        "application/json",
    ]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=8)


@given(st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)))
def test_any_document_is_read_or_refused(paths: Any) -> None:
    try:
        operations({"openapi": "3.0.0", "paths": {"/a": paths, "/b": {"get": paths}}})
    except Unusable:
        pass


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ({"search": {"provider": "searxng"}}, "search: searxng needs url"),
        ({"search": {"provider": "brave"}}, "search: brave needs key_env"),
        ({"web": {"networks": ["10.0.0.1/8"]}}, "10.0.0.1/8"),
        ({"apis": {"pets": {"spec": "config/pets.yaml", "base_url": "file:///etc", "owner": "x"}}}, "base_url"),
        ({"databases": {"web": {"url_env": "X", "owner": "x"}}}, 'there are tools "web.*" already'),
        ({"mail": {"smtp_env": "X", "sender": "a@b\nBcc: c@d"}}, "sender"),
        ({"slak": {}}, 'did you mean "slack"'),
    ],
)
def test_a_service_that_is_declared_wrong_is_told(tmp_path: Path, services: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        tools(tmp_path, services)
    assert words in str(caught.value) and "Value error" not in str(caught.value)
