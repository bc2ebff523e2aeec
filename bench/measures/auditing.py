"""What the audit costs: proving a chain, hashing events, the tree, signing; beside a plain loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from hashlib import sha256

from bench.ground import Ground
from bench.report import Figure, median
from holdfast.gate import Proposal, Verdict
from holdfast.gate.switches import Switchboard
from holdfast.journal.events import Draft, Plan, RunStarted, StepSettled, event_id
from holdfast.journal.merkle import Frontier
from holdfast.journal.proof import Chain
from holdfast.journal.store import Batch
from holdfast.stores.fsck import check
from holdfast.stores.keys import SigningKey, make_key
from holdfast.stores.notary import sign
from holdfast.stores.proving import prove_roots
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.terse import raw_event
from holdfast.values import limits
from holdfast.values.ports import SystemClock, SystemDice

_COLUMNS = "pos,kind,at,id,world,CAST(body AS BLOB),args,value"


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of the fastest of some rounds, of CPU: other work on the machine does not count."""
    times: list[float] = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


async def measure(ground: Ground) -> list[Figure]:
    count = ground.size(200_000, 20_000)
    place = ground.folder("auditing")
    store = SqliteStore(place / "s", synchronous="NORMAL")
    await _fill(store, count)
    rows = store.reader().execute(f"SELECT {_COLUMNS} FROM event ORDER BY seq").fetchall()
    events = await store.read("r")
    ids = [row[3] for row in rows]
    raws = [raw_event(row) for row in rows]
    texts = [row[5] + b"x" * 200 for row in rows]

    def chain() -> None:
        one = Chain("r")
        for raw in raws:
            assert one.take(raw) is None

    def plain() -> None:
        for text in texts:
            sha256(text).digest()

    chained, looped = best(chain), best(plain)
    hashed = best(lambda: [event_id(event, "", "") for event in events])
    tree = best(lambda: Frontier().extend(ids)) * 1e6 / (count + 1)
    key = make_key(place / "key")
    signed = await _sign(store, key)
    await store.close()
    start = time.thread_time()
    report = check(place / "s")
    prove_roots(place / "s", [key.public], report)
    whole = time.thread_time() - start
    assert report.problems == []
    each = 1e6 / (count + 1)
    cost = hashed * each + signed * 1e6 / limits.SIGN_EVENTS
    speed = (count + 1) / chained
    return [
        Figure("fsck of the chain", speed, "events/s", ">= 300,000 events/s", speed >= 300_000,
               {"plain hash loop": (count + 1) / looped}, more_is_better=True),
        Figure("fsck of everything, with the signed root", (count + 1) / whole, "events/s",
               more_is_better=True),
        Figure("chain, tree and signed roots", cost, "us/event", "<= 5 us/event", cost <= 5,
               note=f"chain {hashed * each:.2f}; a root {signed * 1e3:.2f} ms of CPU every "
                    f"{limits.SIGN_EVENTS} events, of which the tree {tree:.2f} us/event"),
        _switch(ground),
    ]  # fmt: skip


async def _fill(store: SqliteStore, count: int) -> None:
    await store.append((Batch("r", (Draft(RunStarted("a"), 1),), lease=store.name),), {})
    for start in range(0, count, 2_000):
        drafts = tuple(
            Draft(StepSettled(str(n + 1), Plan("look"), took=12), 5, args=b'{"n":1}', value=b"17")
            for n in range(start, min(count, start + 2_000))
        )
        await store.append((Batch("r", drafts, epoch=1),), {})


async def _sign(store: SqliteStore, key: SigningKey) -> float:
    """Seconds of one signature with its appends, over as many new events."""
    times: list[float] = []
    for number in range(8):
        run = f"n{number}"
        drafts = [Draft(RunStarted("a"), 1)]
        drafts += [
            Draft(StepSettled(str(n + 1), Plan("look")), 5) for n in range(limits.SIGN_EVENTS)
        ]
        await store.append((Batch(run, tuple(drafts), expect=-1),), {})
        start = time.process_time()
        await sign(store, key, policy="", clock=SystemClock(), dice=SystemDice())
        times.append(time.process_time() - start)
        await asyncio.sleep(0)
    return median(times[1:])


def _switch(ground: Ground) -> Figure:
    """What a step pays when nothing is stopped, as `holdfast.engine.path` asks."""
    board, rounds = Switchboard(), ground.size(1_000_000, 100_000)
    proposal, verdict = Proposal("a", "", "tool", "t", "read", {}), Verdict("allow")

    def asks() -> None:
        for _ in range(rounds):
            _ = board.overrule(proposal, verdict) if board.thrown else verdict

    took = best(asks) * 1e9 / rounds
    return Figure("kill switches, none thrown", took, "ns/step", "< 1,000 ns", took < 1_000)
