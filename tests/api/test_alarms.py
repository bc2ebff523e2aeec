"""Alarms over HTTP: the list of the command line, and judgements of whoever signed in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from holdfast.api.site import Site
from holdfast.journal.events import body_of
from holdfast.testing.days import PLANTED, Days, pour
from tests.api.sites import TOKENS, call, site_on

VIEWER, APPROVER = TOKENS["viewer"], TOKENS["approver"]


async def _planted(site: Site) -> None:
    days = Days(7)
    for _ in range(6):
        days.live(10)
    days.live(10, PLANTED)
    later = int(time.time() * 1000) - days.events[-1].at
    store: Any = site.store
    await pour(store, days.events, store.name, later_ms=later)


async def test_alarms_are_listed_in_order_and_judged_by_who_signed_in(tmp_path: Path):
    async with site_on(tmp_path) as site:
        await _planted(site)

        async def listed(query: str = "") -> Any:
            reply = await call(site, "GET", f"/api/v1/anomalies?{query}", token=VIEWER)
            assert reply.status == 200, reply.body
            return reply.json

        page = await listed("limit=1")
        assert page["next"] == 1
        found = (await listed("limit=200"))["alarms"]
        assert page["alarms"] == found[:1]
        assert (await listed("limit=200&after=1"))["alarms"] == found[1:]
        first = found[0]
        only = (await listed(f"limit=200&agent={first['agent']}"))["alarms"]
        assert only == [one for one in found if one["agent"] == first["agent"]]
        later = (await listed(f"since={max(one['at'] for one in found) + 1}"))["alarms"]
        assert later == []

        body = {"place": f"{first['run']}#{first['pos']}", "verdict": "normal", "note": "agreed"}
        path = "/api/v1/anomalies/judge"
        assert (await call(site, "POST", path, token=VIEWER, json_body=body)).status == 403
        reply = await call(site, "POST", path, token=APPROVER, json_body=body)
        assert (reply.status, reply.json["by"]) == (200, "approver-person")
        (again,) = [one for one in (await listed("limit=200"))["alarms"]
                    if (one["run"], one["pos"]) == (first["run"], first["pos"])]  # fmt: skip
        assert (again["judged"], again["by"], again["note"]) == (
            "normal", "approver-person", "agreed"
        )  # fmt: skip
        newest = (await site.store.tail(await site.store.last_seq() - 1, 1))[0]
        assert body_of(newest).by == "approver-person"
        nobody = {**body, "place": "nobody#1"}
        assert (await call(site, "POST", path, token=APPROVER, json_body=nobody)).status == 404
        forged = {**body, "by": "somebody else"}
        assert (await call(site, "POST", path, token=APPROVER, json_body=forged)).status == 400
