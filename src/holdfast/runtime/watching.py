"""Watching a store for anomalies: the fold of `holdfast.explain.anomaly` goes with the journal, and
what it finds is written there as findings.

What the fold knows is kept beside the journal in a file that may be deleted at any time: it is then
folded again from the first event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType

import msgspec

from holdfast.explain.alarm import BAD, VERDICTS, Alarm, finding_of
from holdfast.explain.anomaly import Budget, State, fold, no_state
from holdfast.gate import Policy
from holdfast.journal.events import Draft, FindingAdded, body_of
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import ANOMALY, ANOMALY_JUDGED
from holdfast.runtime.following import follow
from holdfast.runtime.maintenance import open_store, policy_of
from holdfast.runtime.settings import Settings
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Conflict, Corrupt, HoldfastError, Misuse, NotFound
from holdfast.values.ports import Clock, SystemClock

FILE = "anomalies.cache"
"""Name of the file in a store's directory."""
BY = "holdfast.anomalies"
"""Who writes the findings."""

_log = logging.getLogger("holdfast.anomalies")


def budget_of(policy: Policy) -> Budget:
    """How many alarms a policy wants a day."""
    said = policy.anomalies
    return Budget(said.alarms_a_day, said.of_agent)


def load(directory: Path, budget: Budget) -> State:
    """The state that is kept beside a journal; a new one if there is none that can be gone on
    with."""
    # INVARIANT X63: the cache is never truth: without it, or with any other, the alarms are alike
    try:
        state = msgspec.msgpack.decode((directory / FILE).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return no_state(budget)
    fresh = no_state(budget)
    return state if (state.version, state.budget) == (fresh.version, budget) else fresh


def save(directory: Path, state: State) -> None:
    """Keep the state beside a journal. A disk that refuses costs time at the next start only."""
    beside = directory / f".{FILE}.{os.getpid()}"
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.msgpack.encode(state))
        beside.replace(directory / FILE)
    except OSError as error:
        _log.warning("%s/%s cannot be written: %s", directory, FILE, error.strerror)


async def catch_up(store: Store, state: State) -> State:
    """Fold what the store has and the state does not; a new state if that one is of another past
    (a store that was put back, or whose oldest runs were deleted)."""
    if state.seq:
        newest = await store.tail(state.seq - 1, 1)
        if not newest or newest[0].id != state.id:
            state = no_state(state.budget)
    while events := await store.tail(state.seq, limits.ANOMALY_PAGE_EVENTS):
        fold(state, events)
        await asyncio.sleep(0)  # whoever shares the loop is not kept waiting
    return state


async def known(store: Store, directory: Path, budget: Budget) -> State:
    """The state after everything that the store has; what had to be folded is kept."""
    state = load(directory, budget)
    before = state.seq
    state = await catch_up(store, state)
    if state.seq - before >= limits.ANOMALY_SAVE_EVENTS or state.seq < before:
        save(directory, state)
    return state


def alarms_of(state: State, *, since_ms: int = 0, agent: str = "") -> list[Alarm]:
    """The newest alarms, since a time and of one agent if named: those that nobody judged first,
    then what is bad, the most unusual first of each."""
    found = [kept.alarm for kept in state.alarms.values()]
    found = [one for one in found if one.at >= since_ms and agent in ("", one.agent)]
    grade = {"": 0, BAD: 1}
    return sorted(found, key=lambda one: (grade.get(one.judged, 2), -one.score, -one.at, one.run))


# Writing ---------------------------------------------------------------------------------------


async def tell(store: Store, alarm: Alarm, now_ms: int) -> bool:
    """Write an alarm as a finding about its event, if nobody has; whether it was written."""
    # INVARIANT X64: an event has at most one finding of an alarm, however many follow the store
    for _ in range(limits.ANSWER_ATTEMPTS):
        try:
            head = await store.head(alarm.run)
        except NotFound:
            return False  # the run was deleted meanwhile
        if await _told(store, alarm, head.pos):
            return False
        body = FindingAdded(alarm.pos, ANOMALY, by=BY)
        with contextlib.suppress(Conflict):  # the run went on meanwhile
            await _append(store, alarm.run, body, finding_of(alarm), (now_ms, head.pos))
            return True
    return False


async def _told(store: Store, alarm: Alarm, last: int) -> bool:
    for start in range(alarm.pos, last + 1, limits.READ_PAGE_EVENTS):
        stop = min(last + 1, start + limits.READ_PAGE_EVENTS)
        for event in await store.read(alarm.run, start, stop):
            if event.kind == "finding.added":
                body: FindingAdded = body_of(event)
                if body.type == ANOMALY and body.about == alarm.pos:
                    return True
    return False


async def _append(
    store: Store, run: str, body: FindingAdded, value: object, when: tuple[int, int | None]
) -> None:
    blobs: Blobs = {}
    draft = Draft(body, when[0], value=pack(value, blobs))
    await store.append((Batch(run, (draft,), expect=when[1]),), blobs)


async def judge(
    store: Store, alarm: Alarm, verdict: str, *, by: str, now_ms: int, note: str = ""
) -> None:
    """Record what a person says of an alarm: ``normal`` or ``bad``. `Misuse` for another word."""
    if verdict not in VERDICTS:
        raise Misuse(f"alarm {alarm.place}: {verdict!r} is no verdict: say {' or '.join(VERDICTS)}")
    if len(note) > limits.POLICY_TEXT_CHARS:
        raise Misuse(f"the note has more than {limits.POLICY_TEXT_CHARS} characters")
    await tell(store, alarm, now_ms)  # what was judged stands in the journal before the judgement
    body = FindingAdded(alarm.pos, ANOMALY_JUDGED, by=by)
    await _append(store, alarm.run, body, {"verdict": verdict, "note": note}, (now_ms, None))


def find_alarm(state: State, place: str) -> Alarm:
    """The newest alarm about RUN@STEP, RUN#EVENT or, if there is just one, RUN; `NotFound`."""
    alarms = [kept.alarm for kept in state.alarms.values()]
    found = [one for one in alarms if place in (one.place, f"{one.run}#{one.pos}", one.run)]
    if not found:
        raise NotFound(f"{place}: there is no alarm about it; `holdfast anomalies` lists them")
    if len({one.pos for one in found}) > 1 and place == found[0].run:
        places = ", ".join(one.place for one in found[:3])
        raise Misuse(f"run {place} has several alarms: say which, such as {places}")
    return found[-1]


# Following -------------------------------------------------------------------------------------


class Watching:
    """Follows a store and writes what it finds, from its beginning as a context to its end::

        async with Watching(settings) as watching:
            ...  # watching.alarms() is always current

    It opens the store itself, since a store rings for commits of others only. ``trouble``: what
    keeps it from following (it tries again), or from writing an alarm; "" for nothing.
    ``newest``: yields alarms as they come.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._state = no_state()
        self._task: asyncio.Task[None] | None = None
        self._saved = 0
        self._rung: set[asyncio.Event] = set()
        self.trouble = ""

    async def __aenter__(self) -> Watching:
        budget = budget_of(policy_of(self._settings))
        self._store = open_store(self._settings)
        self._state = load(self._settings.directory, budget)
        self._task = asyncio.create_task(self._follow())
        self._task.add_done_callback(self._over)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._save(0)
        await self._store.close()

    @property
    def seq(self) -> int:
        """The newest event that was looked at."""
        return self._state.seq

    def alarms(self, *, since_ms: int = 0, agent: str = "") -> list[Alarm]:
        """The newest alarms, as `alarms_of` orders them."""
        return alarms_of(self._state, since_ms=since_ms, agent=agent)

    async def newest(self) -> AsyncIterator[Alarm]:
        """Alarms that are raised or judged from now on, for ever."""
        rung = asyncio.Event()
        self._rung.add(rung)
        before = {alarm.place: alarm for alarm in self.alarms()}
        try:
            while True:
                await rung.wait()
                rung.clear()
                now = {alarm.place: alarm for alarm in self.alarms()}
                for place, alarm in now.items():
                    if before.get(place) != alarm:
                        yield alarm
                before = now
        finally:
            self._rung.discard(rung)

    async def _follow(self) -> None:
        while True:
            try:
                self._state = await catch_up(self._store, self._state)
                self.trouble = ""
                await self._tell(list(self._state.alarms))
                async for events in follow(self._store, self._state.seq):
                    for start in range(0, len(events), limits.ANOMALY_PAGE_EVENTS):
                        page = events[start : start + limits.ANOMALY_PAGE_EVENTS]
                        raised = fold(self._state, page)
                        await self._tell([f"{one.run}#{one.pos}" for one in raised])
                        await asyncio.sleep(0)
                    self._ring()
                    self._save(limits.ANOMALY_SAVE_EVENTS)
            except HoldfastError as error:
                if self.trouble != str(error):
                    _log.warning("anomalies are not looked for: %s", error)
                self.trouble = str(error)
                await asyncio.sleep(limits.NET_POLL_SECONDS)

    def _over(self, task: asyncio.Task[None]) -> None:
        """It only ends by being cancelled, or by a mistake of ours, which must not go unseen."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.trouble = f"{type(error).__name__}: {error}"
            _log.error("anomalies are not looked for any more: %s", self.trouble, exc_info=error)

    async def _tell(self, places: list[str]) -> None:
        """Write alarms that have no finding yet and are not too old to matter."""
        now = self._clock.now_ms()
        for place in places:
            kept = self._state.alarms.get(place)
            if kept is not None and not kept.told and now - kept.alarm.at < limits.ANOMALY_TOLD_MS:
                try:
                    await tell(self._store, kept.alarm, now)
                except Corrupt as error:  # of this run: the others are watched all the same
                    if self.trouble != str(error):
                        _log.warning("alarm %s is not written: %s", place, error)
                    self.trouble = str(error)
        if places:
            self._ring()

    def _ring(self) -> None:
        for rung in self._rung:
            rung.set()

    def _save(self, least: int) -> None:
        if self._state.seq - self._saved > least:
            save(self._settings.directory, self._state)
            self._saved = self._state.seq
