"""Landing: a change of a world is put onto a branch by somebody who does not run it.

A branch is a run; its world moves by one event, ``branch.merged``. Whoever lands merges with the
world as it is, checks the candidate for as long as that takes, and appends only if the branch is
still where it was; else it merges again with what is there now. Who loses too often takes the lease
of the branch first and is then alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from holdfast.engine.answers import label_in
from holdfast.engine.choices import Choice, label, settle, sides_of
from holdfast.engine.fork import common_world
from holdfast.engine.seeing import LABEL, is_run
from holdfast.journal.events import (
    BranchMerged,
    Draft,
    Event,
    Failure,
    FindingAdded,
    RunEnded,
    RunStarted,
    body_of,
)
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import BRANCH
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, unpack
from holdfast.values.errors import LeaseLost, Misuse, NotFound
from holdfast.world import EMPTY, Conflict, Merged, Stage, merge

Check = Callable[[str], Awaitable[None]]
"""Looks at a candidate's root before the branch moves; raises to forbid it."""

RESOLVED = "resolved"
"""Type of the findings that settle conflicts of a refused merge."""


class Change(msgspec.Struct, frozen=True):
    """What is to land: all that ``theirs`` changed since ``base``. ``source``: the run it comes
    from, "" for one from outside; ``note``: recorded with it; ``choices``: by path."""

    base: str
    theirs: str
    source: str = ""
    note: Mapping[str, Any] = {}
    choices: Mapping[str, Choice] = {}
    onto: str = ""


class Landed(msgspec.Struct, frozen=True):
    """How it went: the event's position, the branch's world ``before``, and what the merge made of
    it (with conflicts the world is as before); ``races``: how often somebody else was faster."""

    pos: int
    before: str
    merged: Merged
    races: int = 0

    @property
    def root(self) -> str:
        """The branch's world now."""
        return self.before if self.merged.conflicts else self.merged.root


async def begin_branch(
    store: Store, name: str, root: str, *, now_ms: int, by: str = "", note: Mapping[str, Any]
) -> None:
    """Make a branch that no program runs, with this world; `Conflict` if the name is taken."""
    blobs: Blobs = {}
    draft = Draft(RunStarted(BRANCH, by=by), now_ms, world=root, args=pack(dict(note), blobs))
    await store.append((Batch(name, (draft,), expect=-1),), blobs)


async def change_of(store: Store, source: str, into: str) -> Change:
    """All that run ``source`` did to its world since it shared one with ``into``; `Misuse`."""
    if source == into:
        raise Misuse(f"run {source}: cannot be merged into itself")
    base = await common_world(store, source, into)
    return Change(base, (await store.head(source)).world or EMPTY, source)


async def land(
    store: Store,
    into: str,
    change: Change,
    *,
    owner: str,
    now_ms: Callable[[], int],
    check: Check | None = None,
) -> Landed:
    """Merge a change into the world of run ``into`` and record it there.

    Conflicts are recorded and returned, and change nothing. Any number may land at once, from any
    process. `LeaseLost` if the run is being run by a process; `Misuse` if it moved from the only
    world that the change may land on; what ``check`` raises.
    """
    # INVARIANT E40: a branch moves only from the very world that was merged with, so that nothing
    # that landed is ever lost; and whoever lost some races is alone in the next one.
    patience = _Patience(store, into)
    races = 0
    while True:
        try:
            if races >= limits.LANDING_ATTEMPTS:
                async with _held(store, into, owner, patience.look) as epoch:
                    before = await _world(store, into)
                    ready = await _prepare(store, change, before, check)
                    pos = await _append(store, into, change, ready, (epoch, now_ms()))
                    return Landed(pos, before, ready[0], races)
            before = await _from(store, into, change)
            ready = await _prepare(store, change, before, check)
            async with _held(store, into, owner, patience.look) as epoch:
                if await _world(store, into) == before:
                    pos = await _append(store, into, change, ready, (epoch, now_ms()))
                    return Landed(pos, before, ready[0], races)
            races += 1
        except LeaseLost as error:
            await patience.wait(error)


async def _world(store: Store, run: str) -> str:
    return (await store.head(run)).world or EMPTY


async def _from(store: Store, run: str, change: Change) -> str:
    before = await _world(store, run)
    if change.onto not in ("", before):
        raise Misuse(
            f"run {run}: it moved after this merge was approved: say the same again, to be asked "
            "about what it is now"
        )
    return before


async def _prepare(
    store: Store, change: Change, before: str, check: Check | None
) -> tuple[Merged, Blobs]:
    stage = Stage(store.get)
    merged = await asyncio.to_thread(merge, stage, change.base, before, change.theirs)
    merged = await asyncio.to_thread(settle, stage, merged, change.choices)
    blobs = stage.take()
    if check is not None and not merged.conflicts:
        await store.put(blobs)
        await check(merged.root)
    return merged, blobs


async def _append(
    store: Store, into: str, change: Change, ready: tuple[Merged, Blobs], when: tuple[int, int]
) -> int:
    (merged, staged), (epoch, now_ms) = ready, when
    blobs = dict(staged)
    found = [{"path": label(one), "kind": one.kind} for one in merged.conflicts]
    body = BranchMerged("", change.source, change.base, change.theirs, len(found))
    note = {**change.note, "conflicts": found}
    row = await store.run(into)
    if is_run(change.source) and row.agent != BRANCH and not row.ended:
        note[LABEL] = await label_in(store, change.source)
    value = pack(note, blobs)
    draft = Draft(body, now_ms, world="" if found else merged.root, value=value)
    (event,) = await store.append((Batch(into, (draft,), epoch=epoch),), blobs)
    return event.pos


async def end_now(store: Store, run: str, *, owner: str, now_ms: int) -> None:
    """Cancel a run that no process runs, at once, without its program. Idempotent; `LeaseLost`."""
    async with _held(store, run, owner) as epoch:
        if not (await store.run(run)).ended:
            body = RunEnded("cancelled", Failure("CancelledError", "it was discarded"))
            await store.append((Batch(run, (Draft(body, now_ms),), epoch=epoch),), {})


# Taking turns ---------------------------------------------------------------------------------
_turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


@asynccontextmanager
async def _held(store: Store, run: str, owner: str, look: bool = False) -> AsyncGenerator[int]:
    """The lease of a run, for a moment. Between processes the store decides who has it; within
    this one, where it would be handed out twice, whoever came first. ``look``: only look whether it
    is free, which costs no transaction, before asking for it."""
    lock = _turns.setdefault((owner, run), asyncio.Lock())
    async with lock:
        holder = (await store.run(run)).owner
        if holder == owner or (holder and look):
            raise LeaseLost(f"run {run}: a process is running it, or merging into it, now")
        epoch = await store.claim(run, owner)
        try:
            yield epoch
        finally:
            while not await store.release(run, epoch, (await store.head(run)).pos):
                if (await store.run(run)).epoch != epoch:
                    break  # it was taken from us: we were thought to be dead


class _Patience:
    """Waits for a lease: for ever while its holders change, not long for a run that runs."""

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._run = run
        self._epoch = -1
        self._waits = 0

    @property
    def look(self) -> bool:
        """Whether looking is enough: now and then it is asked for, for its holder may be dead."""
        return self._waits % 10 != 9

    async def wait(self, error: LeaseLost) -> None:
        """Wait a little, or raise what stands in the way."""
        row = await self._store.run(self._run)
        if row.epoch != self._epoch:
            self._epoch, self._waits = row.epoch, 0
        self._waits += 1
        runs = row.status in ("running", "waiting")
        if runs and self._waits > limits.LANDING_LOOK_ATTEMPTS:
            raise error
        await asyncio.sleep(min(0.002 * 2 ** min(self._waits, 6), 0.1))


# Refused merges -------------------------------------------------------------------------------
class Open(msgspec.Struct, frozen=True):
    """A merge that was refused and has not gone through since. ``change`` is what is to land, with
    the choices made so far; ``conflicts`` are all of them, settled or not."""

    pos: int
    change: Change
    conflicts: tuple[Conflict, ...]

    @property
    def left(self) -> list[Conflict]:
        """What nobody has decided yet."""
        return [one for one in self.conflicts if not self.settled(one)]

    def settled(self, conflict: Conflict) -> bool:
        """Whether this very conflict was decided."""
        choice = self.change.choices.get(label(conflict))
        return choice is not None and choice.sides == sides_of(conflict)


async def open_merge(store: Store, run: str) -> Open:
    """The newest refused merge into a run that is still open; `NotFound` if there is none.

    Its conflicts are found anew from the three worlds that the journal names, and from these two
    and today's world if the branch has moved since.
    """
    events = await _about_merges(store, run)
    through = {_told(event) for event in events if _merged(event) and not body_of(event).conflicts}
    for event in reversed(events):
        if _merged(event) and body_of(event).conflicts and _told(event) not in through:
            return await _open(store, run, event, events)
    raise NotFound(f"run {run}: no merge into it was refused; `holdfast world log {run}` shows all")


def _merged(event: Event) -> bool:
    return event.kind == "branch.merged"


def _told(event: Event) -> tuple[str, str, str]:
    body: BranchMerged = body_of(event)
    return body.source, body.base, body.theirs


async def _about_merges(store: Store, run: str) -> list[Event]:
    """Merges and findings of a run, oldest first."""
    found: list[Event] = []
    stop = (await store.head(run)).pos + 1
    for start in range(0, stop, limits.READ_PAGE_EVENTS):
        page = await store.read(run, start, min(stop, start + limits.READ_PAGE_EVENTS))
        found += [one for one in page if one.kind in ("branch.merged", "finding.added")]
    return found


async def _open(store: Store, run: str, event: Event, events: list[Event]) -> Open:
    body: BranchMerged = body_of(event)
    same = {one.pos for one in events if _merged(one) and _told(one) == _told(event)}
    stage = Stage(store.get)
    ours = await _world(store, run)
    merged = await asyncio.to_thread(merge, stage, body.base, ours, body.theirs)
    named = {label(one): one for one in merged.conflicts}
    choices: dict[str, Choice] = {}
    for one in events:
        if one.kind == "finding.added" and one.value is not None:
            finding: FindingAdded = body_of(one)
            if finding.type == RESOLVED and finding.about in same:
                said = unpack(one.value, store.get)
                conflict = named.get(said["path"])
                if conflict is not None and said["sides"] == sides_of(conflict):
                    content = said.get("content", b"")
                    choices[label(conflict)] = Choice(said["sides"], said["take"], content)
    note = {} if event.value is None else unpack(event.value, store.get)
    note.pop("conflicts", None)
    change = Change(body.base, body.theirs, body.source, note, choices)
    return Open(event.pos, change, merged.conflicts)


async def decide(
    store: Store,
    run: str,
    about: Open,
    path: str,
    take: str,
    *,
    by: str,
    now_ms: int,
    content: bytes = b"",
) -> Open:
    """Record what is to stand where a conflict is; the merge with that decision added.

    ``path``: as `label` says, or that of a database for all rows of it that are in conflict.
    ``take``: ours, theirs, base, or file (then ``content`` counts). `Misuse` for what is not in
    conflict.
    """
    meant = [one for one in about.conflicts if path in (label(one), one.path)]
    if not meant:
        known = ", ".join(label(one) for one in about.conflicts[:5]) or "none"
        raise Misuse(f"{path}: is not in conflict; in conflict are: {known}")
    if take not in ("ours", "theirs", "base", "file"):
        raise Misuse(f"{path}: take ours, theirs, base or file, not {take!r}")
    if take == "file" and any(one.row is not None for one in meant) and path != meant[0].path:
        raise Misuse(f"{path}: a file cannot stand for a row; say the path of the database")
    blobs: Blobs = {}
    drafts: list[Draft] = []
    choices = dict(about.change.choices)
    for one in meant:
        said: dict[str, Any] = {"path": label(one), "take": take, "sides": sides_of(one)}
        if take == "file":
            said["content"] = content
        body = FindingAdded(about.pos, RESOLVED, by)
        drafts.append(Draft(body, now_ms, value=pack(said, blobs)))
        choices[label(one)] = Choice(sides_of(one), take, content)
    await store.append((Batch(run, tuple(drafts)),), blobs)
    return msgspec.structs.replace(
        about, change=msgspec.structs.replace(about.change, choices=choices)
    )
