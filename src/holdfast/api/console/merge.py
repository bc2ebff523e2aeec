"""Merging the world of one run into that of another, after looking at what it would change."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.diffs import Row, world_rows
from holdfast.api.console.render import form_of, page, path_part, seen
from holdfast.api.site import Site, site_of
from holdfast.engine.choices import label, settle
from holdfast.engine.landing import Change, Open, change_of, decide, open_merge
from holdfast.explain.text import one_line
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.runtime.merges import merge_judged
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, NotFound
from holdfast.world import EMPTY, Stage, conflict_text, merge
from holdfast.world import Conflict as Clashing
from holdfast.world.chunks import file_bytes


class Clash(msgspec.Struct, frozen=True):
    """A conflict. ``text``: both sides, marked, where it is text; ``taken``: what was decided."""

    path: str
    kind: str
    why: str
    text: str
    taken: str


class Candidate(msgspec.Struct, frozen=True):
    """What a merge would come to."""

    source: RunRow
    into: RunRow
    rows: list[Row]
    clashes: list[Clash]
    refused: bool


async def show(request: Request) -> Response:
    """What a merge would change, or the form that asks for one."""
    need(request, "viewer")
    params = request.query_params
    return await _page(request, params.get("source", ""), params.get("into", ""))


async def act(request: Request) -> Response:
    """Merge, or decide a conflict of a merge that was refused."""
    person, site, form = need(request, "admin"), site_of(request), await form_of(request)
    names = form.get("source", ""), form.get("into", "")
    try:
        source, into = [await find_run(site.store, name) for name in names]
        if form.get("path"):
            await _decide(site, into, form, person.name)
            return seen(request, f"/merge?source={path_part(names[0])}&into={path_part(names[1])}")
        change, _ = await _change(site.store, source, into)
        note = {**change.note, "by": person.name}
        done = await merge_judged(
            site.runtime, into.run, msgspec.structs.replace(change, note=note), by=person.name,
            now_ms=site.clock.now_ms(),
        )  # fmt: skip
    except HoldfastError as error:
        return await _page(request, *names, trouble=one_line(str(error)), status=409)
    if isinstance(done, RunRow):  # a person is asked first
        return seen(request, f"/inbox/{path_part(done.run)}")
    if done.merged.conflicts:
        return seen(request, f"/merge?source={path_part(names[0])}&into={path_part(names[1])}")
    return seen(request, f"/runs/{path_part(into.run)}/events/{done.pos}")


async def _decide(site: Site, into: RunRow, form: dict[str, str], by: str) -> None:
    about = await open_merge(site.store, into.run)
    take = form.get("take", "")
    content = form.get("content", "").replace("\r\n", "\n").encode() if take == "file" else b""
    await decide(
        site.store, into.run, about, form["path"], take, by=by, now_ms=site.clock.now_ms(),
        content=content,
    )  # fmt: skip


async def _change(store: Store, source: RunRow, into: RunRow) -> tuple[Change, Open | None]:
    """What is to land, with what was decided about it so far."""
    change = await change_of(store, source.run, into.run)
    try:
        about = await open_merge(store, into.run)
    except NotFound:
        return change, None
    same = (about.change.source, about.change.theirs) == (change.source, change.theirs)
    return (about.change, about) if same else (change, None)


async def _candidate(store: Store, source: RunRow, into: RunRow) -> Candidate:
    change, about = await _change(store, source, into)
    ours = (await store.head(into.run)).world or EMPTY
    stage = Stage(store.get)
    found = await asyncio.to_thread(merge, stage, change.base, ours, change.theirs)
    left = await asyncio.to_thread(settle, stage, found, change.choices)
    clashes = [
        Clash(label(one), one.kind, one.why, _text(stage, one),
              change.choices[label(one)].take if label(one) in change.choices else "")
        for one in found.conflicts[: limits.CONSOLE_ROWS_MAX]
    ]  # fmt: skip
    rows = world_rows(stage, ours, left.root)
    return Candidate(source, into, rows, clashes, about is not None)


def _text(stage: Stage, conflict: Clashing) -> str:
    """Both sides of a file, marked, if they are text; "" if not."""
    sides = (conflict.base, conflict.ours, conflict.theirs)
    if any(side is not None and not side.is_file for side in sides) or conflict.row is not None:
        return ""
    base, ours, theirs = (b"" if side is None else file_bytes(stage, side) for side in sides)
    marked = conflict_text(base, ours, theirs)
    if marked is None or len(marked) > limits.CONSOLE_PATCH_CHARS:
        return ""
    return marked.decode(errors="replace")


async def _page(
    request: Request, source: str, into: str, *, trouble: str = "", status: int = 200
) -> Response:
    store = site_of(request).store
    candidate: Candidate | None = None
    if source and into:
        try:
            rows = [await find_run(store, name) for name in (source, into)]
            candidate = await _candidate(store, rows[0], rows[1])
        except HoldfastError as error:
            trouble = trouble or one_line(str(error))
            status = 404 if status == 200 else status
    return page(
        request, "merge.html", status=status, source=source, into=into, trouble=trouble,
        candidate=candidate, open=await _open(store),
    )  # fmt: skip


async def _open(store: Store) -> list[tuple[RunRow, str]]:
    """The newest forks and children whose world is not the one they began with, with the run that
    they come from."""
    found: list[tuple[RunRow, str]] = []
    for row in await store.runs(RunQuery(limits.CONSOLE_ROWS_MAX)):
        above = row.fork_of or row.parent
        if above:
            pos = row.fork_pos if row.fork_of else 0
            (event,) = await store.read(row.run, pos, pos + 1)
            if (await store.head(row.run)).world not in ("", event.world):
                found.append((row, above))
    return found[: limits.CONSOLE_ROWS]
