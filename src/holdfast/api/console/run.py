"""One run: what it does, what it waits for, and its events as a timeline, a tree, or a table."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.render import form_of, number_of, page, path_part, seen
from holdfast.api.console.used import used_by, used_text
from holdfast.api.shown import event_lines
from holdfast.api.site import site_of
from holdfast.engine.held import Held, discard, held_by
from holdfast.engine.publisher import publish_run
from holdfast.explain import telling
from holdfast.explain.text import json_text, one_line
from holdfast.journal.events import RunStarted, body_of
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.ids import new_id

VIEWS = ("timeline", "tree", "raw")


async def run(request: Request) -> Response:
    """The page of a run; ``part=head`` gives its head only, as a live page fetches it."""
    need(request, "viewer")
    store = site_of(request).store
    row = await find_run(store, request.path_params["run"])
    part = request.query_params.get("part", "")
    view = request.query_params.get("view", "timeline")
    view = view if view in VIEWS else "timeline"
    seq, head = await store.last_seq(), await store.head(row.run)
    shown: dict[str, Any] = {"row": row, "view": view, "seq": seq, "last": head.pos}
    shown |= await _head(store, row)
    if part != "head" and view == "tree":
        shown["kin"] = await kin(store, row)
        shown["tree"] = json_text([_node(one) for one in shown["kin"]])
    if part != "head" and view == "raw":
        shown |= await _raw(request, store, row, head.pos)
    return page(request, "run_head.html" if part == "head" else "run.html", **shown)


async def publish(request: Request) -> Response:
    """Perform what a run holds, as a run of its own whose page follows; or drop it."""
    person, site, form = need(request, "admin"), site_of(request), await form_of(request)
    row = await find_run(site.store, request.path_params["run"])
    if form.get("do") == "discard":
        now, token = site.clock.now_ms(), new_id(site.dice)
        await discard(site.store, row.run, by=person.name, now_ms=now, token=token)
        site.runtime.host.ring()
        return seen(request, f"/runs/{path_part(row.run)}")
    site.need_runs("publishing")
    handle = await publish_run(site.runtime.host, row.run, by=person.name)
    return seen(request, f"/runs/{path_part(handle.id)}")


async def _head(store: Store, row: RunRow) -> dict[str, Any]:
    (first,) = await store.read(row.run, row.fork_pos + 1 if row.fork_of else 0,
                                row.fork_pos + 2 if row.fork_of else 1)  # fmt: skip
    started: RunStarted = body_of(first)

    def brief(one: Held) -> str:
        return telling.brief_args(one.args.encode(), store.get, 120)

    children = await store.runs(RunQuery(limit=limits.CONSOLE_ROWS, parent=row.run))
    return {
        "started": started,
        "used": used_text(await used_by(store, row)),
        "asks": telling.asked(row),
        "waits": [telling.wait_text(wait, row.run) for wait in row.waits],
        "answers": telling.how_to_answer(row),
        "held": await held_by(store, row.run) if row.holds or row.waits else [],
        "held_args": brief,
        "children": children,
        "error": one_line(f"{row.error.type}: {row.error.text}") if row.error else "",
    }


# The table ----------------------------------------------------------------------------------------


async def _raw(request: Request, store: Store, row: RunRow, last: int) -> dict[str, Any]:
    """A page of events, without a script."""
    after = number_of(request, "after") if "after" in request.query_params else -1
    events = await store.read(row.run, after + 1, after + 1 + limits.CONSOLE_ROWS_MAX)
    end = events[-1].pos if events else after
    return {
        "raws": await event_lines(store, events),
        "newer": end if end < last else None,
        "older": max(-1, after - limits.CONSOLE_ROWS_MAX) if after >= 0 else None,
    }


# The tree -----------------------------------------------------------------------------------------


def _node(row: RunRow) -> dict[str, Any]:
    return {
        "run": row.run, "agent": one_line(row.agent), "status": row.status,
        "above": row.fork_of or row.parent, "fork": bool(row.fork_of),
        "place": f"#{row.fork_pos}" if row.fork_of else f"@{row.parent_key}",
    }  # fmt: skip


async def kin(store: Store, row: RunRow) -> list[RunRow]:
    """The topmost run above this one, and all that it spawned or that fork from these, oldest
    first; no more than a tree draws."""
    top = row
    while top.fork_of or top.parent:
        top = await store.run(top.fork_of or top.parent)
    rows: list[RunRow] = []
    before = 0
    while page_ := await store.runs(RunQuery(limits.READ_PAGE_ROWS, before)):
        rows += page_
        before = page_[-1].number
        if before <= top.number:
            break
    known, found = {top.run}, [top]
    for one in reversed(rows):  # oldest first: whoever descends from it is younger
        if (one.fork_of or one.parent) in known and one.run not in known:
            known.add(one.run)
            found.append(one)
        if len(found) >= limits.CONSOLE_TREE_RUNS:
            break
    return found
