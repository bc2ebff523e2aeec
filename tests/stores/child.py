"""A process of its own on a store, for tests that kill it or let two work at once.

python child.py append DIRECTORY RUN     append for ever, printing what was acknowledged
python child.py hold DIRECTORY RUN       hold the lease of a run and do nothing
python child.py chat DIRECTORY ME OTHER COUNT
    append to run ME, send COUNT signals to run OTHER, wait (by bell alone) for as many
"""

from __future__ import annotations

import asyncio
import sys

from holdfast.journal.events import Draft, Plan, RunStarted, SignalReceived, StepSettled
from holdfast.journal.store import Batch
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import NotFound


def say(*words: object) -> None:
    print(*words, flush=True)


async def begin(store: SqliteStore, run: str) -> int:
    """Start or take over a run; its epoch."""
    try:
        await store.run(run)
    except NotFound:
        first = Draft(RunStarted("child"), 1)
        await store.append((Batch(run, (first,), -1, lease=store.name),), {})
        return 1
    return await store.claim(run, store.name)


async def append(directory: str, run: str) -> None:
    store = SqliteStore(directory, grow=True)
    epoch = await begin(store, run)
    pos = (await store.head(run)).pos
    say("ready")
    while True:
        blobs: Blobs = {}
        step = Draft(
            StepSettled(str(pos), Plan("test")), pos, value=pack(f"{run} {pos} " * 50, blobs)
        )
        (event,) = await store.append((Batch(run, (step,), pos, epoch),), blobs)
        pos = event.pos
        say(event.seq, event.pos, event.id)


async def hold(directory: str, run: str) -> None:
    store = SqliteStore(directory)
    await begin(store, run)
    say("held", store.name)
    await asyncio.sleep(3600)


async def chat(directory: str, me: str, other: str, count: int) -> None:
    store = SqliteStore(directory)
    rung = asyncio.Event()
    store.listen(rung.set)
    epoch = await begin(store, me)
    heard = after = sent = pos = 0
    say("ready")
    while heard < count or sent < count:
        if sent < count:
            step = Draft(StepSettled(str(sent), Plan("test")), 1)
            try:
                news = Draft(SignalReceived("hello", token=str(sent)), 1)
                await store.append((Batch(me, (step,), epoch=epoch), Batch(other, (news,))), {})
                sent += 1
            except NotFound:
                await rung.wait()  # until the other run exists
                rung.clear()
            pos += 1
        elif not (page := await store.tail(after)):
            await rung.wait()
            rung.clear()
        else:
            after = page[-1].seq
            heard += sum(one.run == me and one.kind == "signal.received" for one in page)
    say("heard", heard)
    await store.close()


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "chat":
        asyncio.run(chat(rest[0], rest[1], rest[2], int(rest[3])))
    else:
        asyncio.run({"append": append, "hold": hold}[mode](rest[0], rest[1]))
