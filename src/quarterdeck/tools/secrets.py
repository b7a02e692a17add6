"""Secrets: named in files by reference, looked up when they are used, and masked in everything that is kept or sent."""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

import orjson

from quarterdeck.errors import ToolError

MIN_LENGTH = 8
"""Shorter values are too likely to be ordinary words."""
MAX_SECRETS = 500
MAX_CONFIG_BYTES = 1_000_000
_WORD_LENGTH = 12
"""Shorter values are masked only where they stand alone, so that `postgres` leaves `postgresql` as it is."""
_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]{0,99})")
_NAMED = re.compile(r"(?:\benv:|_env[\"']?\s*:\s*[\"']?)([A-Za-z_][A-Za-z0-9_]{0,99})")
_KEY_NAME = re.compile(
    r"(?:^|_)(?:KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|PAT|DSN)S?(?:_\d+)?$", re.IGNORECASE
)
_BETWEEN = r"""(?:\\[nrt]|[\s"'+,\\]){0,8}"""
_SQUEEZE = dict.fromkeys(map(ord, " \t\r\n\"'+,\\"))


def resolve(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the secret that a reference stands for; to be called when it is used, and not kept.

    Args:
        reference: `env:NAME`.
        environ: Where to look; this process's environment by default.

    Raises:
        ToolError: It is no reference, or the variable is not set. The text holds the name, never a value.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ToolError("A secret stands in a file by reference only: write env:NAME_OF_A_VARIABLE in its place.")
    value = (os.environ if environ is None else environ).get(match[1], "")
    if not value.strip():
        raise ToolError(f"The secret env:{match[1]} is not set. Set the variable {match[1]} and start again.")
    return value


def referenced(folders: Iterable[Path]) -> set[str]:
    """Return the names of the variables that the YAML files of some folders refer to, as `env:X` or `..._env: X`.

    Args:
        folders: Such as the workspace's `config`.
    """
    names: set[str] = set()
    for folder in folders:
        for file in sorted(folder.glob("*.y*ml")) if folder.is_dir() else ():
            try:
                with file.open("rb") as stream:
                    text = stream.read(MAX_CONFIG_BYTES).decode("utf-8", "replace")
            except OSError:
                continue  # whoever needs the file says so
            names |= set(_NAMED.findall(text))
    return names


class Masker:
    """Puts `[secret NAME]` in the place of secrets, in whatever common form they come.

    Secrets are the values of variables that look like keys (`*_KEY`, `*_TOKEN`, `*_SECRET`, `*_PASSWORD` and the
    like), those that a file refers to, and passwords within URLs in any variable.

    Args:
        environ: The environment; this process's by default.
        names: More variables that hold secrets, whatever their names look like.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, names: Iterable[str] = ()) -> None:
        environ = os.environ if environ is None else environ
        also = set(names)
        self._forms: list[tuple[str, str]] = []
        self._words: list[tuple[str, re.Pattern[str], str]] = []
        self._split: list[tuple[str, re.Pattern[str], str]] = []
        self._known: set[str] = set()
        for name, value in environ.items():
            if _KEY_NAME.search(name) or name in also:
                self.add(name, value)
            for password in _passwords(value):
                self.add(name, password)

    def add(self, name: str, value: str) -> None:
        """Mask one more value; one that is shorter than 8 characters, or known, changes nothing.

        Args:
            name: What to call it.
            value: The secret.
        """
        value = value.strip()
        if len(value) < MIN_LENGTH or value in self._known or len(self._known) >= MAX_SECRETS:
            return
        self._known.add(value)
        mark = f"[secret {name}]"
        if len(value) < _WORD_LENGTH:
            alone = re.compile(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])")
            self._words.append((value, alone, mark))
        forms = set(_forms(value)) - ({value} if len(value) < _WORD_LENGTH else set())
        self._forms += [(form, mark) for form in forms if len(form) >= MIN_LENGTH]
        self._forms.sort(key=lambda form: -len(form[0]))
        if len(value) >= _WORD_LENGTH:
            pattern = re.compile(_BETWEEN.join(re.escape(letter) for letter in value if ord(letter) not in _SQUEEZE))
            self._split.append((value.translate(_SQUEEZE), pattern, mark))

    def mask(self, text: str) -> str:
        """Return a text without secrets: the very same object where it holds none."""
        for form, mark in self._forms:
            if form in text:
                text = text.replace(form, mark)
        for word, alone, mark in self._words:
            if word in text:
                text = alone.sub(mark, text)
        if self._split:
            squeezed = text.replace("\\n", "").translate(_SQUEEZE)
            for value, pattern, mark in self._split:
                if value in squeezed:
                    text = pattern.sub(mark, text)
        return text

    def data(self, value: Any) -> Any:
        """Return JSON-able data without secrets, in keys and texts: the very same object where it holds none."""
        if not self._known:
            return value
        try:
            text = orjson.dumps(value).decode()
        except TypeError:
            return self._walk(value)
        return value if self.mask(text) is text else self._walk(value)

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self._walk(key): self._walk(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._walk(part) for part in value]
        return value


class MaskFilter(logging.Filter):
    """Masks secrets in log records: in the message, its arguments and the traceback. For a handler.

    Args:
        masker: Knows the secrets.
    """

    def __init__(self, masker: Masker) -> None:
        super().__init__()
        self._masker = masker

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; let it pass."""
        record.msg, record.args = self._masker.mask(record.getMessage()), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = record.exc_text or "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        if record.exc_text:
            record.exc_text = self._masker.mask(record.exc_text)
        if record.stack_info:
            record.stack_info = self._masker.mask(record.stack_info)
        return True


def mask_logs(masker: Masker) -> None:
    """Mask what this process logs from now on, through the handlers of the root logger. For programs, not libraries."""
    handlers = list(logging.getLogger().handlers)
    if logging.lastResort is not None:
        handlers.append(logging.lastResort)
    for handler in handlers:
        if not any(isinstance(known, MaskFilter) for known in handler.filters):
            handler.addFilter(MaskFilter(masker))


def _passwords(value: str) -> Iterator[str]:
    """Yield the password of a URL, as it is written and as it is meant."""
    if "://" not in value or "@" not in value:
        return
    try:
        password = urlsplit(value.strip()).password
    except ValueError:
        return
    if password:
        yield unquote(password)
        yield password


def _forms(value: str) -> Iterator[str]:
    """Yield the forms in which a value may turn up."""
    for plain in dict.fromkeys((value, *_long_lines(value))):
        raw = plain.encode("utf-8", "replace")
        yield plain
        yield plain[::-1]
        for text in (json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]):
            yield text
            yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield repr(plain)[1:-1]
        yield repr(raw)[2:-1]
        for encoded in (quote(plain), quote(plain, safe=""), quote_plus(plain)):
            yield encoded
            yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
        yield html.escape(plain)
        yield raw.hex()
        yield raw.hex().upper()
        yield from _base64(raw)


def _long_lines(value: str) -> list[str]:
    """Return the lines of a value that has several, such as a private key: each gives part of it away."""
    lines = value.splitlines()
    return [line.strip() for line in lines if len(line.strip()) >= 20] if len(lines) > 1 else []


def _base64(raw: bytes) -> Iterator[str]:
    """Yield what of a value stands in the Base64 of any text around it: one form for each of its alignments."""
    for offset in range(3):
        padded = bytes(offset) + raw
        start, end = -(-offset * 8 // 6), len(padded) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded).decode()[start:end]
