"""The live view of ``holdfast top``: what is drawn, what keys mean, and the terminal around it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from holdfast.cli.desk import Desk
from holdfast.cli.screen import cells, shorten
from holdfast.engine.answers import answer
from holdfast.engine.seeding import Seeded
from holdfast.explain import lines, telling
from holdfast.explain.text import Part, clean, one_line
from holdfast.explain.watching import Asked, Going, Now, Watch
from holdfast.journal.like import is_short
from holdfast.journal.store import Store
from holdfast.values.errors import HoldfastError

_KEYS = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"k": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"j": "down", b"\r": "enter", b"\n": "enter", b"q": "q", b"Q": "q", b"\x1b": "back",
    b"a": "a", b"d": "d", b"y": "y", b"\x04": "q",
}  # fmt: skip
_TICK = 1.0
"""Seconds after which ages are drawn anew."""
Line = list[Part]


class Top:
    """What is shown, and what is selected. ``chosen``: which question or run, by name, so that a
    list that changes never moves another question under a person's finger."""

    def __init__(self, desk: Desk, store: Store) -> None:
        self._desk = desk
        self._store = store
        self.now: Now | None = None
        self.chosen = ""
        self.asking: tuple[str, Asked] | None = None
        self.detail = ""
        self.said = ""
        self.done = False

    def items(self) -> list[Asked | Going]:
        """All that can be selected, in the order it is shown."""
        return [] if self.now is None else [*self.now.questions, *self.now.runs]

    def selected(self) -> Asked | Going | None:
        """What is selected; if it is gone, nothing is."""
        return next((one for one in self.items() if _name(one) == self.chosen), None)

    async def press(self, key: str) -> None:
        """A key."""
        self.said = ""
        if self.asking is not None:
            word, asked = self.asking
            self.asking = None
            if key == "y":
                await self._answer(word, asked)
            else:
                self.said = "not answered"
            return
        if self.detail:
            self.detail = "" if key in ("back", "enter", "q") else self.detail
            return
        one = self.selected()
        match key:
            case "q":
                self.done = True
            case "up" | "down":
                self._move(-1 if key == "up" else 1)
            case "enter" if one is not None:
                self.detail = one.run
            case "a" | "d" if isinstance(one, Asked):
                if key == "a" and one.about == "question":
                    self.said = self._desk.command(f"holdfast answer {one.run}@{one.step} VALUE")
                else:
                    self.asking = ("approve" if key == "a" else "deny", one)
            case "a" | "d":
                self.said = "select a question first"
            case _:
                pass

    def _move(self, by: int) -> None:
        names = [_name(one) for one in self.items()]
        if names:
            at = names.index(self.chosen) + by if self.chosen in names else 0
            self.chosen = names[max(0, min(len(names) - 1, at))]

    async def _answer(self, word: str, asked: Asked) -> None:
        """INVARIANT X168: an answer is given to the question that was shown, by its digest, through
        the function that all answers take, and only after a second key."""
        try:
            await answer(self._store, asked.run, asked.step, word, by=self._desk.user,
                         now_ms=self._desk.now_ms(), digest=asked.digest)  # fmt: skip
            self.said = f"{asked.run}@{asked.step}: {word}"
        except Seeded as error:
            self.said = one_line(str(error))
        except HoldfastError as error:  # answered, changed or expired meanwhile; may not
            self.said = one_line(str(error))

    # Drawing ------------------------------------------------------------------------------------

    async def page(self, width: int, height: int) -> list[Line]:
        """Exactly ``height`` lines that fit into ``width``."""
        if self.now is None:
            return [[]] * height
        shown = await self._detail(height) if self.detail else self._lists(height)
        shown = shown[: height - 1]
        shown += [[]] * (height - 1 - len(shown))
        return [fit(line, width) for line in [*shown, self._foot()]]

    def _foot(self) -> Line:
        if self.asking is not None:
            word, asked = self.asking
            return [
                (f"{word} {asked.run}@{asked.step}?  y: yes, any other key: no", "bold reverse")
            ]
        if self.said:
            return [(self.said, "yellow")]
        if self.detail:
            return [("esc: back", "dim")]
        return [("↑↓ select  enter show  a approve  d deny  q quit", "dim")]

    def _lists(self, height: int) -> list[Line]:
        now = self.now
        assert now is not None
        spent = sum(one.money for one in now.runs)
        waiting = sum(one.status == "waiting" for one in now.runs)
        counts = (
            f"  {len(now.runs) - waiting} running  {waiting} waiting  {len(now.questions)} asked  "
            f"{spent:,.4g} money  {now.rate:.3g} events/s  "
        )
        clock = telling.time_of_day(now.at)[:8]
        head: Line = [("holdfast top", "bold"), counts, (clock, "dim")]
        room = max(2, height - 6)
        asked = min(len(now.questions), max(room // 2, room - len(now.runs)))
        found: list[Line] = [head, []]
        if now.questions:
            found.append([(f"{'ASKED':<8}{'STEP':<18}{'AGENT':<14}WHAT", "dim")])
            found += [self._line(one) for one in self._window(now.questions, asked)]
            found.append([])
        found.append([(f"{'AGE':<8}{'RUN':<18}{'AGENT':<14}{'MONEY':>8}  LAST STEP", "dim")])
        if not now.runs:
            found.append([("nothing runs", "dim")])
        found += [self._line(one) for one in self._window(now.runs, room - asked)]
        return found

    def _window(self, found: Any, room: int) -> Any:
        """As many as there is room for, with the selected one among them."""
        at = next((at for at, one in enumerate(found) if _name(one) == self.chosen), 0)
        first = max(0, min(at - room // 2, len(found) - room))
        return found[first : first + max(1, room)]

    def _line(self, one: Asked | Going) -> Line:
        assert self.now is not None
        style = "reverse" if _name(one) == self.chosen else ""
        if isinstance(one, Asked):
            text = f"{telling.age(one.since, self.now.at):<8}{pad(f'{one.run}@{one.step}', 18)}"
            return [(f"{text}{pad(one.agent, 14)}{one.text}", style or "yellow")]
        text = f"{telling.age(one.started, self.now.at):<8}{pad(one.run, 18)}{pad(one.agent, 14)}"
        quiet = telling.age(one.at, self.now.at)
        return [
            (text, style or telling.STYLES.get(one.status, "")),
            (f"{one.money:>8,.4g}  {one.last}  ", style),
            (f"{quiet} ago", style or "dim"),
        ]

    async def _detail(self, height: int) -> list[Line]:
        """The newest events of a run, and what it asks."""
        run = self.detail
        row = await self._store.run(run)
        stop = (await self._store.head(run)).pos + 1
        head: Line = [(f"run {run}", "bold"), f"  {one_line(row.agent)}  {row.status}"]
        asks = (telling.wait_text(wait, run) for wait in row.waits)
        found: list[Line] = [[(text, "yellow")] for text in asks]
        for event in await self._store.read(run, max(0, stop - max(1, height - 4)), stop):
            args = None if event.args is None or is_short(event.args) else event.args
            found.append(lines.line(event, args, self._store.get, 160))
        return [head, [], *found[-max(1, height - 3) :]]


def _name(one: Asked | Going) -> str:
    return f"{one.run}@{one.step}#{one.digest}" if isinstance(one, Asked) else one.run


def pad(text: str, width: int) -> str:
    """``text`` in exactly ``width`` places, cleaned."""
    shown = shorten(one_line(text), width - 1)
    return shown + " " * (width - cells(shown))


def fit(line: Line, width: int) -> Line:
    """A line in at most ``width`` places."""
    left, found = width, []
    for part in line:
        text, style = (part, "") if isinstance(part, str) else part
        shown = shorten(clean(text).replace("\n", " ").replace("\t", " "), left)
        found.append((shown, style))
        left -= cells(shown)
        if left <= 0:
            break
    return found


# The terminal ---------------------------------------------------------------------------------


async def live(desk: Desk, store: Store) -> int:
    """Draw until somebody leaves; the exit code."""
    top, watch = Top(desk, store), Watch(store)
    wake, keys, ended = asyncio.Event(), asyncio.Queue[str](), list[int]()
    store.listen(wake.set)

    def stop(code: int) -> None:
        ended.append(code)
        wake.set()

    with _terminal(keys, wake, stop) as draw:
        while not top.done and not ended:
            wake.clear()
            top.now = await watch.look(desk.now_ms())
            while not keys.empty() and not top.done:
                await top.press(keys.get_nowait())
                top.now = await watch.look(desk.now_ms())
            size = shutil.get_terminal_size()
            draw(await top.page(size.columns, size.lines))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await wake.wait()
    return ended[0] if ended else 0


@contextmanager
def _terminal(
    keys: asyncio.Queue[str], wake: asyncio.Event, stop: Callable[[int], None]
) -> Generator[Callable[[list[Line]], None]]:
    """The whole terminal, keys without echo.

    INVARIANT X169: however it ends, by a key, a signal or an error, the terminal is as it was.
    """
    import termios
    import tty

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def typed() -> None:
        try:
            read = os.read(descriptor, 64)
        except OSError:
            read = b""
        if not read:
            stop(0)
            return
        for key in _split(read):
            if key in _KEYS or len(key) == 1:
                keys.put_nowait(_KEYS.get(key, "other"))
        wake.set()

    console = Console(markup=False, highlight=False, emoji=False)
    signals = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
    before = termios.tcgetattr(descriptor)
    view = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False,
                redirect_stderr=False)  # fmt: skip

    def draw(page: list[Line]) -> None:
        whole = Text("\n", no_wrap=True, overflow="crop").join(
            Text.assemble(*line) if line else Text("") for line in page
        )
        view.update(whole, refresh=True)

    try:
        for one, code in signals.items():
            loop.add_signal_handler(one, stop, code)
        loop.add_signal_handler(signal.SIGWINCH, wake.set)
        tty.setcbreak(descriptor)
        loop.add_reader(descriptor, typed)
        with view:
            yield draw
    finally:
        loop.remove_reader(descriptor)
        for one in (*signals, signal.SIGWINCH):
            loop.remove_signal_handler(one)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _split(read: bytes) -> list[bytes]:
    """What was typed, key by key."""
    found: list[bytes] = []
    while read:
        size = 3 if read[:2] in (b"\x1b[", b"\x1bO") else 1
        found.append(read[:size])
        read = read[size:]
    return found
