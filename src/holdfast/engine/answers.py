"""News for a run from whoever runs nothing itself: signals, stops, answers; and how a run ended.

Functions on a store: a command line or a web page needs no host to use them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from holdfast.engine.commands import too_long
from holdfast.engine.declare import Agent
from holdfast.engine.seeing import recorded_label
from holdfast.journal.events import (
    ApprovalGiven,
    Draft,
    Event,
    Failure,
    RunEnded,
    SignalReceived,
    body_of,
)
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import CANCEL, RunRow, Wait
from holdfast.values.canon import Blobs, pack, unpack
from holdfast.values.errors import HoldfastError, Misuse, NotFound, Refused


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
) -> Wait:
    """Answer what a run asks a person at step ``key`` ("" if it asks only one thing): ``decision``
    approve, deny or answer. `Misuse` if it asks nothing there, or not this kind of thing."""
    wait = open_question(await store.run(run), key)
    if decision == "answer" and wait.about == "action":
        raise Misuse(f"run {run}@{wait.key} asks for approval: approve or deny it")
    if decision == "approve" and wait.about == "question":
        raise Misuse(f"run {run}@{wait.key} asks a question: answer or deny it")
    if wait.approvers and by not in wait.approvers:
        raise Refused(
            f"run {run}@{wait.key}: {by} may not answer this; {', '.join(wait.approvers)} may",
            rule="approvers",
        )
    if decision == "answer" and wait.choices and value not in wait.choices:
        raise Misuse(f"run {run}@{wait.key}: answer one of {', '.join(wait.choices)}")
    blobs: Blobs = {}
    payload = pack(value, blobs) if decision == "answer" else None
    body = ApprovalGiven(wait.key, wait.digest, decision, by=by, note=too_long(note))
    await store.append((Batch(run, (Draft(body, now_ms, value=payload),)),), blobs)
    return wait


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
    label = recorded_label(await store.read(run, row.segments[-1] if row.segments else 0))
    narrow = False
    with contextlib.suppress(HoldfastError):  # a program that is gone returns nothing narrow
        narrow = find(row.agent, row.ref).narrow
    news = pack(news_of(body.status, plain, body.error, event.world, label, narrow=narrow), blobs)
    await store.put(blobs)
    return news


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
