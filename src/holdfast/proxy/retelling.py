"""A recorded answer, told to a client in its dialect's own form, as a stream if it wants one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.models import gemini, sse
from holdfast.models.plain import mapping
from holdfast.proxy.relay import Client, Order
from holdfast.values import limits

_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


async def retell(client: Client, order: Order, value: Mapping[str, Any]) -> None:
    """Answer ``client`` with the value of a step that others, or nobody, passed through."""
    status = value.get("status")
    code = status if isinstance(status, int) and 200 <= status < 600 else 502
    message = value.get("response")
    if "broken" in value or message is None:
        text = str(value.get("broken") or "the provider had no answer")
        failed = order.dialect.error(502, "api_error", text)
        await client.whole(code if code >= 400 else 502, msgspec.json.encode(failed))
        return
    if code != 200 or not order.asked.stream or not isinstance(message, dict):
        await client.whole(code, msgspec.json.encode(message))
        return
    options = mapping(order.asked.parameters.get("stream_options"))
    told = order.dialect.name != "openai.chat" or options.get("include_usage") is True
    events = order.dialect.events(message, limits.WIRE_EVENT_CHARS, usage=told)
    if order.dialect.name == gemini.NAME and b"alt=sse" not in order.query:
        await client.whole(code, msgspec.json.encode([one.data for one in events]))
        return
    await client.head(code, _STREAM)
    for event in events:
        await client.body(sse.encode(event))
    await client.body(b"", more=False)
