"""News for a run from whoever runs nothing itself: signals, stops, answers; and how a run ended.

Functions on a store: a command line or a web page needs no host to use them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from holdfast.engine.commands import too_long
from holdfast.engine.declare import Agent
from holdfast.engine.seeding import caught, planted
from holdfast.engine.seeing import UNKNOWN, is_run, recorded_label
from holdfast.gate.labels import PLAIN, join, parse_label
from holdfast.journal.events import (
    ApprovalGiven,
    BranchMerged,
    Draft,
    Event,
    Failure,
    FindingAdded,
    RunEnded,
    SignalReceived,
    body_of,
)
from holdfast.journal.quorum import may, missing
from holdfast.journal.record import SEEDED
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import CANCEL, RunRow, Wait
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, unpack
from holdfast.values.errors import (
    Conflict,
    Expired,
    HoldfastError,
    Misuse,
    NotFound,
    Refused,
)

REFUSED = "answer.refused"
"""Type of the finding that says that somebody's answer did not count, and why."""


async def ending(store: Store, run: str) -> Event:
    """The run.ended event of a run that is over."""
    head = await store.head(run)
    for pos in range(head.pos, -1, -1):
        (event,) = await store.read(run, pos, pos + 1)
        if event.kind == "run.ended":
            return event
    raise NotFound(f"run {run} has not ended")


async def send(
    store: Store, run: str, name: str, value: Any, *, by: str, now_ms: int, token: str = ""
) -> None:
    """Append a signal to a run; `Misuse` if the run is over or the name is Holdfast's own."""
    if name.startswith("$") and name != CANCEL:
        raise Misuse(f"signal {name!r}: names that start with $ are Holdfast's own")
    row = await store.run(run)
    if row.ended:
        raise Misuse(f"run {run} is {row.status}: it hears no more signals")
    blobs: Blobs = {}
    draft = Draft(SignalReceived(name, token=token, by=by), now_ms, value=pack(value, blobs))
    await store.append((Batch(run, (draft,)),), blobs)


async def cancel(store: Store, run: str, *, by: str, now_ms: int) -> None:
    """Ask a run to stop: its program sees ``asyncio.CancelledError`` where it waits."""
    await send(store, run, CANCEL, None, by=by, now_ms=now_ms)


async def answer(
    store: Store,
    run: str,
    key: str,
    decision: str,
    *,
    by: str,
    now_ms: int,
    value: Any = None,
    note: str = "",
    digest: str = "",
    fits: Callable[[Wait, Mapping[str, Any]], None] | None = None,
    record: bool = True,
) -> Wait:
    """Answer what a run asks a person at step ``key`` ("" if it asks only one thing): ``decision``
    approve, deny, answer or edit (``value``: the arguments that it may happen with). ``digest``:
    the beginning of that of the action that is meant. ``fits``: raises `Misuse` if arguments do not
    fit the tool, where that is known.

    The question as it was; `Misuse` if it asks nothing there, not this kind of thing, about another
    action, or ``by`` approved it already; `Refused` if ``by`` may not answer; `Expired` if it is
    too late; `Seeded`, whatever was answered, if it was a seeded case. Then nothing
    was answered; that somebody who may not answer tried to, or tried too late or about another
    action, is recorded as a finding `REFUSED` (``record``: unless the caller does that).
    """
    said = _Said(decision, by, now_ms, value, note, digest)
    await _seeded(store, run, key, said)
    for _ in range(limits.ANSWER_ATTEMPTS):
        head = await store.head(run)
        row = await store.run(run)
        wait = open_question(row, key)
        # INVARIANT E68: a late answer is refused and is no answer; a clock that went back makes no
        # question younger than the newest thing that is known of its run
        now = max(now_ms, row.changed)
        try:
            _check(wait, f"run {run}@{wait.key}", decision, value, by)
            _in_time(wait, f"run {run}@{wait.key}", digest, now)
        except (Refused, Expired, Changed) as error:
            if record:
                await _refused(store, row, wait, error, decision=decision, by=by, now_ms=now)
            raise
        if decision == "edit" and fits is not None:
            fits(wait, value)
        blobs: Blobs = {}
        payload = pack(value, blobs) if decision in ("answer", "edit") else None
        body = ApprovalGiven(wait.key, wait.digest, decision, by=by, note=too_long(note))
        batch = Batch(run, (Draft(body, now, value=payload),), expect=head.pos)
        try:
            await store.append((batch,), blobs)
        except Conflict:
            continue  # somebody answered, or the run went on, since the question was read
        return wait
    raise Conflict(f"run {run}: it moves on too fast to be answered: try again")


class _Said(msgspec.Struct, frozen=True):
    """An answer as it was given."""

    decision: str
    by: str
    now_ms: int
    value: Any
    note: str
    digest: str


async def _seeded(store: Store, run: str, key: str, said: _Said) -> None:
    """End here if it is a seeded case that is answered: never with an answer that counts."""
    decision, by, now = said.decision, said.by, said.now_ms
    for one in await planted(store):
        if one.seed.run == run and key in ("", one.wait.key):
            place = f"run {run}@{one.wait.key}"
            try:
                _check(one.wait, place, decision, said.value, by)
                _in_time(one.wait, place, said.digest, now)
            except (Refused, Changed) as error:
                row = await store.run(SEEDED)
                await _refused(store, row, one.wait, error, decision=decision, by=by, now_ms=now)
                raise
            await caught(store, one, decision, by=by, now_ms=now, note=said.note)


def _check(wait: Wait, place: str, decision: str, value: Any, by: str) -> None:
    """Whether this answer fits this question, and ``by`` may give it."""
    if decision not in ("approve", "deny", "answer", "edit"):
        raise Misuse(f"{place}: {decision!r} is no answer: approve, deny, answer or edit")
    if decision == "answer" and wait.about in ("action", "budget"):
        raise Misuse(f"{place} asks for approval: approve or deny it")
    if decision == "approve" and wait.about == "question":
        raise Misuse(f"{place} asks a question: answer or deny it")
    if decision == "edit" and wait.about != "action":
        raise Misuse(f"{place} asks about no action whose arguments could be changed")
    if decision == "edit" and not isinstance(value, Mapping):
        raise Misuse(f"{place}: the arguments of an action are names with values")
    listed = not wait.approvers or by in wait.approvers
    if not (listed and may(wait.panels, wait.barred, by)):
        if by in wait.barred:
            raise Refused(f"{place}: nobody answers what they ask themselves", rule="approvers")
        raise Refused(
            f"{place}: {by} may not answer this; {', '.join(wait.approvers)} may", rule="approvers"
        )
    if decision == "approve" and by in wait.approved:
        left = missing(wait.panels, wait.approved)
        raise Misuse(f"{place}: {by} has approved this already; it still takes {left}")
    if decision == "answer" and wait.choices and value not in wait.choices:
        raise Misuse(f"{place}: answer one of {', '.join(wait.choices)}")


class Changed(Misuse):
    """An answer is about another action than the one that is asked about."""


def _in_time(wait: Wait, place: str, digest: str, now: int) -> None:
    """Whether an answer is about what is asked, and not too late."""
    if digest and not wait.digest.startswith(digest.lower()):
        raise Changed(
            f"{place}: it asks about action {wait.digest[:12]}, not {digest}: look"
            " at what it asks now, then answer that"
        )
    if wait.due and now >= wait.due:
        raise Expired(f"{place}: it expired {_ago(now - wait.due)}: nothing done")


async def _refused(
    store: Store, row: RunRow, wait: Wait, error: HoldfastError, *, decision: str, by: str,
    now_ms: int,
) -> None:  # fmt: skip
    # a clock that is ahead must not let the question expire for everybody
    at = max(row.changed, min(now_ms, wait.due - 1)) if wait.due else now_ms
    blobs: Blobs = {}
    what = {"why": str(error), "who": by, "step": wait.key, "decision": decision}
    draft = Draft(FindingAdded(wait.pos, REFUSED, by="answer"), at, value=pack(what, blobs))
    await store.append((Batch(row.run, (draft,)),), blobs)


def _ago(ms: int) -> str:
    seconds = ms // 1000
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"


def open_question(row: RunRow, key: str) -> Wait:
    """The question that a run asks at step ``key`` ("": its only one) and nobody has answered."""
    asked = [wait for wait in row.waits if wait.kind == "person" and not wait.ready]
    found = [wait for wait in asked if key in ("", wait.key)]
    if len(found) == 1:
        return found[0]
    if not asked:
        raise Misuse(f"run {row.run} ({row.status}) asks nobody anything now")
    places = ", ".join(f"{row.run}@{wait.key}" for wait in asked)
    raise Misuse(f"run {row.run}: say which question: {places}")


async def child_news(
    store: Store, run: str, asker: str, find: Callable[[str, str], Agent[..., Any]]
) -> bytes | None:
    """How a child run ended, as its parent is told; None if it has not; empty if the asker is that
    parent, whose news will come. ``find``: its program by name and reference."""
    row = await store.run(run)
    if not row.ended:
        return b"" if row.parent == asker else None
    event = await ending(store, run)
    body: RunEnded = body_of(event)
    plain = None if event.value is None else unpack(event.value, store.get)
    blobs: Blobs = {}
    label = recorded_label(
        await store.read(run, row.segments[-1] if row.segments else 0), store.get
    )
    narrow = False
    with contextlib.suppress(HoldfastError):  # a program that is gone returns nothing narrow
        narrow = find(row.agent, row.ref).narrow
    news = pack(news_of(body.status, plain, body.error, event.world, label, narrow=narrow), blobs)
    await store.put(blobs)
    return news


async def label_in(store: Store, run: str) -> str:
    """The label of all that a run has seen, and that those saw whose worlds were merged into it."""
    found, known, left = PLAIN, {run}, [run]
    while left:
        name = left.pop()
        try:
            row = await store.run(name)
        except NotFound:
            found = join(found, UNKNOWN)
            continue
        events = await store.read(name, row.segments[-1] if row.segments else 0)
        found = join(found, parse_label(recorded_label(events, store.get)))
        for event in events:
            if event.kind == "branch.merged":
                body: BranchMerged = body_of(event)
                if is_run(body.source) and body.source not in known:
                    known.add(body.source)
                    left.append(body.source)
    return str(found)


def news_of(
    status: str, plain: object, error: Failure | None, world: str, label: str, *, narrow: bool
) -> dict[str, object]:
    """What a parent is told when its child ends. ``label``: of all that the child saw; ``narrow``:
    it can return nothing but a number, a choice or a date."""
    # INVARIANT E57: what a child saw is known to its parent wherever its result goes
    seen: dict[str, object] = {"label": label} if label else {}
    if label and narrow and status == "done":
        seen["narrow"] = True
    return seen | {
        "status": status,
        "value": plain,
        "type": error.type if error else "",
        "error": error.text if error else "",
        "world": world,
    }
