"""What `approve`, `deny`, `answer`, `cancel` and `signal` share: tell a run something, then say
whether anybody runs it."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.cli.desk import Desk
from holdfast.cli.past import question
from holdfast.cli.refs import find
from holdfast.cli.text import one_line
from holdfast.engine.answers import answer, open_question
from holdfast.journal.store import Store
from holdfast.values.errors import Misuse

PATIENCE = 0.6
"""Seconds to wait for a process to take up what a run was told: waking takes milliseconds, but
whoever runs it may be busy."""


async def decide(
    desk: Desk, place: str, decision: str, *, value: Any = None, note: str = "", text: bool = False
) -> int:
    """Answer the question at RUN[@STEP] and say what follows."""
    async with desk.store() as store:
        row, key = await find(store, place)
        wait = open_question(row, key)
        body = await question(store, row, wait)
        if decision == "answer" and body is not None and body.choices:
            value = choice(body.choices, value, f"{row.run}@{wait.key}")
        before = (await store.head(row.run)).pos
        await answer(
            store, row.run, wait.key, decision, by=desk.user, now_ms=desk.now_ms(), value=value,
            note=note,
        )  # fmt: skip
        told = {"run": row.run, "step": wait.key, "decision": decision, "by": desk.user}
        said = {"approve": "approved", "deny": "denied", "answer": "answered"}[decision]
        desk.screen.note(f"{said} {row.run}@{wait.key}: {one_line(wait.text)}")
        await follow_up(desk, store, row.run, before + 1, told)
    return 0


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
