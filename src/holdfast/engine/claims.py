"""What publishing does beside its effects: claim and list what is held, let go of it, discard it,
and find the tools of held steps."""

from __future__ import annotations

from typing import Any

from holdfast.engine.commands import Done
from holdfast.engine.held import discard, family, held_by, rival
from holdfast.engine.home import Home
from holdfast.engine.replay import Reader
from holdfast.engine.run import Pending, Run
from holdfast.journal.events import Draft, Failure, SignalReceived
from holdfast.journal.store import Batch
from holdfast.journal.views import CANCEL, PUBLISH, PUBLISH_END, RunRow, place_of
from holdfast.values.canon import pack
from holdfast.values.errors import Conflict, Diverged


async def carry_out(home: Home, run: Run, pending: Pending) -> Done:
    """A step of kind "publish": ``list`` (and claim), ``end`` (the claim), or ``discard``."""
    bound, store, now = pending.bound, home.store, home.clock.now_ms()
    token = f"{run.id}@{place_of(run.history.segment, pending.key)}"
    if bound["act"] == "end":
        if bound["token"].rpartition("@")[0] == run.id:  # a fork ends no claim of its source's
            await _say(
                home, bound["runs"], SignalReceived(PUBLISH_END, "end " + bound["token"], run.id)
            )
        return Done()
    target = bound["run"] or run.id
    if bound["act"] == "discard":
        try:
            held = await discard(store, target, by=run.id, now_ms=now, token=token)
        except Conflict as error:
            return Done(error=Failure("Conflict", str(error)))
        if not (await store.run(target)).ended:
            await _say(home, [target], SignalReceived(CANCEL, "cancel " + token, run.id))
        home.ring()
        return Done(value=pack({"held": [one.name for one in held]}, {}))
    names = [target] if bound["branch"] else await family(store, target)
    # INVARIANT E14: one run at a time publishes what a run holds: the first whose claim is in the
    # chain; a claim is appended before it is looked at, so two cannot both be first
    await _say(home, names, SignalReceived(PUBLISH, token, run.id))
    for name in names:
        other = await rival(store, name, token, run.id)
        if other:
            await _say(home, names, SignalReceived(PUBLISH_END, "end " + token, run.id))
            text = f"run {name} is being published by run {other}: `holdfast resume {other}`"
            return Done(error=Failure("Conflict", text))
    held = await held_by(store, target, bound["branch"])
    blobs: dict[str, bytes] = {}
    value = pack({"held": held, "runs": names, "token": token}, blobs)
    return Done(value=value, blobs=blobs)


async def _say(home: Home, runs: list[str], body: SignalReceived) -> None:
    now = home.clock.now_ms()
    events = await home.store.append(tuple(Batch(run, (Draft(body, now),)) for run in runs), {})
    home.committed(events)


async def equip(home: Home, run: Run, pending: Pending) -> None:
    """Give a publication its tool: that of the held step, found by reading the run that asked for
    it through its program. `Diverged` if today's program does not ask for it."""
    held = pending.of
    assert held is not None
    name, _, place = held.first.partition("@")
    segment, _, key = place.rpartition(":")
    where = f"{name}:{segment or 1}"
    if where not in run.borrowed:
        row = await home.store.run(name)
        lender = await _read(home, row, int(segment or 1))
        run.lenders[where], run.borrowed[where] = lender, lender.holding
    found = run.borrowed[where].get(key)
    if found is None or found.args != pending.args or found.plan.name != pending.plan.name:
        raise Diverged(
            f"run {name}: today's program does not ask for {pending.plan.name} at step {key} as it "
            "did when that was held: go back to that code to publish it, or discard it",
            key=key,
        )
    pending.tool, pending.bound = found.tool, found.bound
    pending.lender = run.lenders[where]
    if found.tool is not None and found.tool.facts is not None:
        run.declared[found.tool.name] = found.tool.facts


async def _read(home: Home, row: RunRow, segment: int) -> Run:
    """A run as its program leaves it after what is recorded; it takes no more steps."""
    starts = row.segments or (0,)
    stop = starts[segment] if segment < len(starts) else None
    events = await home.store.read(row.run, starts[segment - 1], stop)
    read: Any = Run(row.run, home.find(row.agent, row.ref), Reader(home.store), events)
    try:
        read.begin()
        read.advance()
        return read
    finally:
        read.leave()
