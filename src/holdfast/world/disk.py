"""Directories on a disk that may hold anything: scanned, written and removed without surprises.

INVARIANT W2: no path escapes. Every directory is opened below its parent by descriptor and without
following symlinks; files are only ever created anew (never opened for writing where something is),
so that neither a symlink nor a hard link planted by a command leads outside. Nothing else may
change the directory meanwhile: these functions are exact, not transactional.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from holdfast.values import limits
from holdfast.world import chunks
from holdfast.world.chunks import Piece
from holdfast.world.nodes import EMPTY_DIR, Entry
from holdfast.world.objects import Objects
from holdfast.world.tree import RESERVED

Sig = tuple[int, int, int, int]
"""What tells that a file is unchanged: inode, ctime and mtime in nanoseconds, size in bytes."""


class Row(NamedTuple):
    """What was found or put at a path; without ``sig`` the content is to be read again."""

    entry: Entry
    sig: Sig | None = None


ODD = "odd"
"""Kind of an entry that no world can hold: a socket, device, FIFO, too large or too deep."""

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def signature(found: os.stat_result) -> Sig:
    """The signature of a file; ctime cannot be set back by programs, so it catches every change."""
    return (found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size)


def open_dir(parent: int, name: str, *, ours: bool = True) -> int:
    """A descriptor of a directory below another, never through a symlink (OSError).

    A directory that its owner cannot use (a command may have taken the rights away) is opened up,
    unless it is not ``ours`` but somebody's own.
    """
    if not ours:
        return os.open(name, _DIR_FLAGS, dir_fd=parent)
    try:
        opened = os.open(name, _DIR_FLAGS, dir_fd=parent)
    except PermissionError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            raise
        os.chmod(name, 0o700, dir_fd=parent)
        opened = os.open(name, _DIR_FLAGS, dir_fd=parent)
    if os.fstat(opened).st_mode & 0o700 != 0o700:
        try:
            os.fchmod(opened, 0o755)
        except OSError:
            pass  # not ours: reading may still work, and writing will say what is wrong
    return opened


class Folders:
    """Descriptors of directories below a top one, kept open along the last path asked for."""

    def __init__(self, top: int, *, ours: bool = True) -> None:
        self.top = top
        self._ours = ours
        self._open: list[tuple[str, int]] = []

    def at(self, path: str) -> int:
        """The descriptor of a directory ("" is the top); OSError if any part is not one."""
        parts = path.split("/") if path else []
        same = 0
        while same < min(len(parts), len(self._open)) and self._open[same][0] == parts[same]:
            same += 1
        self.close(same)
        for name in parts[same:]:
            above = self._open[-1][1] if self._open else self.top
            self._open.append((name, open_dir(above, name, ours=self._ours)))
        return self._open[-1][1] if self._open else self.top

    def close(self, keep: int = 0) -> None:
        """Close all but the first ``keep`` levels."""
        while len(self._open) > keep:
            os.close(self._open.pop()[1])


# Scanning -------------------------------------------------------------------------------------
class Scan:
    """What a directory holds. Files whose signature is as in ``known`` are not read again.

    ``put`` keeps content (or, as `canon.digest`, only names it). ``hides`` says which paths that
    are not in ``known`` to pass over. ``now`` is the file system's time in ns before the scan.
    ``ours``: whether access rights that are missing may be given; else nothing is changed.
    After `run`, ``rows`` has everything by path (each directory as `EMPTY_DIR`), and ``odd`` a
    sentence for each `ODD` entry, ``special`` another for those that no world can hold.
    """

    def __init__(
        self,
        put: Callable[[bytes], str],
        known: dict[str, Row],
        hides: Callable[[str], bool],
        now: int,
        *,
        ours: bool = True,
    ) -> None:
        self.put = put
        self.known = known
        self.hides = hides
        self.now = now
        self.ours = ours
        self.rows: dict[str, Row] = {}
        self.odd: dict[str, str] = {}
        self.special: dict[str, str] = {}

    def run(self, top: int) -> dict[str, Row]:
        """Scan the directory of this descriptor; OSError if something cannot be read."""
        self._directory(top, "", hidden=False, depth=1)
        return self.rows

    def _directory(self, folder: int, prefix: str, hidden: bool, depth: int) -> None:
        with os.scandir(folder) as found:
            items = list(found)
        for item in items:
            name = item.name
            path = prefix + name
            if path == RESERVED:
                continue
            inside = hidden or self.hides(path)
            if inside and path not in self.known:
                continue
            if depth > limits.WORLD_DEPTH_MAX:
                self._refuse(path, f"is over {limits.WORLD_DEPTH_MAX} directories deep")
            elif item.is_file(follow_symlinks=False):
                self._file(folder, item, path)
            elif item.is_symlink():
                self.rows[path] = Row(Entry("link", target=os.readlink(name, dir_fd=folder)))
            elif not item.is_dir(follow_symlinks=False):
                sort = _sort(os.lstat(name, dir_fd=folder).st_mode)
                self._refuse(path, f"is {sort}, which a world cannot hold: remove it")
                self.special[path] = (
                    f"{path!r} is {sort}, which a world cannot hold: it is not kept"
                )
            else:
                self.rows[path] = Row(EMPTY_DIR)
                below = open_dir(folder, name, ours=self.ours)
                try:
                    self._directory(below, path + "/", inside, depth + 1)
                finally:
                    os.close(below)

    def _file(self, folder: int, item: os.DirEntry[str], path: str) -> None:
        row = self.known.get(path)
        sig = row and row.sig
        if row is not None and sig and sig == signature(os.lstat(item.name, dir_fd=folder)):
            self.rows[path] = row
            return
        opened = _open_file(folder, item.name, self.ours)
        try:
            status = os.fstat(opened)
            if status.st_size > limits.FILE_MAX_BYTES:
                self._refuse(path, f"has {status.st_size:,} bytes, over {limits.FILE_MAX_BYTES:,}")
                return
            entry = entry_of(self.put, opened, status)
        finally:
            os.close(opened)
        # INVARIANT W5: no change is missed. A file written again within the same tick of the file
        # system's clock keeps its signature; so only one that was old when the scan began gets one.
        settled = status.st_ctime_ns < self.now
        self.rows[path] = Row(entry, signature(status) if settled else None)

    def _refuse(self, path: str, why: str) -> None:
        self.rows[path] = Row(Entry(ODD))
        self.odd[path] = f"{path!r} {why}"


def _open_file(folder: int, name: str, ours: bool) -> int:
    try:
        return os.open(name, _READ_FLAGS, dir_fd=folder)
    except PermissionError:
        found = os.lstat(name, dir_fd=folder)
        if not ours or not stat.S_ISREG(found.st_mode):
            raise
        os.chmod(name, stat.S_IMODE(found.st_mode) | 0o400, dir_fd=folder)
        return os.open(name, _READ_FLAGS, dir_fd=folder)


def entry_of(put: Callable[[bytes], str], opened: int, status: os.stat_result) -> Entry:
    """The entry of an open file with this status; ``put`` keeps its content. OSError."""
    executable = bool(status.st_mode & 0o100)
    if status.st_size <= limits.CHUNK_DATABASE_BYTES:  # one chunk, whatever it is: most files
        content = os.read(opened, status.st_size + 1)
        if len(content) == status.st_size:
            return Entry("file", put(content), len(content), executable)
        os.lseek(opened, 0, os.SEEK_SET)  # it changes while it is read
    return chunks.put_chunks(put, pieces(opened, status), executable)


def pieces(opened: int, status: os.stat_result) -> Iterator[Piece]:
    """A file's content for `chunks.put_chunks`; holes are not read. OSError."""
    if status.st_blocks * 512 >= status.st_size:
        yield from _read(opened, -1)  # nowhere is a hole
        return
    at = 0
    while True:
        try:
            start = os.lseek(opened, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a file system that does not know
                os.lseek(opened, at, os.SEEK_SET)
                yield from _read(opened, -1)
                return
            start = max(at, os.lseek(opened, 0, os.SEEK_END))
            stop = start
        else:
            stop = os.lseek(opened, start, os.SEEK_HOLE)
            os.lseek(opened, start, os.SEEK_SET)
        if start > at:
            yield start - at
        if start == stop:
            return
        yield from _read(opened, stop - start)
        at = stop


def _read(opened: int, length: int) -> Iterator[bytes]:
    """So many bytes from where the file stands (-1: all there are)."""
    while length:
        step = limits.CHUNK_BYTES
        piece = os.read(opened, step if length < 0 else min(step, length))
        if not piece:
            return
        yield piece
        length -= len(piece) if length > 0 else 0


def _sort(mode: int) -> str:
    kinds = ((stat.S_ISSOCK, "a socket"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISBLK, "a device"))
    return next((word for test, word in kinds if test(mode)), "a device")


Writes = Callable[[int, Objects, Entry], None]
"""Writes a file's content into an empty, open one."""


# Writing --------------------------------------------------------------------------------------
def put_on_disk(
    objects: Objects,
    top: int,
    found: dict[str, Row],
    plan: dict[str, Entry | None],
    writes: Writes | None = None,
) -> dict[str, Row]:
    """Make each path of ``plan`` hold its entry (None: nothing), given what a scan found there.
    ``writes``: how a file's content gets into it (default: `write`).

    Returns the rows of the directory afterwards. OSError, or `Corrupt` if content is absent.
    """
    rows = dict(found)
    folders = Folders(top)
    try:
        _clear_way(folders, found, plan, rows)
    finally:
        folders.close()
    try:
        for path in sorted(plan):  # parents come before what is in them
            entry = plan[path]
            if entry is not None and path not in rows:
                parent, _, name = path.rpartition("/")
                sig = _create(objects, folders.at(parent), name, entry, writes or write)
                rows[path] = Row(EMPTY_DIR if entry.is_dir else entry, sig)
    finally:
        folders.close()
    return rows


def _clear_way(
    folders: Folders,
    found: dict[str, Row],
    plan: dict[str, Entry | None],
    rows: dict[str, Row],
) -> None:
    """Remove what is not as planned, whole directories at once; drops it from ``rows``."""
    gone: set[str] = set()
    for path in sorted(plan):
        entry, row = plan[path], found.get(path)
        if row is None or row.entry == entry:
            continue
        if row.entry.is_dir and entry is not None and entry.is_dir:
            continue
        del rows[path]
        parent, _, name = path.rpartition("/")
        if gone and _within(path, gone):
            continue
        delete(folders.at(parent), name)
        if row.entry.is_dir or row.entry.kind == ODD:
            gone.add(path)


def _within(path: str, gone: set[str]) -> bool:
    while path:
        path = path.rpartition("/")[0]
        if path in gone:
            return True
    return False


def _create(objects: Objects, folder: int, name: str, entry: Entry, writes: Writes) -> Sig | None:
    """Put an entry where nothing (that the scan has seen) is; a file's signature."""
    try:
        return _make(objects, folder, name, entry, writes)
    except FileExistsError:  # something that the scan passed over, such as an ignored file
        delete(folder, name)
        return _make(objects, folder, name, entry, writes)


def _make(objects: Objects, folder: int, name: str, entry: Entry, writes: Writes) -> Sig | None:
    if entry.is_dir:
        os.mkdir(name, 0o755, dir_fd=folder)
        return None
    if entry.kind == "link":
        os.symlink(entry.target, name, dir_fd=folder)
        return None
    mode = 0o755 if entry.executable else 0o644
    opened = os.open(name, _WRITE_FLAGS, mode, dir_fd=folder)
    try:
        writes(opened, objects, entry)
        status = os.fstat(opened)
        if stat.S_IMODE(status.st_mode) != mode:  # the umask took something away
            os.fchmod(opened, mode)
            status = os.fstat(opened)
        return signature(status)
    finally:
        os.close(opened)


def write(opened: int, objects: Objects, entry: Entry) -> None:
    """Write a file's content into an empty one, zeros as holes. OSError, `Corrupt`."""
    piece: Piece = b""
    for piece in chunks.file_pieces(objects, entry):
        if isinstance(piece, int):
            os.lseek(opened, piece, os.SEEK_CUR)
            continue
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(opened, rest) :]
    if isinstance(piece, int):
        os.ftruncate(opened, entry.size)


def delete(folder: int, name: str) -> None:
    """Remove what ``name`` is, symlinks as such, directories with all they hold; OSError.

    However deep a directory is, two descriptors and no recursion suffice: what is found two levels
    down is first moved one level up.
    """
    try:
        os.unlink(name, dir_fd=folder)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            raise
    top = open_dir(folder, name)
    try:
        names = _names(top)
        moved = 0
        while names:
            child = names.pop()
            if not _unlinked(top, child):
                moved = _flatten(top, child, names, moved)
                os.rmdir(child, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=folder)


def _flatten(top: int, child: str, names: list[str], moved: int) -> int:
    """Empty a directory: its files are removed, its directories moved up beside it."""
    below = open_dir(top, child)
    try:
        for item in _names(below):
            if _unlinked(below, item):
                continue
            os.close(open_dir(below, item))  # a directory that cannot be written cannot be moved
            while True:
                moved += 1
                try:
                    os.rename(item, f"moved-{moved}", src_dir_fd=below, dst_dir_fd=top)
                except OSError:
                    if not _exists(top, f"moved-{moved}"):
                        raise
                    continue  # that name is taken by something that is to go as well
                break
            names.append(f"moved-{moved}")
    finally:
        os.close(below)
    return moved


def _unlinked(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            raise
        return False
    return True


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as found:
        return [item.name for item in found]


def _exists(folder: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True
