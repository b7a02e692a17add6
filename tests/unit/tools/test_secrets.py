"""Secrets: by reference only, and masked in every common form."""

from __future__ import annotations

import base64
import html
import json
import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.errors import ToolError
from quarterdeck.tools.secrets import Masker, MaskFilter, mask_logs, referenced, resolve

SECRET = 'sk-Canary/0+9="\\é&1234567890'
MASKER = Masker({"SERVICE_TOKEN": SECRET})

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "in a sentence": lambda s: f"The key is {s}, keep it.",
    "json": lambda s: json.dumps({"a": {"b": [s]}}),
    "json, unicode": lambda s: json.dumps([s], ensure_ascii=False),
    "json in json": lambda s: json.dumps(json.dumps([s])),
    "json in json, unicode": lambda s: json.dumps(json.dumps([s], ensure_ascii=False), ensure_ascii=False),
    "url": lambda s: f"https://x.example/?key={quote(s, safe='')}&a=1",
    "url, slashes": lambda s: f"https://x.example/{quote(s)}",
    "form": lambda s: f"key={quote_plus(s)}",
    "url, lower case": lambda s: quote(s, safe="").replace("%2F", "%2f").replace("%3D", "%3d").replace("%2B", "%2b")
    .replace("%22", "%22").replace("%5C", "%5c").replace("%C3%A9", "%c3%a9"),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64, basic auth": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "base64, second place": lambda s: base64.b64encode(f"a{s}b".encode()).decode(),
    "base64, third place": lambda s: base64.b64encode(f"ab{s}c".encode()).decode(),
    "base64, for urls": lambda s: base64.urlsafe_b64encode(f"ab{s}".encode()).decode(),
    "hex": lambda s: s.encode().hex(),
    "hex, upper case": lambda s: s.encode().hex().upper(),
    "html": html.escape,
    "repr": repr,
    "bytes": lambda s: repr(s.encode()),
    "backwards": lambda s: s[::-1],
    "in two lines": lambda s: f"{s[:9]}\n  {s[9:]}",
    "joined in code": lambda s: f"'{s[:12]}' + '{s[12:]}'",
    "spaced": lambda s: " ".join(s),
    "traceback": lambda s: f'File "x.py", line 1\n    post("{s}")\nValueError: {s}',
}  # fmt: skip


def leaks(text: str, secret: str = SECRET) -> bool:
    """Say whether half of a secret or more can still be read, in any of the plain encodings."""
    half = len(secret) // 2
    pieces = {secret[at : at + half] for at in (0, len(secret) - half)}
    encoded = {base64.b64encode(piece.encode())[1:-4].decode() for piece in pieces}
    shown = {piece.encode().hex() for piece in pieces} | {piece[::-1] for piece in pieces} | encoded
    return any(piece in text for piece in pieces | shown)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_each_form_is_masked(form: Callable[[str], str]) -> None:
    text = form(SECRET)
    masked = MASKER.mask(text)
    assert "[secret SERVICE_TOKEN]" in masked and not leaks(masked)
    assert MASKER.mask(masked) == masked


def test_a_text_without_secrets_is_the_same_object() -> None:
    text, data = "nothing to see", {"a": [1, None, "b"]}
    assert MASKER.mask(text) is text and MASKER.data(data) is data


def test_data_is_masked_in_depth() -> None:
    masked = MASKER.data({"a": [{SECRET: 1}, ("x", SECRET)], "b": 2})
    assert masked == {"a": [{"[secret SERVICE_TOKEN]": 1}, ["x", "[secret SERVICE_TOKEN]"]], "b": 2}


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "GITHUB_TOKEN", "a_secret", "DB_PASSWORD", "APIKEY", "GH_PAT",
                                  "AWS_SECRET_ACCESS_KEY", "KEYS", "TOKEN_2", "SENTRY_DSN"])  # fmt: skip
def test_names_that_look_like_keys(name: str) -> None:
    assert Masker({name: "0123456789abcdef"}).mask("=0123456789abcdef.") == f"=[secret {name}]."


@pytest.mark.parametrize("name", ["HOME", "KEYBOARD", "TOKENIZERS_PARALLELISM", "PATH", "MONKEY"])
def test_names_that_do_not(name: str) -> None:
    assert Masker({name: "0123456789abcdef"}).mask("0123456789abcdef") == "0123456789abcdef"


def test_a_variable_that_a_file_names_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("smtp_env: MAIL\nservers: {x: {env: {T: env:TICKETS}}}\n")
    (tmp_path / "b.yml").write_text('{"auth_env": "DOCS"}')
    (tmp_path / "c.txt").write_text("env:OTHER")
    names = referenced([tmp_path, tmp_path / "missing"])
    assert names == {"MAIL", "TICKETS", "DOCS"}
    assert "0123456789" not in Masker({"MAIL": "0123456789ab"}, names).mask("0123456789ab")


def test_passwords_in_urls_are_secrets() -> None:
    masker = Masker({"ANY": "postgresql://harbour:p%40ss-word-1@db/x"})
    assert masker.mask("p@ss-word-1 and p%40ss-word-1") == "[secret ANY] and [secret ANY]"
    assert masker.mask("postgresql://harbour@db/x") == "postgresql://harbour@db/x"


def test_lines_of_a_private_key_are_secrets() -> None:
    lines = [f"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC{number}" for number in range(3)]
    masker = Masker({"SIGNING_KEY": "-----BEGIN KEY-----\n" + "\n".join(lines) + "\n-----END KEY-----"})
    assert all(line not in masker.mask("    " + "\n    ".join(lines)) for line in lines)


def test_short_words_are_left_alone() -> None:
    assert Masker({"A_KEY": "true", "B_KEY": "unused", "C_KEY": ""}).mask("true unused") == "true unused"
    assert Masker({"A_PASSWORD": "postgres"}).mask("postgresql postgres!") == "postgresql [secret A_PASSWORD]!"


def test_references_are_resolved_and_nothing_else_is() -> None:
    assert resolve("env:A", {"A": "value"}) == "value"
    for reference, environ in (("env:B", {"A": "value"}), ("env:A", {"A": " "}), ("sk-literal", {}), ("env:", {})):
        with pytest.raises(ToolError) as error:
            resolve(reference, environ)
        assert "literal" not in str(error.value)


def test_logs_are_masked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(only := MaskFilter(MASKER))
    try:
        try:
            raise ValueError(f"with {SECRET}")
        except ValueError:
            logging.getLogger("any.library").exception("sent %s to %s", SECRET, {"key": SECRET})
    finally:
        caplog.handler.removeFilter(only)
    assert caplog.text.count("[secret SERVICE_TOKEN]") >= 3 and "ValueError" in caplog.text and not leaks(caplog.text)


def test_the_root_handlers_are_masked_once() -> None:
    handlers = [handler for handler in [*logging.getLogger().handlers, logging.lastResort] if handler is not None]
    before = [list(handler.filters) for handler in handlers]
    try:
        for handler in handlers:
            handler.filters.clear()
        mask_logs(MASKER)
        mask_logs(MASKER)
        assert [len(handler.filters) for handler in handlers] == [1] * len(handlers)
    finally:
        for handler, filters in zip(handlers, before, strict=True):
            handler.filters[:] = filters


@given(st.text(min_size=12, max_size=60, alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF)),
       st.text(max_size=20), st.text(max_size=20))  # fmt: skip
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    masker = Masker({"X_KEY": secret})
    for form in (FORMS["plain"], FORMS["json"], FORMS["url"], FORMS["bytes"], FORMS["hex"]):
        shown = form(secret)
        masked = masker.mask(before + shown + after)
        assert secret not in masked or secret in "[secret X_KEY]"
        assert isinstance(masked, str)
