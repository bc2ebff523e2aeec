"""Directories as an overlay file system stacks them: layers are written, uppers are read.

A **layer** holds exactly the difference between two roots: what is new or changed, a whiteout for
what is gone, and a mark (`opaque`) on a directory that replaces something else. An **upper** is the
private directory into which an overlay writes what a command changes. Nothing here mounts anything:
these are plain directories, and no privilege is needed to write or read them.

The forms are those of Linux's overlayfs mounted with ``userxattr`` and without redirects.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple

from holdfast.values import limits
from holdfast.values.errors import Corrupt, Misuse, Outside
from holdfast.world import chunks, disk, nodes
from holdfast.world.disk import Row
from holdfast.world.nodes import EMPTY, Entry
from holdfast.world.objects import Objects
from holdfast.world.tree import RESERVED

_OPAQUE = "user.overlay.opaque"
_WHITEOUT = "user.overlay.whiteout"
_FOREIGN = frozenset({"user.overlay.redirect", "user.overlay.metacopy"})
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_DEVICE = os.makedev(0, 0)
_BLOCK = 4096


class Size(NamedTuple):
    """How much stands in a directory tree: ``entries`` of any kind, and about how many ``bytes`` of
    disk they take."""

    entries: int
    bytes: int


class Upper(NamedTuple):
    """What an upper directory says: the ``root`` of the world seen through it; ``rows``, what was
    found in it, for the next reading; ``left``, a sentence for each socket or FIFO, which a world
    cannot hold and which are passed over; ``plain``: whether the world would look the same if it
    were written anew (no hard links, no other bits of modes than a world keeps)."""

    root: str
    rows: dict[str, Row]
    left: tuple[str, ...]
    plain: bool = True


# Writing --------------------------------------------------------------------------------------
def write_layer(objects: Objects, before: str, after: str, directory: Path) -> Size:
    """Write into a new ``directory`` what turns a world ``before`` into ``after`` when it is laid
    over it. With ``before`` = `EMPTY` that is the whole world, as plain files.

    `Corrupt` if content is absent, `Outside` if the disk refuses.
    """
    # INVARIANT W20: a layer over any directory (or stack) that shows `before` shows `after`.
    if nodes.lookup(objects, after, RESERVED) is not None:
        raise Corrupt(f"world {after[:12]} holds {RESERVED!r}, which is not part of any world")
    with outside(directory):
        directory.mkdir(mode=0o755)
        top = os.open(directory, _DIR_FLAGS)
        try:
            return _write(objects, top, top, (before, after))
        finally:
            os.close(top)


def _write(objects: Objects, top: int, folder: int, roots: tuple[str, str]) -> Size:
    plan: dict[str, Entry | None] = {}
    below: list[tuple[str, Entry | None, Entry]] = []
    gone: list[str] = []
    taken = 0
    for name, old, new in nodes.differences(objects, *roots):
        if new is None:
            gone.append(name)
            continue
        plan[name] = new
        taken += _BLOCK + new.size
        if new.is_dir:
            below.append((name, old, new))
    disk.put_on_disk(objects, folder, {}, plan)
    for name in gone:
        _put_whiteout(top, folder, name)
    entries = len(plan) + len(gone)
    for name, old, new in below:
        opened = disk.open_dir(folder, name)
        try:
            if old is not None and not old.is_dir:
                os.setxattr(opened, _OPAQUE, b"y")
            was = old.hash if old is not None and old.is_dir else EMPTY
            inside = _write(objects, top, opened, (was, new.hash))
        finally:
            os.close(opened)
        entries, taken = entries + inside.entries, taken + inside.bytes
    return Size(entries, taken)


def _put_whiteout(top: int, folder: int, name: str) -> None:
    """Say that nothing is at ``name``: a device 0:0, which needs no privilege, or where even that
    is refused an empty file with a mark (which the kernel looks for where "x" says so)."""
    try:
        os.mknod(name, stat.S_IFCHR, _NO_DEVICE, dir_fd=folder)
        return
    except PermissionError:
        pass
    opened = os.open(name, _NEW_FLAGS, 0o600, dir_fd=folder)
    try:
        os.setxattr(opened, _WHITEOUT, b"y")
        os.setxattr(folder, _OPAQUE, b"x")
        os.setxattr(top, _OPAQUE, b"x")
    finally:
        os.close(opened)


# Reading --------------------------------------------------------------------------------------
def read_upper(
    objects: Objects, root: str, upper: Path, known: Mapping[str, Row] | None = None, now: int = 0
) -> Upper:
    """The world that an overlay of ``upper`` on ``root`` shows. Only what the upper holds is
    looked at, and only what is not as in ``known`` (rows of an earlier reading) is read.

    ``now`` is the file system's time in ns before the reading (0 trusts nothing next time). The
    upper may be mounted, but no command may run in it: modes that keep this process out are changed
    for a moment and put back. `Misuse` names what no world can hold (a device, a file too large, a
    tree too deep), `Corrupt` what no overlay of ours writes, `Outside` if the disk refuses.
    """
    # INVARIANT W21: an upper is read without following anything that a command planted: every
    # directory is opened below its parent by descriptor, every file without following symlinks.
    reading = _Reading(objects, known or {}, now)
    with outside(upper):
        parent = os.open(upper.parent, _DIR_FLAGS)
        try:
            found = reading.directory(parent, upper.name, "", root)
        finally:
            os.close(parent)
    return Upper(found, reading.rows, tuple(reading.left), reading.plain)


class _Reading:
    def __init__(self, objects: Objects, known: Mapping[str, Row], now: int) -> None:
        self.objects = objects
        self.known = known
        self.now = now
        self.rows: dict[str, Row] = {}
        self.left: list[str] = []
        self.plain = True

    def directory(self, parent: int, name: str, path: str, before: str, depth: int = 0) -> str:
        """The hash of a directory seen through the upper, given what is below it."""
        if depth > limits.WORLD_DEPTH_MAX:
            raise Misuse(f"{path[:60]!r}... is over {limits.WORLD_DEPTH_MAX} directories deep")
        with _opened(parent, name, _DIR_FLAGS, 0o500) as folder:
            mark = _mark(folder, path)
            if mark == b"y":
                before = EMPTY
            with os.scandir(folder) as found:
                items = [(item.name, item.stat(follow_symlinks=False)) for item in found]
            folders = [name for name, status in items if stat.S_ISDIR(status.st_mode)]
            there = nodes.pick(self.objects, before, folders) if folders else {}
            edits: dict[str, Entry | None] = {}
            self.plain = self.plain and all(_is_plain(status) for _, status in items)
            for name, status in items:  # noqa: PLR1704 - the directory's own name is done with
                below = f"{path}/{name}" if path else name
                if below == RESERVED:
                    continue
                mode = status.st_mode
                if stat.S_ISDIR(mode):
                    old = there.get(name)
                    was = old.hash if old is not None and old.is_dir else EMPTY
                    edits[name] = Entry("dir", self.directory(folder, name, below, was, depth + 1))
                elif stat.S_ISCHR(mode) and status.st_rdev == _NO_DEVICE:
                    edits[name] = None
                elif stat.S_ISLNK(mode):
                    edits[name] = Entry("link", target=os.readlink(name, dir_fd=folder))
                elif not stat.S_ISREG(mode):
                    self._odd(below, mode)
                    edits[name] = None  # whatever was there before is there no more
                elif mark == b"x" and not status.st_size and _is_whiteout(folder, name):
                    edits[name] = None
                else:
                    edits[name] = self._file(folder, name, below, status)
        return nodes.edit(self.objects, before, edits)[0]

    def _file(self, folder: int, name: str, path: str, status: os.stat_result) -> Entry:
        row = self.known.get(path)
        if row is None or row.sig != disk.signature(status):
            if status.st_size > limits.FILE_MAX_BYTES:
                raise Misuse(
                    f"{path!r} has {status.st_size:,} bytes, over {limits.FILE_MAX_BYTES:,}"
                )
            with _opened(folder, name, _READ_FLAGS, 0o400) as opened:
                executable = bool(status.st_mode & 0o100)
                entry = chunks.put_chunks(self.objects.put, disk.pieces(opened, status), executable)
            # as in `disk.Scan` (W5): only what was old when the reading began is trusted
            status = os.lstat(name, dir_fd=folder)
            settled = status.st_ctime_ns < self.now
            row = Row(entry, disk.signature(status) if settled else None)
        self.rows[path] = row
        return row.entry

    def _odd(self, path: str, mode: int) -> None:
        if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
            sort = "socket" if stat.S_ISSOCK(mode) else "FIFO"
            self.left.append(f"{path!r} is a {sort}, which a world cannot hold: it is not kept")
            return
        raise Misuse(f"{path!r} is a device, which a world cannot hold: remove it")


def _is_plain(status: os.stat_result) -> bool:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return status.st_nlink == 1 and stat.S_IMODE(mode) in (0o644, 0o755)
    return not stat.S_ISDIR(mode) or stat.S_IMODE(mode) == 0o755


def _mark(folder: int, path: str) -> bytes:
    """The opaque mark of a directory; `Corrupt` for marks that say that content is elsewhere."""
    names = os.listxattr(folder)
    if not names:
        return b""
    if not _FOREIGN.isdisjoint(names):
        raise Corrupt(f"upper directory {path or '/'!r} points elsewhere: it is not one of ours")
    return os.getxattr(folder, _OPAQUE) if _OPAQUE in names else b""


def _is_whiteout(folder: int, name: str) -> bool:
    with _opened(folder, name, _READ_FLAGS, 0o400) as opened:
        return _WHITEOUT in os.listxattr(opened)


@contextlib.contextmanager
def _opened(parent: int, name: str, flags: int, needed: int) -> Generator[int]:
    """A descriptor of what a command may have closed to its owner, who opens it for a moment."""
    mode = stat.S_IMODE(os.lstat(name, dir_fd=parent).st_mode)
    closed = mode & needed != needed
    if closed:
        os.chmod(name, mode | needed, dir_fd=parent)
    try:
        opened = os.open(name, flags, dir_fd=parent)
        try:
            yield opened
        finally:
            os.close(opened)
    finally:
        if closed:
            os.chmod(name, mode, dir_fd=parent)


# Settling -------------------------------------------------------------------------------------
def settle_upper(upper: Path) -> Size:
    """Make an upper that is mounted no more a layer: what a world does not keep goes (other bits of
    modes, attributes, ``.holdfast``). Sockets and FIFOs must not be in it. `Outside`."""
    with outside(upper):
        parent = os.open(upper.parent, _DIR_FLAGS)
        try:
            top = disk.open_dir(parent, upper.name)
        finally:
            os.close(parent)
        try:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISCHR(os.lstat(RESERVED, dir_fd=top).st_mode):
                    disk.delete(top, RESERVED)
            return _settle(top)
        finally:
            os.close(top)


def _settle(folder: int) -> Size:
    entries = taken = 0
    _strip(f"/proc/self/fd/{folder}", follow=True)
    if stat.S_IMODE(os.fstat(folder).st_mode) != 0o755:
        os.fchmod(folder, 0o755)
    with os.scandir(folder) as found:
        items = [(item.name, item.stat(follow_symlinks=False)) for item in found]
    for name, status in items:
        mode = status.st_mode
        entries += 1
        taken += _BLOCK + status.st_size
        if stat.S_ISDIR(mode):
            opened = disk.open_dir(folder, name)
            try:
                inside = _settle(opened)
            finally:
                os.close(opened)
            entries, taken = entries + inside.entries, taken + inside.bytes
        elif stat.S_ISREG(mode):
            kept = 0o755 if mode & 0o100 else 0o644
            if stat.S_IMODE(mode) != kept:
                os.chmod(name, kept, dir_fd=folder)
            _strip(f"/proc/self/fd/{folder}/{name}")
    return Size(entries, taken)


def _strip(path: str, follow: bool = False) -> None:
    for name in os.listxattr(path, follow_symlinks=follow):
        if name.startswith("system.posix_acl") or (
            name.startswith("user.") and not name.startswith("user.overlay.")
        ):
            os.removexattr(path, name, follow_symlinks=follow)


@contextlib.contextmanager
def outside(place: Path) -> Generator[None]:
    """Errors of the disk as `Outside`, naming the place."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise Outside(f"{place}: {error.strerror or error}{where}") from error
