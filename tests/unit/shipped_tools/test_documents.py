from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck.errors import ToolError
from quarterdeck.tools import library as library_module
from quarterdeck.tools.arguments import validate
from quarterdeck.tools.library import Library
from quarterdeck.tools.loading import Toolbox
from quarterdeck.tools.shaping import shape
from quarterdeck.tools.tool import ToolContext

ROOT = Path(__file__).parents[3]
TOOLS = Toolbox.load([ROOT / "tools"], display_root=ROOT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "sub").mkdir(parents=True)
    (folder / "wind.md").write_text(
        "# Wind\n\nIn 2023 the wind farm produced 42 TWh of power.\n\n## Birds\n\nGulls nest.\n"
    )
    (folder / "port.txt").write_text("The port produced nothing but noise.\n\nDredging stops in winter.\n")
    (folder / "sub" / "page.html").write_text("<title>Page</title><p>Power cables were produced abroad.</p>")
    return folder


def call(name: str, folder: Path | str | None, state: dict[str, Any] | None = None, **arguments: Any) -> Any:
    tool = TOOLS[name]
    inputs = {} if folder is None else {"sources": str(folder)}
    context = ToolContext("r1", "r1:x", inputs, Path("unused"), {} if state is None else state)
    return shape(tool.function(context=context, **validate(tool, arguments)))


def test_the_three_tools_are_there() -> None:
    assert {"documents.list", "documents.search", "documents.read"} <= set(TOOLS)
    assert "context" not in str(TOOLS["documents.search"].parameters["properties"].keys())


def test_list_names_what_there_is_and_what_could_not_be_read(folder: Path) -> None:
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4 broken")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.md").write_text("hidden")
    found = call("documents.list", folder)
    assert [(entry["name"], entry["kind"], entry["title"]) for entry in found["documents"]] == [
        ("port.txt", "txt", ""),
        ("wind.md", "md", "Wind"),
        ("sub/page.html", "html", "Page"),
    ]
    assert found["documents"][1]["bytes"] == (folder / "wind.md").stat().st_size
    assert [entry["name"] for entry in found["not_read"]] == ["scan.pdf"]
    assert "damaged PDF" in found["not_read"][0]["why"]


def test_search_finds_word_forms_and_gives_whole_passages_with_sources(folder: Path) -> None:
    found = call("documents.search", folder, query="How much power does the wind farm produce?")
    assert found[0] == {
        "source": "wind.md:1-3",
        "heading": "Wind",
        "text": "# Wind\n\nIn 2023 the wind farm produced 42 TWh of power.",
    }
    assert [entry["source"] for entry in call("documents.search", folder, query="dredge")] == ["port.txt:1-3"]
    assert call("documents.search", folder, query="zebra") == []


def test_the_second_page_goes_on_where_the_first_one_ended(folder: Path) -> None:
    state: dict[str, Any] = {}
    every = call("documents.search", folder, state, query="produced power", limit=10)
    pages = [
        entry
        for page in (1, 2, 3, 4)
        for entry in call("documents.search", folder, state, query="produced power", limit=1, page=page)
    ]
    assert pages == every and len(every) == 3


def test_repetition_gives_way_to_other_documents(tmp_path: Path) -> None:
    passage = "## Wind {n}\n\nThe wind farm produced 42 TWh of wind power from wind.\n\n"
    (tmp_path / "a.md").write_text("".join(passage.format(n=number) for number in range(6)))
    (tmp_path / "b.md").write_text("The farm stands in the north, where wind is strong all year and ships pass.\n")
    found = call("documents.search", tmp_path, query="wind farm", limit=2)
    assert {entry["source"].split(":")[0] for entry in found} == {"a.md", "b.md"}


def test_one_document_does_not_fill_the_answer(tmp_path: Path) -> None:
    parts = ("Cranes lift wind turbines.", "Our wind is cold.", "Sailors fear wind.", "No wind, no kites.")
    (tmp_path / "a.md").write_text("\n\n".join(f"# Part {n}\n\n{part}" for n, part in enumerate(parts)))
    (tmp_path / "b.md").write_text("Ships pass in some wind at night, and crews sleep.\n")
    found = call("documents.search", tmp_path, query="wind", limit=3)
    assert "b.md" in {entry["source"].split(":")[0] for entry in found}


def test_read_gives_a_passage_with_its_neighbours(folder: Path) -> None:
    assert [entry["source"] for entry in call("documents.read", folder, source="wind.md:5-7")] == [
        "wind.md:1-3",
        "wind.md:5-7",
    ]
    assert [entry["source"] for entry in call("documents.read", folder, source="port.txt")] == ["port.txt:1-3"]
    for wrong, hint in (("wind.md:5-8", "wind.md:5-7"), ("wnd.md", "wind.md")):
        with pytest.raises(ToolError, match=f'did you mean "{hint}"'):
            call("documents.read", folder, source=wrong)


def test_answers_depend_on_nothing_but_folder_and_arguments(folder: Path) -> None:
    first = [call("documents.search", folder, query=query) for query in ("power", "port noise", "gulls")]
    again = [call("documents.search", folder, query=query) for query in ("power", "port noise", "gulls")]
    assert first == again


def test_documents_are_read_once_a_run(folder: Path) -> None:
    state: dict[str, Any] = {}
    call("documents.list", folder, state)
    (folder / "late.md").write_text("Late power.")
    assert len(call("documents.list", folder, state)["documents"]) == 3
    assert len(call("documents.list", folder)["documents"]) == 4


@pytest.mark.parametrize("inside", [[], ["only.png"], [".hidden.md"]])
def test_a_folder_without_documents_is_a_clear_error(tmp_path: Path, inside: list[str]) -> None:
    for name in inside:
        (tmp_path / name).write_text("x")
    with pytest.raises(ToolError, match=r"no document to read in .*md, txt"):
        call("documents.list", tmp_path)


def test_a_folder_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place, why in ((tmp_path / "gone", "No such file"), (tmp_path / "file", "Not a directory"), ("a\0b", "null")):
        with pytest.raises(ToolError, match=f"cannot be read: .*{why}"):
            call("documents.list", place)
    with pytest.raises(ToolError, match="input `sources`"):
        call("documents.list", None)


def test_links_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.md").write_text("The key is 12345.")
    (folder / "link.md").symlink_to(secret / "key.md")
    (folder / "folder").symlink_to(secret)
    os.mkfifo(folder / "pipe.txt")
    found = call("documents.list", folder)
    assert "key" not in str(found["documents"]) and len(found["documents"]) == 3
    assert {(entry["name"], entry["why"]) for entry in found["not_read"]} == {
        ("link.md", "a link; links are not followed"),
        ("pipe.txt", "not a regular file"),
    }
    assert call("documents.search", folder, query="key 12345") == []
    for wrong in ("../secret/key.md", "folder/key.md", str(secret / "key.md")):
        with pytest.raises(ToolError, match="no passage"):
            call("documents.read", folder, source=wrong)


def test_odd_names_and_sizes_are_skipped_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a\nb.md").write_text("newline")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.md")).write_text("bytes")
    (folder / "big.txt").write_text("x" * 200)
    monkeypatch.setattr(library_module, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(library_module, "MAX_FILES", 4)
    (folder / "zz.md").write_text("one too many")
    found = call("documents.list", folder)
    reasons = str(found["not_read"])
    assert "odd characters" in reasons and "200 bytes, more than 100" in reasons and "first 4 documents" in reasons
    assert shape(found) == found


def test_the_whole_is_bounded_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "MAX_TOTAL_BYTES", 100)
    assert "100 bytes already" in str(call("documents.list", folder)["not_read"])
    monkeypatch.undo()
    monkeypatch.setattr(library_module, "MAX_PASSAGES", 1)
    assert "1 passages already" in str(call("documents.list", folder)["not_read"])


def test_a_query_without_words_says_so(folder: Path) -> None:
    with pytest.raises(ToolError, match="no words"):
        call("documents.search", folder, query='"*" -- ()')
    assert call("documents.search", folder, query="but") != []  # a stop word is better than nothing


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("library")
    (folder / "a.md").write_text("NEAR AND OR NOT text: heading* ^a {b} column 'x' \"y\" é 東京")
    return Library(folder)


@given(query=st.text(max_size=200) | st.text('"*()^:-+NEARDO \0\ud800', max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_query_breaks_the_search(library: Library, query: str) -> None:
    try:
        library.search(query, 3, 1)
    except ToolError as error:
        assert "no words" in str(error)


def test_a_few_hundred_documents_are_fast(tmp_path: Path) -> None:
    for number in range(300):
        paragraphs = (f"Paragraph {number} {part} about wind, ports and ships. " * 8 for part in range(8))
        (tmp_path / f"d{number}.md").write_text("\n\n".join(paragraphs))
    started = time.process_time()
    found = Library(tmp_path).search("wind in port 77", 3, 1)
    assert time.process_time() - started < 5
    assert len(found) == 3 and found[0].source.startswith("d77.md")


def test_the_outline_is_a_line_a_document_and_can_be_about_something(tmp_path: Path) -> None:
    (tmp_path / "wind.md").write_text("# Wind\n\nIt blew on 41 days.\n\n## Forecasts\n\nThey were right.\n")
    (tmp_path / "fees.txt").write_text("Fees rose by three percent.\n")
    assert call("documents.outline", tmp_path) == "fees.txt: Fees rose by three percent.\nwind.md: Wind; Forecasts"
    assert call("documents.outline", tmp_path, about="forecasts of wind") == "wind.md: Wind; Forecasts"
    assert "fees.txt" in call("documents.outline", tmp_path, about="nothing of the sort")
