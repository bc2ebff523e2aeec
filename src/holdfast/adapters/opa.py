"""Open Policy Agent as the policy engine: one question, one answer, one kept connection.

A question that is not answered in time, or at all, is answered with a text that says why; the gate
denies then. The connection is one, in a thread of its own, so that an event loop never waits for a
socket; it is opened again when it failed.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.gate.policy import Engine
from holdfast.values import limits
from holdfast.values.canon import encode
from holdfast.values.ports import Clock, SystemClock

_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json"}


class Opa:
    """Asks the Open Policy Agents that policies name. ``clock``: measures how long they take."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lines: dict[Engine, _Line] = {}
        self._lock = threading.Lock()

    async def ask(self, engine: Engine, document: dict[str, Any]) -> bytes | str:
        """The answer of ``engine`` to ``document``: bytes as they came, or a text why not."""
        return await asyncio.wrap_future(self._line(engine).submit(document))

    def ask_now(self, engine: Engine, document: dict[str, Any]) -> bytes | str:
        """`ask`, blocking the calling thread."""
        return self._line(engine).submit(document).result()

    def close(self) -> None:
        """Hang up. Idempotent; asking again opens a new line."""
        with self._lock:
            lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            line.close()

    def _line(self, engine: Engine) -> _Line:
        with self._lock:
            found = self._lines.get(engine)
            if found is None:
                found = self._lines[engine] = _Line(engine, self._clock)
            return found


class _Line:
    """One connection to one engine, used by one thread."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        path = engine.path if engine.path.startswith("/") else f"/v1/data/{engine.path}"
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="holdfast-opa")
        self._connection: http.client.HTTPConnection | None = None

    def submit(self, document: dict[str, Any]) -> Future[bytes | str]:
        """Ask, in the line's own thread."""
        return self._thread.submit(self._ask, document)

    def close(self) -> None:
        """Hang up when what was asked is answered."""
        self._thread.submit(self._hang_up)
        self._thread.shutdown(wait=True)

    def _ask(self, document: dict[str, Any]) -> bytes | str:
        # INVARIANT E59: whatever goes wrong while asking, there is a text and no exception
        try:
            body = encode(document)
            until = self._clock.ticks_ns() + int(self._engine.seconds * 1e9)
            kept = self._connection is not None
            try:
                return self._exchange(body, until)
            except (http.client.HTTPException, ConnectionError):
                if not kept:
                    raise
                self._hang_up()  # it was kept open, and the other side has closed it: once more
                return self._exchange(body, until)
        except TimeoutError:
            self._hang_up()
            return f"no answer within {self._engine.seconds * 1000:g} ms"
        except Exception as error:  # noqa: BLE001 - E59
            self._hang_up()
            return f"it cannot be asked: {type(error).__name__}: {str(error)[:200]}"

    def _exchange(self, body: bytes, until: int) -> bytes | str:
        connection = self._connection
        if connection is None:
            connection = self._connection = _connection(self._engine)
        connection.timeout = self._left(until)
        if connection.sock is None:
            connection.connect()
        sock: socket.socket | None = connection.sock
        if isinstance(sock, _Timed):
            sock.left = lambda: self._left(until)
        elif sock is not None:
            sock.settimeout(self._left(until))
        connection.request("POST", self._path, body, _HEADERS)
        response = connection.getresponse()
        answer = response.read(limits.OPA_ANSWER_BYTES + 1)
        if len(answer) > limits.OPA_ANSWER_BYTES:
            self._hang_up()
            return f"its answer is longer than {limits.OPA_ANSWER_BYTES:,} bytes"
        if response.status != 200 or response.will_close:
            self._hang_up()
        if response.status != 200:
            return f"it answered with status {response.status}"
        return answer

    def _left(self, until: int) -> float:
        """Seconds left; `TimeoutError` if none are."""
        left = (until - self._clock.ticks_ns()) / 1e9
        if left <= 0:
            raise TimeoutError
        return left

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Timed(socket.socket):
    """A socket all of whose operations together end in time, however slowly the other side talks.
    (One with TLS has its limit for each operation.)"""

    left: Callable[[], float]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive, with the time that is left."""
        self.settimeout(self.left())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send, with the time that is left."""
        self.settimeout(self.left())
        super().sendall(data, flags)


class _Plain(http.client.HTTPConnection):
    """HTTP over TCP, or over the unix socket ``place``."""

    def __init__(self, host: str, port: int | None, place: str = "") -> None:
        super().__init__(host, port)
        self._place = place

    def connect(self) -> None:
        """Open a `_Timed` socket."""
        if self._place:
            sock = _Timed(socket.AF_UNIX, socket.SOCK_STREAM)
            address: Any = self._place
        else:
            family, _, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM
            )[0]
            sock = _Timed(family, socket.SOCK_STREAM)
            # head and body are two sends: without this the second waits for the first's receipt
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(self.timeout)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def _connection(engine: Engine) -> http.client.HTTPConnection:
    """A connection that is not open yet."""
    if engine.opa.startswith("unix:"):
        return _Plain("localhost", None, engine.opa.removeprefix("unix:"))
    url = urlsplit(engine.opa)
    host = url.hostname or "localhost"
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port)
    return _Plain(host, url.port)
