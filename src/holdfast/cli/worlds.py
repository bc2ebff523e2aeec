"""Worlds on the command line: which version a text names, and which directory a branch stands for.

REF is a run; REF@STEP the world after a step; REF#N the world at its event N, as `holdfast world
log` lists them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from holdfast.cli.known import remember, remembers
from holdfast.explain import lines, telling
from holdfast.explain.past import Moment, chain, find_step, moments, world_at
from holdfast.explain.text import one_line
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find, find_run
from holdfast.values import limits
from holdfast.values.canon import unpack
from holdfast.values.errors import Misuse, NotFound, Refused
from holdfast.values.ids import new_id
from holdfast.values.ports import SystemDice


class Version(msgspec.Struct, frozen=True):
    """One version of a branch: its run, its root, the text that names it, and the position of the
    event that it is after."""

    row: RunRow
    root: str
    text: str
    pos: int


class Past(msgspec.Struct, frozen=True):
    """A version as a log shows it: ``moved``: the world changed; ``key``: of the step that did it;
    ``what`` and who, ``by``."""

    pos: int
    root: str
    moved: bool
    key: str
    at: int
    what: str
    by: str


class Home(msgspec.Struct, frozen=True):
    """The directory that a branch was taken in from, by the ``run`` that stands for it. ``check``,
    ``seconds``, ``reach``: how a try checks."""

    run: str
    directory: str
    ignore: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    seconds: float = limits.COMMAND_SECONDS
    reach: dict[str, Any] = {}


async def find_version(store: Store, text: str) -> Version:
    """The version that REF, REF@STEP or REF#N names; `NotFound`, `Misuse`."""
    name, hash_mark, place = text.partition("#")
    if not hash_mark:
        row, key = await find(store, text)
        root = await world_at(store, row, key)
        if key in ("", "0", "start"):
            pos = 0 if key else (await store.head(row.run)).pos
        else:
            pos = (await find_step(store, row.run, key))[1][-1].event.pos
        return Version(row, root, text, pos)
    row = await find_run(store, name)
    if not place.isdecimal():
        raise Misuse(f"{text!r}: say REF, REF@STEP or REF#N with the number of an event")
    found = await store.read(row.run, int(place), int(place) + 1)
    if not found:
        raise NotFound(f"run {row.run} has no event #{place}; `holdfast world log {row.run}`")
    from holdfast.world import EMPTY

    return Version(row, found[0].world or EMPTY, text, int(place))


async def versions_of(store: Store, row: RunRow) -> list[Past]:
    """The beginning of a branch, each change of its world, and refused merges; oldest first."""
    from holdfast.world import EMPTY

    found: list[Past] = []
    before = EMPTY
    for moment in moments(await chain(store, row.run)):
        event = moment.event
        root = event.world or EMPTY
        if root != before or event.kind == "branch.merged" or not event.pos:
            what, by = _what(moment, store)
            key = getattr(moment.body, "key", "")
            found.append(Past(event.pos, root, root != before, key, event.at, what, by))
        before = root
    return found


def _what(moment: Moment, store: Store) -> tuple[str, str]:
    """What made a version, and who."""
    event, body = moment.event, moment.body
    if event.kind != "branch.merged":
        plan = moment.step.plan if moment.step is not None else None
        about = lines.subject(event, body, moment.args, store.get, 60)
        return about or (telling.action(plan) if plan is not None else event.kind), ""
    note: dict[str, Any] = {} if event.value is None else unpack(event.value, store.get)
    by = str(note.get("by") or "")
    if note.get("how") == "directory":
        return f"changes in {note['directory']}", ""
    if note.get("how") == "rewind":
        return f"rewind to {note['to']}", by
    if note.get("how") == "restore":
        return f"restore of {note['path']} from {note['to']}", by
    if note.get("how") == "mount":
        return f"command {' '.join(note['command'])}", by
    refused = f" refused: {body.conflicts} conflicts" if body.conflicts else ""
    into = f" into {note['directory']}" if note.get("directory") else ""
    return f"merge of {body.source}{into}{refused}", by


async def beginning(store: Store, row: RunRow) -> str:
    """The world that a run of its own, or its fork or child, began with."""
    from holdfast.world import EMPTY

    pos = row.fork_pos if row.fork_of else 0
    (event,) = await store.read(row.run, pos, pos + 1)
    return event.world or EMPTY


async def home_of(store: Store, row: RunRow, place: Path, named: str = "") -> Home | None:
    """The directory that the world of a run was first taken in from, if it was. ``place``: of the
    store; ``named``: the directory that the user says. `Refused` if the journal names one that
    this user never took in."""
    while row.parent or row.fork_of:
        row = await store.run(row.parent or row.fork_of)
    (started,) = await store.read(row.run, 0, 1)
    said: Any = {} if started.args is None else unpack(started.args, store.get)
    said = said if isinstance(said, dict) else {}
    directory = said.get("directory")
    if not isinstance(directory, str) or not directory:
        directory = ""
    ignore = tuple(said.get("ignore") or ())
    known = bool(directory) and remembers(place, row.run, (started.args or b"").decode())
    if named and not (known and _same(named, directory)):
        return Home(row.run, _absolute(named), ignore)
    if not directory:
        return None
    if not known:
        raise Refused(
            f"run {row.run}: its journal says it was taken in from {one_line(directory)}, but not "
            "by you with this store: say where to write: holdfast world merge RUN --directory DIR"
        )
    return Home(
        row.run, directory, ignore, tuple(said.get("check_command") or ()),
        said.get("seconds") or limits.COMMAND_SECONDS, said.get("reach") or {},
    )  # fmt: skip


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


async def remember_home(store: Store, run: str, place: Path) -> None:
    """Note that this user made a branch from a directory; see `home_of`."""
    (started,) = await store.read(run, 0, 1)
    remember(place, run, (started.args or b"").decode())


def not_taken(directory: Path, store: Path, ignore: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of what is no part of the world of a directory: also a store that lies inside."""
    try:
        inside = store.resolve().relative_to(directory.resolve()).as_posix()
    except ValueError:
        return ignore
    return ignore if inside in (".", ".holdfast") else (*ignore, f"/{inside}")


def part_of(run: str, what: str) -> str:
    """An id for a run that only serves another: it goes when that is discarded."""
    return f"{run[:50]}.{what}-{new_id(SystemDice())}"


def above(row: RunRow) -> str:
    """The run that a run came from: forked, spawned, or served; "" for one of its own."""
    head, dot, tail = row.run.rpartition(".")
    serves = bool(dot) and tail.startswith(("check-", "mount-", "merge-"))
    return row.fork_of or row.parent or (head if serves else "")


async def every_run(store: Store) -> list[RunRow]:
    """All runs, oldest first."""
    found: list[RunRow] = []
    before = 0
    while page := await store.runs(RunQuery(limit=5000, before=before)):
        found += page
        before = page[-1].number
    return found[::-1]


async def family(store: Store, row: RunRow) -> list[RunRow]:
    """A run, and all that it spawned or that fork from these."""
    known = {row.run}
    rows = await every_run(store)
    for one in rows:
        if above(one) in known:
            known.add(one.run)
    return [one for one in rows if one.run in known]
