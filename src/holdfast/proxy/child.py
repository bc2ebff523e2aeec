"""A server that is a child process, spoken to through its standard streams."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.proxy.frames import Unsent
from holdfast.proxy.lines import Lines
from holdfast.values import limits
from holdfast.values.errors import NotFound, Outside

PASSED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER",
          "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
          "VIRTUAL_ENV", "NODE_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY",
          "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")  # fmt: skip
"""Variables that every server gets; others only by name: they may be credentials."""


def environment_of(named: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server process: INVARIANT D2: nothing secret unless it was named."""
    return {name: os.environ[name] for name in PASSED if name in os.environ} | dict(named)


_COMMANDS = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # what commonly colours
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]"
)


def _tell(text: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads ours
        while text:
            text = text[os.write(2, text) :]


def _nobody(why: str) -> None:
    """Who is told nothing any more."""


class _Streams(asyncio.SubprocessProtocol):
    def __init__(self, child: Child) -> None:
        self.child = child

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.child.lines.feed(data)
        else:
            self.child.printed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self.child.gone("it closed its output")
        elif fd == 2:
            self.child.silent.set()

    def process_exited(self) -> None:
        self.child.exited.set()
        self.child.gone("it ended")


class Child:
    """One server process, a group of its own. ``receive`` gets each line that it says; ``lost`` is
    told once why there will be no more."""

    def __init__(
        self,
        command: tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: str,
        receive: Callable[[bytes, Any], None],
        lost: Callable[[str], None],
    ) -> None:
        self.command = command
        self._env = env
        self._cwd = cwd
        self._receive = receive
        self._lost = lost
        self.lines = Lines(self._line, self._too_long)
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()
        self._words = codecs.getincrementaldecoder("utf-8")("replace")
        self._printing: set[asyncio.Task[None]] = set()
        self._transport: asyncio.SubprocessTransport | None = None
        self._input: Any = None

    async def open(self) -> None:
        """Start it; `NotFound` or `Outside` if it cannot be."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: _Streams(self), *self.command, cwd=self._cwd or None,
                env=environment_of(self._env), start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            where = f" in {self._cwd}" if self._cwd else ""
            raise NotFound(f"mcp: there is no command {self.command[0]!r}{where}") from None
        except OSError as error:
            raise Outside(f"mcp: {self.command[0]} cannot be started: {error.strerror}") from None
        self._transport = transport
        self._input = transport.get_pipe_transport(0)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._transport.get_pid() if self._transport else 0

    def _line(self, line: bytes) -> None:
        self._receive(line, None)

    def printed(self, data: bytes) -> None:
        """What it says on stderr goes to ours. INVARIANT D145: as text: nothing in it commands a
        terminal; and as fast as ours is read, for which nobody else waits."""
        text = _COMMANDS.sub("", self._words.decode(data)).encode()
        pipe: Any = self._transport and self._transport.get_pipe_transport(2)
        if pipe is not None:
            pipe.pause_reading()
        task = asyncio.get_running_loop().create_task(self._print(text, pipe))
        self._printing.add(task)
        task.add_done_callback(self._printing.discard)

    async def _print(self, text: bytes, pipe: Any) -> None:
        await asyncio.to_thread(_tell, text)
        if pipe is not None and not pipe.is_closing():
            pipe.resume_reading()

    def _too_long(self) -> None:
        self.gone(f"it said more than {limits.FRAME_BYTES:,} bytes in one message")
        self._kill(signal.SIGTERM)

    def gone(self, why: str) -> None:
        """No more will come."""
        lost, self._lost = self._lost, _nobody
        lost(why)

    async def send(self, line: bytes, sent: Any) -> None:
        """Write one message; `Unsent` if it has ended."""
        del sent
        if self._input is None or self._input.is_closing() or self.exited.is_set():
            raise Unsent("the server process has ended")
        self._input.write(line + b"\n")
        if self._input.is_closing():  # its end was closed already: the pipe has taken nothing
            raise Unsent("the server process takes nothing any more")

    def _kill(self, number: int) -> None:
        if self.pid and not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def close(self) -> None:
        """INVARIANT D3: its input is closed, then it is asked to end, then its group is killed: no
        server outlives its door."""
        if self._transport is None:
            return
        self._lost = _nobody
        if self._input is not None:
            self._input.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exited.wait(), limits.CHILD_END_SECONDS)
                break
            self._kill(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.exited.wait(), limits.CHILD_END_SECONDS)
        # what it started and left behind is in its group, and nobody else is
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):  # why it ended may be among its last words
            await asyncio.wait_for(self.silent.wait(), limits.CHILD_END_SECONDS)
        self._transport.close()
