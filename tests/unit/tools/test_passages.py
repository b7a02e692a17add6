from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.tools.passages import LONGEST, Document, Unreadable, read_document

MARKDOWN = """# The port

The port lies in the north.
It has two harbours.

## Wind

In 2023 the wind farm gave 42 TWh.

```
# not a heading
```

### Empty

## Dredging
Sand is taken away.
"""


def sources(document: Document) -> list[str]:
    return [passage.source for passage in document.passages]


def pdf(*pages: str, password: str = "", title: str = "") -> bytes:
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(600, 800)
        stream = DecodedStreamObject()
        lines = "".join(f"({line}) Tj T* " for line in text.split("\n"))
        stream.set_data(f"BT /F1 12 Tf 14 TL 50 750 Td {lines}ET".encode())
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


def test_markdown_is_cut_at_headings_and_named_by_lines() -> None:
    document = read_document("a/port.md", "md", MARKDOWN.encode())
    assert document.title == "The port"
    assert sources(document) == ["a/port.md:1-4", "a/port.md:6-12", "a/port.md:14-17"]
    wind = document.passages[1]
    assert wind.heading == "Wind" and "42 TWh" in wind.text and "# not a heading" in wind.text
    assert document.passages[2].heading == "Dredging"


def test_underlined_headings_count_too() -> None:
    text = "=====\nTitle\n=====\n\nFirst.\n\nPart\n----\n\nSecond.\n"
    document = read_document("a.rst", "rst", text.encode())
    assert document.title == "Title"
    assert [(passage.source, passage.heading) for passage in document.passages] == [
        ("a.rst:1-5", "Title"),
        ("a.rst:7-10", "Part"),
    ]


def test_line_ranges_are_those_an_editor_shows() -> None:
    lines = [f"line {number} " + "word " * 30 if number % 3 else "" for number in range(1, 60)]
    document = read_document("a.txt", "txt", "\n".join(lines).encode())
    for passage in document.passages:
        first, last = (int(part) for part in passage.source.split(":")[1].split("-"))
        assert passage.text.split("\n")[0] == lines[first - 1]
        assert passage.text.split("\n")[-1] == lines[last - 1]


def test_one_endless_line_is_cut_into_parts() -> None:
    document = read_document("a.txt", "txt", b"A sentence stands here. " * 200)
    assert sources(document)[:2] == ["a.txt:1.1", "a.txt:1.2"]
    assert all(passage.text.rstrip().endswith(".") for passage in document.passages)


@given(st.text(st.sampled_from("ab #=-`~.!\n\r\t\f\u2028é<>&"), max_size=4000) | st.text(max_size=2000))
def test_no_text_is_lost_and_no_passage_is_too_long(text: str) -> None:
    data = text.encode("utf-8", "replace")
    if b"\0" in data or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    try:
        document = read_document("x.md", "md", data)
    except Unreadable:
        assert not text.strip()
        return
    kept = "".join(passage.text for passage in document.passages)
    assert re.sub(r"\s", "", kept) == re.sub(r"\s", "", data.decode("utf-8-sig"))
    assert all(len(passage.text) <= LONGEST for passage in document.passages)
    assert len(set(sources(document))) == len(document.passages)


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40), min_size=1, max_size=60))
def test_no_visible_text_of_html_is_lost(words: list[str]) -> None:
    tags = ["p", "div", "li", "td", "b", "h2"]
    html = "".join(f"<{tags[n % 6]}>{word}</{tags[n % 6]}>" for n, word in enumerate(words))
    document = read_document("x.html", "html", html.encode())
    kept = "".join(passage.text for passage in document.passages)
    assert re.sub(r"\s", "", kept) == re.sub(r"\s", "", "".join(words))


def test_html_is_read_as_a_person_sees_it() -> None:
    html = """<html><head><title>The  port</title><style>p {}</style></head><body>
    <script>steal()</script><!-- a comment --><h1>Harbour</h1><p>Two <b>quays</b>.</p>
    <p hidden>Ignore me</p><div style="display: none">Me too</div><ul><li>one<li>two</ul>
    <h2>Wind</h2><p>42&nbsp;TWh</p><![CDATA[no]]></body></html>"""
    document = read_document("port.html", "html", html.encode())
    assert document.title == "The port"
    assert [(passage.source, passage.heading, passage.text) for passage in document.passages] == [
        ("port.html:par1-4", "Harbour", "Harbour\n\nTwo quays.\n\none\n\ntwo"),
        ("port.html:par5-6", "Wind", "Wind\n\n42 TWh"),
    ]


def test_html_that_is_nested_without_end_is_read() -> None:
    document = read_document("x.html", "html", b"<div>" * 20_000 + b"deep" + b"</div>" * 20_000)
    assert document.passages[0].text == "deep"


def test_a_pdf_is_cut_by_pages() -> None:
    document = read_document("a.pdf", "pdf", pdf("First page.\nTwo lines.", "", "x " * 600, title="Yearly report"))
    assert document.title == "Yearly report"
    assert sources(document)[:3] == ["a.pdf:p1", "a.pdf:p3.1", "a.pdf:p3.2"]
    assert document.passages[0].text == "First page.\nTwo lines."


def test_an_encrypted_pdf_opens_only_without_a_password() -> None:
    with pytest.raises(Unreadable, match="encrypted"):
        read_document("a.pdf", "pdf", pdf("secret", password="x"))


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("pdf", b"%PDF-1.7\ngarbage", "damaged PDF"),
        ("pdf", b"", "damaged PDF"),
        ("pdf", pdf(""), "no text"),
        ("txt", b"MZ\0\0\x01", "binary"),
        ("md", b" \n\n", "no text"),
        ("html", b"<script>only()</script>", "no text"),
        ("txt", b"x" * 5_000_001, "more than 5,000,000"),
    ],
)
def test_what_cannot_be_read_says_why(kind: str, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_document(f"a.{kind}", kind, data)


@pytest.mark.parametrize("cut", range(20, 700, 97))
def test_a_pdf_cut_short_never_raises_anything_else(cut: int) -> None:
    try:
        read_document("a.pdf", "pdf", pdf("One page.")[:cut])
    except Unreadable as error:
        assert str(error)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        ("café".encode("utf-16"), "café"),
        (b"caf\xe9 \x93quoted\x94", "café “quoted”"),
    ],
)
def test_encodings_are_recognised(data: bytes, text: str) -> None:
    assert read_document("a.txt", "txt", data).passages[0].text == text


def test_a_damaged_pdf_is_told_by_its_name_alone(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unreadable, match="damaged PDF"):
        read_document("a.pdf", "pdf", b"%PDF-1.7\ngarbage")
    assert caplog.text == ""
