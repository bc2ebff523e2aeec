"""Alarms about events that are unlike what their agents did before."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.api.runs import Limit
from holdfast.api.site import Site
from holdfast.api.steering import Body
from holdfast.api.ways import Ask, Way
from holdfast.explain.alarm import Alarm
from holdfast.runtime import watching
from holdfast.values import limits


class AlarmQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which alarms: of one agent ("" for all); about events since a time (ms since 1970); behind
    ``after``, a cursor."""

    agent: Annotated[str, Meta(max_length=200)] = ""
    since: Annotated[int, Meta(ge=0, le=2**53)] = 0
    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Limit = 50


class Alarms(msgspec.Struct, frozen=True):
    """A page of alarms: those that nobody judged first, the most unusual first of these. ``next``:
    what to give as ``after``."""

    alarms: list[Alarm]
    next: int | None


class JudgeBody(Body, frozen=True):
    """What you think of an alarm. ``place``: RUN@STEP or RUN#EVENT (its ``run`` and ``pos``)."""

    place: Annotated[str, Meta(min_length=1, max_length=700)]
    verdict: Literal["normal", "bad"]
    note: Annotated[str, Meta(max_length=limits.POLICY_TEXT_CHARS)] = ""


class Judged(msgspec.Struct, frozen=True):
    """A judgement that was recorded, ``by`` whoever signed in."""

    place: str
    verdict: str
    by: str


async def judge(site: Site, place: str, verdict: str, *, by: str, note: str) -> Alarm:
    """Record that the alarm at ``place`` is normal or bad. `NotFound`, `Misuse`."""
    alarm = watching.find_alarm(await site.anomalies(), place)
    now = site.clock.now_ms()
    await watching.judge(site.store, alarm, verdict, by=by, now_ms=now, note=note)
    return alarm


async def _list(ask: Ask) -> Any:
    query = ask.query
    found = watching.alarms_of(await ask.site.anomalies(), since_ms=query.since, agent=query.agent)
    stop = query.after + query.limit
    return Alarms(found[query.after : stop], stop if stop < len(found) else None)


async def _judge(ask: Ask) -> Any:
    body, name = ask.body, ask.person.name
    alarm = await judge(ask.site, body.place, body.verdict, by=name, note=body.note)
    return Judged(alarm.place, body.verdict, name)


WAYS = [
    Way("GET", "/anomalies", "viewer", _list, "Alarms: what is unusual.", Alarms, AlarmQuery),
    Way("POST", "/anomalies/judge", "approver", _judge, "Say what you think of an alarm.", Judged,
        body=JudgeBody, fails=(404,)),
]  # fmt: skip
