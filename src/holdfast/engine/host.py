"""Many runs in one process, on one store: start, resume, wake, and hand out results."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from holdfast.engine.answers import ending
from holdfast.engine.commands import Terms
from holdfast.engine.declare import Agent, Tool
from holdfast.engine.fork import same_terms
from holdfast.engine.guest import GuestRun
from holdfast.engine.history import History, Step
from holdfast.engine.home import Consulted, Nobody
from holdfast.engine.places import Places
from holdfast.engine.publish import publishing
from holdfast.engine.resident import Resident
from holdfast.engine.run import Pending, Run
from holdfast.engine.switching import hear_switch, hear_switches
from holdfast.engine.watch import Watch
from holdfast.gate import Policy
from holdfast.journal.events import (
    Draft,
    Event,
    RunEnded,
    RunStarted,
    body_of,
    encode_body,
)
from holdfast.journal.record import SWITCHES
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.journal.views import CHILD, DOOR, PUBLISHED, RunRow
from holdfast.values import limits
from holdfast.values.canon import Blobs, unpack
from holdfast.values.errors import (
    HoldfastError,
    LeaseLost,
    Misuse,
    NotFound,
    Outside,
    RunFailed,
)
from holdfast.values.ids import check_name, new_id
from holdfast.values.ports import Clock, Dice

Find = Callable[[str, str], Agent[..., Any]]
"""Find a program by agent name and reference; raises `NotFound`."""


class Handle:
    """A run that was started or resumed here."""

    def __init__(self, host: Host, run: str) -> None:
        self._host = host
        self.id = run

    async def result(self) -> Any:
        """Wait for the end. Returns the program's result; raises `RunFailed`, or what stopped this
        process from running it (`Diverged`, `LeaseLost`, `Outside`)."""
        return await self._host.result(self.id)

    async def status(self) -> str:
        """running, waiting, done, failed or cancelled."""
        return (await self._host.store.run(self.id)).status


class Host:
    """Runs agents on a store. ``owner``: this process's name as a lease holder; ``find`` loads
    programs for resuming; ``policy``: one, or where the current one comes from; ``serve``: also
    adopt runs that others started and left; ``caches``: directory for checkouts; ``ended`` is told
    of runs that ended here. Set before it is opened: ``tools``, what checks may call besides what
    programs name; ``outside``, which asks policy engines outside. ``residents``: runs in memory."""

    def __init__(
        self,
        store: Store,
        *,
        owner: str,
        find: Find,
        ref_of: Callable[[Agent[..., Any]], str],
        policy: Policy | Callable[[], Policy],
        clock: Clock,
        dice: Dice,
        linger: float = limits.LINGER_SECONDS,
        serve: bool = False,
        caches: str = "",
        ended: Callable[[str], None] | None = None,
    ) -> None:
        self.store = store
        self.caches = caches
        self._ended = ended
        self.tools: Mapping[str, Tool[..., Any]] = {}
        self.outside: Consulted = Nobody()
        self.owner = owner
        self.clock = clock
        self.dice = dice
        self.linger = linger
        self.serve = serve
        policies = (lambda: policy) if isinstance(policy, Policy) else policy
        self.settings = Terms(policies, clock.now_ms)
        self.find = _with_own(find)
        self.residents: dict[str, Resident] = {}
        self.check_edit = partial(_check_edit, self.residents)
        self._loading: set[str] = set()
        self._mine: set[str] = set()
        self._waiters: dict[str, list[asyncio.Future[History | None]]] = {}
        self._broken: dict[str, BaseException] = {}
        self._places = Places()
        self._closing = False
        self.watch = Watch(store, clock, self._tell, self._wake, self._trouble)
        self.ring = self.watch.ring
        # what a run needs of its host (see `holdfast.engine.steps.Outer`)
        self.ref_of = ref_of
        self.effect_of = self.settings.effect_of
        self.now_ms = clock.now_ms
        self.fetch = store.get

    # Starting and resuming ---

    async def open(self) -> None:
        """Begin to follow the store on the running loop."""
        self._loop = asyncio.get_running_loop()
        await hear_switches(self.store, self.settings.switches)  # before anything goes on
        await self.watch.open()
        await hear_switches(self.store, self.settings.switches)  # thrown between the two

    async def start(
        self,
        program: Agent[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        name: str = "",
        world: str = "",
        by: str = "",
    ) -> Handle:
        """Start a run of ``program``. ``name``: its id (default: a new one; an id that exists is a
        `Conflict`). ``world``: root that it begins with. Arguments are checked before anything is
        written."""
        bound = program.bind(args, kwargs or {})
        blobs: Blobs = {}
        skeleton = program.pack_args(bound, blobs)
        body = RunStarted(
            program.name, ref=self.ref_of(program), role=program.role,
            policy=self.settings.policy.hash, code=program.code, by=by,
        )  # fmt: skip
        draft = Draft(body, self.clock.now_ms(), world=world, args=skeleton)
        return Handle(self, await self.begin(program, draft, blobs, name))

    async def begin(
        self, program: Agent[..., Any], draft: Draft, blobs: Blobs, name: str = ""
    ) -> str:
        """Begin a run of ``program`` with its first event; its id."""
        run = check_name(name, "run") if name else new_id(self.dice)
        batch = Batch(run, (draft,), expect=-1, lease=self.owner)
        commit = self.store.append((batch,), blobs)
        if name:  # it may exist already: nothing is begun before that is known
            await commit
        self._mine.add(run)
        # a new id cannot: the program begins while its start is written, and what it does is
        # appended after that
        first = Event(
            0, run, 0, "", "", "run.started", draft.at, draft.world, encode_body(draft.body),
            draft.args, None,
        )  # fmt: skip
        await self._admit(run, program, [first], 1)
        try:
            self.committed(await commit)
        except HoldfastError as error:
            self._give_up(run, error)
            raise
        return run

    async def resume(self, run: str) -> Handle:
        """Take over a run that nobody alive holds and go on with it; `LeaseLost`, `NotFound`."""
        self._mine.add(run)
        self._broken.pop(run, None)
        if run not in self.residents and run not in self._loading:
            row = await self.store.run(run)
            if not row.ended:
                await self.load(row)
        return Handle(self, run)

    async def load(self, row: RunRow, program: Agent[..., Any] | None = None) -> None:
        """Put a run into memory that was begun earlier; `LeaseLost` if somebody alive has it."""
        self._broken.pop(row.run, None)
        run = row.run
        self._loading.add(run)
        try:
            if program is None:
                program = self.find(row.agent, row.ref)
            await _same_terms(self.store, row, self.settings.policy)
            epoch = await self.store.claim(run, self.owner)
            row = await self.store.run(run)  # its last owner may have gone on since
            events = await self.store.read(run, row.segments[-1] if row.segments else 0)
            if any(event.kind == "run.ended" for event in events):
                await self.store.release(run, epoch, events[-1].pos)
                self._announce(run)  # it ended between the look and the claim
                return
            events = await _with_carried(self.store, run, events)
            await self._admit(run, program, events, epoch)
            for child in await self.store.runs(RunQuery(limit=1000, parent=run)):
                if not child.ended:
                    self._mine.add(child.run)  # it goes on, or is woken, with its parent
                    self.watch.ring()
        finally:
            self._loading.discard(run)

    async def _admit(
        self, run: str, program: Agent[..., Any], events: Sequence[Event], epoch: int
    ) -> None:
        """Put a run into memory, when its agent's limit allows."""
        guest = events[0].kind == "run.started" and body_of(events[0]).ref.startswith(DOOR)
        resident_run = (GuestRun if guest else Run)(run, program, self, events)
        resident_run.epoch = epoch
        started = resident_run.history.started
        if started is not None and started.parent:
            resident_run.family = await _topmost(self.store, started.parent)
        if started is not None and started.fork_of and (started.reuse or started.holds):
            donor = await _donor(self.store, started)
            resident_run.donor = donor if started.reuse else None
            if started.holds:
                resident_run.record, resident_run.record_of = donor, started.fork_of
        resident = self.residents[run] = Resident(self, resident_run)
        self._places.enter(resident)

    def take_now(self, run: Run, pending: Pending) -> Step:
        """Carry out a step at once, blocking."""
        return self.residents[run.id].take_now(pending)

    # What a resident needs of its host ---

    def committed(self, events: Sequence[Event]) -> None:
        """Own events need not be followed; start children that they brought."""
        self.watch.skip(events)
        for event in events:
            if event.kind == "run.started" and event.pos == 0 and event.run not in self._mine:
                self._mine.add(event.run)
                self.watch.spawn(self._begin_child(event))
            elif event.kind == "signal.received":
                self._tell(event)
                if CHILD.encode() in event.body or PUBLISHED.encode() in event.body:
                    self._mine.add(event.run)  # it goes on here, if it waited for that

    async def _begin_child(self, event: Event) -> None:
        body: RunStarted = body_of(event)
        try:
            program = self.find(body.agent, body.ref)
        except HoldfastError as error:
            self._give_up(event.run, error)
            return
        await self._admit(event.run, program, [event], 1)

    def left(self, resident: Resident, error: BaseException | None, again: bool) -> None:
        """A run left memory."""
        run = resident.run.id
        self.residents.pop(run, None)
        self._places.leave(resident, next_may=not self._closing)
        if error is not None:
            self._give_up(run, error)
        elif resident.run.history.ended is not None:
            self._mine.discard(run)
            self._announce(run, resident.run.history)
            if self._ended is not None:
                self._ended(run)
        elif again and not self._closing:
            self._loading.add(run)  # nobody else here may load it meanwhile
            self.watch.spawn(self._adopt(run))
        elif not self._closing:
            self.watch.ring()  # sets the alarm for its timer

    def _give_up(self, run: str, error: BaseException) -> None:
        self._mine.discard(run)
        self._broken[run] = error
        self._announce(run)

    def _announce(self, run: str, history: History | None = None) -> None:
        """Tell whoever waits for a run; with its ``history``, if it ended here."""
        for future in self._waiters.pop(run, []):
            if not future.done():
                future.set_result(history)

    # Results ---

    async def result(self, run: str) -> Any:
        """See `Handle.result`."""
        while True:
            future: asyncio.Future[History | None] = self._loop.create_future()
            self._waiters.setdefault(run, []).append(future)
            if run in self._broken:
                raise self._broken[run]
            if run not in self.residents:
                row = await self.store.run(run)
                if row.ended:
                    event = await ending(self.store, run)
                    return _outcome(self.store, self.find, row, body_of(event), event.value)
            if self._closing:
                raise Misuse(f"the runtime was closed before run {run} ended: resume it")
            history = await future
            if history is not None and history.started is not None and history.ended is not None:
                row = RunRow(run, history.started.agent, ref=history.started.ref)
                return _outcome(self.store, self.find, row, history.ended, history.ended_value)

    # News from outside ---

    def _tell(self, event: Event) -> None:
        if event.run == SWITCHES:
            hear_switch(self.store, self.settings.switches, event)
        resident = self.residents.get(event.run)
        if resident is not None and event.kind in ("approval.given", "signal.received"):
            resident.hear((event,))
        elif event.kind == "run.ended" and resident is None:
            self._announce(event.run)

    def _wake(self, ready: Sequence[str]) -> None:
        """Take over runs that can go on, if they are this process's business."""
        for run in ready:
            known = run in self.residents or run in self._loading or run in self._broken
            if not known and (self.serve or run in self._mine):
                self._loading.add(run)
                self.watch.spawn(self._adopt(run))

    def _trouble(self, error: HoldfastError) -> None:
        """The store cannot be read: whoever waits for a result is told, unless it may pass."""
        if not (isinstance(error, Outside) and error.retryable):
            for run in list(self._waiters):
                self._give_up(run, error)

    async def _adopt(self, run: str) -> None:
        try:
            row = await self.store.run(run)
            if not row.ended:
                await self.load(row)
                self._mine.add(run)
        except LeaseLost:
            self._loading.discard(run)  # somebody else was faster
        except HoldfastError as error:
            self._loading.discard(run)
            self._give_up(run, error)

    async def close(self) -> None:
        """Suspend every run cleanly; they go on wherever they are resumed. Idempotent."""
        self._closing = True
        self.watch.stop()
        leaving = [resident.leave() for resident in self.residents.values()]
        await asyncio.gather(*leaving)
        await self.watch.close()
        for run in list(self._waiters):
            self._announce(run)

    def resident_count(self) -> int:
        """How many runs are in memory."""
        return len(self.residents)


def _check_edit(
    residents: Mapping[str, Resident], run: str, key: str, plain: Mapping[str, Any]
) -> None:
    """Raise `Misuse` if arguments do not fit the tool of a step, where that step is in memory."""
    resident = residents.get(run)
    pending = resident.run.pending.get(key) if resident is not None else None
    if pending is not None and pending.tool is not None:
        pending.tool.bind((), plain)


def _with_own(find: Find) -> Find:
    """``find``, which also knows Holdfast's own agents."""
    return lambda name, ref: publishing if name == publishing.name else find(name, ref)


async def _with_carried(store: Store, run: str, events: list[Event]) -> list[Event]:
    """Signals that an earlier segment left unconsumed belong to this one."""
    carried: list[Event] = []
    for event in events:
        if event.kind == "run.started":
            for pos in body_of(event).carry:
                carried += await store.read(run, pos, pos + 1)
    return events[:1] + carried + events[1:] if carried else events


async def _same_terms(store: Store, row: RunRow, policy: Policy) -> None:
    (begun,) = await store.read(row.run, start := (row.segments or (0,))[-1], start + 1)
    same_terms(row.run, body_of(begun).policy, policy)


async def _topmost(store: Store, run: str) -> str:
    """The run that began a family of runs, as far up as the store still knows them."""
    seen: set[str] = set()
    while run not in seen:  # what was imported may claim anything
        seen.add(run)
        try:
            parent = (await store.run(run)).parent
        except NotFound:
            break
        if not parent:
            break
        run = parent
    return run


async def _donor(store: Store, started: RunStarted) -> History:
    source = await store.run(started.fork_of)
    first = max((pos for pos in source.segments if pos <= started.fork_pos), default=0)
    donor = History()
    later = [pos for pos in source.segments if pos > started.fork_pos]
    donor.extend(await store.read(started.fork_of, first, later[0] if later else None))
    return donor


def _outcome(store: Store, find: Find, row: RunRow, ended: RunEnded, value: bytes | None) -> Any:
    if ended.status != "done":
        error = ended.error
        text = f"run {row.run} {ended.status}: {error.type}: {error.text}" if error else ""
        raise RunFailed(text, error_type=error.type if error else "")
    plain = None if value is None else unpack(value, store.get)
    with contextlib.suppress(NotFound):
        return find(row.agent, row.ref).returns.check(plain)
    return plain
