"""The one writer: it commits whatever waits in one transaction (group commit), in the order asked.

Appends of one turn of the event loop are committed together: on the loop itself while commits have
been quick (a hand-over to a thread and back costs more than a quick commit), else by the writer's
thread, so that a slow disk, a lock of another process, large content or a checkpoint of the log
never block the loop. Each piece of work is checked before it writes, so one caller's conflict never
harms another's append in the same transaction; a piece of work that breaks in an unforeseen way is
taken out, and the others are done again without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.stores.blobs import Undone
from holdfast.stores.schema import explain
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Misuse
from holdfast.values.ports import Clock

Work = Callable[["sqlite3.Connection"], Any]
"""Something to do inside the transaction; raises a `HoldfastError` before writing anything."""


class _Locked(Exception):
    """Another process is writing."""


class _Item:
    """One piece of work and the place where its result is wanted."""

    __slots__ = ("done", "error", "future", "loop", "result", "size", "work")

    def __init__(self, work: Work, size: int) -> None:
        self.work = work
        self.size = size
        self.result: Any = None
        self.error: BaseException | None = None
        self.future: asyncio.Future[Any] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.done: threading.Event | None = None


class Writer:
    """Owns the writing connection. ``before``/``after`` run inside each transaction (cache checks,
    deferred inserts); ``settled(ok)`` after it ended; ``idle`` when nothing came for a while: if it
    answers True, an empty transaction is run (to renew a lease)."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        path: Path,
        *,
        before: Work,
        after: Work,
        settled: Callable[[bool], None],
        idle: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._conn = conn
        self._path = path
        self._before = before
        self._after = after
        self._settled = settled
        self._idle = idle
        self._clock = clock
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._closed = False
        # INVARIANT S5: work is done, and answered, in the order in which it was asked for. So the
        # loop commits only while nothing is behind it: no item is queued or in the thread's hands,
        # and none of its own is done but not yet answered.
        self._writing = threading.Lock()
        self._counting = threading.Lock()
        self._behind = 0
        self._unanswered = 0  # of the home loop, which alone touches it
        self._gathered: list[_Item] = []
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._at_once = 0
        self._cost_us = 0.0
        self._pages = 0
        self._thread = threading.Thread(target=self._main, name="holdfast-writer", daemon=True)
        self._thread.start()

    def submit(
        self, work: Work, loop: asyncio.AbstractEventLoop, size: int = 0, *, more: bool = False
    ) -> asyncio.Future[Any]:
        """Ask for ``work`` (which writes about ``size`` bytes of content); the future resolves on
        ``loop``, in which this is called, once it is durable. ``more``: the caller asks for more
        before it waits."""
        if self._closed:
            raise self._over()
        item = _Item(work, size)
        item.loop = loop
        item.future = loop.create_future()
        if self._home is None or self._home[0].is_closed():
            self._home = (loop, threading.get_ident())
            self._unanswered = 0
        if self._home[0] is not loop:
            self._put([item])
            return item.future
        self._gathered.append(item)
        if len(self._gathered) > 1:
            return item.future
        # INVARIANT S9: so many in a row at most, then the loop turns
        if not more and self._at_once < limits.INLINE_COMMIT_BATCHES and _idle(loop):
            self._at_once += 1
            self._flush()
        else:
            # what this turn leads to in the next one is committed together with it
            loop.call_soon(self._gather, loop)
        return item.future

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        self._at_once = 0
        if _idle(loop):
            self._flush()
        else:
            loop.call_soon(self._flush)

    def submit_now(self, work: Work, size: int = 0) -> Any:
        """Ask for ``work`` and block the calling thread until it is durable."""
        if self._closed:
            raise self._over()
        item = _Item(work, size)
        item.done = threading.Event()
        if self._home is not None and self._home[1] == threading.get_ident():
            self._gathered.append(item)
            self._flush()
        else:
            self._put([item])
        item.done.wait()
        if item.error is not None:
            raise item.error
        return item.result

    def _flush(self) -> None:
        """Commit what this turn of the loop has gathered, here or in the thread."""
        items, self._gathered = self._gathered, []
        if not items:
            return
        if not self._commit_here(items):
            self._unanswered += sum(item.loop is not None for item in items)
            self._put(items)

    def _commit_here(self, items: list[_Item]) -> bool:
        """Commit on the loop, if that is likely to be quick; False if nothing was done."""
        slow = self._cost_us > limits.INLINE_COMMIT_MS * 1000
        large = sum(item.size for item in items) > limits.INLINE_COMMIT_BYTES
        behind = self._behind or self._unanswered
        if slow or large or behind or self._pages > limits.WAL_CHECKPOINT_PAGES:
            self._cost_us *= 0.98  # try again some time
            return False
        if not self._writing.acquire(blocking=False):
            return False
        try:
            self._commit(items)
        except _Locked:
            return False
        finally:
            self._writing.release()
        _resolve(items)  # what is gathered was asked for here
        return True

    def _put(self, items: list[_Item]) -> None:
        with self._counting:
            self._behind += len(items)
        for item in items:
            self._queue.put(item)
        if not self._thread.is_alive():
            self._turn_away()  # it closed at this very moment

    def _over(self) -> Misuse:
        return Misuse(f"{self._path}: the store is closed")

    def close(self) -> None:
        """Commit what waits, then stop. Idempotent."""
        if not self._closed:
            gathered, self._gathered = self._gathered, []
            self._put(gathered)
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _main(self) -> None:
        going = True
        while going:
            try:
                first = self._queue.get(timeout=limits.LEASE_SECONDS / 4)
            except queue.Empty:
                if self._idle():
                    self._commit_waiting([])
                continue
            items: list[_Item] = []
            while first is not None:
                items.append(first)
                if len(items) >= limits.GROUP_COMMIT_BATCHES:
                    break
                try:
                    first = self._queue.get_nowait()
                except queue.Empty:
                    break
            going = first is not None
            if items:
                self._commit_waiting(items)
                with self._counting:
                    self._behind -= len(items)
                self._deliver(items)
        self._conn.close()
        self._turn_away()

    def _commit_waiting(self, items: list[_Item]) -> None:
        """Commit in the thread: wait for another process's transaction, checkpoint the log."""
        tries = 0
        patience = limits.BUSY_SECONDS
        start = self._clock.ticks_ns()
        while True:
            with self._writing:
                try:
                    self._commit(items)
                    self._checkpoint()
                    break
                except _Locked:
                    if self._clock.ticks_ns() - start > patience * 1e9:
                        failure = explain(sqlite3.OperationalError("locked"), self._path)
                        for item in items:
                            item.error = failure
                        break
            tries += 1
            threading.Event().wait(min(0.001 * tries, 0.05))

    def _checkpoint(self) -> None:
        """Move the log into the database before it outgrows its file. Errors can wait."""
        if self._pages > limits.WAL_CHECKPOINT_PAGES:
            self._pages = 0
            with contextlib.suppress(sqlite3.Error):
                self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _turn_away(self) -> None:
        """Answer what was queued after the end, so that nobody waits for ever."""
        late: list[_Item] = []
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if item is not None:
                    item.error = self._over()
                    late.append(item)
        self._deliver(late)

    def _commit(self, items: list[_Item]) -> None:
        """One transaction for all items; again without the item that broke it, if one did."""
        left = items
        while True:
            broken = self._attempt(left)
            if broken is None:
                return
            left = [item for item in left if item is not broken]
            for item in left:
                item.error = item.result = None

    def _attempt(self, items: list[_Item]) -> _Item | None:
        """Try a transaction; the item that must be left out, or None once all have an answer."""
        conn = self._conn
        current: _Item | None = None
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if "locked" in str(error) or "busy" in str(error):
                raise _Locked from None
            for item in items:
                item.error = explain(error, self._path)
            return None
        try:
            self._before(conn)
            for item in items:
                current = item
                try:
                    item.result = item.work(conn)
                except HoldfastError as error:
                    item.error = error
            current = None
            self._after(conn)
            start = self._clock.ticks_ns()
            conn.execute("COMMIT")
            # smoothed: what the disk takes, not the work that grows with the items
            self._cost_us += ((self._clock.ticks_ns() - start) / 1000 - self._cost_us) / 8
            # two pages of tables and indexes at least, and what the content takes
            content = sum(item.size for item in items)
            self._pages += 2 + len(items) // 8 + content // limits.PAGE_BYTES
            self._settled(True)
        except Exception as error:  # noqa: BLE001 # the thread must live and nobody may hang
            with contextlib.suppress(sqlite3.Error):
                if conn.in_transaction:
                    conn.execute("ROLLBACK")
            self._settled(False)
            known = isinstance(error, sqlite3.Error)
            failure = explain(error, self._path) if isinstance(error, sqlite3.Error) else error
            if isinstance(error, Undone):
                failure = error.error
            if current is not None and not (known and _of_the_store(error)):
                current.error = failure
                return current
            for item in items:
                item.error = item.error or failure
        return None

    def _deliver(self, items: list[_Item]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Item]] = {}
        for item in items:
            if item.loop is None:
                _resolve([item])
            else:
                by_loop.setdefault(item.loop, []).append(item)
        for loop, group in by_loop.items():
            if self._home is not None and self._home == (loop, threading.get_ident()):
                _resolve(group)
                continue
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits there
                loop.call_soon_threadsafe(self._answer, loop, group)

    def _answer(self, loop: asyncio.AbstractEventLoop, items: list[_Item]) -> None:
        if self._home is not None and self._home[0] is loop:
            self._unanswered -= len(items)
        _resolve(items)


def _idle(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether nothing else is ready to run: nobody could join this commit if it waited. Only
    asyncio's own loops can be asked; of others it is not assumed."""
    ready = getattr(loop, "_ready", None)
    return ready is not None and not ready


def _of_the_store(error: Exception) -> bool:
    """Whether an error concerns the file (disk, damage, locks) and not one piece of work."""
    return not isinstance(
        error, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.ProgrammingError
        | sqlite3.InterfaceError | sqlite3.NotSupportedError,
    )  # fmt: skip


def _resolve(items: list[_Item]) -> None:
    for item in items:
        future = item.future
        if item.done is not None:
            item.done.set()
        if future is None or future.done():
            continue
        if item.error is not None:
            future.set_exception(item.error)
        else:
            future.set_result(item.result)
