"""Virtual time and seeded chance: hours pass in milliseconds, the same way each time.

`VirtualLoop` is an asyncio loop whose time stands still while code runs and jumps to the next timer
when nothing is ready. `VirtualClock` is the wall clock that goes with it; it may be set apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Coroutine, Generator
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

START_OF_TIME = 1_700_000_000_000  # where virtual time begins: a round number in November 2023
_REAL_WAIT = 0.02  # seconds to wait for real threads before looking again


class Stuck(AssertionError):
    """Nothing is ready, no timer is set and no thread is at work: nothing will ever happen."""


class VirtualClock:
    """Implements `holdfast.values.ports.Clock`; stands still unless its loop idles."""

    def __init__(self, start_ms: int = START_OF_TIME) -> None:
        self._start_ms = start_ms
        self._passed_ns = 0

    def now_ms(self) -> int:
        return self._start_ms + self._passed_ns // 1_000_000

    def ticks_ns(self) -> int:
        return self._passed_ns

    def seconds(self) -> float:
        """Seconds that have passed, for an event loop."""
        return self._passed_ns / 1e9

    def advance(self, seconds: float) -> None:
        """Let time pass (rounded up to a microsecond, so that a timer set for then is due)."""
        self._passed_ns = (self._passed_ns + round(seconds * 1e9) + 999) // 1000 * 1000

    def jump(self, seconds: float) -> None:
        """Set the wall clock ahead (or back) without time passing."""
        self._start_ms += round(seconds * 1000)


class _Jumping(selectors.DefaultSelector):
    """Instead of sleeping until the next timer, moves the clock there."""

    def __init__(self, clock: VirtualClock, busy: Callable[[], bool]) -> None:
        super().__init__()
        self._clock = clock
        self._busy = busy

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._busy():
            return super().select(_REAL_WAIT)
        if timeout is None:
            raise Stuck("nothing is ready, no timer is set: the program waits for ever")
        self._clock.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a `VirtualClock`. Time stands still under `hold` and while threads work."""

    def __init__(self, clock: VirtualClock, expected: type[BaseException] | tuple[()] = ()) -> None:
        self.clock = clock
        self._held = 0
        self._expected = expected
        super().__init__(_Jumping(clock, lambda: self._held > 0))

    def time(self) -> float:
        return self.clock.seconds()

    @contextlib.contextmanager
    def hold(self) -> Generator[None]:
        """Something real is under way: wait for it in real time."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Threads take no virtual time."""
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._held += 1
        future.add_done_callback(self._let_go)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Errors that nobody looked at are printed, but for the expected ones."""
        if not isinstance(context.get("exception"), self._expected):
            super().call_exception_handler(context)

    def _let_go(self, _: asyncio.Future[Any]) -> None:
        self._held -= 1


def run_virtual(
    main: Callable[[], Coroutine[Any, Any, T]],
    clock: VirtualClock,
    *,
    expected: type[BaseException] | tuple[()] = (),
) -> T:
    """Run ``main()`` on a loop of its own in virtual time, and close the loop. ``expected`` errors
    of tasks that nobody awaits are not printed."""
    loop = VirtualLoop(clock, expected)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main())
    finally:
        _cancel_all(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _cancel_all(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for one in left:
        one.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=60))
    with loop.hold():
        loop.run_until_complete(loop.shutdown_default_executor())


class SeededDice:
    """Implements `holdfast.values.ports.Dice`: the same bytes for the same seed."""

    def __init__(self, seed: int | str | Random) -> None:
        self._random = seed if isinstance(seed, Random) else Random(seed)

    def take(self, count: int) -> bytes:
        return self._random.randbytes(count)
