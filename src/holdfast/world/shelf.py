"""Where layers stand on a disk: trees with marks, shared by processes, healed after any crash.

    <boot>/trees/<name>      bases and layers, never written again once they have their mark
    <boot>/marks/<root>.<below>    written last: what lacks it does not exist; says its size
    <boot>/own/<owner>/...   what one process works on: uppers, drafts, what is being deleted
    <boot>/locks             who uses what: a lock on one byte for each name

All of it may be deleted at any time when no command runs. What a power loss may have torn is never
trusted: a shelf is of one boot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import struct
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Misuse, Outside
from holdfast.values.ports import Dice, SystemDice
from holdfast.world import disk
from holdfast.world.index import boot_id
from holdfast.world.overlay import Size, outside

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HOME = re.compile("[0-9a-f]{8}")
_PARTS = frozenset(("trees", "marks", "own", "locks"))


class Layer(NamedTuple):
    """A frozen directory: over whatever shows ``below`` it shows ``root``. A base has nothing
    ``below`` ("")."""

    below: str
    root: str

    @property
    def name(self) -> str:
        """Its directory's name, the same for whoever makes it."""
        return digest(f"{self.below} {self.root}".encode())[:20] if self.below else self.root

    @property
    def mark(self) -> str:
        """Its mark's name."""
        return f"{self.root}.{self.below}"


def _of_mark(name: str) -> Layer:
    root, _, below = name.partition(".")
    return Layer(below, root)


class Locks:
    """Locks on names, shared by processes: one byte each of one file. A dead process has none.

    They belong to this object (an open file description), not to the process, and are held once:
    taking one again changes its kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, name: str, *, alone: bool, wait: bool = False) -> bool:
        """Whether the lock is ours now."""
        try:
            self._set(fcntl.F_WRLCK if alone else fcntl.F_RDLCK, name, wait)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def drop(self, name: str) -> None:
        """Let go of a lock."""
        self._set(fcntl.F_UNLCK, name, False)

    def _set(self, kind: int, name: str, wait: bool) -> None:
        asked = struct.pack("hhqqi4x", kind, os.SEEK_SET, int(digest(name.encode())[:15], 16), 1, 0)
        fcntl.fcntl(self.fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, asked)

    def lost(self) -> bool:
        """Whether the file was deleted, so that others lock another one."""
        try:
            return self.path.stat().st_ino != os.fstat(self.fd).st_ino
        except OSError:
            return True

    def close(self) -> None:
        """Let go of all."""
        os.close(self.fd)


class Shelf:
    """The directories below ``place``, for all threads of a process. ``known``: the layers there,
    by the root that they show and the one they stand over; ``count``, how many; ``gate`` guards
    these. `Outside` if the disk refuses, `Misuse` if ``place`` is a symbolic link."""

    # INVARIANT W22: what is in use, by any process, is neither changed nor deleted: a tree without
    # a mark is written by one process at a time (a lock alone), one with a mark never again, and
    # only who gets its lock alone deletes it, mark first.

    def __init__(self, place: Path, dice: Dice | None = None) -> None:
        self.place = real(Path(place)).resolve()
        self.home = self.place / (digest(boot_id().encode())[:8])
        self.trees, self.marks = self.home / "trees", self.home / "marks"
        self.owner = (dice or SystemDice()).take(8).hex()
        self.own = self.home / "own" / self.owner
        self.gate = threading.RLock()
        self.known: dict[str, dict[str, Layer]] = {}
        self.count = 0
        self._uses: dict[str, int] = {}
        self._building: set[str] = set()
        self._built = threading.Condition(self.gate)
        self._sizes: dict[Layer, Size] = {}
        self._read_ns = -1
        self._serial = itertools.count(1)
        self.claim = -1
        with outside(self.place):
            self.locks = self._enter()

    def _enter(self) -> Locks:
        for directory in (real(self.home), self.trees, self.marks, real(self.own.parent)):
            real(directory).mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.own.is_dir():
            self._claim()
        return Locks(self.home / "locks")

    def _claim(self) -> None:
        """Make this process's own directory, with a lock on itself for as long as we live."""
        opened = -1
        while opened < 0:
            self.own.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileNotFoundError):  # somebody's sweep was faster than we
                opened = os.open(self.own, _DIR_FLAGS)
                fcntl.flock(opened, fcntl.LOCK_EX)
                if not self.own.is_dir() or self.own.stat().st_ino != os.fstat(opened).st_ino:
                    os.close(opened)
                    opened = -1
        before, self.claim = self.claim, opened
        if before >= 0:
            os.close(before)

    def close(self) -> None:
        """Delete what is this process's own and let go of the rest."""
        delete(self.own)
        os.close(self.claim)
        self.locks.close()

    def settle_in(self) -> None:
        """The place may have been deleted meanwhile: then begin anew."""
        if self.locks.lost():
            with outside(self.place):
                self.locks.close()
                self.locks = self._enter()
            self.known, self._read_ns = {}, -1
            for name in self._uses:
                self.locks.take(name, alone=False)

    # What is there ---

    def refresh(self) -> bool:
        """Read the marks again if there are others than before."""
        try:
            now = self.marks.stat().st_mtime_ns
            if now == self._read_ns:
                return False
            with os.scandir(self.marks) as found:
                layers = [_of_mark(item.name) for item in found]
        except FileNotFoundError:
            now, layers = -1, []
        self._read_ns, self.known, self.count = now, {}, 0
        for layer in layers:
            self._note(layer)
        return True

    def size(self, layer: Layer) -> Size:
        """What a layer's mark says."""
        size = self._sizes.get(layer)
        if size is None:
            try:
                entries, taken = (self.marks / layer.mark).read_text().split()
                size = self._sizes[layer] = Size(int(entries), int(taken))
            except (OSError, ValueError):
                return Size(0, 0)
        return size

    def by_age(self) -> list[Layer]:
        """All layers, the least recently used first."""
        return [layer for _, layer in sorted(_ages(self.marks))]

    def _note(self, layer: Layer) -> None:
        self.known.setdefault(layer.root, {})[layer.below] = layer
        self.count += 1

    def forget(self, layer: Layer) -> None:
        """It is there no more."""
        self._sizes.pop(layer, None)
        ways = self.known.get(layer.root, {})
        ways.pop(layer.below, None)
        if not ways:
            self.known.pop(layer.root, None)

    # Using ---

    def use(self, layer: Layer) -> int | None:
        """Begin to use a layer: the inode of its directory; None if it is there no more."""
        name = layer.name
        used = self._uses.get(name, 0)
        if not used and not self.locks.take(name, alone=False):
            return None
        self._uses[name] = used + 1
        try:
            os.utime(self.marks / layer.mark)  # the least recently used go first
            return (self.trees / name).stat().st_ino
        except OSError:
            (self.marks / layer.mark).unlink(missing_ok=True)
            self.drop(layer)
            return None

    def drop(self, layer: Layer) -> None:
        """It is used once less."""
        left = self._uses.get(layer.name, 0) - 1
        if left > 0:
            self._uses[layer.name] = left
        elif self._uses.pop(layer.name, None):
            self.locks.drop(layer.name)

    # Making ---

    @contextlib.contextmanager
    def alone(self, layer: Layer) -> Generator[bool]:
        """Nobody else makes this layer meanwhile; whether it is there."""
        name = layer.name
        with self._built:
            self.settle_in()
            while name in self._building:
                self._built.wait()
            self._building.add(name)
        try:
            tries = itertools.count(1)
            while not (there := self._is_there(layer)):
                if self.locks.take(name, alone=True):
                    there = self._is_there(layer)
                    break
                self.locks.take(name, alone=False, wait=True)  # until its maker is done
                self.locks.drop(name)
                if next(tries) > limits.SHELF_ATTEMPTS:
                    raise Outside(f"{name}: was deleted while it is in use", retryable=True)
            yield there
        finally:
            with self._built:
                self._building.discard(name)
                self._built.notify_all()
                if self._uses.get(name):
                    self.locks.take(name, alone=False)
                else:
                    self.locks.drop(name)

    def _is_there(self, layer: Layer) -> bool:
        there = (self.marks / layer.mark).exists() and (self.trees / layer.name).is_dir()
        if there:
            with self.gate:
                if layer.below not in self.known.get(layer.root, {}):
                    self._note(layer)
        return there

    def install(self, layer: Layer, draft: Path, size: Size) -> None:
        """Make a directory of our own the layer; to be called inside of `alone`."""
        # INVARIANT W23: a crash anywhere leaves a tree without a mark, which counts as absent, or
        # one that is complete.
        target, mark = self.trees / layer.name, self.draft()
        with outside(self.place):
            for directory in (self.trees, self.marks):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if target.exists():
                delete(self._bin(target))
            draft.rename(target)
            mark.write_text(f"{size.entries} {size.bytes}")
            with self.gate:
                before = self.marks.stat().st_mtime_ns
                mark.rename(self.marks / layer.mark)
                if before == self._read_ns:  # ours is the only news
                    self._read_ns = self.marks.stat().st_mtime_ns
                self._note(layer)
                self._sizes[layer] = size

    def draft(self) -> Path:
        """A name of our own for something that is about to be made."""
        if not self.own.is_dir():
            with outside(self.place), self.gate:
                self._claim()
        return self.own / str(next(self._serial))

    # Deleting ---

    def remove(self, name: str, layer: Layer | None) -> bool:
        """Delete a tree (with its layer's mark) if nobody uses or makes it."""
        with self.gate:
            self.settle_in()
            if self._uses.get(name) or name in self._building:
                return False
            if not self.locks.take(name, alone=True):
                return False
            try:
                if layer is not None:
                    self.forget(layer)
                    (self.marks / layer.mark).unlink(missing_ok=True)
                elif any(one.name == name for _, one in _ages(self.marks)):
                    return False  # it was made meanwhile
                gone = self._bin(self.trees / name)
            except OSError:
                return False
            finally:
                self.locks.drop(name)
        delete(gone)
        return True

    def _bin(self, tree: Path) -> Path:
        gone = self.draft()
        with contextlib.suppress(FileNotFoundError):
            tree.rename(gone)
        return gone

    def sweep(self) -> None:
        """Delete what dead processes left, and shelves of other boots."""
        with contextlib.suppress(OSError):
            for other in self.place.iterdir():
                if other != self.home and _is_home(other):
                    delete(other)
            for owner in (self.home / "own").iterdir():
                if owner != self.own:
                    _bury(owner)
            marked = {layer.name for _, layer in _ages(self.marks)}
            for tree in self.trees.iterdir():
                if tree.name not in marked:
                    self.remove(tree.name, None)


def real(place: Path) -> Path:
    """A place for caches, which are deleted without asking; `Misuse` if it is a symbolic link.

    INVARIANT W41: what a directory brings along never leads a sweep to anybody's files: places for
    caches are no symbolic links, and of what stands there only what a shelf is made of is deleted.
    """
    if place.is_symlink():
        raise Misuse(f"{place}: is a symbolic link, and caches are deleted there: remove it")
    return place


def _is_home(place: Path) -> bool:
    """Whether it is a shelf of some boot, and holds nothing else."""
    if not _HOME.fullmatch(place.name) or place.is_symlink() or not place.is_dir():
        return False
    with os.scandir(place) as found:
        return all(
            one.name in _PARTS and (one.name == "locks" or one.is_dir(follow_symlinks=False))
            for one in found
        )


def _bury(own: Path) -> None:
    """Delete the own directory of a process that has ended."""
    opened = os.open(own, _DIR_FLAGS)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        delete(own)
    except BlockingIOError:
        pass  # it lives
    finally:
        os.close(opened)


def _ages(marks: Path) -> Iterator[tuple[int, Layer]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(marks) as found:
        for item in found:
            with contextlib.suppress(FileNotFoundError):
                yield item.stat().st_mtime_ns, _of_mark(item.name)


def delete(place: Path) -> None:
    """Delete a directory as far as it lets itself be deleted: what stays is tried again later."""
    with contextlib.suppress(OSError):
        parent = os.open(place.parent, _DIR_FLAGS)
        try:
            disk.delete(parent, place.name)
        finally:
            os.close(parent)
