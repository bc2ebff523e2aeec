"""The parts of the demo, in order: prepare, start, kill, go on, show, ask, publish, sum up."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import holdfast
from examples.repair import folder, git, library, model
from examples.repair.folder import Place, Planting
from examples.repair.reading import COUNTED, Journal, Line, journal_bytes, performed
from examples.repair.showing import Screen, amount, counted, timeline
from holdfast.engine.answers import answer
from holdfast.journal.events import Event
from holdfast.values.errors import NotFound

LOOK_SECONDS = 0.03
"""How often the journal is looked at while the agent works."""

SAID_EVERY = 8
"""Without a terminal, progress is a line for each so many candidates."""

LEAVE_SECONDS = 30.0
"""How long the agent's process may take to suspend its runs when it is interrupted."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for. ``kill_after``: 0 means no kill; ``answer``: approve, deny or ask;
    ``unasked``: that answer is the demo's own choice."""

    kill_after: int
    answer: str
    unasked: bool = False


@dataclass(slots=True)
class Death:
    """What stood in the journal when the process was found dead."""

    pid: int
    events: list[Event]
    seq: int
    recorded: frozenset[str]
    """Keys of the steps of counted tools that had an outcome."""


def prepare(screen: Screen, place: Place, pin: library.Pin, seed: int, cache: Path) -> Planting:
    """Part one: the library, with a bug."""
    screen.part("A real library gets a bug")
    kept = (cache / pin.archive).is_file()
    title = f"{pin.name} {pin.version}"
    if not kept:
        screen.say(f"fetching {title} from the package index (once)")
    archive = library.fetch(pin, cache)
    where = "from the cache" if kept else "fetched"
    screen.say(f"{title}, {where}, SHA-256 as pinned: {pin.sha256[:16]}...")
    made = folder.prepare(place, pin, archive, seed)
    screen.say(f"one bug planted, chosen by seed {seed}: {made.why.partition(':')[0]}")
    screen.say("which bug it is, the agent is not told; you see it at the end")
    return made


async def whole(screen: Screen, place: Place, wishes: Wishes) -> int:
    """Play all the parts from the start of the agent on; returns the exit code."""
    async with _opened(place) as runtime:
        play = Play(screen, place, wishes, runtime)
        screen.part("An agent looks for it, without any model" if model.wire() is None
                    else "An agent looks for it, with a model")  # fmt: skip
        play.say_model()
        await play.act("begin", wishes.kill_after)
        if play.death is not None:
            play.tell_death(play.death)
            screen.part("Another process goes on")
            await play.act("go-on")
        elif wishes.kill_after:
            screen.say("(it was done before it could be killed)")
        return await play.rest()


async def resumed(screen: Screen, place: Place, wishes: Wishes) -> int:
    """Go on with a demo that was interrupted; returns the exit code."""
    async with _opened(place) as runtime:
        play = Play(screen, place, wishes, runtime)
        screen.part(f"Going on with run {place.run}")
        try:
            await runtime.store.run(place.run)
        except NotFound:
            await play.act("begin")
        else:
            play.lines += await play.journal.news()
            screen.say(f"{counted(play.journal.steps().total(), 'step')} are recorded already")
            await play.act("go-on")
        return await play.rest()


class Play:
    """A demo in progress."""

    def __init__(
        self, screen: Screen, place: Place, wishes: Wishes, runtime: holdfast.Runtime
    ) -> None:
        self.screen = screen
        self.place = place
        self.wishes = wishes
        self.store = runtime.store
        self.user = runtime.settings.user
        self.journal = Journal(runtime, place.run)
        self.planted = folder.planting(place)
        self.lines: list[Line] = []
        self.death: Death | None = None
        self.began = time.monotonic()
        self._said = 0

    # ---- the agent's processes ---------------------------------------------------------------

    async def act(self, how: str, kill_after: int = 0) -> None:
        """Have a process work on the run until it ends or waits for a person, showing what comes;
        kill it when so many candidates have been tried."""
        screen = self.screen
        with worker(self.place, how) as process:
            screen.say(f"process {process.pid} works on run {self.place.run}")
            while process.poll() is None:
                passed = await self._show_news()
                if kill_after and (passed or self.journal.trials() >= kill_after):
                    process.kill()
                    process.wait()
                    break
                await asyncio.sleep(LOOK_SECONDS)
            code = process.wait()
        if kill_after and code == -signal.SIGKILL:
            self.lines += await self.journal.news()  # what it committed until its last moment
            events = list(self.journal.events)
            seq = max((event.seq for event in events), default=0)
            self.death = Death(process.pid, events, seq, self.journal.recorded())
        else:
            await self._show_news()
            if code:
                said = _last_line(self.place.complaints)
                raise holdfast.Outside(f"the agent's process ended with {code}: {said}")
        screen.close()

    async def _show_news(self) -> bool:
        """Show what is new in the journal; whether a candidate passed the tests that failed."""
        news = await self.journal.news()
        self.lines += news
        for line in news:
            if line.trial:
                self._progress(line)
            elif line.name in COUNTED or line.name == "merge":
                self.screen.say(f"{line.name}: {line.text}")
        return any(line.passed for line in news)

    def _progress(self, line: Line) -> None:
        self._said += 1
        if line.passed:
            self.screen.say(f"candidate {self._said} passes them: {line.text}")
        elif self.screen.live or self._said % SAID_EVERY == 0:
            self.screen.progress(f"{counted(self._said, 'candidate')} tried, each in a fork")

    def say_model(self) -> None:
        """Where the candidates will come from."""
        wire = model.wire()
        if wire is not None:
            self.screen.say(
                f"candidates come from {wire.model} at {wire.base_url}, because "
                f"{wire.provider}_API_KEY is set; if that does not do, from mutations"
            )

    def tell_death(self, death: Death) -> None:
        """Part three: the process is dead, the journal is not."""
        self.screen.part("kill -9, in the middle")
        flying = len(performed(self.place.count)[str(death.pid)]) - len(death.recorded)
        alive = _alive(death.pid)
        self.screen.say(
            f"process {death.pid} got SIGKILL and is {'STILL ALIVE' if alive else 'dead'}"
        )
        self.screen.say(
            f"in the journal: {counted(self.journal.steps().total(), 'step')} in "
            f"{counted(self.journal.runs(), 'run')}; lost: only what was in flight, "
            f"{counted(flying, 'tool call')}"
        )

    # ---- after the work ----------------------------------------------------------------------

    async def rest(self) -> int:
        """Show what happened, ask, publish, sum up."""
        sound = await self._show_what_happened()
        asked = self.journal.open_question()
        if asked:
            if not await self._ask():
                return 130
            self.screen.part("The run goes on")
            await self.act("go-on")
        return await self._sum_up(sound)

    async def _show_what_happened(self) -> bool:
        screen, death = self.screen, self.death
        screen.part("What happened, read from the journal")
        gap = f"--------  process {death.pid} is killed here; another goes on" if death else ""
        for row in timeline(self.lines, death.seq if death else 0, gap):
            screen.say(row, "yellow" if row == gap else "")
        sound = True
        if death:
            screen.say()
            sound = self._prove(death)
        changes = await self.journal.changes()
        if changes:
            screen.say()
            screen.say("what the agent changed in its world, from the start to now:")
            screen.block(changes)
            screen.say(
                f"its notes, a database in that world: {counted(self.journal.trials(), 'fork')} "
                f"wrote one each, {len(await self.journal.noted())} came home with the merge"
            )
        return sound

    def _prove(self, death: Death) -> bool:
        """That nothing recorded was done again: by the journal, and by a count kept beside it."""
        kept = self.journal.kept(death.events)
        by_process = performed(self.place.count)
        first = by_process.pop(str(death.pid), [])
        later = [key for keys in by_process.values() for key in keys]
        again = death.recorded.intersection(later)
        if kept and not again and death.recorded.issubset(first):
            self.screen.say("no step was repeated:", "bold")
            self.screen.say(
                f"- the {counted(len(death.events), 'event')} from before the kill are all there, "
                "with the same hashes"
            )
            flying = len(first) - len(death.recorded)
            self.screen.say(
                f"- tools counted beside the journal: {len(first)} calls before the kill "
                f"({len(death.recorded)} recorded, {flying} in flight),"
            )
            self.screen.say(f"  {len(later)} after it, none for a step that had been recorded")
            return True
        self.screen.say(
            f"THIS IS WRONG: events kept: {kept}; {counted(len(again), 'recorded step')} performed "
            "again after the kill", "red",
        )  # fmt: skip
        return False

    async def _ask(self) -> bool:
        """Part six: the question; False if nobody answers."""
        screen, verdict = self.screen, self.journal.verdict()
        screen.part("May it publish?")
        screen.say("the agent's process has left; the run waits for a person, in the journal")
        if verdict is not None:
            rules = ", ".join(verdict.rules)
            screen.say(f"verdict: {verdict.decision}, by rule {rules} of policy {verdict.policy},")
            screen.say(f"because {verdict.reason}")
        name, arguments = self.journal.question()
        screen.say(f"the action: {name}, with", "bold")
        for argument, value in arguments.items():
            first, *more = str(value).splitlines()
            screen.say(f"  {argument + ':':<12} {first}")
            for line in more:
                screen.say(f"  {'':<12} {line}" if line else "")
        screen.say("its preview, from the fork that was merged:", "bold")
        screen.block(self.journal.preview())
        screen.say()
        by, decision = self.user, self.wishes.answer
        if decision == "ask":
            try:
                decision = "approve" if _yes("   Publish? [y/n] ") else "deny"
            except EOFError:
                screen.say("no answer came: the run goes on waiting, for --resume", "yellow")
                return False
        else:
            by = "demo"
            why = ", because nobody is at a terminal" if self.wishes.unasked else ", as it was told"
            screen.say(f"the demo itself answers{why}: {decision}", "yellow")
        await answer(self.store, self.place.run, "", decision, by=by,
                     now_ms=time.time_ns() // 1_000_000)  # fmt: skip
        return True

    async def _sum_up(self, sound: bool) -> int:
        """The last part: what was published, what was planted, and the figures."""
        screen = self.screen
        screen.part("The outcome")
        end = self.journal.end()
        if end is None:
            raise holdfast.Outside(f"run {self.place.run} has not ended")
        body, result = end
        found = body.status == "done" and bool(result["found"])
        if body.error is not None:
            screen.say(f"the agent {body.status}: {body.error.type}: {body.error.text}", "red")
        await self._show_repair(found, result)
        bug = self.planted.bug
        screen.say(f"the planted bug was: {bug.description}")
        code = 0
        if not found:
            code = 1
        elif result["published"]:
            same = result["published"] == self.journal.preview()
            screen.say()
            screen.say(f"published: a commit in {shown(self.place.repository)}")
            screen.say("it changes what its preview said" if same else "NOT AS PREVIEWED",
                       "" if same else "red")  # fmt: skip
            told = git.git("show", "--stat", "--format=commit %H%n%n%B", git.BRANCH,
                           at=self.place.repository)  # fmt: skip
            screen.block(told.replace("\n\n\n", "\n\n"))
        else:
            commits = git.git("rev-list", "--all", "--count", at=self.place.repository)
            screen.say(
                f"nothing was published ({result['why']}): the repository has "
                f"{counted(int(commits), 'commit')}, as before", "yellow",
            )  # fmt: skip
            code = 3
        self._say_figures(result)
        return code if sound else 1

    async def _show_repair(self, found: bool, result: Any) -> None:
        screen, bug = self.screen, self.planted.bug
        if not found:
            why = f": {result['why']}" if result else ""
            screen.say(f"NOT FOUND{why}", "bold red")
            return
        same = await self.journal.text(bug.path) == self.planted.original
        restored = (
            "it restores the original text" if same
            else "it passes the whole suite, but differs from the original text"
        )  # fmt: skip
        screen.say(f"REPAIRED {result['path']}:{result['line']}: {result['edit']}; {restored}",
                   "bold green")  # fmt: skip
        screen.say(f"   at the start: {result['was'].strip()}")
        screen.say(f"   now:          {result['now'].strip()}")
        if result["origin"] == "model":
            screen.say("the candidate came from the model")
        elif model.wire() is not None:
            screen.say("the candidate came from mutations: none of the model's did")

    def _say_figures(self, result: Any) -> None:
        journal, screen = self.journal, self.screen
        if result:
            screen.say()
            screen.say(f"{journal.trials()} of {result['offered']} candidates tried")
        screen.say(
            f"{counted(journal.runs(), 'run')}, {counted(journal.steps().total(), 'step')}, "
            f"{counted(len(journal.events), 'event')}, {time.monotonic() - self.began:.0f} s; "
            f"the journal takes {amount(journal_bytes(self.place.store))}"
        )
        command = f"{shown(Path(sys.executable).with_name('holdfast'))} show {self.place.run}"
        screen.say(
            f"look around: {command} --store {shown(self.place.store)}  (also ps, log, fsck)"
        )


# ---- processes and terminals -----------------------------------------------------------------


@contextlib.contextmanager
def worker(place: Place, how: str) -> Generator[subprocess.Popen[bytes]]:
    """The agent's process, in a group of its own so that Ctrl-C reaches it once, from here."""
    env = {**os.environ, "REPAIR_COUNT": str(place.count.resolve())}
    command = [sys.executable, "-m", "examples.repair.worker", str(place.folder.resolve())]
    with place.complaints.open("ab") as complaints:
        process = subprocess.Popen(
            [*command, place.run, how], cwd=folder.ROOT, env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # it suspends its runs cleanly
            try:
                process.wait(LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _opened(place: Place) -> holdfast.Runtime:
    """The store, to read it and to answer."""
    user = os.environ.get("HOLDFAST_USER") or os.environ.get("USER") or "somebody"
    return holdfast.Runtime(holdfast.Settings(store=str(place.store), user=user))


def _yes(question: str) -> bool:
    """Ask on the terminal; Ctrl-C ends the demo at once, also inside an event loop."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            said = input(question).strip().lower()
            if said in ("y", "yes", "n", "no"):
                return said[0] == "y"
    finally:
        signal.signal(signal.SIGINT, before)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def shown(path: Path) -> str:
    """A path as one would type it here."""
    path, here = path.absolute(), Path.cwd()  # not resolved: .venv/bin/python may be a link
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
