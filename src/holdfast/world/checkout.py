"""A world as a directory that commands can work in.

`CopyCheckout` does it with plain copies, on any POSIX file system without privileges; overlays are
in `holdfast.world.layers`. A checkout is a cache: it can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt, Misuse, NotFound, Outside
from holdfast.world import disk, nodes, tree
from holdfast.world.clones import Clones
from holdfast.world.diff import compare
from holdfast.world.disk import Row
from holdfast.world.ignores import leaving_out
from holdfast.world.index import Index
from holdfast.world.nodes import EMPTY, Entry
from holdfast.world.objects import Objects
from holdfast.world.tree import RESERVED

_TOP_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class CopyCheckout:
    """A checkout by plain copies and a stat index.

    Moving between roots writes only the files that differ; finding out what commands did costs one
    stat per file. ``index_path`` (beside ``directory``, or in its ``.holdfast``) lets a later
    process go on without reading everything again. ``clones`` share large files by reflink.

    All methods raise `Outside` if the disk refuses, and `Corrupt` if the objects lack content.
    """

    def __init__(
        self, objects: Objects, directory: Path, index_path: Path, clones: Clones | None = None
    ) -> None:
        self._writes = None if clones is None else clones.write
        self.path = Path(directory)
        self._objects = objects
        self._index = Index(Path(index_path))
        if _inside_world(self.path, self._index.path):
            raise Misuse(f"index {index_path} lies in its own checkout: put it beside {directory}")
        self.root, self._rows = self._index.load() or ("", {})

    def sync(self, root: str) -> None:
        """Make the directory (made if missing) equal to ``root``, whatever is in it now."""
        # INVARIANT W3: after a crash anywhere in here or in a command, the next `sync` gives
        # exactly the root asked for: the index is gone before the first write and comes back after
        # the last one.
        if nodes.lookup(self._objects, root, RESERVED) is not None:
            raise Corrupt(f"world {root[:12]} holds {RESERVED!r}, which is not part of any world")
        with _disk(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with _opened(self.path, os.O_NOFOLLOW) as top:
                self._sync(top, root)

    def _sync(self, top: int, root: str) -> None:
        self._trust_only_what_is_kept()
        before, known = self.root or EMPTY, self._rows
        scan = disk.Scan(digest, known, _all, self._index.now(top))
        found = scan.run(top)
        plan = {
            path: new
            for path, old, new in compare(self._objects, before, root)
            if old is None or new is None or not (old.is_dir and new.is_dir)
        }
        for path in _changed(known, found):
            if path not in plan:
                plan[path] = tree.find(self._objects, root, path)
        if not plan and root == self.root and found == known:
            return
        self._forget()
        rows = disk.put_on_disk(self._objects, top, found, plan, self._writes)
        # nothing else writes here now, so what is older than this moment can be trusted (W5)
        self._keep(root, _settled(rows, self._index.now(top)))

    def snapshot(self, left: list[str] | None = None) -> str:
        """Keep what changed in the directory; returns (and remembers) its root. With ``left``,
        sockets, devices and FIFOs are left out, and a sentence for each is added there.

        `NotFound` if the directory is gone, `Misuse` if it holds something that a world cannot
        (socket, device, FIFO, a tree too deep, a file too large): its path is named.
        """
        if not self.path.is_dir():
            raise NotFound(f"checkout {self.path} is gone: sync it to a root first")
        with _disk(self.path), _opened(self.path, os.O_NOFOLLOW) as top:
            self._trust_only_what_is_kept()
            before, known = self.root, self._rows
            scan = disk.Scan(self._objects.put, known, _all, self._index.now(top))
            found = scan.run(top)
            if left is not None:
                left += [scan.special[path] for path in sorted(scan.special)]
                for path in scan.special:  # the next `sync` finds it strange, and deletes it
                    del found[path], scan.odd[path]
            _refuse_odd(scan, self.path)
            edits = {path: _entry_of(found, path) for path in _changed(known, found)}
            root = tree.apply(self._objects, before or EMPTY, edits)
            if found != known or root != before:
                self._keep(root, found)
            return root

    def _trust_only_what_is_kept(self) -> None:
        """Forget a root whose nodes were staged by somebody whose commit never happened.

        A root is put after everything below it, so if it is there, all of it is.
        """
        if self.root:
            try:
                nodes.load(self._objects, self.root)
            except Corrupt:
                self._forget()

    def _forget(self) -> None:
        self._index.forget()
        self.root, self._rows = "", {}

    def _keep(self, root: str, rows: dict[str, Row]) -> None:
        self._index.save(root, rows)
        self.root, self._rows = root, rows


def _all(_: str) -> bool:
    """Nothing is passed over."""
    return False


def import_dir(objects: Objects, directory: Path, ignore: Sequence[str] = ()) -> str:
    """The root of a directory's content, without ``.holdfast`` and what ``ignore`` matches: globs,
    and `GITIGNORE` for what git ignores.

    The directory is only read, its access rights are left as they are. `NotFound`, `Misuse` for
    what a world cannot hold, `Outside` if the disk refuses.
    """
    if not Path(directory).is_dir():
        raise NotFound(f"{directory}: no such directory")
    with _disk(directory), _opened(directory) as top:
        scan = disk.Scan(objects.put, {}, leaving_out(directory, ignore), 0, ours=False)
        found = scan.run(top)
    _refuse_odd(scan, directory)
    return _root_of(objects, found)


def _root_of(objects: Objects, found: dict[str, Row]) -> str:
    """The root of what a scan found, put from the bottom up (no node is read)."""
    folders: dict[str, dict[str, Entry | None]] = {"": {}}
    for path, row in found.items():  # each directory before what is in it
        parent, _, name = path.rpartition("/")
        folders[parent][name] = row.entry
        if row.entry.is_dir:
            folders[path] = {}
    root = EMPTY
    for path, inside in reversed(folders.items()):
        root = nodes.edit(objects, EMPTY, inside)[0]
        if path:
            parent, _, name = path.rpartition("/")
            folders[parent][name] = Entry("dir", root)
    return root


def export_dir(objects: Objects, root: str, directory: Path) -> None:
    """Write a world into a directory, made if missing; `Misuse` if it is not empty, `Outside`."""
    if nodes.lookup(objects, root, RESERVED) is not None:
        raise Corrupt(f"world {root[:12]} holds {RESERVED!r}, which is not part of any world")
    with _disk(directory):
        Path(directory).mkdir(parents=True, exist_ok=True)
        with _opened(directory) as top:
            with os.scandir(top) as there:
                filled = any(there)
            if filled:
                raise Misuse(f"{directory} is not empty: export into a new or empty directory")
            plan = {path: entry for path, _, entry in compare(objects, EMPTY, root)}
            disk.put_on_disk(objects, top, {}, plan)


def _changed(known: dict[str, Row], found: dict[str, Row]) -> Iterator[str]:
    """Paths where a scan found something else than was known."""
    for path, row in found.items():
        old = known.get(path)
        if old is not row and (old is None or old.entry != row.entry):
            yield path
    for path in known:
        if path not in found:
            yield path


def _entry_of(found: dict[str, Row], path: str) -> Entry | None:
    row = found.get(path)
    return None if row is None else row.entry


def _settled(rows: dict[str, Row], now: int) -> dict[str, Row]:
    return {
        path: row._replace(sig=None) if row.sig is not None and row.sig[1] >= now else row
        for path, row in rows.items()
    }


def _refuse_odd(scan: disk.Scan, directory: Path) -> None:
    for why in scan.odd.values():
        raise Misuse(f"{directory}: {why}")


def _inside_world(directory: Path, index_path: Path) -> bool:
    """Whether the index would be part of the world (`.holdfast` is not)."""
    try:
        parts = index_path.resolve().relative_to(directory.resolve()).parts
    except ValueError:
        return False
    return not parts or parts[0] != RESERVED


@contextlib.contextmanager
def _opened(directory: Path, flags: int = 0) -> Generator[int]:
    opened = os.open(directory, _TOP_FLAGS | flags)
    try:
        yield opened
    finally:
        os.close(opened)


@contextlib.contextmanager
def _disk(directory: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise Outside(f"{directory}: {error.strerror or error}{where}") from error
