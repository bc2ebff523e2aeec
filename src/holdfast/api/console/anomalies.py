"""Alarms about events that are unlike what their agents did before, with what makes each up."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api import alarms
from holdfast.api.access import need
from holdfast.api.console.render import form_of, page, seen
from holdfast.api.site import site_of
from holdfast.runtime import watching
from holdfast.values import limits


async def anomalies(request: Request) -> Response:
    """The newest alarms, those nobody judged first."""
    need(request, "viewer")
    site = site_of(request)
    watched = site.watching
    found = watched.alarms() if watched else watching.alarms_of(await site.anomalies())
    return page(
        request, "anomalies.html", found=found[: limits.CONSOLE_ROWS_MAX], count=len(found),
        seq=await site.store.last_seq(), trouble=watched.trouble if watched else "",
    )  # fmt: skip


async def judge(request: Request) -> Response:
    """Say that an alarm is normal, or bad; it is recorded as a finding."""
    person, site, form = need(request, "approver"), site_of(request), await form_of(request)
    await alarms.judge(
        site, form.get("place", ""), form.get("verdict", ""), by=person.name,
        note=form.get("note", ""),
    )  # fmt: skip
    return seen(request, "/anomalies")
