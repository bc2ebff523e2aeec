"""The live stream: what is appended, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from holdfast.api.access import Turned
from holdfast.api.feed import Missed
from holdfast.api.runs import Place
from holdfast.api.shown import event_lines
from holdfast.api.ways import Ask, Way
from holdfast.explain.past import Recall
from holdfast.explain.text import json_text
from holdfast.values import limits


class LiveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events: behind ``after`` (null: those to come), of one run ("" for all). The header
    ``Last-Event-ID`` counts before ``after``."""

    after: Place | None = None
    run: Annotated[str, Meta(max_length=80)] = ""


async def _live(ask: Ask) -> Any:
    after = ask.query.after
    last = ask.request.headers.get("last-event-id", "")
    if last:
        if not (last.isascii() and last.isdecimal() and len(last) < 17):
            raise Turned(400, "malformed", "Last-Event-ID names no event of ours")
        after = int(last)
    return _Stream(ask, after)


class _Stream(StreamingResponse):
    """A stream that has a place in the feed, until it is over however it ends: one that breaks
    before its first byte never gets to a ``finally`` of its texts."""

    def __init__(self, ask: Ask, after: int | None) -> None:
        self._feed = ask.site.feed
        rung = self._feed.enter()
        if rung is None:
            raise Turned(503, "too_many", "too many live streams are open", "close one")
        self._place = rung
        super().__init__(_told(ask, after, rung), media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._place)


async def _told(ask: Ask, after: int | None, rung: asyncio.Event) -> AsyncIterator[str]:
    site, run = ask.site, ask.query.run
    access, request = site.access, ask.request
    secret = request.cookies.get(access.cookie, "") if request.state.by_cookie else ""
    recall, said = Recall(site.store), site.clock.ticks_ns()

    def still() -> bool:
        return not secret or access.visit(secret) is not None

    yield "retry: 1000\n\n"
    async for news in site.feed.follow(rung, after, still):
        if isinstance(news, Missed):
            yield f"event: missed\nid: {news.through}\ndata: {json_text(news)}\n\n"
        elif news is not None:
            events = [event for event in news if run in ("", event.run)]
            shown = await event_lines(site.store, events, recall=recall)
            text = "".join(f"id: {one.seq}\ndata: {json_text(one)}\n\n" for one in shown)
            # an id alone is no event to a browser, but where it goes on after a break
            yield text or f"id: {news[-1].seq}\n\n"
        elif site.clock.ticks_ns() - said < limits.STREAM_PING_SECONDS * 1e9:
            continue
        else:
            yield ": still here\n\n"
        said = site.clock.ticks_ns()


WAYS = [
    Way("GET", "/live", "viewer", _live, "Events as they are appended, as server-sent events.",
        str, LiveQuery, media="text/event-stream"),
]  # fmt: skip
