"""Events and steps in the form that the interface answers them, every payload bounded."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.explain import lines, telling
from holdfast.explain.past import Recall
from holdfast.journal.events import Event, Plan, body_of
from holdfast.journal.like import is_short
from holdfast.journal.store import Store
from holdfast.values import limits

_ROOM = 120
"""Characters of what a line of a list says of an event, and of how it ended."""
_BEFORE = 200
"""Events before a page in which the plans of its outcomes are looked for."""


class EventLine(msgspec.Struct, frozen=True):
    """An event as lists show it. ``key``: of its step, "" for none; ``text``: what it is about;
    ``outcome``: how that ended; ``verdict``: decision and rule; ``took``: microseconds; ``body``:
    its body, as journaled, without payloads."""

    seq: int
    run: str
    pos: int
    id: str
    kind: str
    at: int
    world: str
    key: str
    text: str
    outcome: str
    verdict: str
    took: int
    body: dict[str, Any]


class EventWhole(msgspec.Struct, frozen=True):
    """An event with its payloads whole; of one that is longer than `limits.API_PAYLOAD_BYTES`, its
    beginning as ``{"too_long": text}``."""

    seq: int
    run: str
    pos: int
    id: str
    parent: str
    kind: str
    at: int
    world: str
    body: dict[str, Any]
    args: Any
    value: Any


class _TooLong(Exception):
    """A payload is longer than is answered."""


def whole(skeleton: bytes | None, fetch: telling.Fetch) -> Any:
    """The whole value of a skeleton, or the beginning of one that is too long.

    INVARIANT X111: no answer holds more of a payload than `limits.API_PAYLOAD_BYTES`.
    """
    if skeleton is None:
        return None
    room = [limits.API_PAYLOAD_BYTES - len(skeleton)]

    def counted(name: str) -> bytes:
        content = fetch(name)
        room[0] -= len(content)
        if room[0] < 0:
            raise _TooLong
        return content

    try:
        if room[0] < 0:
            raise _TooLong
        return telling.plain(skeleton, counted)
    except _TooLong:
        return {"too_long": telling.brief(skeleton, fetch, 2_000)}


async def event_lines(
    store: Store, events: list[Event], *, recall: Recall | None = None
) -> list[EventLine]:
    """Events of whatever runs, as lists show them."""
    recall = recall or Recall(store)
    plans = await _plans(store, events)
    return [await _line(store, event, plans, recall) for event in events]


async def _plans(store: Store, events: list[Event]) -> dict[tuple[str, str], Plan]:
    """What the steps asked for whose outcomes, among ``events``, do not say it themselves."""
    found: dict[tuple[str, str], Plan] = {}
    wanted: dict[str, int] = {}
    for event in events:
        if event.kind in ("step.planned", "step.settled"):
            body = body_of(event)
            if body.plan is not None:
                found[event.run, body.key] = body.plan
            elif (event.run, body.key) not in found:
                wanted.setdefault(event.run, event.pos)
    for run, pos in wanted.items():
        for event in await store.read(run, max(0, pos - _BEFORE), pos):
            if event.kind == "step.planned":
                body = body_of(event)
                found.setdefault((run, body.key), body.plan)
    return found


async def _line(
    store: Store, event: Event, plans: dict[tuple[str, str], Plan], recall: Recall
) -> EventLine:
    body = body_of(event)
    key = "" if event.kind == "checkpoint.signed" else getattr(body, "key", "")
    args = event.args
    if args is not None and is_short(args):
        args = await recall.args(event)
    text = lines.subject(event, body, args, store.get, _ROOM)
    if not text and event.kind == "step.settled":
        text = telling.action(plans.get((event.run, key)))
    outcome = lines.outcome(event, body, store.get, _ROOM)
    return EventLine(
        event.seq, event.run, event.pos, event.id, event.kind, event.at, event.world, key, text,
        outcome if isinstance(outcome, str) else outcome[0],
        telling.verdict_text(getattr(body, "verdict", None)), getattr(body, "took", 0),
        msgspec.json.decode(event.body),
    )  # fmt: skip


async def event_whole(store: Store, event: Event) -> EventWhole:
    """An event with its payloads."""
    args = await Recall(store).args(event)
    return EventWhole(
        event.seq, event.run, event.pos, event.id, event.parent, event.kind, event.at, event.world,
        msgspec.json.decode(event.body), whole(args, store.get), whole(event.value, store.get),
    )  # fmt: skip
