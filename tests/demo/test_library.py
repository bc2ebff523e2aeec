"""Fetching: the pin is checked before anything is unpacked; being offline is one clear error."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from examples.repair import library


def archive(cache: Path, members: dict[str, str]) -> library.Pin:
    """A cached archive and the pin that fits it."""
    pin = library.Pin("tiny-lib", "1.0", "", ("tiny/*.py",))
    cache.mkdir(exist_ok=True)
    with tarfile.open(cache / pin.archive, "w:gz") as bundle:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            bundle.addfile(entry, io.BytesIO(text.encode()))
    return replace(pin, sha256=library.digest(cache / pin.archive))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package index: pip looks in an empty place only."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_a_cached_archive_is_unpacked_and_its_sources_read(tmp_path: Path):
    pin = archive(tmp_path / "cache", {"tiny_lib-1.0/tiny/core.py": "x = 1\n"})
    root = library.unpack(library.fetch(pin, tmp_path / "cache"), pin, tmp_path / "out/lib")
    assert library.sources(root, pin.sources) == {"tiny/core.py": "x = 1\n"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lib"]


def test_offline_and_not_cached_is_one_clear_line(tmp_path: Path, offline: None):
    with pytest.raises(library.LibraryUnavailable) as caught:
        library.fetch(library.TOOLZ, tmp_path / "cache")
    said = str(caught.value)
    assert said.startswith("toolz 1.2.0 is not cached and could not be downloaded: ERROR: No match")
    assert said.endswith(f"put toolz-1.2.0.tar.gz into {tmp_path / 'cache'}")
    assert "\n" not in said


def test_an_altered_archive_is_neither_used_nor_unpacked(tmp_path: Path, offline: None):
    pin = archive(tmp_path, {"tiny_lib-1.0/tiny/core.py": "x = 1\n"})
    (tmp_path / pin.archive).write_bytes(b"something else")
    with pytest.raises(library.LibraryUnavailable, match="not cached"):
        library.fetch(pin, tmp_path)
    with pytest.raises(library.LibraryUnavailable, match="does not match"):
        library.unpack(tmp_path / pin.archive, pin, tmp_path / "lib")
    assert not (tmp_path / "lib").exists()


def test_an_archive_that_climbs_out_is_refused(tmp_path: Path):
    pin = archive(tmp_path, {"tiny_lib-1.0/a.py": "", "../evil.py": "x = 1\n"})
    with pytest.raises((tarfile.TarError, library.LibraryUnavailable)):
        library.unpack(tmp_path / pin.archive, pin, tmp_path / "out/lib")
    assert not list(tmp_path.rglob("evil.py"))


def test_the_pin_is_complete():
    assert len(bytes.fromhex(library.TOOLZ.sha256)) == 32
