"""Merging into a branch, or into the directory that it stands for, and saying how it went."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from holdfast.cli.desk import Desk
from holdfast.cli.failing import complain
from holdfast.cli.judging import allowed
from holdfast.cli.known import remember, writing
from holdfast.cli.worlds import Home, not_taken, part_of
from holdfast.engine.choices import label
from holdfast.engine.landing import Change, Check, Landed, land
from holdfast.explain.text import one_line
from holdfast.runtime.taking import take_in as taken
from holdfast.values import limits
from holdfast.values.errors import Conflict, Misuse, NotFound, Refused
from holdfast.world import EMPTY, Stage, Turn, diff, recover, turn, write_back

TOLD_LINES = 20
"""Lines of a failed check's output that are shown."""


class Goal(msgspec.Struct, frozen=True):
    """Where a change is to land: on branch ``run`` and, if ``home`` is given, in its directory;
    after ``check`` has passed, if there is one."""

    run: str
    home: Home | None = None
    check: tuple[str, ...] = ()
    seconds: float = limits.COMMAND_SECONDS
    reach: dict[str, Any] = {}


def words(text: str, option: str) -> tuple[str, ...]:
    """A command in one text, split into words as a shell would; there is no shell."""
    try:
        found = tuple(shlex.split(text))
    except ValueError as error:
        raise Misuse(f"{option} {text!r}: {error}") from None
    if text and not found:
        raise Misuse(f"{option}: names no command")
    return found


async def bring(desk: Desk, store: Any, goal: Goal, change: Change) -> Landed:
    """Let a change land. Into a directory: what people changed in it since is taken in first; a
    path that is changed once more while it is being written makes it begin again. A merge of a
    run is judged first; see `holdfast.cli.judging.allowed`."""
    note = {**change.note, "by": desk.user}
    if goal.check:
        note |= {"check": list(goal.check), "seconds": goal.seconds, "reach": goal.reach}
    if goal.home is not None:
        note["directory"] = goal.home.directory
    change = msgspec.structs.replace(change, note=note)
    check = _checker(desk, goal) if goal.check else None
    home = Path(goal.home.directory) if goal.home is not None else None
    if home is not None and not os.path.isdir(home):  # noqa: PTH112, ASYNC240 - a look, no wait
        raise NotFound(f"{home}: no such directory; to write elsewhere: holdfast world export")

    async def look() -> None:
        if home is not None and goal.home is not None:
            with turn(writing(), home, str(store.directory.resolve())) as held:
                _finish(desk, store, held)
                await take_in(desk, store, goal.run, goal.home)

    if "how" not in note:  # a rewind or a mount's changes are no merge of another run
        change = await allowed(desk, store, goal.run, change, look)
    if home is None:
        done = await land(
            store, goal.run, change, check=check, owner=store.name, now_ms=desk.now_ms
        )
    else:
        # INVARIANT C13: what landed for a directory is written there before anything else lands
        # for it: from the taking in to the last file one merge holds it.
        with turn(writing(), home, str(store.directory.resolve())) as held:
            _finish(desk, store, held)
            done = await _into(desk, store, goal, change, held, check)
    if done.merged.conflicts:
        remember(store.directory, goal.run, asked(note))
    return done


def asked(note: Mapping[str, Any]) -> list[Any]:
    """Of a merge's note what is believed only if this user said it: where to, which check."""
    check = list(note.get("check") or ())
    terms = [note.get("seconds"), note.get("reach") or {}] if check else []
    return [note.get("directory") or "", check, *terms]


def _finish(desk: Desk, store: Any, held: Turn) -> None:
    """Finish, or take back, what was interrupted while it was written into a directory."""
    written = recover(Stage(store.get), held)
    where = one_line(held.directory)
    if written is not None and written.foreign:
        names = one_line(", ".join(written.foreign[:3]))
        desk.screen.note(f"an interrupted merge into {where} was taken back, for somebody changed "
                         f"{names} since: merge again")  # fmt: skip
    elif written is not None:
        desk.screen.note(f"finished an interrupted merge into {where}")


async def _into(
    desk: Desk, store: Any, goal: Goal, change: Change, held: Turn, check: Check | None
) -> Landed:
    assert goal.home is not None
    in_the_way = ""
    for _ in range(limits.WRITE_BACK_ATTEMPTS):
        await take_in(desk, store, goal.run, goal.home)
        done = await land(
            store, goal.run, change, check=check, owner=store.name, now_ms=desk.now_ms
        )
        if done.merged.conflicts:
            return done
        stage = Stage(store.get)
        written = await asyncio.to_thread(write_back, stage, held, done.before, done.root)
        if not written.foreign:
            return done
        in_the_way = one_line(written.foreign[0])
        desk.screen.note(f"{in_the_way} was changed just now; merging again")
    raise Conflict(
        f"{held.directory}: {in_the_way} is in the way, or changes all the time; nothing was "
        "written: move it away, or try again"
    )


async def take_in(desk: Desk, store: Any, run: str, home: Home) -> None:
    """Note on a branch what its directory holds now."""
    directory = Path(home.directory)
    ignore = not_taken(directory, store.directory, home.ignore)
    desk.screen.live(f"reading {directory}")
    root = await taken(store, directory, ignore)
    desk.screen.erase()
    before = (await store.head(run)).world or EMPTY
    if root != before:
        note = {"directory": home.directory, "by": desk.user, "how": "directory"}
        await land(
            store, run, Change(before, root, note=note), owner=store.name, now_ms=desk.now_ms
        )


def _checker(desk: Desk, goal: Goal) -> Check:
    async def check(root: str) -> None:
        from holdfast.cli.running import runtime_of
        from holdfast.tools.attempts import Reach, checked

        command = " ".join(goal.check)
        reach = Reach(**{name: tuple(some) for name, some in goal.reach.items()})
        async with runtime_of(desk) as runtime:
            host = runtime.host
            handle = await host.start(
                checked, (list(goal.check), goal.seconds, reach), world=root, by=desk.user,
                name=part_of(goal.run, "check"),
            )  # fmt: skip
            desk.screen.live(f"checking with {command} (run {handle.id})")
            result = await _ended(runtime.store, handle)
        desk.screen.erase()
        if result.exit:
            tail = f"{result.stdout}\n{result.stderr}".strip().splitlines()[-TOLD_LINES:]
            for line in tail:
                desk.screen.note((f"  {line}", "dim"))
            raise Refused(
                f"check {command!r} failed in the merged candidate (exit {result.exit}), so "
                f"nothing moved: holdfast show {handle.id}"
            )

    return check


async def _ended(store: Any, handle: Any) -> Any:
    """The result of a check's run; if it waits for a person, that is said instead."""
    ended = asyncio.ensure_future(handle.result())
    while not ended.done():
        await asyncio.wait({ended}, timeout=0.2)
        if not ended.done() and any(
            wait.kind == "person" and not wait.ready for wait in (await store.run(handle.id)).waits
        ):
            ended.cancel()
            raise Refused(
                f"policy asks a person whether the check may run: holdfast approve {handle.id}, "
                f"holdfast resume {handle.id}; or change the policy"
            )
    return ended.result()


def tell(
    desk: Desk, store: Any, done: Landed, source: str, goal: Goal, *, verb: str = "merged"
) -> int:
    """Say what became of a merge (or of what else a ``verb`` says was done); the exit code."""
    stage = Stage(store.get)
    target = goal.home.directory if goal.home is not None else goal.run
    conflicts = [{"path": label(one), "kind": one.kind} for one in done.merged.conflicts]
    changes = [] if conflicts else diff(stage, done.before, done.root)
    if desk.screen.json:
        desk.screen.document({
            "source": source, "into": goal.run, "directory": goal.home and goal.home.directory,
            "merged": not conflicts, "conflicts": conflicts,
            "changed": [{"path": one.path, "kind": one.kind} for one in changes],
        })  # fmt: skip
    else:
        for one in conflicts:
            desk.screen.say(("conflict ", "red"), f"{one_line(one['path'])}  {one['kind']}")
        for change in changes:
            desk.screen.say((f"{change.kind:<8} ", "green"), one_line(change.path))
    if not conflicts:
        count = "1 path" if len(changes) == 1 else f"{len(changes)} paths"
        said = f"{verb} {source} into {target}" if verb == "merged" else f"{verb} {source}"
        desk.screen.note(f"{said}: {count} changed")
        return 0
    first = shlex.quote(one_line(conflicts[0]["path"]))
    for command in (
        f"holdfast conflicts {goal.run}",
        f"holdfast resolve {goal.run} {first} --ours | --theirs | --base | --file FILE",
    ):
        desk.screen.note(f"  {desk.command(command)}")
    what = "1 conflict" if len(conflicts) == 1 else f"{len(conflicts)} conflicts"
    complain(f"merge of {source} into {target}: {what}, nothing changed")
    return 4
