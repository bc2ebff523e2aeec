"""``holdfast show``."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.engine.held import held_by
from holdfast.explain import lines, telling
from holdfast.explain.past import Moment, chain, event_document, find_step, moments, step_document
from holdfast.explain.text import Part, pretty
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find

NEWEST = 200
"""Events that are shown if nothing else is said."""


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.option("--limit", type=click.IntRange(0), default=None, metavar="N",
              help=f"The newest N events; 0: all. Without it {NEWEST}, with --json all.",
              show_default=False)  # fmt: skip
@click.option("--tree", is_flag=True, help="Also the runs that it spawned or that fork from it.")
@click.option("--html", "page", default="", metavar="FILE",
              help="Write a page that loads nothing: timeline, tree, verdicts, diffs.")  # fmt: skip
@shared
def command(run: str, *, limit: int | None, tree: bool, page: str, desk: Desk) -> None:
    """Show what a run did, step by step, or everything about one step.

    ● marks events that changed the world. With --json: one document, payloads whole.

    \b
    Examples:
      holdfast show 7k3
      holdfast show 7k3@4.1
      holdfast show 7k3 --html 7k3.html
    """
    asyncio.run(_page(desk, run, page) if page else _show(desk, run, limit, tree))


async def _show(desk: Desk, place: str, limit: int | None, tree: bool) -> None:
    async with desk.store() as store:
        row, key = await find(store, place)
        if key:
            step, about = await find_step(store, row.run, key)
            document = step_document(step, about, row.run, store.get)
            if desk.screen.json:
                desk.screen.document(document)
            else:
                _step(desk, document)
            return
        kin = await _kin(store, row.run) if tree else []
        if desk.screen.json:
            await _run_document(desk, store, row, limit or 0, kin)
        else:
            await _timeline(desk, store, row, NEWEST if limit is None else limit)
            if tree:
                _tree(desk, row, kin)


def _write(file: str, text: str) -> None:
    from pathlib import Path

    from holdfast.values.errors import Outside

    try:
        Path(file).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Outside(f"{file}: cannot be written: {error.strerror}") from None


async def _page(desk: Desk, place: str, file: str) -> None:
    from holdfast.explain.picture import picture
    from holdfast.values.errors import Misuse, NotFound

    async with desk.store() as store:
        row, key = await find(store, place)
        if key:
            raise Misuse("a page shows a whole run: say --html without @STEP")
        kin = [row, *await _kin(store, row.run)]
        while origin := kin[0].fork_of or kin[0].parent:
            try:
                kin.insert(0, await store.run(origin))
            except NotFound:
                break  # it was deleted
        found = list(moments(await chain(store, row.run)))
        text = picture(row, found, kin, store.get, desk.now_ms())
    _write(file, text)
    if desk.screen.json:
        desk.screen.document({"file": file, "run": row.run, "bytes": len(text.encode())})
    else:
        desk.screen.say(f"wrote {file}")


# A run --------------------------------------------------------------------------------------------


async def _run_document(
    desk: Desk, store: Store, row: RunRow, limit: int, kin: list[RunRow]
) -> None:
    document = telling.row_document(row)
    document["events"] = [
        event_document(moment.event, moment.args, store.get)
        for moment in await _newest(store, row, limit)
    ]
    held = await held_by(store, row.run)
    document["held"] = [telling.struct(one) for one in held]
    if kin:
        document["tree"] = [telling.row_document(one) for one in kin]
    desk.screen.document(document)


async def _newest(store: Store, row: RunRow, limit: int) -> deque[Moment]:
    """The last events of a run, all with 0; what they mean depends on those before."""
    return deque(moments(await chain(store, row.run)), maxlen=limit or None)


async def _timeline(desk: Desk, store: Store, row: RunRow, limit: int) -> None:
    screen = desk.screen
    style = telling.STYLES.get(row.status, "")
    screen.say((f"run {row.run}", "bold"), f"  {row.agent}  ", (row.status, style),
               (f"  started {telling.clock(row.started)}  {row.ref}", "dim"))  # fmt: skip
    origin = row.fork_of and f"{row.fork_of}#{row.fork_pos}"
    spawned = row.parent and f"{row.parent}@{row.parent_key}"
    for label, value in (("fork of", origin), ("spawned by", spawned)):
        if value:
            screen.say((f"{label} ", "dim"), value)
    room = max(24, (screen.width - 48) // 2) if screen.out.isatty() else 100
    shown = await _newest(store, row, limit)
    if shown and (left_out := shown[0].event.pos):
        screen.say((f"… {left_out:,} earlier events left out; --limit 0 shows all", "dim"))
    rows = (_row(moment, store, room) for moment in shown)
    screen.table(["#", "TIME", "STEP", "", "WHAT", "OUTCOME", "VERDICT", "TOOK"], rows)
    for one in await held_by(store, row.run) if row.holds or row.waits else ():
        said = f"  preview {one.preview}" if one.preview is not None else ""
        shown_args = telling.brief_args(one.args.encode(), store.get, room)
        screen.say(("held ", "yellow"), f"{one.run}@{one.place}  {one.name}({shown_args}){said}")
    for wait in row.waits:
        screen.say(("now  ", "yellow"), telling.wait_text(wait, row.run))
    for text in telling.who_may_answer(row):
        screen.say(("  " + text, "yellow"))
    for text in telling.how_to_answer(row):
        screen.say(f"  {desk.command(text)}")


def _row(moment: Moment, store: Store, room: int) -> list[Part]:
    event, body = moment.event, moment.body
    about = lines.subject(event, body, moment.args, store.get, room)
    if event.kind == "step.settled" and body.plan is None and moment.step is not None:
        about = telling.action(moment.step.plan)
    origin = getattr(body, "origin", "")
    verdict = telling.verdict_text(getattr(body, "verdict", None))
    spent = telling.took(body.took) if getattr(body, "took", 0) else ""
    named = event.kind in ("step.planned", "step.settled")
    return [
        (str(event.pos), "dim"),
        (telling.time_of_day(event.at), "dim"),
        (getattr(body, "key", ""), "bold"),
        ("●", "magenta") if moment.moved else "",
        about or (event.kind, "dim" if not named else ""),
        lines.outcome(event, body, store.get, room),
        (verdict or (f"({origin})" if origin else ""), telling.STYLES.get(verdict.split()[0], "")
         if verdict else "dim"),
        (spent, "dim"),
    ]  # fmt: skip


async def _kin(store: Store, run: str) -> list[RunRow]:
    """Runs that it spawned or that fork from it, and theirs."""

    found: list[RunRow] = []
    known = {run}
    rows: list[RunRow] = []
    before = 0
    while page := await store.runs(RunQuery(limit=5000, before=before)):
        rows += page
        before = page[-1].number
    for row in reversed(rows):  # oldest first: whoever descends from it is younger
        if row.parent in known or row.fork_of in known:
            known.add(row.run)
            found.append(row)
    return found


def _tree(desk: Desk, row: RunRow, kin: list[RunRow]) -> None:
    def level(run: str, depth: int) -> None:
        for one in kin:
            origin = one.fork_of or one.parent
            if origin != run:
                continue
            how = f"fork at #{one.fork_pos}" if one.fork_of else f"spawned at {one.parent_key}"
            style = telling.STYLES.get(one.status, "")
            desk.screen.say("  " * depth, (one.run, "bold"), f"  {one.agent}  ",
                            (one.status, style), (f"  {how}", "dim"))  # fmt: skip
            level(one.run, depth + 1)

    desk.screen.say((row.run, "bold"))
    level(row.run, 1)


# A step -------------------------------------------------------------------------------------------


def _step(desk: Desk, found: dict[str, Any]) -> None:
    screen = desk.screen
    plan = found["plan"] or {}
    screen.say((f"{found['run']}@{found['step']}", "bold"), f"  {found['action']}",
               (f"  effect {plan.get('effect', 'read')}", "dim"))  # fmt: skip
    style = telling.STYLES.get(found["status"], "")
    parts: list[Part] = [("status   ", "dim"), (found["status"], style)]
    if found["settled_at"]:
        parts.append(f"  {telling.clock(found['settled_at'])}")
    if found["took"]:
        parts.append(f"  took {telling.took(found['took'])}")
    if found["origin"]:
        parts.append(f"  by {found['origin']}")
    if found["of"]:
        parts.append(f"  of {found['of']}")
    screen.say(*parts)
    if found["due"]:
        screen.say(("until    ", "dim"), telling.clock(found["due"]))
    if found["error"]:
        error = found["error"]
        screen.say(("error    ", "dim"), (f"{error['type']}: {error.get('text', '')}", "red"))
    if found["verdict"]:
        _verdict(desk, found["verdict"])
    for one in found["attempts"]:
        failed = one.get("failed")
        why = f"  after {failed['type']}: {failed.get('text', '')}" if failed else ""
        when = telling.time_of_day(one["at"])
        screen.say(("attempt  ", "dim"), f"{one.get('attempt', 1)}  {when}{why}")
    for one in found["approvals"]:
        when = telling.time_of_day(one["at"])
        if one["kind"] == "approval.asked":
            screen.say(("asked    ", "dim"), f"{when}  {one['text']}")
        else:
            note = f": {one['note']}" if one.get("note") else ""
            screen.say(("answered ", "dim"), f"{when}  {one['by']}: {one['decision']}{note}")
    before, after = found["world_before"], found["world_after"]
    if before != after and after:
        screen.say(("world    ", "dim"), f"{before[:12] or 'empty'} → {after[:12]}")
    for label in ("args", "changed", "value"):
        if found[label] is not None:
            screen.say((label, "dim"))
            screen.say(pretty(found[label]))


def _verdict(desk: Desk, verdict: dict[str, Any]) -> None:
    screen = desk.screen
    decision = verdict["decision"]
    rules = ", ".join(verdict.get("rules", ()))
    by = f"  by {rules}" if rules else ""
    policy = f"  policy {verdict['policy']}" if verdict.get("policy") else ""
    style = telling.STYLES.get(decision, "")
    screen.say(("verdict  ", "dim"), (decision, style), by, (policy, "dim"))
    if verdict.get("approvers"):
        screen.say(("may say  ", "dim"), ", ".join(verdict["approvers"]))
    for label in ("reason", "way"):
        if verdict.get(label):
            screen.say((f"{label:<9}", "dim"), verdict[label])
