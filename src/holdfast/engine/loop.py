"""A run's own event loop: ordinary asyncio code that executes the same way every time.

Tasks, futures, gather, TaskGroup, timeouts and cancellation are asyncio's own; what differs is
where time and completions come from. `RunLoop.drain` runs whatever is ready until nothing is: only
then is the next outcome delivered, from history or from the outside. So the order of execution
follows from the order of recorded outcomes alone.

Sockets, subprocesses, threads and signals are refused: they are the outside, and belong in a tool.
"""

from __future__ import annotations

import asyncio
from asyncio import events as _events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, NoReturn

from holdfast.engine import scope
from holdfast.values.errors import Misuse

_REFUSED = (
    "run_in_executor", "create_connection", "create_server", "create_unix_connection",
    "create_unix_server", "create_datagram_endpoint", "connect_accepted_socket", "sendfile",
    "start_tls", "connect_read_pipe", "connect_write_pipe", "subprocess_exec", "subprocess_shell",
    "getaddrinfo", "getnameinfo", "add_reader", "remove_reader", "add_writer", "remove_writer",
    "sock_recv", "sock_recv_into", "sock_sendall", "sock_connect", "sock_accept", "sock_sendfile",
    "add_signal_handler", "remove_signal_handler", "run_forever", "run_until_complete",
)  # fmt: skip


class _Ordered(asyncio.Task[Any]):
    """A task that hashes by the order in which it was made, not by its address in memory.

    ``TaskGroup`` and ``asyncio.wait`` keep tasks in sets: what they cancel first must not differ
    from one process to the next.
    """

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, loop: RunLoop, serial: int, context: Context,
        name: str | None = None,
    ) -> None:  # fmt: skip
        # asyncio notes every task of the process in one set, where the first tasks of many runs
        # must not fall together: it keeps the hash that a task has while it is made
        self._serial = id(self) >> 4
        super().__init__(coro, loop=loop, name=name, context=context)
        self._serial = serial

    def __hash__(self) -> int:
        return self._serial

    def __eq__(self, other: object) -> bool:
        return self is other


class RunLoop(asyncio.AbstractEventLoop):
    """The event loop of one run. ``timer`` is told of every timer that is set, ``dropped`` of every
    one that is cancelled; ``now()`` is the run's time in seconds: that of the newest outcome
    delivered to it."""

    def __init__(
        self,
        timer: Callable[[asyncio.TimerHandle], None],
        dropped: Callable[[asyncio.TimerHandle], None],
        now: Callable[[], float],
    ) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._timer = timer
        self._dropped = dropped
        self._now = now
        self._closed = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._made = 0
        self.failures: list[dict[str, Any]] = []

    @property
    def quiet(self) -> bool:
        """Whether nothing is ready to run."""
        return not self._ready

    def make_ready(self, handle: asyncio.Handle) -> None:
        """A timer has rung: its callback runs next."""
        self._ready.append(handle)

    def drain(self) -> None:
        """Run everything that is ready, and what that makes ready, until nothing is."""
        ready = self._ready
        if not ready:
            return
        outer = _events._get_running_loop()
        _events._set_running_loop(self)
        try:
            while ready:
                handle = ready.popleft()
                if not handle.cancelled():
                    try:
                        handle._run()
                    except SystemExit:
                        continue  # its task has ended with it: one program's exit ends no other
        finally:
            _events._set_running_loop(outer)

    # What asyncio asks of a loop ---

    def call_soon(
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> NoReturn:
        raise Misuse("agent code: other threads cannot call into a run; let a tool do it")

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a timer's handle when the program cancels it."""
        self._dropped(handle)

    def time(self) -> float:
        return self._now()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        """INVARIANT E1: a task's lane is fixed when it is made, not when it first runs."""
        context = copy_context() if context is None else context
        parent = context.get(scope.lane) or scope.lane.get()
        if parent is not None:
            made = scope.Lane(parent.run, parent.next() + ".", parent.branch, parent.transaction)
            context.run(scope.lane.set, made)
        task = self.strand(coro, context, name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def strand(
        self, coro: Coroutine[Any, Any, Any], context: Context, name: str | None = None
    ) -> asyncio.Task[Any]:
        """A task in a context that has its lane already."""
        self._made += 1
        return _Ordered(coro, loop=self, serial=self._made, context=context, name=name)

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._ready.clear()

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A task failed and nobody looked: kept for the run to report."""
        self.failures.append(context)

    async def shutdown_asyncgens(self) -> None:
        """Async generators end with the run."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is no executor."""


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(self: RunLoop, *args: Any, **kwargs: Any) -> NoReturn:
        raise Misuse(
            f"agent code called the event loop's {name}: sockets, processes and threads are "
            "outside a run; do this in a tool (`await holdfast.call(tool, ...)`)"
        )

    return refused


def _no_factory(self: RunLoop) -> None:
    """Tasks are made by `RunLoop.create_task`; libraries (anyio) ask."""


setattr(RunLoop, "get_task_factory", _no_factory)  # noqa: B010 - as the others below
for _name in _REFUSED:
    setattr(RunLoop, _name, _refuse(_name))
RunLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined] # all refused by name above
