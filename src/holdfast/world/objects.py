"""Where a world's content is kept: anything that gets and puts immutable blobs by hash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast.values import limits
from holdfast.values.canon import Blobs, digest


class Objects(Protocol):
    """Content by its SHA-256. Blobs never change, so nothing here needs a lock or an order."""

    def get(self, name: str) -> bytes:
        """The blob whose SHA-256 in hex is ``name``; `Corrupt` if it is absent."""
        ...

    def put(self, content: bytes) -> str:
        """Keep ``content`` and return its SHA-256 in hex. Idempotent."""
        ...


class Stage:
    """Objects read from a store and written to a buffer that the caller commits.

    ``fetch`` reads a blob from the store (`Corrupt` if absent). ``flush``, if given, writes blobs
    early when the buffer grows over ``limits.STAGE_FLUSH_BYTES``; content is harmless before an
    event names it. ``new`` is what was put and neither flushed nor taken yet.
    """

    def __init__(
        self, fetch: Callable[[str], bytes], flush: Callable[[Blobs], None] | None = None
    ) -> None:
        self.fetch = fetch
        self.flush = flush
        self.new: Blobs = {}
        self._bytes = 0

    def get(self, name: str) -> bytes:
        """The blob, from the buffer or else from the store; `Corrupt` if in neither."""
        content = self.new.get(name)
        return self.fetch(name) if content is None else content

    def put(self, content: bytes) -> str:
        """Buffer ``content`` and return its hash; may flush."""
        name = digest(content)
        if name not in self.new:
            self.new[name] = content
            self._bytes += len(content)
            if self.flush is not None and self._bytes > limits.STAGE_FLUSH_BYTES:
                self.flush(self.new)  # if this raises, the buffer is still whole
                self.take()
        return name

    def take(self) -> Blobs:
        """Hand over what is buffered and start an empty buffer."""
        taken, self.new, self._bytes = self.new, {}, 0
        return taken
