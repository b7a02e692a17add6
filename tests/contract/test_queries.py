"""Named queries and free SELECTs, on every database: no value changes the statement, and no statement the data."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from quarterdeck.errors import SpecError, ToolError
from quarterdeck.spec.services import DatabaseSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.arguments import validate
from quarterdeck.tools.declared import load_services
from quarterdeck.tools.queries import select, tables, tools_of
from quarterdeck.tools.tool import Tool

PASSWORD = "canary-4711-0815-secret"
SPEC: dict[str, Any] = {
    "url_env": "SHOP_PLACE",
    "owner": "shop",
    "free_select": True,
    "max_rows": 3,
    "seconds": 1,
    "queries": {
        "orders_of": {
            "description": "Orders of a customer.",
            "sql": "SELECT id, customer, eur FROM orders WHERE customer = :customer ORDER BY id",
            "parameters": {"customer": {"description": "Who."}},
        },
        "all": {"description": "All orders.", "sql": "SELECT id FROM orders ORDER BY id"},
        "cheap": {
            "description": "Cheap orders.",
            "sql": "SELECT id FROM orders WHERE eur < :eur ORDER BY id",
            "parameters": {"eur": {"type": "number", "description": "Below."}},
        },
    },
}
INJECTIONS = [
    "' OR '1'='1", "'; DROP TABLE orders; --", "x' UNION SELECT name, name, name FROM sqlite_master --",
    "\\'; --", "'--",
    "ada'/**/OR/**/1=1#", ":customer", "%s", "%(customer)s", "$1", "?", "'||(SELECT secret FROM keys)||'",
    "\0", "\uff41\uff07 OR 1",
    "'; COMMIT; DELETE FROM orders; --", "1;SELECT pg_sleep(9)", "a' AND (SELECT 1)=1 --", "{customer}", "\\x27 OR 1=1",
    "';ATTACH DATABASE 'x' AS y;--", "\u2019 OR 1=1", "ada\n' OR 1=1", '" OR ""="', "`", "]",
]  # fmt: skip
CHANGES = [
    "DELETE FROM orders", "UPDATE orders SET eur = 0", "INSERT INTO orders VALUES (9, 'x', 1)", "DROP TABLE orders",
    "CREATE TABLE t (a int)", "SELECT 1; DELETE FROM orders", "SELECT 1; COMMIT; DELETE FROM orders",
    "WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone", "ATTACH DATABASE 'x.db' AS x",
    "PRAGMA query_only = OFF", "VACUUM INTO 'x.db'", "COMMIT", "ROLLBACK", "SET default_transaction_read_only = off",
    "BEGIN", "COPY orders TO PROGRAM 'touch x'", "DO $$ BEGIN DELETE FROM orders; END $$",
    "SELECT * INTO t2 FROM orders",
    "/* SELECT */ DELETE FROM orders", "-- SELECT\nDELETE FROM orders", "EXPLAIN ANALYZE DELETE FROM orders", "",
    "SELECT 1 /* ; */; DELETE FROM orders --", "CALL f()", "SELECT load_extension('x')",
    "SELECT * FROM orders FOR UPDATE",
    "SELECT nextval('s')", "SELECT lo_create(0)", "SELECT set_config('transaction_read_only', 'off', false), f()",
    "SELECT f()", "SELECT pg_read_file('/etc/passwd')", "SELECT writefile('x', 'y')",
    "SELECT * FROM pragma_table_info('a')",
]  # fmt: skip
ROWS = [(1, "ada", 10.5), (2, "ada", 20.0), (3, "bob", 5.0), (4, "cy", 1.0), (5, "cy", 2.0)]


@pytest.fixture
def shop(url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Fill a database; return the URL of someone who may do anything with it."""
    sqlite = url.startswith("sqlite")
    if sqlite:
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    owner = url if sqlite else url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(owner)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id int, customer text, eur float)"))
        for row in ROWS:
            connection.execute(text("INSERT INTO orders VALUES (:a, :b, :c)"), dict(zip("abc", row, strict=True)))
        if not sqlite:
            connection.execute(text("CREATE SEQUENCE s"))
            connection.execute(text("CREATE FUNCTION f() RETURNS int LANGUAGE sql VOLATILE AS "
                                    "'DELETE FROM orders RETURNING id'"))  # fmt: skip
            connection.execute(text(f"DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}'"))
            connection.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk"))
            connection.execute(
                text("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk; GRANT ALL ON SCHEMA public TO clerk")
            )
    monkeypatch.setenv("SHOP_PLACE", url if sqlite else url.replace("postgres@", f"clerk:{PASSWORD}@", 1))
    yield owner
    if not sqlite:
        with engine.begin() as connection:
            connection.execute(text("DROP OWNED BY clerk; DROP ROLE clerk"))
    engine.dispose()


def rows_in(owner: str) -> list[tuple[Any, ...]]:
    engine = create_engine(owner)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text("SELECT * FROM orders ORDER BY id"))]
    engine.dispose()
    return found


def query(name: str) -> Tool:
    return {tool.name: tool for tool in tools_of("shop", DatabaseSpec.model_validate(SPEC))}[f"shop.{name}"]


def ask(name: str, **arguments: Any) -> dict[str, Any]:
    tool = query(name)
    found: dict[str, Any] = tool.function(**validate(tool, arguments))
    return found


def free(statement: str) -> dict[str, Any]:
    return select("shop", DatabaseSpec.model_validate(SPEC), statement, {}, free=True)


def test_a_named_query_returns_its_rows(shop: str) -> None:
    assert ask("orders_of", customer="ada") == {
        "columns": ["id", "customer", "eur"], "rows": [[1, "ada", 10.5], [2, "ada", 20.0]], "more": False,
    }  # fmt: skip
    assert ask("all") == {"columns": ["id"], "rows": [[1], [2], [3]], "more": True}
    assert ask("cheap", eur=5.5)["rows"] == [[3], [4], [5]]


@pytest.mark.parametrize("value", INJECTIONS)
def test_no_value_changes_the_statement(shop: str, value: str) -> None:
    try:
        assert ask("orders_of", customer=value)["rows"] == []
    except ToolError as error:
        assert "\0" in value and "refused" in str(error)
    assert rows_in(shop) == ROWS


def test_values_of_another_type_are_refused(shop: str) -> None:
    for wrong in ({"eur": "1 OR 1=1"}, {"eur": [1]}, {"eur": None}, {"eur": True}, {}, {"eur": 1, "sql": "SELECT 1"}):
        with pytest.raises(ToolError):
            ask("cheap", **wrong)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(max_size=40).filter(lambda text: text not in ("ada", "bob", "cy")))
def test_any_text_is_only_a_value(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    if not path.exists():
        path.parent.mkdir(parents=True)
        with create_engine(sqlite_url).begin() as connection:
            connection.execute(text("CREATE TABLE orders (id int, customer text, eur float)"))
            connection.execute(text("INSERT INTO orders VALUES (1, 'ada', 1)"))
            connection.engine.dispose()
    monkeypatch.setenv("SHOP_PLACE", sqlite_url)
    assert ask("orders_of", customer=value)["rows"] == []


@pytest.mark.parametrize("statement", CHANGES)
def test_a_free_select_changes_nothing(shop: str, statement: str, tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    try:
        free(statement)
    except ToolError as error:
        assert PASSWORD not in str(error)
    else:
        assert statement == "SELECT lo_create(0)" and "postgresql" in shop  # rolled back: nothing is kept
    assert rows_in(shop) == ROWS and sorted(os.listdir(tmp_path)) == before


def test_a_free_select_reads(shop: str) -> None:
    mine = "-- those of Ada\nWITH mine AS (SELECT * FROM orders WHERE customer LIKE 'a%')"
    found = free(f"{mine} SELECT count(*) AS n, ':x' AS t FROM mine")
    assert found == {"columns": ["n", "t"], "rows": [[2, ":x"]], "more": False}
    found = tables("shop", DatabaseSpec.model_validate(SPEC))
    assert any("orders" in row[0] and "customer" in row[1] for row in found["rows"])


def test_time_is_bounded(shop: str) -> None:
    started = time.monotonic()
    with pytest.raises(ToolError, match="too long"):
        free("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
    assert time.monotonic() - started < 4


@pytest.mark.real
def test_a_superuser_s_role_gets_no_free_select(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PLACE", postgresql_url)
    with pytest.raises(ToolError, match="role that may only read tables"):
        free("SELECT 1")


def test_no_error_shows_the_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for place in (
        f"postgresql://a:{PASSWORD}@/x?host={tmp_path}",
        f"mysql://a:{PASSWORD}@x/y",
        f"{PASSWORD}",
        "",
        "sqlite:///no/file",
    ):
        monkeypatch.setenv("SHOP_PLACE", place)
        with pytest.raises(ToolError) as caught:
            ask("all")
        assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "words"),
    [("SELECT :other", ":other is not declared"), ("SELECT 1", "does not stand in sql")],
)
def test_parameters_and_statement_must_agree(tmp_path: Path, sql: str, words: str) -> None:
    spec = {**SPEC, "queries": {"one": {"description": "A.", "sql": sql, "parameters": {"p": {"description": "P."}}}}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "services.yaml").write_text(yaml.safe_dump({"databases": {"shop": spec}}))
    with pytest.raises(SpecError, match=words):
        load_services(Workspace(tmp_path))
