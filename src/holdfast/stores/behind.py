"""Writing much content while more of it is being found: an import keeps two processors busy."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

from holdfast.values.canon import Blobs


class Keeping(Protocol):
    """What `Behind` needs of a store."""

    def get(self, name: str) -> bytes:
        """See `Store.get`."""
        ...

    def put_now(self, blobs: Blobs) -> None:
        """See `Store.put_now`."""
        ...


class Behind:
    """Puts content into ``store`` in a thread of its own, one piece at a time.

    A context manager for one user: at its end everything is durable, or what the store raised is
    raised (at the next `put` or at the end). Two pieces are in memory at most, so
    ``Stage(behind.get, behind.put)`` holds about three times ``limits.STAGE_FLUSH_BYTES``.
    """

    def __init__(self, store: Keeping) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "holdfast-behind")
        self._blobs: Blobs = {}
        self._done: Future[None] | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done.result()
        self._blobs = {}

    def put(self, blobs: Blobs) -> None:
        """Hand over blobs, which are not to be changed any more; waits for those before."""
        self._wait()
        self._blobs = blobs
        self._done = self._thread.submit(self._store.put_now, blobs)

    def get(self, name: str) -> bytes:
        """A blob that was put or is in the store; `Corrupt`."""
        content = self._blobs.get(name)
        return self._store.get(name) if content is None else content
