"""Doorbells between processes that share a store: pushed wake-ups without polling or ports.

Each process that follows a store owns one FIFO in ``<store>/bells``. Whoever commits writes one
byte into the others'. A FIFO has a reader exactly as long as its process lives, so an attempt to
open it also tells, at once, whether a lease holder was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from holdfast.values.errors import Outside


class Bell:
    """This process's FIFO; ``name`` is also its name as a lease holder."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._directory = directory
        self._path = directory / name
        self._fd = -1
        self._others: list[Path] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def hang(self) -> None:
        """Make the FIFO; from now on this process counts as alive. `Outside` if that fails."""
        if self._fd >= 0:
            return
        # under a hidden name until it has a reader: others take down what nobody reads
        hidden = self._directory / f".{self.name}"
        try:
            self._directory.mkdir(exist_ok=True, mode=0o700)
            os.mkfifo(hidden, 0o600)
            # opened for both directions so that it never reports end-of-file
            fd = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            hidden.rename(self._path)
        except OSError as error:
            raise Outside(
                f"{self._directory}: no FIFO can be made there ({error.strerror}); "
                "keep the store on a local, writable disk"
            ) from None
        self._fd = fd

    def listen(self, ring: Callable[[], None]) -> None:
        """Call ``ring`` on the running event loop whenever somebody rings."""
        self.hang()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._drain, ring)

    def _drain(self, ring: Callable[[], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 65536)
        ring()

    def look_around(self) -> None:
        """Find the other bells of this store. Called when another process has written: whoever
        hangs a bell writes to the store afterwards."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except OSError:
            names = []
        self._others = [
            self._directory / name
            for name in names
            if name != self.name and not name.startswith(".")
        ]

    def ring_others(self) -> None:
        """Wake every other live process that follows this store; take down what the dead left."""
        dead = [path for path in self._others if not _ring(path)]
        for path in dead:
            self._others.remove(path)
            with contextlib.suppress(OSError):
                path.unlink()

    def alive(self, name: str) -> bool:
        """Whether the process that owns bell ``name`` lives (its FIFO has a reader)."""
        return name == self.name or _open(self._directory / name) is not None

    def remove(self) -> None:
        """Take the FIFO down. Idempotent."""
        if self._fd >= 0:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1


def _open(path: Path, byte: bytes = b"") -> bool | None:
    """True if a reader is there (and got ``byte``), None if nobody reads."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if byte:
            os.write(fd, byte)
    except BlockingIOError:
        pass  # full: it has been rung often enough
    except OSError:
        return None
    finally:
        os.close(fd)
    return True


def _ring(path: Path) -> bool:
    return _open(path, b"!") is not None
