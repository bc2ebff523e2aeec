"""Open Policy Agent as the policy engine: one question, one answer, some kept connections.

A question that is not answered in time, or at all, is answered with a text that says why; the gate
denies then. Connections are used in threads of their own, so that an event loop never waits for a
socket; one that failed is opened again. No question waits behind another until there are as many
as there may be connections.
"""

from __future__ import annotations

import asyncio
import contextlib
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
    """Kept connections to one engine, each used by one question at a time."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        path = engine.path if engine.path.startswith("/") else f"/v1/data/{engine.path}"
        self._path = path
        self._threads = ThreadPoolExecutor(
            limits.OPA_CONNECTIONS, thread_name_prefix="holdfast-opa"
        )
        self._idle: list[http.client.HTTPConnection] = []

    def submit(self, document: dict[str, Any]) -> Future[bytes | str]:
        """Ask, in a thread of the line's own. The time of the question begins here."""
        until = self._clock.ticks_ns() + int(self._engine.seconds * 1e9)
        return self._threads.submit(self._ask, document, until)

    def close(self) -> None:
        """Hang up when what was asked is answered."""
        self._threads.shutdown(wait=True)
        while self._idle:
            self._idle.pop().close()

    def _ask(self, document: dict[str, Any], until: int) -> bytes | str:
        # INVARIANT E59: whatever goes wrong while asking, there is a text and no exception
        try:
            self._left(until)  # it may have waited for its turn
            body = encode(document)
            kept = self._kept()
            if kept is not None:
                with contextlib.suppress(http.client.HTTPException, ConnectionError):
                    return self._exchange(kept, body, until)
            # none was kept, or the other side has closed it meanwhile
            return self._exchange(_connection(self._engine), body, until)
        except TimeoutError:
            return f"no answer within {self._engine.seconds * 1000:g} ms"
        except Exception as error:  # noqa: BLE001 - E59
            return f"it cannot be asked: {type(error).__name__}: {str(error)[:200]}"

    def _kept(self) -> http.client.HTTPConnection | None:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes, until: int
    ) -> bytes | str:
        """One question and its answer. The connection is kept if it can be used again."""
        keeps = False
        try:
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
                return f"its answer is longer than {limits.OPA_ANSWER_BYTES:,} bytes"
            if response.status != 200:
                return f"it answered with status {response.status}"
            keeps = not response.will_close and response.isclosed()
            return answer
        finally:
            if keeps:
                self._idle.append(connection)
            else:
                connection.close()

    def _left(self, until: int) -> float:
        """Seconds left; `TimeoutError` if none are."""
        left = (until - self._clock.ticks_ns()) / 1e9
        if left <= 0:
            raise TimeoutError
        return left


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
        self._parts: list[Any] = []

    def request(self, *args: Any, **more: Any) -> None:
        """Head and body in one piece: the other side is woken once."""
        self._parts = []
        super().request(*args, **more)
        self.sock.sendall(b"".join(self._parts))

    def send(self, data: Any) -> None:
        """See `request`."""
        self._parts.append(data)

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
            # what is sent in two pieces must not wait for the receipt of the first
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
