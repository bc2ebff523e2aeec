"""Where appends are decided: conditions, sealing and folding, as one pure function.

Stores call `place` inside their own transaction and write down what it returns. A store differs
from another in how it keeps bytes, never in what an append means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from holdfast.journal.events import (
    NO_HEAD,
    Draft,
    Event,
    Head,
    RunStarted,
    StepPlanned,
    StepSettled,
    body_of,
    kind_of,
    seal,
)
from holdfast.journal.meters import add_up, charged_by, charges_of, check_name, raised
from holdfast.journal.record import OWN
from holdfast.journal.store import Batch
from holdfast.journal.views import RunRow, fold_run
from holdfast.values import limits
from holdfast.values.errors import Conflict, LeaseLost, Misuse, NotFound, TooLarge
from holdfast.values.ids import NAME

_FOLDED = frozenset(
    {"run.started", "step.planned", "approval.asked", "approval.given", "signal.received",
     "run.ended", "finding.added"}
)  # fmt: skip
_OUTSIDERS = frozenset({"approval.given", "signal.received", "finding.added"})
"""What may be appended without the lease: it never changes what the owner is computing."""


_AFTER_END = _OUTSIDERS | {"branch.merged", "checkpoint.signed"}
"""What may be appended to a run that is over."""

_CHARGING = (StepPlanned, StepSettled)

_ROOT = re.compile(r"[0-9a-f]{64}")
"""It stands unquoted in what is hashed, so it may hold nothing else."""


class Slot(msgspec.Struct, frozen=True, gc=False):
    """What a store must know of a run to append to it. ``serial``: of its owner's newest append
    under this lease, 0 if not known."""

    head: Head
    row: RunRow
    serial: int = 0


class Placed(msgspec.Struct, gc=False):
    """Events to write, in order, and the new slot of each run touched; ``changed`` rows differ.
    ``meters``: new values of those that were charged."""

    events: list[Event]
    slots: dict[str, Slot]
    changed: set[str]
    meters: dict[str, int] = {}


def place(
    batches: Sequence[Batch],
    slot_of: Callable[[str], Slot | None],
    head_at: Callable[[str, int], Head],
    seq: int,
    value_of: Callable[[str], int],
) -> Placed:
    """Seal the drafts of ``batches`` onto their runs' heads, starting at global place ``seq``.

    ``slot_of`` returns the slot of a run or None; ``head_at`` the event of a run at a position;
    ``value_of`` the value of a meter. Raises `Conflict`, `Exceeded`, `LeaseLost`, `NotFound` or
    `Misuse`; then nothing must be written.
    """
    placed = Placed([], {}, set())
    charges: dict[str, int] = {}
    capped = False

    def slot_now(run: str) -> Slot | None:
        return placed.slots.get(run) or slot_of(run)

    for batch in batches:
        slot = slot_now(batch.run)
        _check(batch, slot)
        capped = capped or bool(batch.caps)
        head, row = (slot.head, slot.row) if slot else _first(batch, placed, slot_now, head_at)
        for draft in batch.drafts:
            if draft.world and not _ROOT.fullmatch(draft.world):
                raise Misuse(f"run {batch.run}: {draft.world!r} is not the root of a world")
            if not 0 <= draft.at < 1 << 53:
                raise Misuse(f"run {batch.run}: {draft.at} is not a time in ms since 1970")
            body = draft.body
            if isinstance(body, _CHARGING) and body.charges:
                # INVARIANT J40: what an event charges is added once, in the append that commits it
                add_up(charges, charges_of(body))
            event = seal(draft, batch.run, head, seq)
            if len(event.body) > limits.BODY_MAX_BYTES:
                raise TooLarge(
                    f"event {event.kind} of run {batch.run}: its body has {len(event.body):,} "
                    f"bytes, the limit is {limits.BODY_MAX_BYTES:,}: move text into a payload"
                )
            seq += 1
            head = Head(event.pos, event.id, event.world)
            placed.events.append(event)
            if event.kind in _FOLDED or (row and row.waits and event.kind == "step.settled"):
                row = _fold(row, event, batch, placed)
        if row is None:
            raise Misuse(f"run {batch.run}: its first event must be run.started")
        serial = batch.serial or (slot.serial if slot else 0)
        placed.slots[batch.run] = Slot(head, row, serial)
    if charges or capped:
        caps = _caps(batches) if capped else {}
        placed.meters = raised(charges, caps, value_of)
    return placed


def _caps(batches: Sequence[Batch]) -> dict[str, int]:
    """What meters may come to, by all batches: the lowest of what each says."""
    caps: dict[str, int] = {}
    for batch in batches:
        for name, cap in batch.caps.items():
            check_name(name)
            caps[name] = min(cap, caps.get(name, cap))
    return caps


def refused(batches: Sequence[Batch], slot_of: Callable[[str], Slot | None]) -> dict[str, Slot]:
    """The slots after an append that was refused for a cap: its serials are used up.

    INVARIANT J42: what was delivered after a refused append is not out of order.
    """
    slots: dict[str, Slot] = {}
    for batch in batches:
        slot = slot_of(batch.run)
        if slot is not None and batch.serial:
            slots[batch.run] = Slot(slot.head, slot.row, batch.serial)
    return slots


def _check(batch: Batch, slot: Slot | None) -> None:
    """INVARIANT J3: an append needs the expected head, and the lease unless it only adds news."""
    if batch.expect is not None and (slot.head.pos if slot else -1) != batch.expect:
        found = slot.head.pos if slot else -1
        raise Conflict(f"run {batch.run}: expected head #{batch.expect}, found #{found}")
    if not batch.drafts:
        raise Misuse(f"run {batch.run}: an append needs at least one event")
    if slot is None:
        if batch.epoch or not isinstance(batch.drafts[0].body, RunStarted):
            raise NotFound(f"run {batch.run!r} is not in this store")
        if not NAME.fullmatch(batch.run):
            raise Misuse(f"run {batch.run!r}: use 1 to 80 letters, digits, '_', '-' or '.'")
        if batch.run in OWN and (batch.drafts[0].body.agent != batch.run or batch.lease):
            # INVARIANT J64: only Holdfast begins its own runs, and none comes from elsewhere
            raise Misuse(f"run {batch.run}: this name is Holdfast's own: choose another")
        return
    if batch.epoch:
        if slot.row.epoch != batch.epoch or not slot.row.owner:
            raise LeaseLost(f"run {batch.run}: another process holds it now; this one lets go")
        if slot.row.ended and any(kind_of(one.body) not in _AFTER_END for one in batch.drafts):
            raise Conflict(f"run {batch.run}: it is {slot.row.status}, nothing more happens in it")
        if batch.serial and slot.serial and batch.serial != slot.serial + 1:
            raise Conflict(
                f"run {batch.run}: append {batch.serial} was delivered twice or out of order, "
                f"{slot.serial} is the newest"
            )
        return
    for draft in batch.drafts:
        kind = kind_of(draft.body)
        if kind not in _OUTSIDERS:
            raise LeaseLost(f"run {batch.run}: {kind} may be appended by its owner only")


def _first(
    batch: Batch,
    placed: Placed,
    slot_now: Callable[[str], Slot | None],
    head_at: Callable[[str, int], Head],
) -> tuple[Head, RunRow | None]:
    """Where the chain of a new run begins: nowhere, or at the event it forks from."""
    body = batch.drafts[0].body
    if not isinstance(body, RunStarted) or not body.fork_of:
        return NO_HEAD, None
    pos = body.fork_pos
    source = slot_now(body.fork_of)
    if source is None or not 0 <= pos <= source.head.pos:
        raise NotFound(f"run {batch.run}: cannot fork from {body.fork_of}#{pos}")
    at: Slot | None = source
    while at is not None and at.row.fork_of and pos <= at.row.fork_pos:
        at = slot_now(at.row.fork_of)
    if at is not None:
        for event in placed.events:  # the event may come to be in this very append
            if event.pos == pos and event.run == at.row.run:
                return Head(pos, event.id, event.world), source.row
    return head_at(body.fork_of, pos), source.row


def _fold(row: RunRow | None, event: Event, batch: Batch, placed: Placed) -> RunRow | None:
    new = fold_run(row, event)
    if new is not None and event.kind == "run.ended" and new.owner:
        new = msgspec.structs.replace(new, owner="")  # nobody needs to hold a run that is over
    if new is not row:
        placed.changed.add(batch.run)
        if new is not None and batch.lease and (row is None or row.run != batch.run):
            new = msgspec.structs.replace(new, owner=batch.lease, epoch=1)
    return new


def graft(
    events: Sequence[Event],
    slot_of: Callable[[str], Slot | None],
    head_at: Callable[[str, int], Head],
    seq: int,
    value_of: Callable[[str], int],
) -> Placed:
    """Place sealed events of one run, oldest first, as they are: with their ids, at ``seq`` on.

    The caller has proven the ids. What is there already is skipped (that the newest shared event
    has the same id says that all before it do); `Conflict` if the two histories differ, `NotFound`
    if something before is absent.
    """
    run = events[0].run
    if run in OWN:
        raise Misuse(f"run {run} belongs to its own store (J64): it is never taken from another")
    slot = slot_of(run)
    if slot is not None:
        last = min(slot.head.pos, events[-1].pos)
        shared = [event for event in events if event.pos == last]
        if shared and head_at(run, last).id != shared[0].id:
            raise Conflict(f"run {run}: there is another run of this name, with another history")
        events = [event for event in events if event.pos > slot.head.pos]
        if not events:
            return Placed([], {}, set())
        head, row = slot.head, slot.row
    else:
        batch = Batch(run, (Draft(body_of(events[0]), events[0].at),))
        _check(batch, None)
        head, row = _first(batch, Placed([], {}, set()), slot_of, head_at)
    placed = Placed([], {}, {run})
    charges: dict[str, int] = {}
    for event in events:
        if charged_by(event.kind, event.body):
            add_up(charges, charges_of(body_of(event)))
        if event.parent != head.id or event.pos != head.pos + 1:
            raise Conflict(f"event {run}#{event.pos} does not follow #{head.pos} of this store")
        placed.events.append(msgspec.structs.replace(event, seq=seq + len(placed.events)))
        head = Head(event.pos, event.id, event.world)
        row = fold_run(row, event)
    assert row is not None
    placed.slots[run] = Slot(head, row)
    placed.meters = raised(charges, {}, value_of)
    return placed


def lineage(
    row_of: Callable[[str], RunRow], run: str, start: int, stop: int
) -> list[tuple[str, int, int]]:
    """Pieces ``(run, start, stop)`` of a chain, oldest first, through the runs it forked from.

    INVARIANT J4: a fork is a pointer: its chain is its source's up to the cut, then its own.
    """
    pieces: list[tuple[str, int, int]] = []
    row: RunRow | None = row_of(run)
    while row is not None and start < stop:
        first = row.fork_pos + 1 if row.fork_of else 0
        if stop > first:
            pieces.append((row.run, max(start, first), stop))
            stop = first
        row = row_of(row.fork_of) if row.fork_of else None
    return [piece for piece in reversed(pieces) if piece[1] < piece[2]]
