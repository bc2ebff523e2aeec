"""fsck finds every kind of damage and says where; salvage saves the rest."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.stores.archive import import_archive
from holdfast.stores.fsck import check
from holdfast.stores.memory import MemoryStore
from holdfast.stores.salvage import salvage
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.drafts import sound
from holdfast.values.errors import Corrupt, HoldfastError, Misuse, NotFound
from tests.stores.scenes import rich


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "store")
    await rich(store)
    await store.close()
    return tmp_path / "store"


def change(directory: Path, *statements: str) -> None:
    conn = sqlite3.connect(directory / "journal.db")
    for statement in statements:
        conn.execute(statement)
    conn.commit()
    conn.close()


async def test_a_rich_journal_is_sound(directory: Path):
    before = (directory / "journal.db").read_bytes()
    shown = []
    report = check(directory, progress=lambda *what: shown.append(what))
    assert report.problems == []
    assert report.sound
    assert (report.runs, report.lost) == (5, set())
    assert report.events == 40
    assert report.blobs > 30
    assert report.events_per_second > 0
    assert report.heads["c"].pos == 13
    assert shown
    assert check(directory / "journal.db").heads == report.heads
    assert (directory / "journal.db").read_bytes() == before


async def test_a_live_journal_is_checked_with_its_log(tmp_path: Path):
    store = SqliteStore(tmp_path)
    await rich(store)
    assert check(tmp_path).problems == []
    await store.close()


AT = "n=(SELECT n FROM run WHERE run='a') AND pos="
DAMAGE = {
    "body": (f"UPDATE event SET body=replace(body,'0.2','0.7') WHERE {AT}2", "hash", "a#2"),
    "time": (f"UPDATE event SET at=at+1 WHERE {AT}5", "hash", "a#5"),
    "value": (f"UPDATE event SET value='0.26' WHERE {AT}1", "hash", "a#1"),
    "args": (f"UPDATE event SET args=replace(args,'app','bpp') WHERE {AT}2", "hash", "a#2"),
    "world": (f"UPDATE event SET world=NULL WHERE {AT}2", "hash", "a#2"),
    "id": (f"UPDATE event SET id=zeroblob(32) WHERE {AT}3", "hash", "a#3"),
    "kind": (f"UPDATE event SET kind=3 WHERE {AT}1", "hash", "a#1"),
    "no kind": (f"UPDATE event SET kind=77 WHERE {AT}1", "body", "a#1"),
    "missing": ("DELETE FROM event WHERE seq BETWEEN 20 AND 22", "position", "seq 20 to 22"),
    "gap": (f"DELETE FROM event WHERE {AT}4", "position", "a#5"),
    "orphan": ("DELETE FROM run WHERE run='w'", "row", "event seq"),
    "renamed": ("UPDATE run SET run='z' WHERE run='w'", "hash", "z#0"),
    "source of a fork": (
        "DELETE FROM event WHERE n=(SELECT n FROM run WHERE run='b') AND pos>10", "fork", "c#12",
    ),
    "row": ("UPDATE run SET row=replace(row,'waiter','painter') WHERE run='w'", "row", "w"),
    "column": ("UPDATE run SET woken=0 WHERE run='w'", "row", "w"),
    "unreadable row": ("UPDATE run SET row='{' WHERE run='w'", "row", "w"),
    "blob": ("UPDATE blob SET data=zeroblob(9), zstd=0 WHERE id=3", "blob", "blob "),
    "blob's frame": ("UPDATE blob SET data=zeroblob(9), zstd=1 WHERE id=3", "blob", "blob "),
    "continuation": (
        f"UPDATE event SET args=replace(args,'[\"m5\"','[\"nope\"') WHERE {AT}8",
        "payload", "a#8",
    ),
}  # fmt: skip

GONE = {("renamed", "w"), ("orphan", "w"), ("source of a fork", "b")}
"""What a journal does not know that it has lost."""


@pytest.mark.parametrize("name", DAMAGE)
async def test_damage_is_found_and_placed(directory: Path, name: str, tmp_path: Path):
    sql, kind, place = DAMAGE[name]
    before = check(directory).heads
    change(directory, sql)
    report = check(directory)
    found = [(problem.kind, problem.place) for problem in report.problems]
    assert any(one[0] == kind and one[1].startswith(place) for one in found), found
    assert all("\n" not in str(problem) for problem in report.problems)
    # what can be saved is sound, and nothing sound is lost
    saved = salvage(directory, tmp_path / "saved")
    store = MemoryStore()
    await import_archive(tmp_path / "saved", store)
    for run, head in before.items():
        if run in saved.gone or (name, run) in GONE:
            continue
        chain = await sound(store, run)
        if run not in saved.cut:
            assert chain[-1].id == head.id
        else:
            assert len(chain) == saved.cut[run]


async def test_absent_content_is_found(directory: Path):
    conn = sqlite3.connect(directory / "journal.db")
    keys = [key for (key,) in conn.execute("SELECT id FROM blob")]
    conn.close()
    for key in keys:
        shutil.copytree(directory, directory.parent / "copy")
        change(directory.parent / "copy", f"DELETE FROM blob WHERE id={key}")
        report = check(directory.parent / "copy")
        kinds = {problem.kind for problem in report.problems}
        assert kinds, key
        assert kinds <= {"payload", "world"}
        assert report.lost, report.problems
        shutil.rmtree(directory.parent / "copy")


async def test_two_outcomes_are_found(tmp_path: Path):
    """INVARIANT J5 holds of files too: the store does not judge steps, the proof does."""
    from holdfast.testing.drafts import begin, settled

    store = SqliteStore(tmp_path)
    await begin(store, "r", settled("1"), settled("2"), settled("1"))
    await store.close()
    (problem,) = check(tmp_path).problems
    assert (problem.kind, problem.place) == ("outcome", "r#3")


NOT_OURS: dict[str, tuple[Callable[[Path], object], type[HoldfastError], str]] = {
    "absent": (lambda path: path.unlink(), NotFound, "there is no store here"),
    "empty": (lambda path: path.write_bytes(b""), Corrupt, "is empty (0 bytes)"),
    "text": (lambda path: path.write_text("hello " * 99), Corrupt, "nor any SQLite file"),
    "short": (lambda path: path.write_bytes(path.read_bytes()[:50]), Corrupt, "cut off after 50"),
    "foreign": (lambda path: _foreign(path), Corrupt, "of another program"),
    "newer": (lambda path: change(path.parent, "PRAGMA user_version=99"), Misuse, "format 99"),
    "directory": (lambda path: (path.unlink(), path.mkdir()), Misuse, "is a directory"),
}


def _foreign(path: Path) -> None:
    path.unlink()
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE t(x)")
    conn.close()


@pytest.mark.parametrize("name", NOT_OURS)
async def test_what_is_no_journal_of_ours_is_refused_in_one_line(directory: Path, name: str):
    """INVARIANT S1: by `check`, and by opening it for work; and it is not touched."""
    spoil, error, text = NOT_OURS[name]
    path = directory / "journal.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None

    def open_for_work(path: Path) -> None:
        SqliteStore(path.parent, create=name != "absent")

    for attempt in (check, open_for_work, lambda path: salvage(path, directory / "saved")):
        with pytest.raises(error) as caught:
            attempt(path)
        assert text in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not (directory / "saved").exists()


async def test_salvage_does_not_overwrite(directory: Path, tmp_path: Path):
    (tmp_path / "saved").write_text("mine")
    with pytest.raises(Misuse, match="exists already"):
        salvage(directory, tmp_path / "saved")
    assert (tmp_path / "saved").read_text() == "mine"
