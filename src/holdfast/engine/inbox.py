"""The one queue: what runs ask people, and what people are to look at afterwards.

Functions on a store. Every view of the queue (a terminal, a chat, a page) reads it here and answers
with `holdfast.engine.answers`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.engine.commands import too_long
from holdfast.engine.history import History, Step
from holdfast.engine.seeding import Planted, Sowing, plant, planted
from holdfast.journal.events import ApprovalAsked, Draft, Event, FindingAdded, body_of
from holdfast.journal.like import is_short
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.journal.views import REVIEW, REVIEWED, RunRow, Wait
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, unpack
from holdfast.values.errors import Conflict, Misuse
from holdfast.values.ports import Dice

OPINIONS = ("right", "wrong")
"""What a person may think of a call that happened: it was right to let it, or they would have
refused it."""


class Open(msgspec.Struct, frozen=True):
    """A question that nobody has decided. ``seed``: it is none, but a case that is known to be bad
    (`holdfast.engine.seeding`); whoever reviews it is not told before they answered."""

    row: RunRow
    wait: Wait
    seed: Planted | None = None

    @property
    def place(self) -> str:
        """RUN@STEP."""
        return f"{self.row.run}@{self.wait.key}"


class Question(msgspec.Struct, frozen=True):
    """All that a person needs to answer: ``asked``, the arguments that the program asked with and,
    if a person changed them, those that they gave it."""

    asked: ApprovalAsked
    args: Any
    edited: Any = None


class Review(msgspec.Struct, frozen=True):
    """A call that happened and that somebody is to look at: ``pos``, its event; its step; ``why``:
    what the finding says (by convention ``{"why": "sample", ...}``)."""

    row: RunRow
    pos: int
    event: Event
    step: Step
    why: Any

    @property
    def place(self) -> str:
        """RUN#EVENT."""
        return f"{self.row.run}#{self.pos}"


async def open_questions(store: Store, by: str = "") -> list[Open]:
    """What runs ask people now, with seeded cases among it, the longest waiting first. ``by``: only
    what this person may answer and has not approved yet. One scan over the rows of waiting runs."""
    seeds = [Open(one.row, one.wait, one) for one in await planted(store)]
    found = [one for one in seeds if not by or _may(one.wait, by)]
    before = 0
    while page := await store.runs(RunQuery(limits.READ_PAGE_ROWS, before, "waiting")):
        found += [
            Open(row, wait)
            for row in page
            for wait in row.waits
            if wait.kind == "person" and not wait.ready and (not by or _may(wait, by))
        ]
        before = page[-1].number
    return sorted(found, key=lambda one: (one.wait.since, one.row.number, one.wait.key))


async def sow(store: Store, sowing: Sowing, *, now_ms: int, dice: Dice) -> None:
    """Put seeded cases behind what runs ask now, as the policy says; nothing if it does not."""
    if not sowing.policy.review.seeded:
        return
    asked = [
        (one.row, one.wait, (await question_of(store, one)).asked)
        for one in await open_questions(store)
        if one.seed is None and one.wait.pos
    ]
    await plant(store, asked, sowing, now_ms=now_ms, dice=dice)


def _may(wait: Wait, by: str) -> bool:
    named = not wait.approvers or by in wait.approvers
    return named and by not in wait.barred and by not in wait.approved


async def question_of(store: Store, found: Open) -> Question:
    """The whole question; `Conflict` if it was decided and is gone meanwhile."""
    if found.seed is not None:
        return Question(found.seed.seed.asked, found.seed.seed.args)
    run, pos = found.row.run, found.wait.pos
    (event,) = await store.read(run, pos, pos + 1)
    body = body_of(event)
    if not isinstance(body, ApprovalAsked) or body.digest != found.wait.digest:
        raise Conflict(f"run {found.place}: it asks something else now")
    args = event.args
    if args is None or is_short(args):
        args = (await _step(store, found.row, pos, body.key)).args
    edited = None if event.value is None else unpack(event.value, store.get)
    return Question(body, None if args is None else unpack(args, store.get), edited)


async def _step(store: Store, row: RunRow, pos: int, key: str) -> Step:
    """A step as it was at an event, with its arguments whole."""
    start = max((one for one in row.segments if one <= pos), default=0)
    history = History()
    history.extend(await store.read(row.run, start, pos + 1))
    return history.step(key)


# Afterwards ----------------------------------------------------------------------------------


async def reviews(store: Store) -> list[Review]:
    """Calls that somebody is to look at afterwards, newest run first. One scan over all rows."""
    found: list[Review] = []
    before = 0
    while page := await store.runs(RunQuery(limits.READ_PAGE_ROWS, before)):
        for row in page:
            found += [await _review(store, row, pos) for pos in row.reviews]
        before = page[-1].number
    return found


async def _review(store: Store, row: RunRow, pos: int) -> Review:
    (event,) = await store.read(row.run, pos, pos + 1)
    step = await _step(store, row, pos, getattr(body_of(event), "key", ""))
    why: Any = None
    stop = (await store.head(row.run)).pos + 1
    for start in range(pos, stop, limits.READ_PAGE_EVENTS):
        for one in await store.read(row.run, start, min(stop, start + limits.READ_PAGE_EVENTS)):
            if one.kind == "finding.added" and body_of(one) == FindingAdded(
                pos, REVIEW, body_of(one).by
            ):
                why = None if one.value is None else unpack(one.value, store.get)
    return Review(row, pos, event, step, why)


async def review(
    store: Store, run: str, pos: int, opinion: str, *, by: str, now_ms: int, note: str = ""
) -> None:
    """Say what one thinks of a call that happened: ``right`` or ``wrong``. It is recorded as a
    finding, and the call leaves the queue. `Misuse` if nobody is asked about it (any more)."""
    if opinion not in OPINIONS:
        raise Misuse(f"run {run}#{pos}: {opinion!r} is no opinion: {' or '.join(OPINIONS)}")
    value = {"opinion": opinion, "note": too_long(note)}
    for _ in range(limits.ANSWER_ATTEMPTS):
        head = await store.head(run)
        if pos not in (await store.run(run)).reviews:
            raise Misuse(f"run {run}#{pos}: nobody is asked to review this, or somebody has")
        try:
            await _find(store, run, FindingAdded(pos, REVIEWED, by=by), value, now_ms, head.pos)
        except Conflict:
            continue  # the run went on, or somebody else reviewed it
        return
    raise Conflict(f"run {run}: it moves on too fast to be reviewed: try again")


async def _find(
    store: Store, run: str, body: FindingAdded, value: Any, now: int, expect: int | None = None
) -> None:
    blobs: Blobs = {}
    draft = Draft(body, now, value=pack(value, blobs))
    await store.append((Batch(run, (draft,), expect=expect),), blobs)
