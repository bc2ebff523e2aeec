"""Runs whose program is elsewhere: a client behind a proxy, code of a framework on a loop of its
own. Nothing replays them: a step that was taken is looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

from holdfast.engine import history as past
from holdfast.engine import scope
from holdfast.engine.asking import asked_again
from holdfast.engine.declare import Agent, Tool
from holdfast.engine.described import Described, Perform
from holdfast.engine.held import LEAVES
from holdfast.engine.history import Step
from holdfast.engine.home import Home
from holdfast.engine.resident import Resident
from holdfast.engine.run import Pending, Run
from holdfast.engine.steps import Outer, holds, outcome, plan_of
from holdfast.journal.events import (
    Draft,
    Event,
    FindingAdded,
    Plan,
    StepSettled,
    body_of,
    is_erased,
)
from holdfast.journal.views import CLIENT, DOOR, place_of
from holdfast.values import limits
from holdfast.values.canon import Blobs, decode, digest, pack, unpack
from holdfast.values.errors import Diverged, HoldfastError, Misuse, NotFound, Suspended
from holdfast.values.masking import fit

_DELIVERED = Plan("delivered", "dice")
_SAID = Plan("said", "ask")


def guest_program(agent: str, role: str = "") -> Agent[..., Any]:
    """What stands for the program of a guest run."""
    return Agent(_elsewhere, name=agent, role=role, max_parallel=limits.GUEST_MAX_STEPS, max_runs=0)


async def _elsewhere() -> Any:
    raise Misuse("the program of this run is a client behind a door: connect it again")


def behind(ref: str, agent: str) -> NotFound | None:
    """Why the program of an agent cannot be loaded: it is a client behind a door."""
    if not ref.startswith(DOOR):
        return None
    door = ref.removeprefix(DOOR)
    return NotFound(
        f"{agent} is a client behind door {door}, not a program here: its runs go on when it "
        "connects again under their names"
    )


class Taken(NamedTuple):
    """How a step of a guest ended: its result, its place (``RUN@KEY``), its key, and whether it was
    answered from the journal."""

    value: Any
    step: str
    key: str
    replayed: bool


class GuestRun(Run):
    """A guest run in memory. ``attended``: keys of steps whose outcome somebody waits for, or is
    being given."""

    stays = True

    def __init__(
        self, name: str, program: Agent[..., Any], outer: Outer, events: Iterable[Event]
    ) -> None:
        known = list(events)
        super().__init__(name, program, outer, known)
        self.clients = [one.value for one in known if _is_client(one)]  # as they call themselves
        self.attended: set[str] = set()
        self.unattended: dict[str, Pending] = {}  # steps that nobody waits for any more, by key
        # by call (name and arguments): steps that an identical call may be
        self._again: dict[tuple[str, bytes], list[str]] = {}
        self._ordinals: dict[str, int] = {}
        self.words: set[str] = set()
        given: set[str] = set()
        for key, step in self.history.steps.items():
            if key.isdigit():
                self.lane.count = max(self.lane.count, int(key))
            if step.value is None:
                continue
            if step.plan == _DELIVERED:
                given.update(decode(step.value))
            elif step.plan == _SAID:
                self.words.add(digest(str(unpack(step.value, outer.fetch)).encode()))
        for key, step in self.history.steps.items():
            if key not in given:
                self.remember(key, step)

    def begin(self) -> None:
        """There is no program to start: `Guest.end` says how it ended."""
        self.main = asyncio.get_running_loop().create_future()

    def advance(self) -> None:
        """Hand out what settled to whoever waits for it, in whatever order."""
        history = self.history
        while history.replaying:
            step = history.order[history.cursor]
            history.cursor += 1
            self.move_clock(step)
            pending = self.pending.pop(step.key, None)
            if step.key.startswith(past.CANCEL_KEY) and self.main is not None:
                self.main.cancel("the run was asked to stop")
            elif pending is not None:
                assert isinstance(pending.future, asyncio.Future)
                self.remember(step.key, step)
                if not pending.future.done():
                    pending.future.set_result(step)

    def leave(self) -> None:
        """Leave memory: whoever waits is told so."""
        self.leaving = True
        for pending in list(self.pending.values()):
            self.let_go(pending)
        self.outbox.clear()
        if self.main is not None and not self.main.done():
            self.main.cancel()

    def let_go(self, pending: Pending) -> None:
        """Nobody waits for this step any more: it stays open, and nothing is performed."""
        self.pending.pop(pending.key, None)
        if pending.carrier is not None:
            pending.carrier.cancel()
        assert isinstance(pending.future, asyncio.Future)
        if not pending.future.done():
            place = f"{self.id}@{pending.key}"
            pending.future.set_exception(
                Suspended(
                    f"{pending.plan.name} waits for a person: `holdfast approve {place}`, and the "
                    "same call goes on with it"
                )
            )
            pending.future.exception()  # if nobody awaits it, that is no news
        self.unattended[pending.key] = pending
        self.remember(pending.key, self.history.step(pending.key), pending)

    def key_of(self, tool: Tool[..., Any], args: bytes, *, rerun: bool) -> str:
        """The key of a call that came without one."""
        # INVARIANT E120: an identical call is the step that is still open, or whose outcome left
        # the world and reached nobody; else it is a new one
        if rerun:
            name = scope.counted.get() + tool.name
            number = self._ordinals[name] = self._ordinals.get(name, 0) + 1
            return f"{name}.{number}"
        for key in self._again.get((tool.name, args), ()):
            if key not in self.attended:
                return key
        return self.lane.next()

    def remember(self, key: str, step: Step, pending: Pending | None = None) -> None:
        """Note that an identical call may be this step, or that it may not be any more."""
        plan = step.plan or (pending.plan if pending is not None else None)
        args = step.args or (pending.args if pending is not None else None)
        if plan is None or args is None or plan.kind not in ("tool", "model"):
            return
        settled = step.settled
        answers = settled is None or (
            plan.effect in LEAVES and settled.status in ("value", "error", "unknown")
        )
        call = (plan.name, args)
        keys = self._again.get(call, [])
        if answers and key not in keys:
            self._again.setdefault(call, []).append(key)
        elif not answers and key in keys:
            keys.remove(key)
            if not keys:
                del self._again[call]

    def unheard(self, name: str) -> list[dict[str, Any]]:
        """The arguments of calls of one tool that ended, and whose outcome reached nobody."""
        found: list[dict[str, Any]] = []
        for key in [key for keys in self._again.values() for key in keys]:
            step = self.history.steps.get(key)
            if step is None or step.settled is None or key in self.attended:
                continue
            if step.plan is None or step.plan.name != name or is_erased(step.args):
                continue
            found.append(unpack(step.args or b"{}", self.outer.fetch))
        return found

    def forget(self, key: str) -> None:
        """The outcome of a step reached the client: an identical call is a new one."""
        step = self.history.steps.get(key)
        if step is None or step.plan is None or step.args is None:
            return
        call = (step.plan.name, step.args)
        keys = self._again.get(call, [])
        if key in keys:
            keys.remove(key)
            if not keys:
                del self._again[call]
            self.jot(_DELIVERED, [key])

    @property
    def owes(self) -> bool:
        """See `owes`; steps that earlier processes left open count too."""
        keys = (key for many in self._again.values() for key in many)
        for step in (self.history.step(key) for key in keys):
            leaves = step.plan is not None and step.plan.effect in LEAVES
            if leaves or (step.settled is None and step.asked is not None):
                return True
        return False

    def met(self, said: Mapping[str, str]) -> None:
        """Record what a client calls itself beside the next append, once."""
        packed = pack(said, self.buffer_blobs)
        if packed not in self.clients and len(self.clients) < limits.CLIENT_NAMES_ITEMS:
            self.clients.append(packed)
            body = FindingAdded(0, CLIENT)
            self.buffer.append(Draft(body, self.outer.now_ms(), value=packed))

    def jot(self, plan: Plan, value: Any) -> None:
        """Record something beside the next append."""
        body = StepSettled(self.lane.next(), plan, inline=True)
        packed = pack(value, self.buffer_blobs)
        self.buffer.append(Draft(body, self.outer.now_ms(), value=packed))


def _is_client(event: Event) -> bool:
    return event.kind == "finding.added" and body_of(event).type == CLIENT


class Guest:
    """A guest run, as its door has it; an async context: at its end the run is done (``result``),
    failed, or, when somebody left with `Suspended`, still open.

    ``id``: the run; ``rerun``: whether the code behind the door starts again from the top after a
    crash, so that its calls are counted by name; ``unheard``: the arguments of calls of one tool
    whose outcome did not reach the client, by its name; ``counting``: what calls are counted under
    just now beside their names (`scope.counted`). Made by `Runtime.guest`.
    """

    def __init__(self, home: Home, resident: Resident, run: GuestRun, *, rerun: bool) -> None:
        self._home = home
        self._resident = resident
        self._run = run
        self.id = run.id
        self.rerun = rerun
        self.result: Any = None
        self.unheard = run.unheard
        self.counting: set[str] = set()
        self._flush: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[Any] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that its steps are taken on."""
        main = self._run.main
        assert isinstance(main, asyncio.Future)
        return main.get_loop()

    @property
    def observes(self) -> bool:
        """Whether verdicts are recorded but not enforced."""
        started = self._run.history.started
        return started is not None and started.observes

    async def step(
        self,
        tool: Tool[..., Any],
        args: Mapping[str, Any],
        *,
        key: str = "",
        perform: Perform | None = None,
        patience: float | None = None,
        reads: bool = True,
    ) -> Taken:
        """Take a step that calls ``tool``, along the path; which step that is, see decision 0012.

        ``perform``: how it is performed this once, for `Described` tools. ``patience``: seconds to
        wait for a person (None: as long as it takes), after which `Suspended` is raised and the
        step stays open. ``reads``: else the value of a step that is taken now is not read back from
        its record, for a door that has it. Raises `Refused`, `Expired`, `OutcomeUnknown`,
        `ToolError` as recorded; `Diverged` if the key is that of another call. Cancelled, it lets
        an effect that is being performed finish, and does not wait for people any more.
        """
        if isinstance(tool, Described):
            tool = tool.with_(perform)
        pending, step = self._ask_for(tool, args, key, patience)
        key = pending.key
        place = f"{self.id}@{place_of(self._run.history.segment, key)}"
        self._run.attended.add(key)
        try:
            if step is not None:
                return Taken(self._outcome(tool, step), place, key, replayed=True)
            self._resident.pump()
            assert isinstance(pending.future, asyncio.Future)
            await asyncio.wait([pending.future])
            taken: Step = pending.future.result()
            known = not reads and taken.settled is not None and taken.settled.status == "value"
            value = None if known else self._outcome(tool, taken)
            return Taken(value, place, key, replayed=False)
        except HoldfastError as error:
            error.key = key
            raise  # told as any outcome: whoever tells it says `delivered`, or `lost`
        except BaseException:
            self._run.attended.discard(key)
            self._unattended(pending)
            raise

    def call(self, tool: Tool[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a tool as code of the guest does: a coroutine."""
        if not tool.is_async:
            raise Misuse(
                f"tool {tool.name} blocks: in a guest, `await holdfast.call({tool.name}, ...)`"
            )
        return self.call_async(tool, args, kwargs)

    async def call_async(
        self, tool: Tool[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Take a step that calls a tool; see `step`."""
        return (await self.step(tool, tool.bind(args, kwargs))).value

    def _ask_for(
        self, tool: Tool[..., Any], args: Mapping[str, Any], key: str, patience: float | None
    ) -> tuple[Pending, Step | None]:
        run = self._run
        if run.leaving or run.main is None or run.main.done() or self._resident.closing is not None:
            raise Misuse(f"run {run.id} has ended or left: open a guest again")
        bound = tool.bind((), args)
        blobs: Blobs = {}
        skeleton = tool.pack_args(bound, blobs)
        key = key or run.key_of(tool, skeleton, rerun=self.rerun)
        pending = Pending(key, plan_of(run, tool, bound, key), skeleton, blobs)
        pending.tool, pending.bound, pending.patience = tool, bound, patience
        if tool.facts is not None:
            run.declared[tool.name] = tool.facts
        known = run.history.steps.get(key)
        if known is not None and known.plan is not None and known.args is not None:
            past.compare(known, pending.plan, pending.args, run.id)
        if known is not None and known.settled is not None:
            return pending, known
        same = run.pending.get(key)
        if same is not None:
            if (same.plan, same.args) != (pending.plan, pending.args):
                raise Diverged(f"{run.id}: step {key} is another call", key=key)
            same.patience = patience
            return same, None
        if pending.plan.effect in LEAVES:
            pending.hold = holds(run, pending)
            if pending.hold:
                run.holding[key] = pending
        pending.future = asyncio.get_running_loop().create_future()
        run.unattended.pop(key, None)
        run.enlist(pending)
        return pending, None

    def _outcome(self, tool: Tool[..., Any], step: Step) -> Any:
        plain = outcome(step, self._home.store.get)
        return tool.returns.fit(plain, f"tool {tool.name}, recorded result")

    def _unattended(self, pending: Pending) -> None:
        pending.patience = 0.0  # should it come to a question, nobody waits for the answer
        waits = self._resident.awaits.get(pending.key)
        if waits is not None and waits[0].kind == "person":
            self._run.let_go(pending)
        elif pending.key in self._run.pending:
            self._run.remember(pending.key, self._run.history.step(pending.key), pending)

    def delivered(self, key: str) -> None:
        """The client has the outcome of this step. An identical call is another one from now on;
        that is durable with the next append, or soon after."""
        self._run.attended.discard(key)
        self._run.forget(key)
        if self._run.buffer and self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(limits.GUEST_FLUSH_SECONDS, self._begin_flush)

    def lost(self, key: str) -> None:
        """The outcome of this step did not reach the client: an identical call is answered by it,
        if it left the world."""
        self._run.attended.discard(key)

    async def said(self, text: str) -> None:
        """What the person said, whose agent this is; recorded once for each text."""
        mark = digest(text.encode())
        if text and mark not in self._run.words:
            self._run.words.add(mark)
            self._run.jot(_SAID, text)
            await self._resident.append([], {})  # facts are of what is recorded

    async def found(self, finding: str, value: Any, *, by: str) -> None:
        """Record a finding (its type, and what was found) about the newest event of the run."""
        blobs: Blobs = {}
        body = FindingAdded(self._run.history.pos, finding, by=by)
        draft = Draft(body, self._home.clock.now_ms(), value=pack(value, blobs))
        await self._resident.append([draft], blobs)

    def _begin_flush(self) -> None:
        self._flush = None
        if self._run.buffer and self._resident.closing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._resident.append([], {}))

    async def end(self, result: Any = None, *, error: BaseException | None = None) -> None:
        """The run is over: done with ``result``, or failed. Idempotent."""
        main = self._run.main
        if main is None or self._resident.closing is not None:
            await self._left()
            return
        future: asyncio.Future[Any] = main
        if not future.done() and error is not None:
            future.set_exception(error)
        elif not future.done():
            future.set_result(result)
        self._resident.pump()
        await self._left()

    async def leave(self) -> None:
        """Leave the run open: it goes on when a guest of its name is opened again."""
        await self._settle_buffer()
        await _ask_again(self._home, self._resident, self._run)
        await self._resident.leave()

    async def _left(self) -> None:
        await self._settle_buffer()
        if self._resident.closing is not None:
            await asyncio.wait([self._resident.closing])

    async def _settle_buffer(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        if self._flushing is not None:
            await asyncio.wait([self._flushing])

    async def __aenter__(self) -> Guest:
        self._token = scope.guest.set(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        scope.guest.reset(self._token)
        if error is None or isinstance(error, Exception):
            await self.end(self.result, error=error)
        else:  # it waits for a person, or the process stops
            await self.leave()


async def _ask_again(home: Home, resident: Resident, run: GuestRun) -> None:
    """Whatever waits for a person is asked about the world that the run is left with."""
    # INVARIANT E122: an approval that is given after a guest left is of the world that its run
    # goes on with, not of one that changed while nobody waited
    for pending in [*run.unattended.values(), *run.pending.values()]:
        if resident.closing is not None or run.broken is not None:
            return
        step = run.history.steps.get(pending.key)
        found = step and asked_again(run, pending, home.settings, step)
        if found:
            with suppress(HoldfastError):  # then the call is asked about when it comes again
                await resident.append(found.drafts, found.blobs)


def owes(guest: Guest) -> bool:
    """Whether an identical call may still come for a step: one that left the world, or may have,
    and whose outcome reached nobody, or one that waits for a person."""
    return guest._run.owes  # pyright: ignore[reportPrivateUsage] # of this module


def met(guest: Guest, client: object) -> None:
    """Record what a client says that it is: an object with ``name`` and ``version``.

    INVARIANT D193: that is recorded once for a run, cleaned and cut, of so many clients, and
    decides nothing.
    """
    if isinstance(client, Mapping):
        said = {
            part: fit(text[: limits.MASKED_CHARS])
            for part in ("name", "version")
            if isinstance(text := client.get(part), str) and text
        }
        if said:
            guest._run.met(said)  # pyright: ignore[reportPrivateUsage] # of this module
