"""Single changes in a directory that others may be changing: made, taken back, and never blindly.

New content waits beside its place; one system call lets the two change places, and then what was
swapped out is compared with what was expected there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.world import chunks, disk
from holdfast.world.nodes import EMPTY_DIR, Entry
from holdfast.world.objects import Objects

_SWAP = 2
"""Flag of renameat2 (Linux) and renameatx_np (macOS): the two names change places."""
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = "-old"


class Op(NamedTuple):
    """One change: ``sort`` is remove, rmdir, mkdir, replace or create; ``side``: the path beside
    the tree that holds the new content before the change and the old content after it. ``turns``:
    what is removed makes room for a directory. ``origins``: removed paths with the content that is
    created here."""

    sort: str
    path: str
    before: Entry | None
    after: Entry | None
    side: str
    turns: bool
    origins: tuple[str, ...] = ()


class Tree:
    """The directory that is written into. Every method may be repeated after a crash."""

    def __init__(self, objects: Objects, directory: Path) -> None:
        self.objects = objects
        self.directory = directory

    def __enter__(self) -> Tree:
        self.top = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.folders = disk.Folders(self.top, ours=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.folders.close()
        os.close(self.top)

    def at(self, path: str) -> tuple[int, str]:
        """A descriptor of the directory that holds a path, of one's own, and the name in it."""
        parent, _, name = path.rpartition("/")
        return os.dup(self.folders.at(parent)), name

    @contextlib.contextmanager
    def opened(self, path: str) -> Generator[tuple[int, str]]:
        folder, name = self.at(path)
        try:
            yield folder, name
        finally:
            os.close(folder)

    # Looking ---

    def is_at(self, path: str, entry: Entry | None) -> bool:
        """Whether exactly this stands at a path. Of a directory only that it is one counts."""
        self.folders.close()  # nothing is believed to be what it was
        try:
            with self.opened(path) as (folder, name):
                return self._holds(folder, name, entry)
        except (FileNotFoundError, NotADirectoryError):
            return entry is None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a directory on the way is a symlink now
                return entry is None
            raise

    def _holds(self, folder: int, name: str, entry: Entry | None) -> bool:
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            return entry is None
        if entry is None:
            return False
        if entry.kind == "link":
            return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder) == entry.target
        if entry.is_dir:
            return stat.S_ISDIR(status.st_mode)
        right = stat.S_ISREG(status.st_mode) and status.st_size == entry.size
        if not right or bool(status.st_mode & 0o100) != entry.executable:
            return False
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened = os.open(name, flags, dir_fd=folder)
        try:
            found = chunks.file_chunks(self.objects, entry)
            return all(_next(opened, len(chunk)) == chunk for chunk in found)
        finally:
            os.close(opened)

    # Preparing ---

    def write_beside(self, op: Op) -> None:
        """Put the new content where nothing is yet, durable, with the rights of the old file."""
        assert op.after is not None
        with self.opened(op.side) as (folder, side):
            if op.after.kind == "link":
                os.symlink(op.after.target, side, dir_fd=folder)
                return
            # INVARIANT W45: a new file is no more open to others than the umask says, nor than what
            # it replaces or was renamed from; never for a moment.
            fresh = op.before is None and not op.origins
            mode = (0o777 if op.after.executable else 0o666) if fresh else 0o600
            opened = os.open(side, _WRITE, mode, dir_fd=folder)
            try:
                for chunk in chunks.file_chunks(self.objects, op.after):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[os.write(opened, rest) :]
                if not fresh:
                    self._give_rights(op, opened, op.after.executable)
                os.fsync(opened)
            finally:
                os.close(opened)

    def _give_rights(self, op: Op, opened: int, executable: bool) -> None:
        mode = 0o777
        for path in op.origins or (op.path,):
            with self.opened(path) as (folder, name):
                old = os.lstat(name, dir_fd=folder)
            if stat.S_ISREG(old.st_mode):
                mode &= stat.S_IMODE(old.st_mode)
                mine = os.fstat(opened)
                if (old.st_uid, old.st_gid) != (mine.st_uid, mine.st_gid):
                    with contextlib.suppress(OSError):  # only root may give files away
                        os.fchown(opened, old.st_uid, old.st_gid)
        if executable != bool(mode & 0o100):
            mode = mode | (mode & 0o444) >> 2 if executable else mode & ~0o111
        os.fchmod(opened, mode)

    # Doing and undoing ---

    def try_to(self, change: Callable[[Op], bool], op: Op) -> bool:
        """`do` or `undo`; False also where a directory on the way is no more."""
        self.folders.close()
        try:
            return change(op)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise

    def do(self, op: Op) -> bool:
        """Make one change, if it is not made yet; False: somebody else's work stands there."""
        if op.sort == "mkdir":
            return self._make_dir(op.path)
        if op.sort == "rmdir":
            return self._remove_dir(op.path)
        if op.sort == "remove" and self.is_at(op.path, EMPTY_DIR):
            return op.turns  # it was removed, and the directory that follows is made
        return self._turn(op, op.before, op.after)

    def undo(self, op: Op) -> bool:
        """Take one change back, if it was made; False: it stays, for somebody changed it since."""
        if op.sort == "mkdir":
            return self._remove_dir(op.path)
        if op.sort == "rmdir":
            return self._make_dir(op.path)
        self._heal(op)
        if self.is_at(op.path, op.before):
            return True
        if op.before is None and self.is_at(op.side, op.after):
            self._unlink(op.side)  # the second name of what was just put in its place
        return self._turn(op, op.after, op.before)

    def _turn(self, op: Op, old: Entry | None, new: Entry | None) -> bool:
        """Let ``new``, which waits beside, and ``old`` change places (None: nothing is there)."""
        self._heal(op)
        if self.is_at(op.path, new):
            # it is done, but perhaps what was swapped out has not been looked at
            strange = not any(self.is_at(op.side, one) for one in (None, old, new))
            return not strange or self._back(op, new)
        if not self.is_at(op.path, old) or not self.is_at(op.side, new):
            return False
        with self.opened(op.path) as (folder, name), self.opened(op.side) as (aside, side):
            if new is None:
                os.rename(name, side, src_dir_fd=folder, dst_dir_fd=aside)
            elif old is None:
                if not _put(aside, side, folder, name):
                    return False
            else:
                swap(aside, side, folder, name)
        return old is None or self.is_at(op.side, old) or self._back(op, new)

    def _back(self, op: Op, new: Entry | None) -> bool:
        """What was swapped out is not what was expected: somebody was faster. Put it back."""
        with self.opened(op.path) as (folder, name), self.opened(op.side) as (aside, side):
            if new is None:
                _put(aside, side, folder, name)
            else:
                swap(aside, side, folder, name)
        return False

    def _make_dir(self, path: str) -> bool:
        with self.opened(path) as (folder, name):
            try:
                os.mkdir(name, dir_fd=folder)
            except FileExistsError:
                return stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
        return True

    def _remove_dir(self, path: str) -> bool:
        """Remove a directory; one that holds what is not of the world stays, which is no harm."""
        self.folders.close()
        try:
            with self.opened(path) as (folder, name):
                os.rmdir(name, dir_fd=folder)
        except OSError as error:
            gone = (errno.ENOENT, errno.ENOTDIR)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, *gone):
                raise
        return True

    # Ending ---

    def clean(self, ops: list[Op], *, partial: bool = False) -> None:
        """Remove what stands beside: content that the store holds or, with ``partial``, a part of
        it. Anything else is somebody's work that could not be put back: it stays."""
        for op in ops:
            if partial or self.is_at(op.side, op.before) or self.is_at(op.side, op.after):
                self._unlink(op.side)

    def _unlink(self, path: str) -> None:
        self.folders.close()
        absent = contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError)
        with absent, self.opened(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def _heal(self, op: Op) -> None:
        """Finish what `_swap` left undone, on a file system where it takes three steps."""
        third = op.side + _OLD
        if self.is_at(third, None):
            return
        with self.opened(op.path) as (folder, name), self.opened(op.side) as (aside, side):
            if self.is_at(op.path, None):
                _put(aside, side + _OLD, folder, name)
            else:
                if self.is_at(op.side, op.before) or self.is_at(op.side, op.after):
                    self._unlink(op.side)  # the second name of what is in its place already
                _put(aside, side + _OLD, aside, side)

    def sync(self, ops: list[Op]) -> None:
        """Make the changed directories durable."""
        self.folders.close()
        for parent in {op.path.rpartition("/")[0] for op in ops}:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.fsync(self.folders.at(parent))


def _next(opened: int, count: int) -> bytes:
    found = b""
    while len(found) < count and (more := os.read(opened, count - len(found))):
        found += more
    return found


# Names that change places ---------------------------------------------------------------------
def _put(from_dir: int, source: str, to_dir: int, name: str) -> bool:
    """Move to a name that must be free; False if it is not."""
    try:
        os.link(source, name, src_dir_fd=from_dir, dst_dir_fd=to_dir, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # a file system without hard links: the moment between look and move cannot be closed
        with contextlib.suppress(FileNotFoundError):
            os.lstat(name, dir_fd=to_dir)
            return False
        os.rename(source, name, src_dir_fd=from_dir, dst_dir_fd=to_dir)
        return True
    os.unlink(source, dir_fd=from_dir)
    return True


def _libc_swap() -> Any:
    """The system's call that lets two names change places, if it has one."""
    libc = ctypes.CDLL(None, use_errno=True)
    return getattr(libc, "renameat2", None) or getattr(libc, "renameatx_np", None)


def swap(from_dir: int, source: str, to_dir: int, name: str) -> None:
    """Let two names change places in one step, so that nobody ever sees neither."""
    call = _libc_swap()
    if call is not None:
        old, new = os.fsencode(source), os.fsencode(name)
        if call(from_dir, old, to_dir, new, ctypes.c_uint(_SWAP)) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code), name)
    # a file system that cannot: for a moment the old file is under a third name only
    third = source + _OLD
    os.rename(name, third, src_dir_fd=to_dir, dst_dir_fd=from_dir)
    if not _put(from_dir, source, to_dir, name):
        raise FileExistsError(errno.EEXIST, "somebody made it just now", name)
    os.rename(third, source, src_dir_fd=from_dir, dst_dir_fd=from_dir)
