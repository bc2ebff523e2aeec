"""Writing a merged world back into a directory that people work in, all of it or nothing.

Three things must never happen: a directory left half written by a crash, work of somebody who
wrote meanwhile lost, a reader who sees half a file. So an *intent* (one small file in the user's
own folder) is durable before the first change; new content is written beside its place and swapped
in by one system call; and what is swapped out is compared before it is let go.
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
_PHASES = ("prepare", "commit", "undo", "clean")


class Written(NamedTuple):
    """How writing ended. ``foreign``: paths that somebody else had changed; then nothing was
    written, or what was written was taken back."""

    paths: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


class Intent(NamedTuple):
    """What is to be written where: two roots of a ``store``, and a phase: prepare, commit, then
    clean; or, after commit, undo and clean."""

    directory: str
    store: str
    before: str
    after: str
    phase: str


class Turn(NamedTuple):
    """The right to write into a directory, for as long as `turn` lasts. ``path``: of the intent,
    ``opened``: its descriptor; ``store``: whose roots are written."""

    path: Path
    opened: int
    directory: str
    store: str


@contextlib.contextmanager
def turn(place: Path, directory: Path, store: str = "") -> Generator[Turn]:
    """Hold a directory: nobody else writes into it from a world until this ends.

    ``place``: the user's own folder for intents; ``store``: whose roots are to be written.
    `Conflict` if another process holds it. What an interrupted one left there is for `recover`.
    """
    # INVARIANT W44: intents are believed, so they lie where only the user writes, never in a store.
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    where = str(directory.resolve())
    path = place / (digest(where.encode())[:16] + _INTENT)
    opened = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"{directory}: another process is merging into this directory: wait for it"
            ) from None
        if not _same_file(opened, path):
            raise Conflict(f"{directory}: another process has just written into it: try again")
        try:
            yield Turn(path, opened, where, store)
        finally:
            if not os.fstat(opened).st_size:  # nothing is open that `recover` would need
                path.unlink(missing_ok=True)
    finally:
        os.close(opened)


def write_back(objects: Objects, held: Turn, before: str, after: str) -> Written:
    """Turn a directory that equals ``before`` into ``after``: only paths that differ are touched.

    `Conflict` if an interrupted writing is open there, `Outside` if the disk refuses (what was
    written is taken back first, if it lets us).
    """
    # INVARIANT W30: after a crash at any instant, `recover` leaves the directory as `before` or
    # as `after`, and nothing beside it; what anybody else wrote there meanwhile is never lost.
    if _read(held.opened) is not None:
        raise Conflict(f"{held.directory}: a merge into it was interrupted: say it again")
    intent = Intent(held.directory, held.store, before, after, "prepare")
    _note(held, intent)
    return _carry_out(objects, held, intent)


def recover(objects: Objects, held: Turn) -> Written | None:
    """Finish, or take back, what an interrupted process was writing; None if there is no such.

    `Conflict` if that was of another store, `Outside`, `Corrupt`.
    """
    intent = _read(held.opened)
    if intent is None:
        _forget(held)  # nothing had begun
        return None
    if intent.store != held.store:
        raise Conflict(
            f"{held.directory}: a merge from the store {intent.store} was interrupted while it was "
            f"written: say that again first, or remove {held.path} to leave it as it is"
        )
    try:
        return _carry_out(objects, held, intent)
    except Corrupt as error:
        raise Corrupt(
            f"{held.directory}: an interrupted merge cannot be finished: {error}; remove "
            f"{held.path} to leave the directory as it is"
        ) from error


def interrupted(place: Path, store: str) -> list[str]:
    """Directories into which something of a store was or is being written. Only looks."""
    found: list[str] = []
    for path in sorted(place.glob("*" + _INTENT)):
        try:
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # it was finished by now
        try:
            intent = _read(opened)
        finally:
            os.close(opened)
        if intent is not None and intent.store == store and Path(intent.directory).is_dir():
            found.append(intent.directory)
    return found


# The intent -----------------------------------------------------------------------------------
def _same_file(opened: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False


def _note(held: Turn, intent: Intent) -> None:
    """Make the intent durable, in place, since the lock is on this file: only the phase, which
    stands in its first bytes, ever changes."""
    rest = [intent.directory, intent.store, intent.before, intent.after]
    os.pwrite(held.opened, intent.phase.encode().ljust(8) + encode(rest), 0)
    os.fsync(held.opened)
    _sync_dir(held.path.parent)


def _forget(held: Turn) -> None:
    os.ftruncate(held.opened, 0)


def _read(opened: int) -> Intent | None:
    """What an intent file says. One that cannot be read was never durable: nothing had begun."""
    content = os.pread(opened, os.fstat(opened).st_size, 0)
    try:
        phase = content[:8].decode().strip()
        directory, store, before, after = cast("list[str]", decode(content[8:]))
    except (Corrupt, TypeError, ValueError):
        return None
    return Intent(directory, store, before, after, phase) if phase in _PHASES else None


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
    gone: dict[str, list[str]] = {}
    for _, path, old, _ in found["remove"]:
        if old is not None and old.is_file and old.size:
            gone.setdefault(old.hash, []).append(path)
    return [
        Op(
            *item, _beside(item[1], moving, f".holdfast-{tag}-{number}"), item[1] in made,
            tuple(gone.get(item[3].hash, ())) if item[0] == "create" and item[3] else (),
        )
        for number, item in enumerate(ordered)
    ]  # fmt: skip


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
def _carry_out(objects: Objects, held: Turn, intent: Intent) -> Written:
    """Go on from the phase that is noted to an end, then forget the intent."""
    ops = plan(objects, intent.before, intent.after)
    try:
        with Tree(objects, Path(intent.directory)) as tree:
            if intent.phase == "prepare":
                written = _begin(tree, ops, held, intent)
            elif intent.phase == "commit":
                written = _commit(tree, ops, held, intent)
            elif intent.phase == "undo":
                written = _undo(tree, ops, ())
            else:
                written = Written()
            _note(held, intent._replace(phase="clean"))  # from now on nothing beside is needed
            tree.clean(ops)
            tree.sync(ops)
    except OSError as error:
        raise _outside(intent, error, "merge again to take the writing up") from error
    _forget(held)
    return written


def _outside(intent: Intent, error: OSError, then: str) -> Outside:
    where = f" ({error.filename})" if error.filename else ""
    return Outside(f"{intent.directory}: {error.strerror or error}{where}; {then}")


def _begin(tree: Tree, ops: list[Op], held: Turn, intent: Intent) -> Written:
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
        _forget(held)
        raise _outside(intent, error, "nothing was changed") from error
    if foreign:
        tree.clean(ops, partial=True)
        return Written(foreign=tuple(foreign))
    _note(held, intent._replace(phase="commit"))
    return _commit(tree, ops, held, intent)


def _commit(tree: Tree, ops: list[Op], held: Turn, intent: Intent) -> Written:
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
    _note(held, intent._replace(phase="undo"))
    undone = _undo(tree, ops, tuple(foreign))
    if failed is not None:
        tree.clean(ops)
        _forget(held)
        raise _outside(intent, failed, "nothing was changed") from failed
    return undone


def _undo(tree: Tree, ops: list[Op], foreign: tuple[str, ...]) -> Written:
    left = [op.path for op in reversed(ops) if not tree.try_to(tree.undo, op)]
    return Written(foreign=tuple(dict.fromkeys((*foreign, *left))))
