"""Does a run still reproduce under today's code? Its journal is read through the program."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from holdfast.engine.declare import Agent
from holdfast.engine.ending import ending_of
from holdfast.engine.history import Step, compare, title
from holdfast.engine.run import ContinueAs, Pending, Run
from holdfast.journal.events import Event, Plan, body_of, is_erased
from holdfast.journal.store import Store
from holdfast.values.errors import Diverged, NotFound, Suspended
from holdfast.values.ports import Dice, SystemDice


class Replayed(msgspec.Struct, frozen=True):
    """A run that reproduced: how many recorded outcomes it was given, over how many segments, and
    whether it is still in flight (then it reproduced as far as it has come)."""

    run: str
    steps: int
    segments: int
    in_flight: bool


class Reader:
    """The outside of a run that is only read: it has the store's blobs and nothing else. ``last``:
    nothing follows the segment that is read."""

    owner = ""
    caches = ""
    dice: Dice = SystemDice()

    def __init__(self, store: Store, *, last: bool = False) -> None:
        self._store = store
        self._last = last

    def ref_of(self, program: Agent[..., Any], /) -> str:
        """Not needed for reading."""
        return program.name

    def effect_of(self, tool: str, /) -> str:
        """What is recorded says it."""
        return "read"

    def now_ms(self) -> int:
        """Time does not go on while a journal is read."""
        return 0

    def fetch(self, name: str) -> bytes:
        """A blob."""
        return self._store.get(name)

    def take_now(self, run: Run, pending: Pending) -> NoReturn:
        """Nothing new is taken: the program asks for something that was not recorded."""
        if self._last and run.history.ended is None and not run.history.replaying:
            run.leaving = True  # in flight: this is what comes next
            raise Suspended(f"{run.id}: the record ends here")
        run.broken = _new_step(run, pending)
        raise run.broken


async def replay(store: Store, run: str, program: Agent[..., Any]) -> Replayed:
    """Check every segment of a run. `Diverged` says where and how it differs."""
    row = await store.run(run)
    starts = row.segments or (0,)
    steps = 0
    for number, start in enumerate(starts):
        last = number + 1 == len(starts)
        events = await store.read(run, start, None if last else starts[number + 1])
        after = (
            None if last else (await store.read(run, starts[number + 1], starts[number + 1] + 1))
        )
        gone = next((one for one in events if is_erased(one.args) or is_erased(one.value)), None)
        if gone is not None:
            raise NotFound(
                f"run {run}: content of event #{gone.pos} was erased, so it cannot be replayed; "
                f"`holdfast log {run}` says when, by whom and why"
            )
        steps += _replay_segment(store, run, program, events, after[0] if after else None)
    return Replayed(run, steps, len(starts), not row.ended)


def _replay_segment(
    store: Store, name: str, program: Agent[..., Any], events: list[Event], after: Event | None
) -> int:
    run = Run(name, program, Reader(store, last=after is None), events)
    try:
        run.begin()
        run.advance()
        if run.broken is not None:
            raise run.broken
        _check_end(run, after)
    finally:
        run.leave()
    return run.history.cursor


def _check_end(run: Run, after: Event | None) -> None:
    """The program ends where, and as, the record says."""
    main, ended = run.main, run.history.ended
    assert main is not None
    if after is None and ended is None:
        return  # in flight: it may ask for more, or be about to end
    if not main.done():
        pending = next(iter(run.outbox), None)
        if pending is not None:
            raise _new_step(run, pending)
        if ended is not None and ended.status == "failed" and ended.error is not None:
            return  # it stood still waiting for nothing, and was ended for it
        raise Diverged(f"{run.id}: recorded as ended, the program now waits for something")
    error = None if main.cancelled() else main.exception()
    if isinstance(error, ContinueAs):
        if after is None:
            raise Diverged(f"{run.id}: the program continues, the record says that it ended here")
        _check_input(run, error, after)
        return
    if after is not None:
        raise Diverged(f"{run.id}: the program ends, the record says that it continued")
    assert ended is not None
    found = ending_of(run, error, {})
    if found.status != ended.status:
        text = found.error.text if found.error else ""
        raise Diverged(f"{run.id}: recorded as {ended.status}, now {found.status} {text}".strip())
    if found.status == "done" and found.value != run.history.ended_value:
        before = (run.history.ended_value or b"").decode()[:300]
        now = (found.value or b"").decode()[:300]
        raise Diverged(f"{run.id}: ends with another result", diff=f"- {before}\n+ {now}")


def _check_input(run: Run, go_on: ContinueAs, after: Event) -> None:
    args = run.program.pack_args(go_on.bound, {})
    expected = Step("0")
    expected.plan, expected.args = Plan("continue_as", "segment"), after.args
    if body_of(after).fork_of == "":
        compare(expected, Plan("continue_as", "segment"), args, run.id)


def _new_step(run: Run, pending: Pending) -> Diverged:
    return Diverged(
        f"{run.id}: the program now asks for step {pending.key} ({title(pending.plan)}), "
        "the record ends before it",
        key=pending.key,
        diff=f"- (nothing)\n+ {title(pending.plan)} {pending.args.decode()[:300]}",
    )
