"""What agent code asks of its run: steps, looked up in history or put where the host finds them.

Nothing here touches the outside: what history does not answer goes into ``outbox``, the host
carries it out, and the outcome comes back as a new entry of history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from holdfast.engine import history as past
from holdfast.engine import scope
from holdfast.engine.declare import Agent, Tool
from holdfast.engine.held import LEAVES, Held
from holdfast.engine.history import History, Step
from holdfast.engine.loop import RunLoop
from holdfast.gate.proposal import EFFECTS
from holdfast.gate.tools import ToolFacts
from holdfast.journal.events import Draft, Event, Plan, StepSettled
from holdfast.journal.views import place_of
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import (
    Diverged,
    Expired,
    Misuse,
    OutcomeUnknown,
    Refused,
    Suspended,
    TooLarge,
    tool_error,
)
from holdfast.values.ports import Dice
from holdfast.world import EMPTY, Stage


class Outer(Protocol):
    """What a run needs of its host. ``owner``: the name under which it holds leases; ``caches``:
    directory for what may be deleted at any time."""

    owner: str
    caches: str
    dice: Dice

    def ref_of(self, program: Agent[..., Any], /) -> str:
        """How to find a program again."""
        ...

    def effect_of(self, tool: str, /) -> str:
        """What the policy in force says that a tool does at least."""
        ...

    def now_ms(self) -> int:
        """Wall-clock time."""
        ...

    def fetch(self, name: str) -> bytes:
        """A blob."""
        ...

    def take_now(self, run: Any, pending: Pending) -> Step:
        """Carry out a step at once, blocking; for functions that are not asynchronous."""
        ...


class Pending:
    """A step that the program has asked for and not been given: what it asks, and who waits.

    ``branch``: where it is taken; ``hold``: nothing leaves the world there; ``of``: the held effect
    that it publishes; ``about``: the step (``RUN@STEP``) that it publishes or undoes; ``edited``:
    who gave it its arguments, if not the program; ``lender``: the run that asked for what it
    publishes, read, if that is another; ``around``: the transaction that it would have to be in if
    a person's edit made it leave the world; ``usage``: what its performances told that
    they used, by unit; ``patience``: seconds that a guest waits for a person, None for ever.
    """

    __slots__ = (
        "about", "args", "around", "blobs", "bound", "branch", "carrier", "check", "child", "due",
        "edited", "future", "hold", "inline", "key", "lender", "of", "patience", "plan", "tool",
        "usage", "waiting",
    )  # fmt: skip

    def __init__(self, key: str, plan: Plan, args: bytes, blobs: Blobs) -> None:
        self.key = key
        self.plan = plan
        self.args = args
        self.blobs = blobs
        self.bound: dict[str, Any] = {}
        self.tool: Tool[..., Any] | None = None
        self.child: Any = None
        self.check: Callable[[Any], Any] | None = None
        self.due = 0
        self.future: asyncio.Future[Step] | asyncio.TimerHandle | None = None
        self.inline = False
        self.carrier: asyncio.Task[None] | None = None
        self.waiting = False
        self.branch = ""
        self.hold = False
        self.edited = ""
        self.usage: dict[str, float] = {}
        self.of: Held | None = None
        self.about = ""
        self.lender: Any = None
        self.around: Any = None
        self.patience: float | None = None

    @property
    def changes(self) -> bool:
        """Whether it changes the world, whatever else it does."""
        return self.plan.effect == "world" or (
            self.tool is not None and self.tool.effect == "world"
        )

    @property
    def dropped(self) -> bool:
        """Whether the program no longer waits for it."""
        return self.future is not None and self.future.cancelled()


class ContinueAs(BaseException):
    """Control flow: the program ends this segment and goes on with new arguments."""

    def __init__(self, bound: dict[str, Any]) -> None:
        super().__init__()
        self.bound = bound


class Steps:
    """The steps of one run. ``pending``: asked for and not given, by key; ``outbox``: those that
    history does not answer; ``dropped``: those that the program gave up; ``buffer``: drafts that
    wait for the next append; ``broken``: why the run cannot go on; ``leaving``: it leaves memory;
    ``holding``: steps that hold their effects, by key; ``closed``: branches that were left;
    ``record``: the run forked from (``record_of``), whose outcomes stand for held effects, but
    those ``used``; ``borrowed``: held steps of other runs that this one publishes, ``lenders``:
    these runs, as they were read; ``declared``:
    what the tools that it called say of themselves; ``seen``: what it has seen
    (`holdfast.engine.seeing`), None until somebody looks; ``depth``: runs above it, -1 until then;
    ``family``: the topmost of the runs that spawned it, or itself.
    """

    stays = False
    """Whether it stays in memory while it only waits."""

    def __init__(self, name: str, outer: Outer, events: Iterable[Event]) -> None:
        self.id = name
        self.outer = outer
        self.history = History()
        self.history.extend(events)
        self.donor: History | None = None
        self.record: History | None = None
        self.record_of = ""
        self.used: set[str] | None = None
        self.holding: dict[str, Pending] = {}
        self.borrowed: dict[str, dict[str, Pending]] = {}
        self.lenders: dict[str, Any] = {}
        self.closed: set[str] = set()
        self.publishing: set[str] = set()
        self.declared: dict[str, ToolFacts] = {}
        self.seen: Any = None
        self.depth = -1
        self.epoch = 0
        self.family = name
        self.loop = RunLoop(self._set_timer, self._timer_dropped, self._now)
        self.dropped: list[Pending] = []
        self.pending: dict[str, Pending] = {}
        self.outbox: list[Pending] = []
        self.buffer: list[Draft] = []
        self.buffer_blobs: Blobs = {}
        self.latest: dict[str, tuple[str, bytes]] = {}
        self.broken: BaseException | None = None
        self.leaving = False
        self.clock_ms = self.history.at
        self.stage = Stage(outer.fetch)

    def root_of(self, branch: str) -> str:
        """The root of a branch now, "" being the run's own world (after everything recorded)."""
        return self.history.root_of(branch) or EMPTY

    def call(self, tool: Tool[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Take a step that calls ``tool``; for an asynchronous tool, a coroutine that does."""
        if tool.is_async:
            return self.call_async(tool, args, kwargs)
        pending = self._tool_step(tool, args, kwargs)
        return self._result(tool, self._inline(pending))

    async def call_async(
        self,
        tool: Tool[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        about: str = "",
    ) -> Any:
        """Take a step that calls a tool, without blocking. ``about``: the step that it undoes."""
        pending = self._tool_step(tool, args, kwargs)
        pending.about = about
        step = self.history.steps.get(pending.key)
        if step is None or step.args != pending.args or not self._replays(step, tool):
            step = await self.take(pending)
        return self._result(tool, step)

    def _replays(self, step: Step, tool: Tool[..., Any]) -> bool:
        """Replay in a hurry: the recorded outcome of just this call is next, and is given here."""
        plan = step.plan
        if plan is None or plan.name != tool.name or plan.kind != "tool" or not self._is_next(step):
            return False
        self.history.cursor += 1
        self.move_clock(step)
        return True

    def _tool_step(
        self, tool: Tool[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Pending:
        """A step that calls a tool. Where a fork says that it is taken with other arguments than
        the program gives, these are what is judged, asked about, performed and recorded."""
        bound = tool.bind(args, kwargs)
        blobs: Blobs = {}
        skeleton, key = tool.pack_args(bound, blobs), self.next_key()
        if self.history.edits and (edits := [one for one in self.history.edits if one.key == key]):
            plain: Any = tool.plain(bound)
            for edit in edits:
                plain = past.changed(plain, edit.path, edit.value)
            bound = tool.unpack_args(plain)
            skeleton = tool.pack_args(bound, blobs)
        pending = Pending(key, plan_of(self, tool, bound, key), skeleton, blobs)
        pending.tool, pending.bound = tool, bound
        if tool.facts is not None:
            self.declared[tool.name] = tool.facts
        return placed(self, pending)

    def _result(self, tool: Tool[..., Any], step: Step) -> Any:
        plain = outcome(step, self.outer.fetch)
        shape = tool.returns
        if shape.exact and type(plain) is shape.exact:
            return plain
        return shape.fit(plain, f"tool {tool.name}, recorded result")

    def next_key(self) -> str:
        """The key of the step that the running lane takes next."""
        here = scope.lane.get()
        if here is None or here.run is not self:
            raise Misuse(f"run {self.id}: a step was asked for outside its own tasks")
        return here.next()

    def step(self, kind: str, name: str, args: Mapping[str, Any], effect: str = "read") -> Pending:
        """A step that is not a tool call, not yet taken."""
        blobs: Blobs = {}
        pending = Pending(self.next_key(), Plan(name, kind, effect), pack(args, blobs), blobs)
        pending.bound = dict(args)
        return placed(self, pending) if kind in ("spawn", "merge", "transaction") else pending

    async def take(self, pending: Pending) -> Step:
        """Wait for the outcome of a step: from history if it is there, else from the outside."""
        step = self._look(pending)
        if step is not None and step.settled is not None and step.settled.inline:
            return step  # it was taken by blocking once: it has no place in the order
        if step is not None and self._is_next(step):
            self.history.cursor += 1
            self.move_clock(step)
            return step
        future: asyncio.Future[Step] = self.loop.create_future()
        pending.future = future
        self.enlist(pending, step)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self.dropped.append(pending)
            raise

    def _is_next(self, step: Step) -> bool:
        """Whether handing out the outcome on the spot is the same as waiting for it: it is the next
        in recorded order and nothing else could run before it is delivered."""
        history = self.history
        return history.replaying and history.order[history.cursor] is step and self.loop.quiet

    def enlist(self, pending: Pending, step: Step | None = None) -> None:
        """Put a step where the host finds it, unless its outcome is known; `TooLarge`."""
        if self.leaving:
            return  # nothing will bring its outcome: the program stands still until it is dropped
        if len(self.pending) >= limits.FANOUT_MAX:
            raise TooLarge(
                f"run {self.id}: {limits.FANOUT_MAX:,} steps are outstanding; wait for some, "
                "or use gather(limit=...)"
            )
        self.pending[pending.key] = pending
        if step is None:
            self.outbox.append(pending)

    def _look(self, pending: Pending) -> Step | None:
        """The recorded outcome of a step, or None; `Diverged` if something else is recorded."""
        step = self.history.steps.get(pending.key)
        if step is None:
            return None
        if step.plan is not None:
            try:
                past.compare(step, pending.plan, pending.args, self.id)
            except Diverged as error:
                self.broken = error
                raise
        return step if step.settled is not None else None

    def _inline(self, pending: Pending) -> Step:
        """Take a step on the spot, blocking: its outcome has no place in the completion order."""
        pending.inline = True
        step = self._look(pending)
        if step is None:
            if self.leaving:
                raise Suspended("the run leaves memory")
            return self.outer.take_now(self, pending)
        if step.settled is not None and not step.settled.inline:  # it was awaited once
            if not self._is_next(step):
                text = f"{self.id}: step {pending.key} was awaited, now it is called and blocks"
                self.broken = Diverged(text, key=pending.key)
                raise self.broken
            self.history.cursor += 1
            self.move_clock(step)
        return step

    def note(
        self, kind: str, name: str, value: Any, branch: str = "", *, opens: bool = False
    ) -> tuple[str, Any]:
        """Record a value at the spot where it is taken, or return the recorded; with its key. Kind
        "dice": of clock or chance; "fork", "transaction": a root. ``branch``: which is left, or
        with ``opens`` begun, here."""
        pending = self.step(kind, name, {})
        step = self._look(pending)
        if step is not None:
            return pending.key, outcome(step, self.outer.fetch)
        if self.leaving:
            raise Suspended("the run leaves memory")
        old = self.donor.steps.get(pending.key) if self.donor is not None else None
        same = kind == "dice" and old is not None and old.plan == pending.plan
        if old is not None and same and old.value is not None:
            value = outcome(old, self.outer.fetch)
        if opens:
            branch = pending.key
            self.history.branches[branch] = self.history.bases[branch] = value
        body = StepSettled(
            pending.key, pending.plan, inline=True, origin="fork" if same else "", branch=branch,
            root=value if opens else "",
        )  # fmt: skip
        self.buffer.append(Draft(body, self.outer.now_ms(), value=pack(value, self.buffer_blobs)))
        return pending.key, value

    def _now(self) -> float:
        history = self.history
        if history.forked_at and history.cursor >= history.shared:
            return max(self.clock_ms, history.forked_at) / 1000
        return self.clock_ms / 1000

    def _set_timer(self, handle: asyncio.TimerHandle) -> None:
        """A timer of asyncio's (sleep, timeout) is a step like any other."""
        due = int(handle.when() * 1000)
        pending = self.step("wait", "timer", {})
        pending.due, pending.future = due, handle
        step = self._look(pending)
        if not self.leaving:
            self.enlist(pending, step)

    def _timer_dropped(self, handle: asyncio.TimerHandle) -> None:
        for pending in self.pending.values():
            if pending.future is handle:
                self.dropped.append(pending)
                return

    def take_buffer(self) -> tuple[list[Draft], Blobs]:
        """Drafts that wait for the next append, and their blobs."""
        drafts, blobs = self.buffer, self.buffer_blobs
        self.buffer, self.buffer_blobs = [], {}
        return drafts, blobs

    def move_clock(self, step: Step) -> None:
        """The run's time becomes that of an outcome that is given to it."""
        self.clock_ms = max(self.clock_ms, step.settled_at)


def plan_of(run: Steps, tool: Tool[..., Any], bound: Mapping[str, Any], key: str = "") -> Plan:
    """What a call is that step ``key`` makes. Its effect is the strictest of what the tool declares
    and the policy says; a step that is recorded keeps the one that it was judged with."""
    # INVARIANT E95: an effect is held, planned, counted and judged as the strictest that is known
    plan = tool.plan_of(bound)
    known = run.history.steps.get(key)
    if known is not None and known.plan is not None:
        effect = known.plan.effect if known.plan.name == plan.name else plan.effect
    else:
        effect = run.outer.effect_of(plan.name)
    if effect == plan.effect or EFFECTS.index(effect) < EFFECTS.index(plan.effect):
        return plan
    return Plan(plan.name, plan.kind, effect)


def placed(run: Steps, pending: Pending) -> Pending:
    """A step where it is taken: on a branch, in a transaction, where effects are held."""
    here = scope.lane.get()
    assert here is not None
    pending.branch = here.branch
    if here.branch in run.closed:
        raise Misuse(f"run {run.id}: branch {here.branch} was left, nothing happens on it now")
    if pending.plan.effect in LEAVES:
        pending.hold = holds(run, pending)
        if pending.hold:
            run.holding[pending.key] = pending
        if here.transaction is not None:
            here.transaction.add(pending)
    elif here.transaction is not None:
        pending.around = here.transaction
        known = run.history.steps.get(pending.key)
        planned = known.planned if known is not None else None
        if planned is not None and planned.plan.effect in LEAVES:  # as a person changed it
            pending.around.add(pending)
    return pending


def holds(run: Steps, pending: Pending) -> bool:
    """Whether a step is taken where what leaves the world is held."""
    started = run.history.started
    return bool(pending.branch) or (started is not None and started.holds)


def publication(run: Steps, held: Held) -> Pending:
    """A step that publishes an effect. The tool of what another run asked for is found when it is
    carried out."""
    plan = Plan(held.name, "tool", held.effect)
    pending = Pending(run.next_key(), plan, held.args.encode(), {})
    pending.of, pending.about = held, held.first
    name, _, place = held.first.partition("@")
    mine = run.holding.get(place.rpartition(":")[2]) if name == run.id else None
    if mine is not None and place == place_of(run.history.segment, mine.key):
        pending.tool, pending.bound = mine.tool, mine.bound
    return placed(run, pending)


def outcome(step: Step, fetch: Callable[[str], bytes]) -> Any:
    """The plain result of a settled step, or its error raised."""
    settled = step.settled
    assert settled is not None
    if settled.status in ("value", "held"):
        return None if step.value is None else past.unpack(step.value, fetch)
    error = settled.error
    text = error.text if error else ""
    if settled.status == "refused":
        rule = settled.verdict.rules[0] if settled.verdict and settled.verdict.rules else ""
        raise Refused(text, rule=rule)
    if settled.status == "expired":
        raise Expired(text)
    if settled.status == "unknown":
        raise OutcomeUnknown(text)
    if error is None:
        raise OutcomeUnknown("an error without a text was recorded")
    raise tool_error(error.type, text, retryable=error.retryable)
