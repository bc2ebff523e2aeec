"""Ctrl-C and SIGTERM: the first one asks to suspend cleanly, a second Ctrl-C ends the process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from holdfast.cli.failing import INTERRUPTED, TERMINATED, interrupt
from holdfast.cli.screen import Screen


class Stop:
    """Whether, and how, this process was asked to stop. ``code``: the exit code for it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.code = 0


@contextmanager
def stoppable(screen: Screen) -> Generator[Stop]:
    """Take over the two signals. The handlers run in the main thread even while agent code blocks
    it, which the event loop's own would not."""
    stop = Stop()
    loop = asyncio.get_running_loop()

    def hear(number: int, frame: FrameType | None) -> None:
        if stop.code:
            if number == signal.SIGINT:
                screen.erase()
                interrupt()
            return
        stop.code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        loop.call_soon_threadsafe(stop.asked.set)
        with contextlib.suppress(RuntimeError):  # the signal came while stderr was being written
            screen.note("suspending (Ctrl-C again: end at once)")

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, hear)
    except ValueError:  # not the main thread (tests): then nothing asks to stop
        pass
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
