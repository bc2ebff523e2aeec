"""Writing a merged world back into a directory that people work in, all of it or nothing.

Three things must never happen: a directory left half written by a crash, work of somebody who
wrote meanwhile lost, a reader who sees half a file. So an *intent* (one small file beside the
store) is durable before the first change; new content is written beside its place and swapped in
by one system call; and what is swapped out is compared before it is let go.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple, cast

from holdfast.values.canon import decode, digest, encode
from holdfast.values.errors import Conflict, Corrupt, Outside
from holdfast.world.diff import compare
from holdfast.world.exchange import Op, Tree
from holdfast.world.nodes import Entry
from holdfast.world.objects import Objects

_INTENT = ".intent"


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
        with Tree(objects, Path(intent.directory)) as tree:
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


def _begin(tree: Tree, ops: list[Op], path: Path, intent: Intent) -> Written:
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


def _commit(tree: Tree, ops: list[Op], path: Path, intent: Intent) -> Written:
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


def _undo(tree: Tree, ops: list[Op], foreign: tuple[str, ...]) -> Written:
    left = [op.path for op in reversed(ops) if not tree.try_to(tree.undo, op)]
    return Written(foreign=tuple(dict.fromkeys((*foreign, *left))))
