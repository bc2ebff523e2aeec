"""A stand-in for an OpenTelemetry collector on loopback, which reads real protobuf."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """What it was sent. ``answers``: status of the next requests, 200 when empty."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.rejects = 0
        self.came = threading.Semaphore(0)

    @property
    def spans(self) -> list[Any]:
        found = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in found
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Generator[Collector]:
    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = found.answers.pop(0) if found.answers else 200
            told = b""
            if status == 200:
                found.bodies.append(body)
                found.headers.append({key.lower(): value for key, value in self.headers.items()})
                part = ExportTracePartialSuccess(
                    rejected_spans=found.rejects, error_message="too old" if found.rejects else ""
                )
                told = ExportTraceServiceResponse(partial_success=part).SerializeToString()
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(told)))
            if status in (429, 503):
                self.send_header("retry-after", "0")
            if status == 307:
                self.send_header("location", found.url)
            self.end_headers()
            self.wfile.write(told)
            found.came.release()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base says
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    found = Collector(f"http://127.0.0.1:{server.server_address[1]}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
