"""Staying with runs of this process until they end or wait: telling, asking, suspending."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast.cli.asking import Answer, Keyboard, ask
from holdfast.cli.screen import Screen
from holdfast.cli.stopping import Stop
from holdfast.engine.answers import answer
from holdfast.engine.host import Host
from holdfast.explain import lines, telling
from holdfast.explain.past import Recall, question
from holdfast.explain.text import cut, one_line
from holdfast.journal.events import Event, body_of
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow, Wait
from holdfast.runtime.following import follow
from holdfast.values.errors import HoldfastError, RunFailed

TICK = 0.2
"""Seconds between looks at the clock and at which runs left memory."""


class Manner(msgspec.Struct, frozen=True):
    """How to attend. ``timers``: stay while a run only waits for a time; ``forever``: stay with
    every run of the store; ``quiet``: tell nothing of single steps; ``hushed``: only what is asked;
    ``user``: who answers."""

    user: str = ""
    timers: bool = False
    forever: bool = False
    quiet: bool = False
    hushed: bool = False


class Attendant:
    """Attends runs. ``store``: opened besides the host's, for hearing what the host commits."""

    def __init__(
        self, screen: Screen, host: Host, store: Store, keys: Keyboard | None, manner: Manner
    ) -> None:
        self.screen = screen
        self.host = host
        self.store = store
        self.keys = keys
        self.manner = manner
        self.troubles: dict[str, HoldfastError] = {}
        self._results: dict[str, asyncio.Task[Any]] = {}
        self._roots: set[str] = set()
        self._recall = Recall(store)
        self._news = asyncio.Event()
        self._steps = 0
        self._last = ""
        self._began = host.clock.now_ms()
        self._asking: tuple[Wait, str, asyncio.Task[Answer]] | None = None
        self._put_off: set[str] = set()
        self._open: dict[str, RunRow] = {}

    def track(self, run: str) -> None:
        """Attend a run too."""
        if run not in self._results:
            self._results[run] = asyncio.create_task(self._wait(run))

    async def _wait(self, run: str) -> None:
        try:
            await self.host.result(run)
        except RunFailed:
            pass
        except HoldfastError as error:
            self.troubles[run] = error
        finally:
            self._news.set()

    async def attend(self, runs: Iterable[str], after: int, stop: Stop) -> None:
        """Stay until every run ended, broke or waits, or until asked to stop."""
        self._roots = set(runs)
        for run in self._roots:
            self.track(run)
            await self._look_at(run)
        ears = asyncio.create_task(self._listen(after))
        stopping = asyncio.create_task(stop.asked.wait())
        try:
            while not stop.asked.is_set() and not await self._over():
                self._news.clear()
                self._begin_asking()
                told = asyncio.create_task(self._news.wait())
                waiting = {told, stopping, ears, *self._prompts()}
                await asyncio.wait(waiting, timeout=TICK, return_when="FIRST_COMPLETED")
                told.cancel()
                if ears.done():
                    ears.result()  # the store cannot be read: its error ends this
                await self._take_answer()
                self._show_live()
        finally:
            self.screen.erase()
            tasks: list[asyncio.Task[Any]] = [ears, stopping, *self._prompts()]
            tasks += self._results.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _over(self) -> bool:
        if self.manner.forever:
            return False
        if all(self._results[run].done() for run in self._roots):
            return True
        if self._asking is not None or self.host.resident_count():
            return False
        for run, task in list(self._results.items()):
            if not task.done() and not self._parked(await self.store.run(run)):
                return False
        return not self._askable()

    def _parked(self, row: RunRow) -> bool:
        """Whether a run waits for something that this process will not bring."""
        timed = self.manner.timers and any(wait.due for wait in row.waits if wait.kind != "person")
        return row.status == "waiting" and not row.owner and not row.woken and not timed

    # Telling -----------------------------------------------------------------------------------

    async def _listen(self, after: int) -> None:
        async for events in follow(self.store, after):
            for event in events:
                await self._hear(event)
            self._news.set()

    async def _hear(self, event: Event) -> None:
        if event.kind == "run.started":
            body = body_of(event)
            if self.manner.forever or body.parent in self._results:
                self.track(event.run)
        if event.run not in self._results:
            return
        self._steps += event.kind == "step.settled"
        tell = self._notable(event) or not (self.screen.talks or self.manner.quiet)
        if tell and not self.screen.json:
            args = await self._recall.args(event)
            self.screen.note(*lines.line(event, args, self.store.get, self._room()))
        elif event.kind in ("step.planned", "step.settled") and self.screen.talks:
            args = await self._recall.args(event)
            self._last = lines.subject(event, body_of(event), args, self.store.get, 80)
        if (
            event.kind in ("approval.asked", "approval.given", "run.ended")
            or event.run in self._open
        ):
            await self._look_at(event.run)

    def _notable(self, event: Event) -> bool:
        """What is told even where a live line shows the rest."""
        if self.manner.hushed and event.kind != "approval.asked":
            return False
        if event.kind == "step.settled":
            return body_of(event).status != "value"
        if event.kind == "step.planned":
            return body_of(event).failed is not None
        if event.kind == "approval.asked":
            return self.keys is None
        return event.kind in ("approval.given", "signal.received", "branch.merged", "run.ended")

    def _room(self) -> int:
        return max(60, self.screen.width - 40) if self.screen.talks else 160

    def _show_live(self) -> None:
        if self._asking is not None or not self.screen.talks or self.screen.json:
            return
        going = [run for run, task in self._results.items() if not task.done()]
        if not going:
            return
        spent = telling.age(self._began, self.host.clock.now_ms())
        name = going[0] if len(going) == 1 else f"{len(going)} runs"
        steps = "1 step" if self._steps == 1 else f"{self._steps} steps"
        waits = self._open.get(going[0]) if len(going) == 1 else None
        doing = telling.wait_text(waits.waits[0], name) if waits and waits.waits else self._last
        self.screen.live(f"{name} · {steps} · {spent} · {doing}" if doing else
                         f"{name} · {steps} · {spent}")  # fmt: skip

    # Asking ------------------------------------------------------------------------------------

    async def _look_at(self, run: str) -> None:
        """Note what a run asks now; drop the prompt if somebody else answered."""
        row = await self.store.run(run)
        if row.waits:
            self._open[run] = row
        else:
            self._open.pop(run, None)
        if self._asking is not None and self._asking[1] == run:
            wait, _, task = self._asking
            if all(one.digest != wait.digest for one in telling.asked(row)) and not task.done():
                task.cancel()

    def _askable(self) -> list[tuple[str, Wait]]:
        if self.keys is None:
            return []
        return [
            (run, wait)
            for run, row in self._open.items()
            for wait in telling.asked(row)
            if wait.digest not in self._put_off and run not in self.troubles
        ]

    def _begin_asking(self) -> None:
        if self._asking is None and (open_now := self._askable()):
            run, wait = open_now[0]
            self._asking = wait, run, asyncio.create_task(self._ask(run, wait))

    async def _ask(self, run: str, wait: Wait) -> Answer:
        assert self.keys is not None
        body = await question(self.store, self._open[run], wait)
        return await ask(self.screen, self.keys, run, wait, body)

    def _prompts(self) -> list[asyncio.Task[Answer]]:
        return [] if self._asking is None else [self._asking[2]]

    async def _take_answer(self) -> None:
        if self._asking is None or not self._asking[2].done():
            return
        wait, run, task = self._asking
        self._asking = None
        self._put_off.add(wait.digest)
        if task.cancelled():
            self.screen.note(("  somebody else answered", "dim"))
            return
        given = task.result()
        if not given.decision:
            return
        try:
            await answer(
                self.store, run, wait.key, given.decision, by=self.manner.user,
                now_ms=self.host.clock.now_ms(), value=given.value, note=given.note,
            )  # fmt: skip
        except HoldfastError as error:
            with contextlib.suppress(HoldfastError):
                await self._look_at(run)
            self.screen.note((f"  {one_line(str(error))}", "red"))


async def descendants(store: Store, run: str) -> list[str]:
    """Runs that a run spawned, and theirs, that have not ended."""
    found: list[str] = []
    queue = [run]
    while queue:
        for row in await store.runs(RunQuery(limit=10_000, parent=queue.pop())):
            queue.append(row.run)
            if not row.ended:
                found.append(row.run)
    return found


def short(row: RunRow) -> str:
    """What a run waits for, shortened, for one line."""
    return cut("; ".join(telling.wait_text(wait, row.run) for wait in row.waits), 400)
