"""A cache of worlds as directories: shared bases, frozen layers, private uppers.

A world is shown by a stack: at most a few layers over one base, which an overlay file system lays
over each other. A **base** is a whole world; a **layer** turns one world into another, so whoever
forks shares both; an **upper** is private, and becomes a layer when its owner is done with it.

    <boot>/trees/<name>      bases and layers, never written again once they have their mark
    <boot>/marks/<root>.<below>    written last: what lacks it does not exist; says its size
    <boot>/own/<owner>/...   what one process works on: uppers, drafts, what is being deleted
    <boot>/locks             who uses what: a lock on one byte for each name

All of it may be deleted at any time when no command runs. What a power loss may have torn is never
trusted: a cache is of one boot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt, Outside
from holdfast.values.ports import Dice, SystemDice
from holdfast.world import disk, nodes
from holdfast.world.index import boot_id
from holdfast.world.nodes import EMPTY
from holdfast.world.objects import Objects
from holdfast.world.overlay import Size, outside, settle_upper, write_layer

_TRIES = 20


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


@dataclass(frozen=True)
class Stack:
    """Directories that together show ``root``, topmost first; in use until `Layers.release`."""

    root: str
    layers: tuple[Layer, ...]
    directories: tuple[Path, ...]
    inodes: tuple[int, ...]


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


class Layers:
    """The cache below ``place``. Methods block, and may be called from any thread.

    ``objects`` hold what is committed; where a world is not yet, methods are given its own. Several
    processes may use one place. Errors: `Outside` (the disk), `Corrupt` (content is absent).
    """

    # INVARIANT W22: what is in use, by any process, is neither changed nor deleted: a tree without
    # a mark is written by one process at a time (a lock alone), one with a mark never again, and
    # only who gets its lock alone deletes it, mark first.

    def __init__(self, objects: Objects, place: Path, dice: Dice | None = None) -> None:
        self._objects = objects
        self._place = Path(place).resolve()
        self._home = self._place / (digest(boot_id().encode())[:8])
        self._trees, self._marks = self._home / "trees", self._home / "marks"
        self._owner = (dice or SystemDice()).take(8).hex()
        self._own = self._home / "own" / self._owner
        self._gate = threading.RLock()
        self._known: dict[str, dict[str, Layer]] = {}
        self._uses: dict[str, int] = {}
        self._recent: dict[str, None] = {}
        self._building: set[str] = set()
        self._built = threading.Condition(self._gate)
        self._sizes: dict[Layer, Size] = {}
        self._read_ns = -1
        self._count = 0
        self._news = limits.CACHE_BYTES  # bytes written since the limits were looked at
        self._serial = itertools.count(1)
        self._pending = False
        self._closing = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="holdfast-layers")
        with outside(self._place):
            self._locks = self._enter()
        self._later(self._sweep)

    def _enter(self) -> Locks:
        for directory in (self._trees, self._marks, self._own):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        locks = Locks(self._home / "locks")
        locks.take(self._owner, alone=True)
        return locks

    def close(self) -> None:
        """Let go of everything. Uppers of this process must not be mounted any more."""
        self._closing = True
        self._worker.shutdown(wait=True, cancel_futures=True)
        _delete(self._own)
        self._locks.close()

    # Stacks ---

    def lowers(self, root: str, near: Iterable[str] = (), objects: Objects | None = None) -> Stack:
        """Directories that show ``root``; what is missing is written. ``near``: roots that may be
        close to it. The stack is in use until it is released."""
        given = objects or self._objects
        for _ in range(_TRIES):
            path = self._path(root)
            if path is None:
                self._make(root, tuple(near), given)
            elif len(path) > limits.OVERLAY_LEVELS_MAX:
                self._compact(path, given)
            elif stack := self._hold(root, path):
                self._shorten(path)
                return stack
        raise Outside(f"{self._place}: is being deleted while worlds are opened", retryable=True)

    def release(self, stack: Stack) -> None:
        """The stack is mounted no more."""
        with self._gate:
            for layer in stack.layers:
                self._drop(layer.name)

    def sound(self, stack: Stack) -> bool:
        """Whether the directories of a stack are still those that they were."""
        try:
            return all(
                (self._marks / layer.mark).exists() and directory.stat().st_ino == inode
                for layer, directory, inode in zip(
                    stack.layers, stack.directories, stack.inodes, strict=True
                )
            )
        except OSError:
            return False

    def _path(self, root: str) -> tuple[Layer, ...] | None:
        """The shortest way from a world down to a base."""
        with self._gate:
            found = self._search(root)
            if found is None and self._refresh():
                found = self._search(root)
            return found

    def _search(self, root: str) -> tuple[Layer, ...] | None:
        queue: deque[tuple[str, tuple[Layer, ...]]] = deque([(root, ())])
        seen = {root}
        while queue:
            here, path = queue.popleft()
            ways = self._known.get(here, {})
            if "" in ways:
                return (*path, ways[""])
            for below, layer in ways.items():
                if below not in seen:
                    seen.add(below)
                    queue.append((below, (*path, layer)))
        return None

    def _refresh(self) -> bool:
        """Read the marks again if there are others than before."""
        try:
            now = self._marks.stat().st_mtime_ns
            if now == self._read_ns:
                return False
            with os.scandir(self._marks) as found:
                layers = [_of_mark(item.name) for item in found]
        except FileNotFoundError:
            now, layers = -1, []
        self._read_ns, self._known, self._count = now, {}, 0
        for layer in layers:
            self._note(layer)
        return True

    def _size(self, layer: Layer) -> Size:
        """What a layer's mark says."""
        size = self._sizes.get(layer)
        if size is None:
            try:
                entries, taken = (self._marks / layer.mark).read_text().split()
                size = self._sizes[layer] = Size(int(entries), int(taken))
            except (OSError, ValueError):
                return Size(0, 0)
        return size

    def _note(self, layer: Layer) -> None:
        self._known.setdefault(layer.root, {})[layer.below] = layer
        self._count += 1

    def _forget(self, layer: Layer) -> None:
        self._sizes.pop(layer, None)
        ways = self._known.get(layer.root, {})
        ways.pop(layer.below, None)
        if not ways:
            self._known.pop(layer.root, None)

    def _hold(self, root: str, path: tuple[Layer, ...]) -> Stack | None:
        """Begin to use a stack; None if a part of it is no more."""
        with self._gate:
            self._settle_in()
            found = {layer: self._use(layer) for layer in path}
            inodes = tuple(inode for inode in found.values() if inode is not None)
            if len(inodes) < len(path):
                for layer, inode in found.items():
                    if inode is None:
                        self._forget(layer)
                    else:
                        self._drop(layer.name)
                return None
            self._recent.pop(root, None)
            self._recent[root] = None
            while len(self._recent) > limits.NEAR_ITEMS:
                del self._recent[next(iter(self._recent))]
            directories = tuple(self._trees / layer.name for layer in path)
            return Stack(root, path, directories, inodes)

    def _use(self, layer: Layer) -> int | None:
        name = layer.name
        used = self._uses.get(name, 0)
        if not used and not self._locks.take(name, alone=False):
            return None
        self._uses[name] = used + 1
        try:
            os.utime(self._marks / layer.mark)  # the least recently used go first
            return (self._trees / name).stat().st_ino
        except OSError:
            (self._marks / layer.mark).unlink(missing_ok=True)
            self._drop(name)
            return None

    def _drop(self, name: str) -> None:
        left = self._uses.get(name, 0) - 1
        if left > 0:
            self._uses[name] = left
        elif self._uses.pop(name, None):
            self._locks.drop(name)

    def _settle_in(self) -> None:
        """The place may have been deleted meanwhile: begin anew."""
        if self._locks.lost():
            with outside(self._place):
                self._locks.close()
                self._locks = self._enter()
            self._known, self._read_ns = {}, -1
            for name in self._uses:
                self._locks.take(name, alone=False)

    # Making ---

    def _make(self, root: str, near: tuple[str, ...], objects: Objects) -> None:
        self._build(self._nearest(root, near, objects), root, objects)

    def _nearest(self, root: str, near: tuple[str, ...], objects: Objects) -> str:
        """The shown world that differs least from ``root``; "" if all differ too much."""
        best, least = "", -1
        with self._gate:
            candidates = dict.fromkeys((*near, *reversed(self._recent)))
        for candidate in candidates:
            path = self._path(candidate)
            if path is None or candidate == root:
                continue
            share = self._size(path[-1]).entries * limits.NEAR_MAX_PERCENT // 100
            most = max(limits.NEAR_MIN_ENTRIES, share) if least < 0 else least - 1
            found = _distance(objects, candidate, root, most)
            if found is not None:
                best, least = candidate, found
        return best

    def _build(self, below: str, root: str, objects: Objects) -> None:
        """Write a layer (or, with nothing below, a base) unless it is there."""
        with self._alone(below, root) as there:
            if there:
                return
            for last in (False, True):
                draft = self._draft()
                try:
                    size = write_layer(_Watched(objects, self), below or EMPTY, root, draft)
                    self._install(Layer(below, root), draft, size)
                    return
                except Outside as error:
                    _delete(draft)
                    if last or not _is_full(error):
                        raise
                    self._evict(everything=True)
                except BaseException:
                    _delete(draft)
                    raise

    def _install(self, layer: Layer, draft: Path, size: Size) -> None:
        """INVARIANT W23: a crash anywhere leaves a tree without a mark, which counts as absent, or
        one that is complete."""
        target, mark = self._trees / layer.name, self._draft()
        with outside(self._place):
            for directory in (self._trees, self._marks):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if target.exists():
                self._bin(target)
            draft.rename(target)
            mark.write_text(f"{size.entries} {size.bytes}")
            with self._gate:
                before = self._marks.stat().st_mtime_ns
                mark.rename(self._marks / layer.mark)
                if before == self._read_ns:  # ours is the only news
                    self._read_ns = self._marks.stat().st_mtime_ns
        with self._gate:
            self._note(layer)
            self._sizes[layer] = size
            self._news += size.bytes
            full = self._count > limits.CACHE_ITEMS or self._news > limits.CACHE_BYTES // 16
        if full:
            self._later(self._evict)

    @contextlib.contextmanager
    def _alone(self, below: str, root: str) -> Generator[bool]:
        """Nobody else writes this layer meanwhile; whether it is there."""
        layer = Layer(below, root)
        name = layer.name
        with self._built:
            self._settle_in()
            while name in self._building:
                self._built.wait()
            self._building.add(name)
        try:
            tries = itertools.count()
            while not (there := self._is_there(layer)):
                if self._locks.take(name, alone=True):
                    there = self._is_there(layer)
                    break
                self._locks.take(name, alone=False, wait=True)  # until its maker is done
                self._locks.drop(name)
                if next(tries) > _TRIES:
                    raise Outside(f"{name}: was deleted while it is in use", retryable=True)
            yield there
        finally:
            with self._built:
                self._building.discard(name)
                self._built.notify_all()
                if self._uses.get(name):
                    self._locks.take(name, alone=False)
                else:
                    self._locks.drop(name)

    def _is_there(self, layer: Layer) -> bool:
        there = (self._marks / layer.mark).exists() and (self._trees / layer.name).is_dir()
        if there:
            with self._gate:
                if layer.below not in self._known.get(layer.root, {}):
                    self._note(layer)
        return there

    def _draft(self) -> Path:
        """A name of our own for a directory that is about to be made."""
        with outside(self._place):
            self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._own / str(next(self._serial))

    # Uppers ---

    def upper(self) -> Path:
        """A new directory with ``upper`` and ``work`` in it, of this process alone."""
        place = self._draft()
        with outside(place):
            for made in (place, place / "upper", place / "work"):
                made.mkdir()
                made.chmod(0o755)
        return place

    def freeze(self, stack: Stack, place: Path, root: str) -> None:
        """Make a private upper over ``stack`` the layer that shows ``root``, and delete the rest.

        It must not be mounted any more, and just have been read as ``root``, nothing left out.
        """
        # INVARIANT W24: what is frozen is never written again: it is moved away from where a
        # command could have known it, and nothing else has a name for what is in it.
        if root != stack.root:
            with self._alone(stack.root, root) as there:
                if not there:
                    size = settle_upper(place / "upper")
                    self._install(Layer(stack.root, root), place / "upper", size)
        self.discard(place)

    def discard(self, place: Path) -> None:
        """Delete a private directory."""
        _delete(place)

    def now(self) -> int:
        """The file system's own time in ns (only the same clock and grain compare with ctimes)."""
        probe = self._draft()
        with outside(self._place):
            opened = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                found = os.fstat(opened)
            finally:
                os.close(opened)
                probe.unlink()
        return min(found.st_ctime_ns, found.st_mtime_ns)

    # In the background ---

    def _later(self, work: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # it is being closed
            self._worker.submit(work, *args)

    def _shorten(self, path: tuple[Layer, ...]) -> None:
        with self._gate:
            if len(path) - 1 <= limits.LAYER_LEVELS or self._pending or self._closing:
                return
            self._pending = True
        self._later(self._compact_later, path)

    def _compact_later(self, path: tuple[Layer, ...]) -> None:
        try:
            self._compact(path, self._objects)
        except (Corrupt, Outside, _Stopped):
            pass  # it is only a cache; a world that was never committed cannot be read here
        finally:
            self._pending = False

    def _compact(self, path: tuple[Layer, ...], objects: Objects) -> None:
        """Make the newest layers one. How many: as many as are together about as large as the next
        older one, so that in a long chain each change is written again only a few times."""
        layers, base = path[:-1], path[-1]
        taken = total = 0
        for layer in layers:
            entries = self._size(layer).entries
            if taken >= limits.COMPACT_MIN_ITEMS and entries > 2 * total:
                break
            taken, total = taken + 1, total + entries
        share = self._size(base).entries * limits.NEAR_MAX_PERCENT // 100
        whole = taken == len(layers) and total > max(limits.NEAR_MIN_ENTRIES, share)
        self._build("" if whole else layers[taken - 1].below, path[0].root, objects)

    def _sweep(self) -> None:
        """Delete what dead processes left, and caches of other boots."""
        with contextlib.suppress(OSError):
            for other in self._place.iterdir():
                if other != self._home and len(other.name) == len(self._home.name):
                    _delete(other)
            for owner in (self._home / "own").iterdir():
                if owner != self._own and self._locks.take(owner.name, alone=True):
                    _delete(owner)
                    self._locks.drop(owner.name)
            with self._gate:
                self._refresh()
                marked = {one.name for ways in self._known.values() for one in ways.values()}
            for tree in self._trees.iterdir():
                if tree.name not in marked:
                    self._remove(tree.name, None)

    def _evict(self, everything: bool = False) -> None:
        """Delete what nobody uses, the least recently used first, until the limits are kept."""
        found = sorted(_ages(self._marks))
        total, count = sum(self._size(layer).bytes for _, layer in found), len(found)
        for _, layer in found:
            over = total > limits.CACHE_BYTES or count > limits.CACHE_ITEMS
            if self._closing or not (everything or over):
                break
            taken = self._size(layer).bytes
            if self._remove(layer.name, layer):
                total, count = total - taken, count - 1
        with self._gate:
            self._count, self._news = count, 0

    def _remove(self, name: str, layer: Layer | None) -> bool:
        """Delete a tree if nobody uses or makes it."""
        with self._gate:
            self._settle_in()
            if self._uses.get(name) or name in self._building:
                return False
            if not self._locks.take(name, alone=True):
                return False
            try:
                if layer is not None:
                    self._forget(layer)
                    (self._marks / layer.mark).unlink(missing_ok=True)
                elif any(one.name == name for _, one in _ages(self._marks)):
                    return False  # it was made meanwhile
                gone = self._bin(self._trees / name, delete=False)
            except OSError:
                return False
            finally:
                self._locks.drop(name)
        _delete(gone)
        return True

    def _bin(self, tree: Path, delete: bool = True) -> Path:
        gone = self._draft()
        with contextlib.suppress(FileNotFoundError):
            tree.rename(gone)
        if delete:
            _delete(gone)
        return gone

    @property
    def stopped(self) -> bool:
        """Whether it is being closed."""
        return self._closing


class _Stopped(Exception):
    """The cache is being closed: what the background writes is given up."""


class _Watched:
    """Objects that stop giving when the cache is being closed."""

    def __init__(self, objects: Objects, layers: Layers) -> None:
        self._objects = objects
        self._layers = layers

    def get(self, name: str) -> bytes:
        if self._layers.stopped:
            raise _Stopped
        return self._objects.get(name)

    def put(self, content: bytes) -> str:
        return self._objects.put(content)


def _distance(objects: Objects, before: str, after: str, most: int) -> int | None:
    """How many entries a layer between two worlds would hold; None if more than ``most``, or if
    one cannot be read."""
    try:
        count = sum(1 for _ in itertools.islice(_entries(objects, before, after), most + 1))
    except Corrupt:
        return None
    return count if count <= most else None


def _entries(objects: Objects, before: str, after: str) -> Iterator[None]:
    for _, old, new in nodes.differences(objects, before, after):
        yield
        if new is not None and new.is_dir:
            was = old.hash if old is not None and old.is_dir else EMPTY
            yield from _entries(objects, was, new.hash)


def _ages(marks: Path) -> Iterator[tuple[int, Layer]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(marks) as found:
        for item in found:
            with contextlib.suppress(FileNotFoundError):
                yield item.stat().st_mtime_ns, _of_mark(item.name)


def _is_full(error: Outside) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _delete(place: Path) -> None:
    """Delete a directory as far as it lets itself be deleted: what stays is tried again later."""
    with contextlib.suppress(OSError):
        parent = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            disk.delete(parent, place.name)
        finally:
            os.close(parent)
