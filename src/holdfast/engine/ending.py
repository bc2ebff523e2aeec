"""How a run leaves memory: parked, ended, continued in a new segment, or given up.

Each function here is awaited once, as the last thing that happens to a resident.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import msgspec

from holdfast.engine.answers import news_of
from holdfast.engine.commands import text_of
from holdfast.engine.home import Leaving
from holdfast.engine.run import ContinueAs, Run
from holdfast.engine.seeing import parting
from holdfast.journal.events import (
    Draft,
    Failure,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
)
from holdfast.journal.store import Batch
from holdfast.journal.views import CANCEL, CHILD, PUBLISH, PUBLISHED
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, unpack
from holdfast.values.errors import Conflict, HoldfastError, LeaseLost, Misuse, Suspended


class Ending(msgspec.Struct, frozen=True):
    """How a program ended: done, failed or cancelled; its result's skeleton, or its error."""

    status: str
    value: bytes | None = None
    error: Failure | None = None


def ending_of(run: Run, error: BaseException | None, blobs: Blobs) -> Ending:
    """How a run ended, given what ended it; the result is checked against the program's hint."""
    main = run.main
    cancelled = main is not None and main.done() and main.cancelled()
    if cancelled or isinstance(error, asyncio.CancelledError):
        return Ending("cancelled", None, Failure("CancelledError", "the run was asked to stop"))
    value: bytes | None = None
    if error is None and main is not None:
        try:
            shape = run.program.returns
            value = pack(shape.plain(shape.check(main.result())), blobs)
        except Exception as wrong:  # noqa: BLE001 - the result does not fit its own hint
            name = run.program.name
            error = Misuse(f"agent {name}: its result cannot be recorded: {wrong}")
    if error is None:
        return Ending("done", value)
    kind = getattr(error, "error_type", "") or type(error).__name__
    return Ending("failed", None, Failure(kind, text_of(error)))


async def close(resident: Leaving, how: Coroutine[Any, Any, None]) -> None:
    """Leave memory; if the journal refuses, the run is simply let go of."""
    try:
        await how
    except HoldfastError as error:
        resident.go(error, again=False)


async def unwind(resident: Leaving) -> None:
    """Write down what is waited for, give the lease back, leave memory.

    Effects that are being performed may finish first, so that none becomes unknown by our own
    doing; when this process stops, within `limits.LEAVE_SECONDS`. Reading steps are then dropped
    and taken again by whoever resumes: the lease lapses with this process, which makes the run
    adoptable.
    """
    run, home = resident.run, resident.home
    await _let_finish(resident)
    drafts: list[Draft] = []
    for key, (command, _, pending) in resident.awaits.items():
        if pending.plan.kind == "wait" and run.history.step(key).planned is None:
            body = StepPlanned(key, pending.plan, due=command.due)
            drafts.append(Draft(body, home.clock.now_ms(), args=pending.args))
    if drafts or run.buffer:
        await resident.append(drafts, {})
    released = True
    if (run.history.replaying or _has_news(resident)) and not resident.stopping:
        released = False  # something came meanwhile that the program was not given: load it again
    elif not (resident.stopping and resident.busy):
        # not released if an answer arrived that was not heard yet: then the run is loaded again
        released = await home.store.release(run.id, run.epoch, resident.heard.base - 1)
    resident.go(None, again=not released)


def _has_news(resident: Leaving) -> bool:
    """Whether an answer or a signal was heard that a waiting step has not taken."""
    history = resident.run.history
    if any(future.done() for _, future, _ in resident.awaits.values()):
        return True
    return any(step.given is not None and step.settled is None for step in history.steps.values())


async def _let_finish(resident: Leaving) -> None:
    working = [
        pending
        for pending in resident.run.pending.values()
        if pending.carrier is not None and pending.key not in resident.awaits
    ]
    if resident.stopping:
        working = [one for one in working if one.plan.effect in ("once", "idempotent")]
    tasks = {one.carrier for one in working if one.carrier is not None}
    if tasks:
        await asyncio.wait(tasks, timeout=limits.LEAVE_SECONDS if resident.stopping else None)


async def give_up(resident: Leaving, error: BaseException) -> None:
    """Something of Holdfast's own stands in the way: nothing is recorded, the lease goes back."""
    run, store = resident.run, resident.home.store
    with contextlib.suppress(HoldfastError):
        if not isinstance(error, LeaseLost):
            await store.release(run.id, run.epoch, (await store.head(run.id)).pos)
    resident.go(error, again=False)


async def finish(resident: Leaving) -> None:
    """The program returned or raised."""
    main = resident.run.main
    assert main is not None
    error = None if main.cancelled() else main.exception()
    if isinstance(error, Suspended) or resident.run.leaving:
        if resident.run.history.pending_signals(CANCEL):
            await end(resident, asyncio.CancelledError("the run was asked to stop"))
        else:
            await unwind(resident)
    elif isinstance(error, ContinueAs):
        await _continue(resident, error)
    else:
        await end(resident, error)


async def _quiet(resident: Leaving) -> None:
    """Stop what the program left behind. How its steps in progress end is recorded, but nobody is
    given it: replay stops delivering where the program ended."""
    run = resident.run
    for task in list(run.loop.tasks):
        task.cancel()
    run.loop.drain()
    # the program has ended: no step is taken any more, only those dropped half-way are settled
    run.outbox = [pending for pending in run.outbox if pending.dropped]
    resident.send_out()
    for _, future, _ in list(resident.awaits.values()):
        future.cancel()
    for pending in list(run.pending.values()):
        if pending.waiting and pending.carrier is not None:
            pending.carrier.cancel()
    carriers = [task for task in resident.carriers if task is not resident.closing]
    if carriers:
        await asyncio.wait(carriers)


async def end(resident: Leaving, error: BaseException | None) -> None:
    """INVARIANT E8: the end of a child and the news of it to its parent are one append."""
    run = resident.run
    await _quiet(resident)
    blobs: Blobs = {}
    ended = ending_of(run, error, blobs)
    now = resident.home.clock.now_ms()
    body = RunEnded(ended.status, ended.error, steps=len(run.history.steps))
    news = _news(run, ended, now, blobs, parting(run, resident.home.settings.policy))
    await resident.append([Draft(body, now, value=ended.value)], blobs, news)
    resident.go(None, again=False)


def _news(run: Run, ended: Ending, now: int, blobs: Blobs, label: str) -> tuple[Batch, ...]:
    """For the parent: how its child ended, with what, with which world, and what it had seen."""
    started = run.history.started
    if started is None or not started.parent:
        return ()
    own = dict(blobs)
    plain = None if ended.value is None else unpack(ended.value, own.__getitem__)
    name = CHILD + run.id
    world, narrow = run.root_of(""), run.program.narrow
    news = news_of(ended.status, plain, ended.error, world, label, narrow=narrow)
    body = SignalReceived(name, token=name, by=run.id)
    return (Batch(started.parent, (Draft(body, now, value=pack(news, blobs)),)),)


async def _continue(resident: Leaving, go_on: ContinueAs) -> None:
    """A new segment: replay will start from here. Signals not consumed yet go along; so the append
    is conditional on having heard all of them."""
    run, home = resident.run, resident.home
    await _quiet(resident)
    old = run.history.started
    assert old is not None
    while True:
        blobs: Blobs = {}
        history = run.history
        left = tuple(
            one.pos
            for one in history.signals
            if one.pos not in history.consumed and not one.name.startswith((PUBLISH, PUBLISHED))
        )
        body = RunStarted(
            old.agent,
            ref=old.ref,
            role=old.role,
            segment=old.segment + 1,
            parent=old.parent,
            parent_key=old.parent_key,
            policy=home.settings.policy.hash,
            code=run.program.code,
            carry=left,
            holds=old.holds,
            label=parting(run, home.settings.policy),
        )
        draft = Draft(body, home.clock.now_ms(), args=run.program.pack_args(go_on.bound, blobs))
        expect = resident.heard.base - 1
        try:
            await resident.append([draft], blobs, expect=expect)
            break
        except LeaseLost:
            raise
        except Conflict:
            resident.heard.others(await home.store.read(run.id, expect + 1))
    resident.go(None, again=True)  # the lease is kept: this host goes on with it at once
