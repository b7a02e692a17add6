"""Cutting a document into passages: short pieces with an id that says where in the document they stand."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

WANTED = 600
"""Characters at which a passage is long enough."""
LONGEST = 900
"""Characters that no passage exceeds."""
MAX_CHARACTERS = 5_000_000
MAX_PAGES = 1_000

_HIDDEN_TAGS = ("script", "style", "template", "noscript", "iframe", "object", "svg", "head")
_BLOCK_TAGS = frozenset(
    "address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer form h1 h2 h3"
    " h4 h5 h6 header hr html li main nav ol p pre section summary table tbody td tfoot th thead tr ul br".split()
)
_HEADING_TAGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_FENCE = re.compile(r"^\s{0,3}(```|~~~)")
_HASHES = re.compile(r"^\s{0,3}#{1,6}\s+(?P<text>.*?)\s*#*\s*$")
_UNDERLINE = re.compile(r"^\s{0,3}([=\-~^\"'`*+#])\1{2,}\s*$")


class Unreadable(Exception):
    """A document that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document.

    Attributes:
        source: `file.md:12-15` (lines), `file.pdf:p3` (page) or `file.html:par4-6` (paragraphs); `.2` behind it
            is the second part of one long line, page or paragraph.
        heading: The heading that it stands under; empty if there is none.
    """

    source: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document, read."""

    name: str
    title: str
    passages: tuple[Passage, ...]


@dataclass(slots=True)
class _Block:
    """A paragraph or heading, from one place of the document to another."""

    first: int
    last: int
    text: str
    heading: bool = False


def read_document(name: str, kind: str, data: bytes) -> Document:
    """Cut a document into passages.

    Args:
        name: What its passages are called after.
        kind: The suffix: `md`, `txt`, `rst`, `html`, `htm` or `pdf`.
        data: The file's content.

    Raises:
        Unreadable: It is damaged, encrypted, no text, or too long.
    """
    if kind == "pdf":
        return _read_pdf(name, data)
    text = _decode(data)
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"more than {MAX_CHARACTERS:,} characters of text")
    if kind in ("html", "htm"):
        title, blocks = _html_blocks(text)
        prefix = "par"
    else:
        blocks, prefix = list(_text_blocks(text)), ""
        title = next((block.text for block in blocks if block.heading), "")
    passages = tuple(_passages(name, blocks, prefix))
    if not passages:
        raise Unreadable("no text in it")
    return Document(name, _heading_text(title)[:200], passages)


def _decode(data: bytes) -> str:
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if b"\0" in data:
        raise Unreadable("binary data, no text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _text_blocks(text: str) -> Iterator[_Block]:
    """Yield paragraphs and headings of Markdown, reStructuredText or plain text, by line number."""
    # splitlines() would also split at form feeds and the like, and no editor counts lines that way
    lines = re.split(r"\r\n|\n|\r", text)
    paragraph: list[str] = []
    start = 1
    fenced = False
    for number, line in enumerate(lines, 1):
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HASHES.match(line)
        if line.strip() and heading is None:
            if not paragraph:
                start = number
            paragraph.append(line)
            continue
        if paragraph:
            yield _paragraph(start, paragraph)
            paragraph = []
        if heading is not None:
            yield _Block(number, number, line, heading=True)
    if paragraph:
        yield _paragraph(start, paragraph)


def _paragraph(start: int, lines: list[str]) -> _Block:
    """Return a paragraph; one line with an underline (and perhaps an overline) is a heading."""
    bare = [line for line in lines if not _UNDERLINE.match(line)]
    lined = len(bare) == 1 < len(lines) <= 3 and bool(_UNDERLINE.match(lines[-1])) and not _FENCE.match(lines[0])
    underlined = lined and len(bare[0]) <= 200
    return _Block(start, start + len(lines) - 1, "\n".join(lines), underlined)


def _html_blocks(text: str) -> tuple[str, list[_Block]]:
    """Return title and paragraphs of what a reader would see of a page."""
    import warnings

    from bs4 import BeautifulSoup
    from bs4.element import NavigableString, PreformattedString, Tag

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it guesses that short texts are file names, XML and so on
        try:
            soup = BeautifulSoup(text, "html.parser")
        except (AssertionError, ValueError, RecursionError) as error:
            raise Unreadable(f"damaged HTML: {type(error).__name__}") from None
    title = soup.title.get_text() if soup.title else ""
    for tag in soup.find_all(_not_seen):
        if not tag.decomposed:
            tag.decompose()
    blocks: list[_Block] = []
    words: list[str] = []
    # the nearest block around each tag; a walk in document order knows a parent's before its children's
    around: dict[int, Any] = {id(soup): soup}
    current: Any = soup

    def close() -> None:
        joined = " ".join("".join(words).split())
        if joined:
            blocks.append(_Block(len(blocks) + 1, len(blocks) + 1, joined, current.name in _HEADING_TAGS))
        words.clear()

    for element in soup.descendants:
        if isinstance(element, Tag):
            is_block = element.name in _BLOCK_TAGS
            around[id(element)] = element if is_block else around[id(element.parent)]
            if is_block:
                close()
        elif isinstance(element, NavigableString) and not isinstance(element, PreformattedString):
            block = around[id(element.parent)]
            if block is not current:
                close()
                current = block
            words.append(str(element))
    close()
    return title or next((block.text for block in blocks if block.heading), ""), blocks


def _not_seen(tag: Any) -> bool:
    return (
        tag.name in _HIDDEN_TAGS or tag.has_attr("hidden") or bool(_INVISIBLE.search(str(tag.attrs.get("style") or "")))
    )


def _read_pdf(name: str, data: bytes) -> Document:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what is wrong with a file is told with the file's name
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted; save a copy without a password")
        count = len(reader.pages)
        if count > MAX_PAGES:
            raise Unreadable(f"{count:,} pages, more than {MAX_PAGES:,}")
        title = str((reader.metadata.title if reader.metadata else "") or "")
        texts = [page.extract_text() for page in reader.pages]
    except Unreadable:
        raise
    except Exception as error:  # a damaged file makes the library raise nearly anything
        raise Unreadable(f"damaged PDF: {type(error).__name__}") from None
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise Unreadable(f"more than {MAX_CHARACTERS:,} characters of text")
    passages = []
    for number, text in enumerate(texts, 1):
        clean = text.encode("utf-8", "replace").decode().replace("\0", " ").strip()
        parts = [part for part in _parts(clean) if part.strip()]
        for part_number, part in enumerate(parts, 1):
            source = f"{name}:p{number}" + (f".{part_number}" if len(parts) > 1 else "")
            passages.append(Passage(source, "", part.strip()))
    if not passages:
        raise Unreadable("no text in it; scanned pages need text recognition first")
    return Document(name, " ".join(title.split())[:200], tuple(passages))


def _passages(name: str, blocks: Iterable[_Block], prefix: str) -> Iterator[Passage]:
    """Join blocks under one heading until a passage is long enough; cut blocks that are too long."""
    heading = ""
    held: list[_Block] = []

    def flush() -> Iterator[Passage]:
        if held:
            span = f"{held[0].first}" if held[0].first == held[-1].last else f"{held[0].first}-{held[-1].last}"
            yield Passage(f"{name}:{prefix}{span}", heading, "\n\n".join(block.text for block in held))
            held.clear()

    for block in (piece for whole in blocks for piece in _by_lines(whole)):
        if block.heading and not all(other.heading for other in held):
            yield from flush()
        length = sum(len(other.text) + 2 for other in held)
        if held and (length + len(block.text) > LONGEST or length > WANTED):
            yield from flush()
        if block.heading:
            heading = _heading_text(block.text)
        if len(block.text) > LONGEST:
            parts = list(_parts(block.text))
            for number, part in enumerate(parts, 1):
                yield Passage(f"{name}:{prefix}{block.first}.{number}", heading, part)
        else:
            held.append(block)
    yield from flush()


def _by_lines(block: _Block) -> Iterator[_Block]:
    """Cut a paragraph of many lines between lines."""
    if len(block.text) <= LONGEST or "\n" not in block.text:
        yield block
        return
    lines: list[str] = []
    first = block.first
    for number, line in enumerate(block.text.split("\n"), block.first):
        if lines and sum(len(kept) + 1 for kept in lines) + len(line) > WANTED:
            yield _Block(first, number - 1, "\n".join(lines))
            lines, first = [], number
        lines.append(line)
    yield _Block(first, block.last, "\n".join(lines))


def _parts(text: str) -> Iterator[str]:
    """Cut a long text behind a sentence or line, else behind a word, else anywhere; nothing is lost."""
    while len(text) > LONGEST:
        window = text[:LONGEST]
        ends = [match.end() for match in re.finditer(r"[.!?][\"')\]]*\s+|\n+", window)]
        near = [end for end in ends if end >= WANTED // 2]
        space = max(window.rfind(" "), window.rfind("\n")) + 1
        cut = near[-1] if near else space if space >= WANTED // 2 else LONGEST
        yield text[:cut]
        text = text[cut:]
    if text:
        yield text


def _heading_text(text: str) -> str:
    lines = [line for line in text.split("\n") if not _UNDERLINE.match(line)]
    found = _HASHES.match(lines[0]) if lines else None
    return " ".join((found["text"] if found else " ".join(lines)).split())[:200]
