"""A cache of worlds as directories: shared bases, frozen layers, private uppers.

A world is shown by a stack: a few layers over one base, which an overlay file system lays over each
other. A **base** is a whole world; a **layer** turns one world into another, so whoever forks
shares both; an **upper** is private, and becomes a layer when its owner is done with it. Where they
stand, and how processes share them, is `shelf`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from holdfast.values import limits
from holdfast.values.errors import Corrupt, Outside
from holdfast.values.ports import Dice
from holdfast.world import nodes
from holdfast.world.nodes import EMPTY
from holdfast.world.objects import Objects
from holdfast.world.overlay import outside, settle_upper, write_layer
from holdfast.world.shelf import Layer, Shelf, delete


@dataclass(frozen=True)
class Stack:
    """Directories that together show ``root``, topmost first; in use until `Layers.release`."""

    root: str
    layers: tuple[Layer, ...]
    directories: tuple[Path, ...]
    inodes: tuple[int, ...]


class Layers:
    """The cache below ``place``. Methods block, and may be called from any thread.

    ``objects`` hold what is committed; where a world is not yet, methods are given its own. Several
    processes may use one place. Errors: `Outside` (the disk), `Corrupt` (content is absent).
    """

    def __init__(self, objects: Objects, place: Path, dice: Dice | None = None) -> None:
        self._objects = objects
        self._shelf = Shelf(place, dice)
        self._recent: dict[str, None] = {}
        self._news = limits.CACHE_BYTES  # bytes written since the limits were looked at
        self._pending = False
        self.closing = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="holdfast-layers")
        self._later(self._shelf.sweep)

    def close(self) -> None:
        """Let go of everything. Uppers of this process must not be mounted any more."""
        self.closing = True
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._shelf.close()

    # Stacks ---

    def lowers(self, root: str, near: Iterable[str] = (), objects: Objects | None = None) -> Stack:
        """Directories that show ``root``; what is missing is written. ``near``: roots that may be
        close to it. The stack is in use until it is released."""
        given = objects or self._objects
        for _ in range(limits.SHELF_ATTEMPTS):
            path = self._path(root)
            if path is None:
                self._build(Layer(self._nearest(root, tuple(near), given), root), given)
            elif len(path) > limits.OVERLAY_LEVELS_MAX:
                # INVARIANT W64: nothing is mounted that is deeper, however far the background lags
                self._compact(path, given, wait=True)
            elif stack := self._hold(root, path):
                self._shorten(path)
                return stack
        where = self._shelf.place
        raise Outside(f"{where}: is being deleted while worlds are opened", retryable=True)

    def release(self, stack: Stack) -> None:
        """The stack is mounted no more."""
        with self._shelf.gate:
            for layer in stack.layers:
                self._shelf.drop(layer)

    def sound(self, stack: Stack) -> bool:
        """Whether the directories of a stack are still those that they were."""
        try:
            return all(
                (self._shelf.marks / layer.mark).exists() and directory.stat().st_ino == inode
                for layer, directory, inode in zip(
                    stack.layers, stack.directories, stack.inodes, strict=True
                )
            )
        except OSError:
            return False

    def _path(self, root: str) -> tuple[Layer, ...] | None:
        """The shortest way from a world down to a base."""
        with self._shelf.gate:
            found = _search(self._shelf.known, root)
            if found is None and self._shelf.refresh():
                found = _search(self._shelf.known, root)
            return found

    def _hold(self, root: str, path: tuple[Layer, ...]) -> Stack | None:
        """Begin to use a stack; None if a part of it is no more."""
        shelf = self._shelf
        with shelf.gate:
            shelf.settle_in()
            found = {layer: shelf.use(layer) for layer in path}
            inodes = tuple(inode for inode in found.values() if inode is not None)
            if len(inodes) < len(path):
                for layer, inode in found.items():
                    if inode is None:
                        shelf.forget(layer)
                    else:
                        shelf.drop(layer)
                return None
            self._recent.pop(root, None)
            self._recent[root] = None
            while len(self._recent) > limits.NEAR_ITEMS:
                del self._recent[next(iter(self._recent))]
            directories = tuple(shelf.trees / layer.name for layer in path)
            return Stack(root, path, directories, inodes)

    # Making ---

    def _nearest(self, root: str, near: tuple[str, ...], objects: Objects) -> str:
        """The shown world that differs least from ``root``; "" if all differ too much."""
        best, least = "", -1
        with self._shelf.gate:
            candidates = dict.fromkeys((*near, *reversed(self._recent)))
        for candidate in candidates:
            path = self._path(candidate)
            if path is None or candidate == root:
                continue
            most = self._few(path[-1]) if least < 0 else least - 1
            found = _distance(objects, candidate, root, most)
            if found is not None:
                best, least = candidate, found
        return best

    def _few(self, base: Layer) -> int:
        """A difference of more entries gets a base of its own."""
        share = self._shelf.size(base).entries * limits.NEAR_MAX_PERCENT // 100
        return max(limits.NEAR_MIN_ENTRIES, share)

    def _build(self, layer: Layer, objects: Objects) -> None:
        """Write a layer unless it is there. When the disk is full, what nobody uses makes room."""
        with self._shelf.alone(layer) as there:
            if there:
                return
            try:
                self._write(layer, objects)
            except Outside as error:
                if not _is_full(error):
                    raise
                self._evict(everything=True)
                self._write(layer, objects)

    def _write(self, layer: Layer, objects: Objects) -> None:
        draft = self._shelf.draft()
        try:
            size = write_layer(_Watched(objects, self), layer.below or EMPTY, layer.root, draft)
            self._shelf.install(layer, draft, size)
        except BaseException:
            delete(draft)
            raise
        self._wrote(size.bytes)

    def _wrote(self, taken: int) -> None:
        self._news += taken
        if self._news > limits.CACHE_BYTES // 16 or self._shelf.count > limits.CACHE_ITEMS:
            self._later(self._evict)

    # Uppers ---

    def upper(self) -> Path:
        """A new directory with ``upper`` and ``work`` in it, of this process alone."""
        place = self._shelf.draft()
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
            layer = Layer(stack.root, root)
            with self._shelf.alone(layer) as there:
                if not there:
                    size = settle_upper(place / "upper")
                    self._shelf.install(layer, place / "upper", size)
                    self._wrote(size.bytes)
        delete(place)

    def now(self) -> int:
        """The file system's own time in ns (only the same clock and grain compare with ctimes)."""
        shelf = self._shelf
        with outside(shelf.place), shelf.gate:
            os.utime(shelf.claim)
            return os.fstat(shelf.claim).st_ctime_ns

    # In the background ---

    def _later(self, work: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # it is being closed
            self._worker.submit(work, *args)

    def _shorten(self, path: tuple[Layer, ...]) -> None:
        with self._shelf.gate:
            if len(path) - 1 <= limits.LAYER_LEVELS or self._pending or self.closing:
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

    def _compact(self, path: tuple[Layer, ...], objects: Objects, *, wait: bool = False) -> None:
        """Make the newest layers one. How many: as many as are together about as large as the next
        older one, so that in a long chain each change is written again only a few times. All of
        many become a base, but not while somebody waits: that takes as long as the world is large,
        a layer only as long as the changes are many."""
        layers, base = path[:-1], path[-1]
        taken = total = 0
        for layer in layers:
            entries = self._shelf.size(layer).entries
            if taken >= limits.COMPACT_MIN_ITEMS and entries > 2 * total:
                break
            taken, total = taken + 1, total + entries
        whole = taken == len(layers) and total > self._few(base) and not wait
        self._build(Layer("" if whole else layers[taken - 1].below, path[0].root), objects)

    def _evict(self, everything: bool = False) -> None:
        """Delete what nobody uses, the least recently used first, until the limits are kept."""
        shelf = self._shelf
        found = shelf.by_age()
        total, count = sum(shelf.size(layer).bytes for layer in found), len(found)
        for layer in found:
            over = total > limits.CACHE_BYTES or count > limits.CACHE_ITEMS
            if self.closing or not (everything or over):
                break
            taken = shelf.size(layer).bytes
            if shelf.remove(layer.name, layer):
                total, count = total - taken, count - 1
        with shelf.gate:
            shelf.count, self._news = count, 0


class _Stopped(Exception):
    """The cache is being closed: what the background writes is given up."""


class _Watched:
    """Objects that stop giving when the cache is being closed."""

    def __init__(self, objects: Objects, layers: Layers) -> None:
        self._objects = objects
        self._layers = layers

    def get(self, name: str) -> bytes:
        if self._layers.closing:
            raise _Stopped
        return self._objects.get(name)

    def put(self, content: bytes) -> str:
        return self._objects.put(content)


def _search(known: Mapping[str, Mapping[str, Layer]], root: str) -> tuple[Layer, ...] | None:
    queue: deque[tuple[str, tuple[Layer, ...]]] = deque([(root, ())])
    seen = {root}
    while queue:
        here, path = queue.popleft()
        ways = known.get(here, {})
        if "" in ways:
            return (*path, ways[""])
        for below, layer in ways.items():
            if below not in seen:
                seen.add(below)
                queue.append((below, (*path, layer)))
    return None


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


def _is_full(error: Outside) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
