"""`config/services.yaml`: which services tools may use, and how. Secrets are named in it, never written."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import Field

from quarterdeck.spec.crew import Declared
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import Document

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
"""The environment variable that holds a secret."""
ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
OperationName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
BaseURL = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,253}(/[^\s?#]{0,500})?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Owner = Annotated[str, Field(min_length=1, max_length=200)]
MEGABYTE = 1_000_000


class WebSpec(Declared):
    """What `web.fetch` may reach: by default every public host, and no private address."""

    hosts: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = Field(
        default=("*",), max_length=500, description="Hosts that may be read, such as `*.example.org`."
    )
    ports: tuple[Port, ...] = Field(default=(80, 443), max_length=20)
    networks: tuple[Annotated[str, Field(max_length=50)], ...] = Field(
        default=(), max_length=50, description="Private networks that may be reached all the same, such as 10.1.0.0/16."
    )
    user_agent: Annotated[str, Field(pattern=r"^[ -~]{1,200}$")] = "Quarterdeck"
    robots: bool = Field(default=True, description="Keep to what a site's robots.txt allows.")
    max_bytes: Annotated[int, Field(ge=1000, le=50 * MEGABYTE)] = 5 * MEGABYTE
    seconds: Annotated[float, Field(gt=0, le=300)] = 20.0


class SearchSpec(Declared):
    """The search engine behind `web.search`."""

    provider: Literal["searxng", "brave", "tavily"]
    url: BaseURL | None = Field(default=None, description="Where it runs; needed for searxng.")
    key_env: EnvName | None = Field(default=None, description="Holds its key; needed for brave and tavily.")
    private: bool = Field(default=False, description="Whether it may stand at a private address.")
    seconds: Annotated[float, Field(gt=0, le=300)] = 15.0


class AuthSpec(Declared):
    """How an API knows us."""

    kind: Literal["bearer", "header", "query", "basic"]
    secret_env: EnvName = Field(description="Holds the token, the key, or user:password.")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,100}$")] = Field(
        default="", description="Of the header or of the query parameter."
    )


class ApiSpec(Declared):
    """An HTTP API; each operation of its OpenAPI document becomes a tool `api.operationId`."""

    spec: Annotated[str, Field(min_length=1, max_length=300)] = Field(
        description="Its OpenAPI 3 document, a YAML or JSON file in the workspace."
    )
    base_url: BaseURL = Field(description="Where it stands; what the document says of servers is not used.")
    owner: Owner
    auth: AuthSpec | None = None
    operations: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=("*",), max_length=500, description="Which operations become tools, by operationId."
    )
    private: bool = Field(default=False, description="Whether it may stand at a private address.")
    seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    max_bytes: Annotated[int, Field(ge=1000, le=50 * MEGABYTE)] = MEGABYTE


class QueryParameter(Declared):
    """One value that a query is called with; it is bound, never written into the statement."""

    type: Literal["string", "integer", "number", "boolean"] = "string"
    description: Annotated[str, Field(min_length=1, max_length=500)]
    enum: tuple[Any, ...] | None = Field(default=None, max_length=200)
    optional: bool = Field(default=False, description="Whether it may be left out; the statement then gets NULL.")


class QuerySpec(Declared):
    """A query by name; it becomes a tool `database.query`."""

    description: Annotated[str, Field(min_length=1, max_length=1000)]
    sql: Annotated[str, Field(min_length=1, max_length=20_000)] = Field(
        description="One statement; parameters stand in it as `:name`."
    )
    parameters: dict[OperationName, QueryParameter] = Field(default_factory=dict, max_length=50)


class DatabaseSpec(Declared):
    """A database that may be read."""

    url_env: EnvName = Field(description="Holds its URL: sqlite:///file or postgresql://user:password@host/name.")
    owner: Owner
    queries: dict[OperationName, QuerySpec] = Field(default_factory=dict, max_length=500)
    free_select: bool = Field(default=False, description="Whether `sql.select` may put its own SELECT to it.")
    sensitive: bool = Field(default=False, description="Whether what it holds must not leave by an open sink.")
    max_rows: Annotated[int, Field(ge=1, le=10_000)] = 200
    seconds: Annotated[float, Field(gt=0, le=300)] = 10.0


class MailSpec(Declared):
    """How `mail.send` sends, and to whom at all."""

    smtp_env: EnvName = Field(description="Holds smtp://user:password@host:port or smtps://...")
    sender: Annotated[str, Field(pattern=r"^[^\s@<>,;]{1,64}@[A-Za-z0-9.-]{1,253}$")]
    recipients: tuple[Annotated[str, Field(min_length=1, max_length=254)], ...] = Field(
        default=("*",), max_length=500, description="Who may be written to, such as `*@example.org`."
    )
    max_recipients: Annotated[int, Field(ge=1, le=100)] = 10
    max_bytes: Annotated[int, Field(ge=1000, le=25 * MEGABYTE)] = 5 * MEGABYTE
    seconds: Annotated[float, Field(gt=0, le=300)] = 30.0


class SlackSpec(Declared):
    """Where `slack.post` posts: the channel of an incoming webhook."""

    webhook_env: EnvName = Field(description="Holds the webhook's URL, which is a secret itself.")
    private: bool = Field(default=False, description="Whether it may stand at a private address.")


class ServicesConfig(Declared):
    """The services of a workspace. What is not named here, tools cannot use; only the web is open to `web.fetch`."""

    web: WebSpec = WebSpec()
    search: SearchSpec | None = None
    apis: dict[ServiceName, ApiSpec] = Field(default_factory=dict, max_length=50)
    databases: dict[ServiceName, DatabaseSpec] = Field(default_factory=dict, max_length=50)
    mail: MailSpec | None = None
    slack: SlackSpec | None = None


def read_services(document: Document) -> tuple[ServicesConfig | None, list[Finding]]:
    """Check the data of a services file; return the configuration as far as it can be read, and what is wrong."""
    config, found = findings(ServicesConfig, document.data or {})
    return config, [*found, *(_incomplete(config) if config is not None and not found else ())]


def _incomplete(config: ServicesConfig) -> Iterator[Finding]:
    for index, network in enumerate(config.web.networks):
        try:
            ip_network(network)
        except ValueError:
            yield Finding(("web", "networks", index), f'"{network}" is no network such as 10.1.0.0/16')
    search = config.search
    if search is not None and search.provider == "searxng" and search.url is None:
        yield Finding(("search",), "searxng needs url, such as https://search.example.org")
    if search is not None and search.provider != "searxng" and search.key_env is None:
        yield Finding(("search",), f"{search.provider} needs key_env, the environment variable that holds its key")
    for name, api in config.apis.items():
        if api.auth is not None and api.auth.kind in ("header", "query") and not api.auth.name:
            yield Finding(("apis", name, "auth"), f"kind {api.auth.kind} needs name, that of the {api.auth.kind}")
