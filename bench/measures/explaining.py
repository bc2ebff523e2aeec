"""Why the last step of a run of 10,000 events was taken: read from SQLite, compared and ranked,
beside reading the run alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.explain.past import chain
from holdfast.explain.why import why
from holdfast.journal.events import Draft, Plan, RunStarted, StepPlanned, StepSettled, Verdict
from holdfast.journal.store import Batch
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import Blobs, encode, pack

WORDS = "the office moves in May and the invoice of last week is paid but not booked".split()
ALLOWED = Verdict("allow", ("mail",), policy="0123456789ab", facts={"calls": 7})


async def measure(ground: Ground) -> list[Figure]:
    events = ground.size(10_000, 2_000)
    figures: list[Figure] = []
    shapes: dict[str, Callable[[int, Blobs], list[Draft]]] = {
        "short results": lambda many, blobs: _calls(many, blobs, 12),
        "results of 1 kB": lambda many, blobs: _calls(many, blobs, 200),
        "a conversation": _conversation,
    }
    for name, make in shapes.items():
        store = SqliteStore(ground.folder("explaining"), synchronous="NORMAL")
        blobs: Blobs = {}
        drafts = make(events, blobs)
        to = {"to": f"a{events // 9}@north.example", "amount": 7 * (events // 9) + 100_000}
        drafts.append(
            _settled(
                "last",
                "mail.send",
                {**to, "body": "As we agreed last week, it is paid now."},
                0,
                blobs,
            )
        )
        batch = Batch("r1", tuple(drafts), expect=-1, lease=store.name)
        await store.append([batch], blobs)
        read: list[float] = []
        took: list[float] = []
        for _ in rounds(ground.size(11, 5)):
            start = time.perf_counter()
            await chain(store, "r1")
            half = time.perf_counter()
            found = await why(store, "r1", "last")
            took.append((time.perf_counter() - half) * 1e3)
            read.append((half - start) * 1e3)
            assert found.arguments[0].edges[0].source.kind == "result"
        await store.close()
        value, alone = median(took), median(read)
        figures.append(
            Figure(f"why, {len(drafts):,} events, {name}", value, "ms", "<= 100 ms", value <= 100,
                   note=f"{value / alone:.1f} times reading the run alone, {alone:.0f} ms; "
                   f"best {min(took):.0f} ms")
        )  # fmt: skip
    return figures


def _settled(key: str, name: str, args: Any, value: Any, blobs: Blobs) -> Draft:
    body = StepSettled(key, Plan(name), ALLOWED, took=9, label="untrusted/internal")
    return Draft(body, 1, args=pack(args, blobs), value=pack(value, blobs))


def _mail(number: int, words: int, dice: random.Random) -> dict[str, Any]:
    text = " ".join(dice.choices(WORDS, k=words))
    return {"from": f"a{number}@north.example", "code": 7 * number + 100_000, "body": text}


def _calls(events: int, blobs: Blobs, words: int) -> list[Draft]:
    """An agent that reads, and now and then does something that is planned first."""
    dice = random.Random(7)
    drafts = [Draft(RunStarted("clerk", by="ann"), 1, args=pack({"request": "Pay them."}, blobs))]
    number = 0
    while len(drafts) < events - 1:
        number += 1
        mail = _mail(number, words, dice)
        if number % 2:
            drafts.append(_settled(str(number), "mail.read", {"id": number}, mail, blobs))
            continue
        plan = StepPlanned(str(number), Plan("mail.file", effect="once"), verdict=ALLOWED)
        drafts.append(Draft(plan, 1, args=pack({"id": number}, blobs)))
        drafts.append(Draft(StepSettled(str(number)), 1, value=pack(mail, blobs)))
    return drafts


def _conversation(events: int, blobs: Blobs) -> list[Draft]:
    """A model that is asked at every turn with all that was said before."""
    dice = random.Random(7)
    drafts = [Draft(RunStarted("clerk", by="ann"), 1, args=pack({"request": "Pay them."}, blobs))]
    messages: list[Any] = [{"role": "user", "content": "Pay them."}]
    whole, place = b'{"dialect":"openai.chat","request":{"messages":[', ""
    for number in range(1, events // 2):
        mail = _mail(number, 40, dice)
        call = {"id": f"c{number}", "function": {"name": "mail_read", "arguments": "{}"}}
        answer = {"role": "assistant", "content": None, "tool_calls": [call]}
        more = b",".join(pack([one], blobs)[1:-1] for one in messages)
        kept, more = len(whole), b"," * (number > 1) + more
        whole += more
        like = {"like": [place, kept], "then": (more + b"]}}").decode()}
        args = encode(like).replace(b'"like"', b'"$like"', 1) if place else whole + b"]}}"
        place = f"m{number}"
        value = pack({"response": {"choices": [{"message": answer}]}}, blobs)
        body = StepSettled(place, Plan("p.m", "model"), took=9)
        drafts.append(Draft(body, 1, args=args, value=value))
        drafts.append(_settled(str(number), "mail.read", {}, mail, blobs))
        messages = [answer, {"role": "tool", "content": str(mail)}]
    return drafts
