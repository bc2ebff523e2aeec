"""Alarms about events that are unlike what their agents did before, with what makes each up."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import form_of, page, seen
from holdfast.api.site import site_of
from holdfast.explain import telling
from holdfast.explain.text import one_line
from holdfast.journal.events import Draft, Event, FindingAdded, body_of
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import ANOMALY, ANOMALY_JUDGED
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Misuse

VERDICTS = ("normal", "bad")
"""What a person may think of an alarm."""


class Raised(msgspec.Struct, frozen=True):
    """An alarm: event ``about`` of ``run``; ``told``: what the finding says; ``judged``: what a
    person thinks of it, ``by`` whom."""

    run: str
    about: int
    at: int
    by: str
    told: Any
    judged: str = ""
    judge: str = ""


async def anomalies(request: Request) -> Response:
    """The newest alarms, those nobody judged first."""
    need(request, "viewer")
    store = site_of(request).store
    found = await raised(store)
    return page(request, "anomalies.html", found=found, seq=await store.last_seq())


async def judge(request: Request) -> Response:
    """Say that an alarm is normal, or bad; it is recorded as a finding."""
    person, site, form = need(request, "approver"), site_of(request), await form_of(request)
    row = await find_run(site.store, form.get("run", ""))
    verdict, about = form.get("verdict", ""), form.get("about", "")
    if verdict not in VERDICTS or not about.isdigit():
        raise Misuse("say normal or bad, of an event")
    if not any((one.run, one.about) == (row.run, int(about)) for one in await raised(site.store)):
        raise Misuse(f"run {row.run}#{about}: there is no alarm about this")
    blobs: Blobs = {}
    value = pack({"verdict": verdict, "note": form.get("note", "")[:2000]}, blobs)
    draft = Draft(
        FindingAdded(int(about), ANOMALY_JUDGED, person.name), site.clock.now_ms(), value=value
    )
    await site.store.append((Batch(row.run, (draft,)),), blobs)
    return seen(request, "/anomalies")


async def raised(store: Store) -> list[Raised]:
    """Alarms among the newest events of a store."""
    last = await store.last_seq()
    after = max(0, last - limits.NAMES_SEEN_EVENTS)
    found: dict[tuple[str, int], Raised] = {}
    while after < last and (events := await store.tail(after, limits.READ_PAGE_EVENTS)):
        after = events[-1].seq
        for event in events:
            if event.kind == "finding.added" and ANOMALY.encode() in event.body:
                _take(found, event, store)
    order = sorted(found.values(), key=lambda one: (bool(one.judged), -one.at))
    return order[: limits.CONSOLE_ROWS_MAX]


def _take(found: dict[tuple[str, int], Raised], event: Event, store: Store) -> None:
    body: FindingAdded = body_of(event)
    place = event.run, body.about
    told = telling.plain(event.value, store.get)
    if body.type == ANOMALY:
        found[place] = Raised(event.run, body.about, event.at, body.by, told)
    elif body.type == ANOMALY_JUDGED and place in found and isinstance(told, dict):
        verdict = one_line(str(told.get("verdict", "")))
        found[place] = msgspec.structs.replace(found[place], judged=verdict, judge=body.by)
