"""Writing a merged world back into a directory that people work in, all of it or nothing.

Three things must never happen: a directory left half written by a crash, work of somebody who
wrote meanwhile lost, a reader who sees half a file. So an *intent* (one small file beside the
store) is durable before the first change; new content is written beside its place and swapped in
by one system call; and what is swapped out is compared before it is let go.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from holdfast.values.canon import decode, digest, encode
from holdfast.values.errors import Conflict, Corrupt, Outside
from holdfast.world import disk, nodes
from holdfast.world.diff import compare
from holdfast.world.nodes import EMPTY_DIR, Entry
from holdfast.world.objects import Objects

_SWAP = 2
"""Flag of renameat2 (Linux) and renameatx_np (macOS): the two names change places."""
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_INTENT = ".intent"
_OLD = "-old"


class Op(NamedTuple):
    """One change: ``sort`` is remove, rmdir, mkdir, replace or create; ``side``: the path beside
    the tree that holds the new content before the change and the old content after it. ``turns``:
    what is removed makes room for a directory."""

    sort: str
    path: str
    before: Entry | None
    after: Entry | None
    side: str
    turns: bool


class Written(NamedTuple):
    """How writing ended. ``foreign``: paths that somebody else had changed; then nothing was
    written, or what was written was taken back."""

    paths: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


class Intent(NamedTuple):
    """What is to be written where: two roots, and a phase: prepare, commit, then clean; or, after
    commit, undo and clean."""

    directory: str
    before: str
    after: str
    phase: str


def write_back(objects: Objects, directory: Path, before: str, after: str, place: Path) -> Written:
    """Turn a directory that equals ``before`` into ``after``: only paths that differ are touched.

    ``place``: the folder for intents. `Conflict` if another process is writing into the directory,
    `Outside` if the disk refuses (what was written is taken back first, if it lets us).
    """
    # INVARIANT W30: after a crash at any instant, `recover` leaves the directory as `before` or
    # as `after`, and nothing beside it; what anybody else wrote there meanwhile is never lost.
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = place / (digest(str(directory.resolve()).encode())[:16] + _INTENT)
    intent = Intent(str(directory.resolve()), before, after, "prepare")
    with _held(path, create=True) as known:
        if known:
            raise Conflict(f"{directory}: a merge into it was interrupted: say it again")
        _note(path, intent)
        return _carry_out(objects, path, intent)


def recover(objects: Objects, place: Path) -> list[tuple[str, Written]]:
    """Finish, or take back, what an interrupted process was writing: (directory, how it ended).

    What a living process is writing is left to it. `Outside`, `Corrupt`.
    """
    done: list[tuple[str, Written]] = []
    for path in sorted(place.glob("*" + _INTENT)):
        with contextlib.suppress(Conflict), _held(path, create=False) as known:
            if not known:
                path.unlink(missing_ok=True)  # it ended before it had begun
                continue
            intent = _read(path, known)
            if Path(intent.directory).is_dir():
                done.append((intent.directory, _carry_out(objects, path, intent)))
            else:
                path.unlink()  # the directory is gone, and what was to be written with it
    return done


# The intent -----------------------------------------------------------------------------------
@contextlib.contextmanager
def _held(path: Path, *, create: bool) -> Generator[bytes]:
    """The content of an intent file, locked: the lock ends with its process, whatever happens."""
    try:
        opened = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        raise Conflict(f"{path}: was finished by somebody else") from None
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("another process is writing into this directory: wait for it") from None
        if not _same_file(opened, path):
            raise Conflict("another process has just written into this directory: try again")
        yield _read_all(opened)
    finally:
        os.close(opened)


def _same_file(opened: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False


def _read_all(opened: int) -> bytes:
    return os.pread(opened, os.fstat(opened).st_size, 0)


def _note(path: Path, intent: Intent) -> None:
    """Make the intent durable, in place, since the lock is on this file: only the phase, which
    stands in its first bytes, ever changes."""
    rest = [intent.directory, intent.before, intent.after]
    opened = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(opened, intent.phase.encode().ljust(8) + encode(rest), 0)
        os.fsync(opened)
    finally:
        os.close(opened)
    _sync_dir(path.parent)


def _read(path: Path, content: bytes) -> Intent:
    try:
        directory, before, after = cast("list[str]", decode(content[8:]))
        return Intent(directory, before, after, content[:8].decode().strip())
    except (Corrupt, TypeError, ValueError) as error:
        raise Corrupt(f"{path}: is no intent of a merge ({error}); read it, remove it") from None


def _sync_dir(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


# The plan -------------------------------------------------------------------------------------
def plan(objects: Objects, before: str, after: str) -> list[Op]:
    """The changes from one root to another, in an order in which each can be made."""
    tag = digest(f"{before} {after}".encode())[:8]
    found: dict[str, list[tuple[str, str, Entry | None, Entry | None]]] = {
        "remove": [], "rmdir": [], "mkdir": [], "replace": [], "create": [],
    }  # fmt: skip
    for path, old, new in compare(objects, before, after):
        was, will = old is not None and old.is_dir, new is not None and new.is_dir
        leaf_old, leaf_new = None if was else old, None if will else new
        if leaf_old is not None or leaf_new is not None:
            sort = "create" if leaf_old is None else "remove" if leaf_new is None else "replace"
            found[sort].append((sort, path, leaf_old, leaf_new))
        if was != will:
            sort = "rmdir" if was else "mkdir"
            found[sort].append((sort, path, old if was else None, new if will else None))
    moving = {item[1] for sort in ("rmdir", "mkdir") for item in found[sort]}
    found["rmdir"].sort(key=lambda item: item[1], reverse=True)
    found["mkdir"].sort(key=lambda item: item[1])
    made = {item[1] for item in found["mkdir"]}
    ordered = [item for items in found.values() for item in items]
    return [
        Op(*item, _beside(item[1], moving, f".holdfast-{tag}-{number}"), item[1] in made)
        for number, item in enumerate(ordered)
    ]


def _beside(path: str, moving: set[str], name: str) -> str:
    """A name in the nearest directory that is there before and after."""
    folder = path.rpartition("/")[0]
    while folder and any(part in moving for part in _with_parents(folder)):
        folder = folder.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


# Carrying it out ------------------------------------------------------------------------------
def _carry_out(objects: Objects, path: Path, intent: Intent) -> Written:
    """Go on from the phase that is noted to an end, then forget the intent."""
    ops = plan(objects, intent.before, intent.after)
    try:
        with _Tree(objects, Path(intent.directory)) as tree:
            if intent.phase == "prepare":
                written = _begin(tree, ops, path, intent)
            elif intent.phase == "commit":
                written = _commit(tree, ops, path, intent)
            elif intent.phase == "undo":
                written = _undo(tree, ops, ())
            else:
                written = Written()
            _note(path, intent._replace(phase="clean"))  # from now on nothing beside is needed
            tree.clean(ops)
            tree.sync(ops)
    except OSError as error:
        raise _outside(intent, error, "the next holdfast command takes the writing up") from error
    path.unlink()
    return written


def _outside(intent: Intent, error: OSError, then: str) -> Outside:
    where = f" ({error.filename})" if error.filename else ""
    return Outside(f"{intent.directory}: {error.strerror or error}{where}; {then}")


def _begin(tree: _Tree, ops: list[Op], path: Path, intent: Intent) -> Written:
    """Write everything new beside its place; then look whether all is still as it was."""
    tree.clean(ops, partial=True)  # of an attempt that was interrupted
    first: dict[str, Entry | None] = {}
    for op in ops:  # where a file is to become a directory, or the reverse, two stand for one path
        first.setdefault(op.path, op.before)
    try:
        foreign = [one for one, entry in first.items() if not tree.is_at(one, entry)]
        if not foreign:
            for op in ops:
                if op.sort in ("replace", "create"):
                    tree.write_beside(op)
            foreign = [one for one, entry in first.items() if not tree.is_at(one, entry)]
    except OSError as error:
        tree.clean(ops, partial=True)
        path.unlink()
        raise _outside(intent, error, "nothing was changed") from error
    if foreign:
        tree.clean(ops, partial=True)
        return Written(foreign=tuple(foreign))
    _note(path, intent._replace(phase="commit"))
    return _commit(tree, ops, path, intent)


def _commit(tree: _Tree, ops: list[Op], path: Path, intent: Intent) -> Written:
    foreign: list[str] = []
    failed: OSError | None = None
    for op in ops:
        try:
            if not tree.try_to(tree.do, op):
                foreign.append(op.path)
        except OSError as error:
            failed = error
        if foreign or failed:
            break
    if not foreign and failed is None:
        return Written(tuple(dict.fromkeys(op.path for op in ops)))
    _note(path, intent._replace(phase="undo"))
    undone = _undo(tree, ops, tuple(foreign))
    if failed is not None:
        tree.clean(ops)
        path.unlink()
        raise _outside(intent, failed, "nothing was changed") from failed
    return undone


def _undo(tree: _Tree, ops: list[Op], foreign: tuple[str, ...]) -> Written:
    left = [op.path for op in reversed(ops) if not tree.try_to(tree.undo, op)]
    return Written(foreign=tuple(dict.fromkeys((*foreign, *left))))


class _Tree:
    """The directory that is written into. Every method may be repeated after a crash."""

    def __init__(self, objects: Objects, directory: Path) -> None:
        self.objects = objects
        self.directory = directory

    def __enter__(self) -> _Tree:
        self.top = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.folders = disk.Folders(self.top, mend=False)
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
            chunks = nodes.file_chunks(self.objects, entry)
            return all(_next(opened, len(chunk)) == chunk for chunk in chunks)
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
            opened = os.open(side, _WRITE, 0o600, dir_fd=folder)
            try:
                for chunk in nodes.file_chunks(self.objects, op.after):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[os.write(opened, rest) :]
                self._give_rights(op, opened, op.after.executable)
                os.fsync(opened)
            finally:
                os.close(opened)

    def _give_rights(self, op: Op, opened: int, executable: bool) -> None:
        mode = 0o644
        if op.before is not None and op.before.is_file:
            with self.opened(op.path) as (folder, name):
                old = os.lstat(name, dir_fd=folder)
            mode = stat.S_IMODE(old.st_mode) & 0o777
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
                _swap(aside, side, folder, name)
        return old is None or self.is_at(op.side, old) or self._back(op, new)

    def _back(self, op: Op, new: Entry | None) -> bool:
        """What was swapped out is not what was expected: somebody was faster. Put it back."""
        with self.opened(op.path) as (folder, name), self.opened(op.side) as (aside, side):
            if new is None:
                _put(aside, side, folder, name)
            else:
                _swap(aside, side, folder, name)
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


def _swap(from_dir: int, source: str, to_dir: int, name: str) -> None:
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
