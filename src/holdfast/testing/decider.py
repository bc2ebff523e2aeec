"""A stand-in for an Open Policy Agent: its data API over TCP or a unix socket, and a function that
decides. For tests and measurements where no real one is at hand.

with Decider(lambda document: {"outcome": "allow", "rules": []}) as decider:
    policy = parse_policy(f"... engine: {{opa: {decider.address}}}", "test")
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

Decide = Callable[[dict[str, Any]], Any]
"""From ``input`` to the document's value; None: undefined. Bytes are sent as they are."""


class Decider:
    """A server on loopback, or at the unix socket ``place``, while the block lasts. ``asked``: the
    inputs it was asked about; ``connections``: how many were opened; ``status``: of its answers."""

    def __init__(self, decide: Decide, place: str = "") -> None:
        self.decide = decide
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.connections = 0
        self.status = 200
        self.hangs_up = False
        talk = _talking(self, nagle=bool(place))
        if place:
            self._server: socketserver.BaseServer = _Unix(place, talk)
            self.address = f"unix:{place}"
        else:
            server = _Tcp(("127.0.0.1", 0), talk)
            self._server = server
            self.address = f"http://127.0.0.1:{server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> Decider:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, body: bytes) -> bytes:
        """The body of the answer to the body of a question."""
        document = json.loads(body)["input"]
        self.asked.append(document)
        found = self.decide(document)
        if isinstance(found, bytes):
            return found
        return json.dumps({} if found is None else {"result": found}).encode()


class _Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


def _talking(decider: Decider, *, nagle: bool) -> type[socketserver.StreamRequestHandler]:
    class Talk(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = not nagle

        def handle(self) -> None:
            decider.connections += 1
            while (line := self.rfile.readline()).strip():
                decider.paths.append(line.split()[1].decode())
                size = 0
                while field := self.rfile.readline().strip().lower():
                    if field.startswith(b"content-length:"):
                        size = int(field.partition(b":")[2])
                answer = decider.reply(self.rfile.read(size))
                head = f"HTTP/1.1 {decider.status} .\r\nContent-Type: application/json\r\n"
                length = f"Content-Length: {len(answer)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + length.encode() + answer)
                except OSError:  # whoever asked did not wait
                    return
                if decider.hangs_up:
                    return

    return Talk
