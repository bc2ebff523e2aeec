"""Writing into a directory that people work in: whole or not at all, and nothing of theirs lost."""

import contextlib
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given

from holdfast.values.errors import Conflict, Outside
from holdfast.world import Stage, Written, exchange, import_dir, interrupted, turn, writeback
from tests.world.support import QUICK, Spec, build, in_world, memory, on_disk, worlds

BEFORE: Spec = {
    "same.txt": b"same\n",
    "changed.txt": b"old\n",
    "script.sh": (b"echo\n", False),
    "gone.txt": b"gone\n",
    "link": ("link", "same.txt"),
    "folder/deep/file.txt": b"deep\n",
    "folder/other.txt": b"other\n",
    "becomes-dir": b"a file\n",
    "becomes-file/inside.txt": b"inside\n",
    "empty": None,
}
AFTER: Spec = {
    "same.txt": b"same\n",
    "changed.txt": b"new\n",
    "script.sh": (b"echo\n", True),
    "link": ("link", "changed.txt"),
    "folder/other.txt": b"other, changed\n",
    "becomes-dir/new/file.txt": b"in it\n",
    "becomes-file": b"now a file\n",
    "made/here/x.txt": b"x" * 70_000,
}
CALLS = [
    "open", "write", "pwrite", "mkdir", "symlink", "unlink", "rmdir", "rename", "link", "fchmod",
    "fsync", "ftruncate",
]  # fmt: skip


class Crash(BaseException):
    """As if the process had ended: nothing catches it."""


class Countdown:
    """Crashes at the n-th call, before or after it takes effect, and at every one that follows."""

    def __init__(self, calls: int, after: bool, failure: BaseException | None = None) -> None:
        self.left, self.after = calls, after
        self.failure = failure or Crash()
        self.repeats = failure is None
        self.count = 0

    def around(self, real):
        def call(*args, **kwargs):
            self.count += 1
            self.left -= 1
            dead = self.left < 0 and self.repeats
            if dead or (self.left == 0 and not self.after):
                raise self.failure
            result = real(*args, **kwargs)
            if self.left == 0:
                if real is os.open:
                    os.close(result)
                raise self.failure
            return result

        return call


@contextlib.contextmanager
def counting(countdown: Countdown):
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, countdown.around(getattr(os, name)))
        patch.setattr(exchange, "swap", countdown.around(exchange.swap))
        yield


def write_back(objects: Stage, directory: Path, before: str, after: str, place: Path) -> Written:
    with turn(place, directory) as held:
        return writeback.write_back(objects, held, before, after)


def recover(objects: Stage, place: Path, directory: Path) -> Written | None:
    with turn(place, directory) as held:
        return writeback.recover(objects, held)


def place_of(tmp_path: Path) -> Path:
    return tmp_path / "store" / "writing"


def left(tmp_path: Path) -> list[Path]:
    return list(place_of(tmp_path).glob("*"))


def lay_out(tmp_path: Path, spec: Spec) -> tuple[Stage, Path, str]:
    objects = memory()
    directory = tmp_path / "project"
    write(directory, spec)
    return objects, directory, import_dir(objects, directory)


def write(directory: Path, spec: Spec) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for path, what in spec.items():
        there = directory / path
        there.parent.mkdir(parents=True, exist_ok=True)
        if what is None:
            there.mkdir(exist_ok=True)
        elif isinstance(what, tuple) and what[0] == "link":
            there.symlink_to(str(what[1]))
        else:
            content, executable = what if isinstance(what, tuple) else (what, False)
            assert isinstance(content, bytes)
            there.write_bytes(content)
            there.chmod(0o755 if executable else 0o644)


def test_only_what_differs_is_touched(tmp_path: Path):
    objects, directory, before = lay_out(tmp_path, BEFORE)
    after = build(objects, AFTER)
    (directory / "folder" / "other.txt").chmod(0o600)
    untouched = (directory / "same.txt").stat()
    written = write_back(objects, directory, before, after, place_of(tmp_path))
    assert not written.foreign
    assert "changed.txt" in written.paths
    assert on_disk(directory) == in_world(objects, after)
    assert (directory / "same.txt").stat() == untouched
    assert (directory / "folder" / "other.txt").stat().st_mode & 0o777 == 0o600
    assert left(tmp_path) == []


@QUICK
@given(worlds(), worlds())
def test_any_world_becomes_any_other(tmp_path_factory, one: Spec, other: Spec):
    objects, directory, before = lay_out(tmp_path_factory.mktemp("x"), one)
    after = build(objects, other)
    written = write_back(objects, directory, before, after, directory.parent / "writing")
    assert not written.foreign
    assert on_disk(directory) == in_world(objects, after)


@pytest.mark.parametrize(("swaps", "late"), [(True, False), (True, True), (False, True)])
def test_a_crash_at_any_write_leaves_one_of_the_two(tmp_path: Path, late: bool, swaps: bool):
    """INVARIANT W30, also on a file system that cannot swap two names."""
    calls, ends, crashed = 1, set(), True
    while crashed:
        with pytest.MonkeyPatch.context() as patch:
            if not swaps:
                patch.setattr(exchange, "_libc_swap", lambda: None)
            here = tmp_path / str(calls)
            objects, directory, before = lay_out(here, BEFORE)
            after = build(objects, AFTER)
            countdown = Countdown(calls, late)
            crashed = False
            try:
                with counting(countdown):
                    write_back(objects, directory, before, after, place_of(here))
            except Crash:
                crashed = True
            recover(objects, place_of(here), directory)
            found = on_disk(directory)
            assert found in (in_world(objects, before), in_world(objects, after)), calls
            assert left(here) == []
            ends.add(found == in_world(objects, after))
            assert recover(objects, place_of(here), directory) is None
        calls += 1
    assert ends == {True, False}
    assert calls > 40


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_while_recovering_heals_too(tmp_path: Path, late: bool):
    """The first crash lies where half is written; then one at any write of the recovery."""
    calls = number = 1
    going = True
    while going:
        here = tmp_path / str(number)
        objects, directory, before = lay_out(here, BEFORE)
        after = build(objects, AFTER)
        swapped = Countdown(3, True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exchange, "swap", swapped.around(exchange.swap))
            with pytest.raises(Crash):
                write_back(objects, directory, before, after, place_of(here))
        if number % 2:  # somebody works on, so that it has to be taken back
            (directory / "made").mkdir(exist_ok=True)
            if not (directory / "becomes-file").exists():
                (directory / "becomes-file").write_text("mine")
        try:
            with counting(Countdown(calls, late)):
                recover(objects, place_of(here), directory)
            going = False
        except Crash:
            pass
        recover(objects, place_of(here), directory)
        found = on_disk(directory)
        for side in directory.rglob(".holdfast-*"):
            raise AssertionError(side)
        assert left(here) == []
        if number % 2 == 0:
            assert found in (in_world(objects, before), in_world(objects, after))
        elif (directory / "becomes-file").is_file():
            assert (directory / "becomes-file").read_bytes() in (b"mine", b"now a file\n")
        number, calls = number + 1, calls + 1
    assert number > 20


@pytest.mark.parametrize("path", ["changed.txt", "gone.txt", "made", "becomes-dir", "script.sh"])
def test_what_somebody_changed_before_is_refused(tmp_path: Path, path: str):
    objects, directory, before = lay_out(tmp_path, BEFORE)
    after = build(objects, AFTER)
    (directory / path).write_bytes(b"mine\n")
    mine = on_disk(directory)
    written = write_back(objects, directory, before, after, place_of(tmp_path))
    assert written.foreign == (path,)
    assert not written.paths
    assert on_disk(directory) == mine
    assert left(tmp_path) == []


@pytest.mark.parametrize("path", ["changed.txt", "gone.txt", "becomes-file"])
def test_what_somebody_changes_at_any_moment_is_kept(tmp_path: Path, path: str):
    """Before each call to the system in turn, somebody replaces a file."""
    moment, total, refused = 1, 2, 0
    while moment <= total:
        here = tmp_path / str(moment)
        objects, directory, before = lay_out(here, BEFORE)
        after = build(objects, AFTER)
        countdown = Meddler(moment, directory / path)
        with counting(countdown):
            written = write_back(objects, directory, before, after, place_of(here))
        total = countdown.count
        found = on_disk(directory)
        if countdown.wrote and countdown.saw != "after":
            assert found.get(path) == (b"mine\n", False), (moment, found)
        if written.foreign:
            refused += 1
            expected = in_world(objects, before)
            if countdown.wrote:
                expected = {k: v for k, v in expected.items() if not k.startswith(path + "/")}
                expected[path] = (b"mine\n", False)
            assert {k: v for k, v in found.items() if k != path} == {
                k: v for k, v in expected.items() if k != path
            }, moment
        assert not list(directory.rglob(".holdfast-*")), moment
        moment += 1
    assert refused > 5


class Meddler(Countdown):
    """Instead of crashing, lets somebody else replace a file at the n-th call."""

    def __init__(self, calls: int, path: Path) -> None:
        super().__init__(calls, False)
        self.path = path
        self.wrote = False
        self.saw = ""

    def around(self, real):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.left and not self.path.is_dir():
                self.saw = "after" if self._is_new() else "before"
                self.wrote = True
                draft = self.path.parent.parent / f"draft-{self.path.name}"
                draft.write_bytes(b"mine\n")
                draft.chmod(0o644)
                REPLACE(draft, self.path)
            return real(*args, **kwargs)

        return call

    def _is_new(self) -> bool:
        top = next(one for one in self.path.parents if one.name == "project")
        new = AFTER.get(str(self.path.relative_to(top)))
        return self.path.is_file() and self.path.read_bytes() == new


REPLACE = os.replace


def test_a_disk_that_refuses_takes_everything_back(tmp_path: Path):
    calls, refused = 1, 0
    while True:
        here = tmp_path / str(calls)
        objects, directory, before = lay_out(here, BEFORE)
        after = build(objects, AFTER)
        full = Countdown(calls, False, OSError(28, "No space left on device"))
        try:
            with counting(full):
                write_back(objects, directory, before, after, place_of(here))
            break
        except (Outside, OSError):
            refused += 1
        recover(objects, place_of(here), directory)
        assert on_disk(directory) in (in_world(objects, before), in_world(objects, after)), calls
        calls += 1
    assert refused > 20


def test_two_processes_do_not_write_at_once(tmp_path: Path):
    objects, directory, before = lay_out(tmp_path, BEFORE)
    after = build(objects, AFTER)
    inside, go = multiprocessing.Event(), multiprocessing.Event()

    def hold() -> None:
        real = writeback._begin

        def slow(*args):
            inside.set()
            go.wait(30)
            return real(*args)

        writeback._begin = slow
        write_back(objects, directory, before, after, place_of(tmp_path))

    other = multiprocessing.get_context("fork").Process(target=hold)
    other.start()
    assert inside.wait(30)
    with pytest.raises(Conflict, match="another process"):
        write_back(objects, directory, before, after, place_of(tmp_path))
    with pytest.raises(Conflict, match="another process"):
        recover(objects, place_of(tmp_path), directory)
    go.set()
    other.join(30)
    assert other.exitcode == 0
    assert on_disk(directory) == in_world(objects, after)


def test_taking_a_directory_in_changes_nothing_in_it(tmp_path: Path):
    objects, directory, _ = lay_out(tmp_path, BEFORE)
    (directory / "folder").chmod(0o555)
    (directory / "same.txt").chmod(0o444)
    before = {p: p.lstat().st_mode for p in directory.rglob("*")}
    import_dir(objects, directory)
    assert {p: p.lstat().st_mode for p in directory.rglob("*")} == before


@pytest.mark.parametrize("torn", [b"", bytes(100), b"prepare ", b"prepare [", b"prepare [1]"])
def test_an_intent_that_was_never_durable_is_dropped(tmp_path: Path, torn: bytes):
    """INVARIANT W44."""
    objects, directory, before = lay_out(tmp_path, BEFORE)
    with turn(place_of(tmp_path), directory) as held:
        held.path.write_bytes(torn)
    assert interrupted(place_of(tmp_path), "") == []
    assert recover(objects, place_of(tmp_path), directory) is None
    assert on_disk(directory) == in_world(objects, before)
    assert left(tmp_path) == []


def test_an_interrupted_writing_is_finished_for_its_own_store_only(tmp_path: Path):
    """INVARIANT W44."""
    objects, directory, before = lay_out(tmp_path, BEFORE)
    after, place = build(objects, AFTER), place_of(tmp_path)
    swapped = Countdown(2, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "swap", swapped.around(exchange.swap))
        with pytest.raises(Crash), turn(place, directory, "/mine") as held:
            writeback.write_back(objects, held, before, after)
    assert interrupted(place, "/mine") == [str(directory.resolve())]
    assert interrupted(place, "/theirs") == []
    with turn(place, directory, "/theirs") as held:
        with pytest.raises(Conflict, match="the store /mine"):
            writeback.recover(objects, held)
        with pytest.raises(Conflict, match="was interrupted"):
            writeback.write_back(objects, held, before, after)
    with turn(place, directory, "/mine") as held:
        assert writeback.recover(objects, held) is not None
    assert on_disk(directory) == in_world(objects, after)
    assert left(tmp_path) == []


def test_what_is_new_or_renamed_is_no_more_public_than_it_was(tmp_path: Path):
    """INVARIANT W45."""
    spec: Spec = {"key": b"secret\n", "tool": (b"run\n", True), "open": b"open\n"}
    objects, directory, before = lay_out(tmp_path, spec)
    (directory / "key").chmod(0o600)
    (directory / "tool").chmod(0o700)
    after = build(objects, {
        "moved/key": b"secret\n", "moved/tool": (b"run\n", True), "renamed": b"open\n",
        "new": b"new\n", "new.sh": (b"new\n", True),
    })  # fmt: skip
    mask = os.umask(0o027)
    try:
        assert not write_back(objects, directory, before, after, place_of(tmp_path)).foreign
    finally:
        os.umask(mask)
    modes = {path: (directory / path).stat().st_mode & 0o777
             for path in ("moved/key", "moved/tool", "renamed", "new", "new.sh")}  # fmt: skip
    assert modes == {"moved/key": 0o600, "moved/tool": 0o700, "renamed": 0o644, "new": 0o640,
                     "new.sh": 0o750}  # fmt: skip
