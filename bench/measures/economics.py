"""Folding 10,000 events into economics and spending, beside reading them alone."""

from __future__ import annotations

import asyncio
import time

from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.explain.economics import economics
from holdfast.explain.economize import economize
from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Draft,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
)
from holdfast.journal.store import Batch
from holdfast.runtime import Settings
from holdfast.runtime.maintenance import every_event
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import Blobs, pack

TURNS = 6


async def measure(ground: Ground) -> list[Figure]:
    events = ground.size(10_000, 2_000)
    settings = ground.settings(ground.folder("economics"), synchronous="NORMAL")
    await asyncio.to_thread(_fill, settings, events)
    store = SqliteStore(settings.directory, synchronous="NORMAL")
    last = await store.last_seq()
    read: list[float] = []
    folded: list[float] = []
    looked: list[float] = []
    for _ in rounds(ground.size(9, 5)):
        begun = time.perf_counter()
        known = list(every_event(store, last))
        read.append((time.perf_counter() - begun) * 1e3)
        begun = time.perf_counter()
        found = economics(known)
        folded.append((time.perf_counter() - begun) * 1e3)
        assert found.ended == found.runs > 0
        begun = time.perf_counter()
        economize(known, store.get)
        looked.append((time.perf_counter() - begun) * 1e3)
    await store.close()
    share = f"{median(folded) / median(read):.1f} x reading them ({median(read):.0f} ms)"
    most = 200 * last / 10_000
    return [
        Figure(f"{last:,} events folded into economics", median(folded), "ms",
               f"<= {most:.0f} ms", median(folded) <= most, note=share),
        Figure(f"{last:,} events looked through for what code could decide", median(looked), "ms"),
    ]  # fmt: skip


def _fill(settings: Settings, events: int) -> None:
    """Runs of a model that asks a tool at every turn, one of which a person is asked about."""
    store = SqliteStore(settings.directory, synchronous="NORMAL")
    batches: list[Batch] = []
    blobs: Blobs = {}
    for number in range(events // (4 + 3 * TURNS)):
        name = f"run-{number}"
        batches.append(Batch(
            name, (Draft(RunStarted(f"agent-{number % 9}"), 1, args=b"{}"),), expect=-1,
            lease=store.name,
        ))  # fmt: skip
        batches.append(Batch(name, tuple(_turns(number, blobs)), epoch=1))
    store.append_now(batches, blobs)
    asyncio.run(store.close())


def _turns(number: int, blobs: Blobs) -> list[Draft]:
    drafts: list[Draft] = []
    at = 1_800_000_000_000 + number * 60_000
    pay, model = Plan("pay", effect="once"), Plan("openai.gpt-4o", "model")
    for turn in range(TURNS):
        at += 2_000
        request = {"messages": [{"role": "user", "content": f"order {number} " + "x" * turn * 60}]}
        value = {
            "status": 200,
            "response": {"choices": [{"message": {"content": "yes" if number % 3 else "no"}}]},
            "usage": {"input": 900, "output": 20, "cache_read": 400},
            "price": {"input": 2.5, "cache_read": 1.25, "money": 0.0029},
        }
        args = {"provider": "openai", "model": "gpt-4o", "dialect": "openai.chat"}
        body = StepSettled(
            f"m{turn}", model, took=900_000, usage={"tokens": 1320.0, "money": 0.0029}
        )
        drafts.append(Draft(
            body, at, args=pack({**args, "request": request}, blobs), value=pack(value, blobs)
        ))  # fmt: skip
        if not turn:
            asked = ApprovalAsked("t0", "action", "May it?", "d", plan=pay)
            drafts.append(Draft(asked, at, args=b'{"n":1}'))
            drafts.append(Draft(ApprovalGiven("t0", "d", "approve", "ann"), at + 400))
        args = b'{"n":1}' if turn else None
        drafts.append(Draft(StepPlanned(f"t{turn}", pay), at + 500, args=args))
        drafts.append(Draft(StepSettled(f"t{turn}", took=90_000), at + 600, value=b'"paid"'))
    drafts.append(Draft(RunEnded("done", steps=2 * TURNS), at + 700))
    return drafts
