"""Sends spans to an OpenTelemetry endpoint (OTLP over HTTP), with the OpenTelemetry library.

Importing this needs ``pip install 'holdfast[otlp]'``. Endpoint, headers, certificates, timeout and
compression come from the standard ``OTEL_EXPORTER_OTLP_*`` variables unless they are said.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside
from holdfast.values.masking import masked
from holdfast.values.spans import Place, Span


class Exporter:
    """Sends spans, in order, in requests of bounded size.

    ``endpoint``: the whole URL (``http://host:4318/v1/traces``), "" for what the environment says;
    ``headers``: by name, in addition to the environment's; ``service``: name of the resource;
    ``schema``: where the names of attributes are published.
    INVARIANT X163: no header ever gets into an error or a log, and no redirect carries one away.
    """

    def __init__(
        self, endpoint: str = "", headers: dict[str, str] | None = None, *,
        service: str = "holdfast", schema: str = "",
    ) -> None:  # fmt: skip
        if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
            raise Misuse("--endpoint: say a whole URL, as http://127.0.0.1:4318/v1/traces")
        self.rejected = 0
        self._why = ""
        self._resource = Resource({"service.name": service}, schema)
        self._scope = InstrumentationScope("holdfast", "", schema)
        self._said = _Said()
        web = requests.Session()
        web.max_redirects = 0
        web.hooks["response"].append(self._answer)
        try:
            self._exporter = OTLPSpanExporter(endpoint or None, headers=headers, session=web)
        except ValueError as error:
            raise Misuse(f"OTEL_EXPORTER_OTLP_*: {masked(str(error))}") from None
        log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        log.propagate = False  # its lines would go to the terminal: what matters is in our error
        log.handlers = [self._said]

    def send(self, spans: Sequence[Span]) -> None:
        """Send spans; busy endpoints are asked again for a while. `Outside` if they are refused;
        ``rejected`` counts those that the endpoint took the request without."""
        for start in range(0, len(spans), limits.EXPORT_SPANS_ITEMS):
            part = spans[start : start + limits.EXPORT_SPANS_ITEMS]
            self._said.text = ""
            done = self._exporter.export(
                [readable(one, self._resource, self._scope) for one in part]
            )
            if done is not SpanExportResult.SUCCESS:
                why = masked(self._said.text)[: limits.CHECKED_TEXT_CHARS] or "no answer"
                raise Outside(f"the OTLP endpoint did not take spans: {why}", retryable=True)

    @property
    def why(self) -> str:
        """What the endpoint said of spans that it rejected."""
        return masked(self._why)[: limits.CHECKED_TEXT_CHARS]

    def close(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()

    def _answer(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Reads how many spans of an accepted request were rejected (partial success)."""
        if response.status_code != 200 or "protobuf" not in response.headers.get(
            "content-type", ""
        ):
            return
        told = ExportTraceServiceResponse()
        try:
            told.ParseFromString(response.content)
        except DecodeError:
            return
        self.rejected += told.partial_success.rejected_spans
        self._why = told.partial_success.error_message or self._why


class _Said(logging.Handler):
    """Keeps the last line that the library logged: its reason for failing."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.text = record.getMessage()


def readable(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    """A span as the OpenTelemetry library has it, with the ids it was given."""
    failed = Status(StatusCode.ERROR, span.note or None) if span.error else Status()
    return ReadableSpan(
        span.name,
        _context(span.place),
        _context(Place(span.place.trace, span.parent)) if span.parent else None,
        resource,
        span.attributes,
        [Event(one.name, one.attributes, one.at) for one in span.marks],
        [Link(_context(one.to), one.attributes) for one in span.links],
        SpanKind.CLIENT if span.client else SpanKind.INTERNAL,
        status=failed,
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=scope,
    )


def _context(place: Place) -> SpanContext:
    return SpanContext(
        int(place.trace, 16), int(place.span, 16), is_remote=False, trace_flags=TraceFlags(1)
    )
