"""What `approve`, `deny`, `answer`, `cancel` and `signal` share: tell a run something, then say
whether anybody runs it."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.cli.amending import write as write_change
from holdfast.cli.attend import descendants
from holdfast.cli.desk import Desk
from holdfast.cli.editing import declared, edited
from holdfast.cli.queue import tell_seeded
from holdfast.engine.answers import answer, open_question
from holdfast.engine.inbox import Open, Question, open_questions, question_of
from holdfast.engine.seeding import Seeded, planted
from holdfast.explain.text import one_line
from holdfast.journal.events import body_of
from holdfast.journal.quorum import missing
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime.amending import change_of, rule_for
from holdfast.runtime.refs import find, split
from holdfast.values.errors import Misuse, NotFound

PATIENCE = 0.6
"""Seconds to wait for a process to take up what a run was told: waking takes milliseconds, but
whoever runs it may be busy."""


async def decide(
    desk: Desk, place: str, decision: str, *, value: Any = None, note: str = "",
    digest: str | None = None, changes: tuple[str, ...] = (), always: bool = False, write: str = "",
) -> int:  # fmt: skip
    """Answer the question at RUN[@STEP] and say what follows. ``changes``: NAME=VALUE of arguments
    that the action may happen with instead; ``always``: propose a rule (``write``: into the policy
    that asked)."""
    if digest is not None and not digest.strip():
        raise Misuse("--digest is empty: it would check nothing")
    async with desk.store() as store:
        found = await find_open(store, place)
        row, wait = found.row, found.wait
        asked = await question_of(store, found) if wait.pos else None
        if decision == "answer" and wait.choices:
            value = choice(wait.choices, value, found.place)
        if changes:
            known = _known(asked, found)
            decision, value = "edit", edited(known, changes, declared(desk, known))
        rule = rule_for(desk.user, found, _known(asked, found)) if always else None
        change = None
        if rule is not None and write and found.seed is None:
            (begun,) = await store.read(row.run, 0, 1)
            role = getattr(body_of(begun), "role", "")
            change = change_of(write, rule, found, _known(asked, found), role)
        before = -1 if found.seed else (await store.head(row.run)).pos
        try:
            await answer(
                store, row.run, wait.key, decision, by=desk.user, now_ms=desk.now_ms(),
                value=value, note=note, digest=digest or wait.digest,
            )  # fmt: skip
        except Seeded as error:
            return tell_seeded(desk, error)
        told = {"run": row.run, "step": wait.key, "decision": decision, "by": desk.user}
        said = {"approve": "approved", "deny": "denied", "answer": "answered", "edit": "changed"}
        desk.screen.note(f"{said[decision]} {found.place}: {one_line(wait.text)}")
        code = 0
        if rule is not None:
            told["rule"] = rule.text()
            if change is not None:
                code = write_change(desk, change)
            elif not desk.screen.json:
                desk.screen.patch(rule.text())
        lacks = missing(wait.panels, (*wait.approved, desk.user))
        if decision == "approve" and lacks:  # nothing to take up yet
            desk.screen.note(f"it still takes {one_line(lacks)}")
            if desk.screen.json:
                desk.screen.document({**told, "missing": lacks, "taken_up": False})
        else:
            await follow_up(desk, store, row.run, before + 1, told)
    return code


async def find_open(store: Store, place: str) -> Open:
    """The open question that RUN[@STEP] names; a seeded case is named as the question of a run."""
    name, key = split(place)
    seeds = [
        Open(one.row, one.wait, one)
        for one in await planted(store)
        if name and one.seed.run.startswith(name) and key in ("", one.wait.key)
    ]
    try:
        row, key = await find(store, place)
    except NotFound:
        if len(seeds) == 1:
            return seeds[0]
        if not seeds:
            raise
        row = seeds[0].row
    # INVARIANT G82: a beginning that names a run and a seeded case names neither
    if seeds and row.run != name:
        found = dict.fromkeys((row.run, *(one.row.run for one in seeds)))
        raise Misuse(f"{name!r} could be {', '.join([*found][:3])}: say more of the id")
    if not any(wait.kind == "person" and not wait.ready for wait in row.waits):
        await _below(store, row, key)
    return Open(row, open_question(row, key))


async def _below(store: Store, row: RunRow, key: str) -> None:
    """Say which question a run waits for that asks nothing itself: one of the runs it spawned."""
    family = set(await descendants(store, row.run))
    asked = [one for one in await open_questions(store) if family and one.row.run in family]
    if asked:
        place = f"{row.run}@{key}" if key else row.run
        told = "; ".join(f"{one.place}: {one_line(one.wait.text)}" for one in asked[:3])
        raise Misuse(
            f"{place} asks nothing itself, it waits for runs that it spawned, and these ask {told}."
            f" Answer with `holdfast {'answer' if asked[0].wait.about == 'question' else 'approve'}"
            f" {asked[0].place}`"
        )


def _known(asked: Question | None, found: Open) -> Question:
    if asked is None:
        raise Misuse(f"{found.place} was asked by an older version: approve or deny it as it is")
    return asked


def choice(choices: tuple[str, ...], value: Any, place: str) -> str:
    """The choice that is meant; `Misuse` lists them."""
    text = value if isinstance(value, str) else str(value).lower()
    if text in choices:
        return text
    raise Misuse(f"{place} offers {', '.join(map(repr, choices))}, not {value!r}")


async def follow_up(
    desk: Desk, store: Store, run: str, told_at: int, document: dict[str, Any]
) -> None:
    """Say whether a process took it up, or how to go on with the run."""
    running = await _taken_up(store, run, told_at)
    if desk.screen.json:
        desk.screen.document({**document, "taken_up": running})
    elif running:
        desk.screen.note("a process runs it: it goes on")
    elif (door := (await store.run(run)).door) != "":
        desk.screen.note(f"it goes on when the client behind door {door} makes the call again")
    else:
        resume = desk.command(f"holdfast resume {run}")
        desk.screen.note(f"no process has taken it up; to go on: {resume}")


async def _taken_up(store: Store, run: str, told_at: int) -> bool:
    before = await store.run(run)
    for _ in range(int(PATIENCE / 0.02)):
        row = await store.run(run)
        moved = (await store.head(run)).pos > told_at
        if moved or row.ended or row.epoch != before.epoch:
            return True
        await asyncio.sleep(0.02)
    if not before.owner:
        return False
    ready, _ = await store.wakeable(0, 1_000_000)
    return run not in ready  # its owner lives, it is busy
