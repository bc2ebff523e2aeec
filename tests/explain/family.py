"""A small recorded family of runs with everything that spans and tables show."""

from __future__ import annotations

from typing import Any

from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Draft,
    Failure,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
    Verdict,
)
from holdfast.journal.store import Batch, Store
from holdfast.values.canon import Blobs, pack
from tests.stores.scenes import Scene

SAID = "the secret word is plum"
MODEL = Plan("openai.gpt-x", "model")
PAY = Plan("pay", effect="once")


def answer(text: str = SAID) -> dict[str, Any]:
    """The value of a model step."""
    return {
        "status": 200, "first_ms": 120.0, "finish": "stop", "price": {"money": 0.01},
        "response": {"id": "r-1", "model": "gpt-x-1", "choices": [{"message": {"content": text}}]},
        "usage": {"input": 10, "output": 4, "cache_read": 5, "reasoning": 2},
    }  # fmt: skip


async def recorded(store: Store) -> list[str]:
    """A run that asks a model, spawns, pays after an approval and is scored; its child; a fork."""
    scene = Scene(store)
    await scene.add("boss", RunStarted("boss", by="ann", policy="p" * 64), args={"what": SAID})
    asked = {"provider": "openai", "model": "gpt-x", "dialect": "openai.chat",
             "request": {"max_tokens": 9, "messages": [{"role": "user", "content": SAID}]},
             }  # fmt: skip
    await scene.add("boss", StepSettled("1", MODEL, took=1500,
                                        usage={"tokens": 19.0, "money": 0.01}),
                    args=asked, value=answer())  # fmt: skip
    await scene.add("boss", StepSettled("2", Plan("kid", "spawn")), args={"n": 1}, value="boss.1")
    await scene.add("boss.1", RunStarted("kid", parent="boss", parent_key="2"), args={})
    bad = StepSettled("1", Plan("look"), status="error", error=Failure("ValueError", SAID))
    await scene.add("boss.1", bad, args={"word": SAID})
    await scene.add("boss.1", RunEnded("failed", Failure("ValueError", SAID), 1))
    verdict = Verdict("escalate", ("money", "late"), SAID, policy="abc", risk=0.4,
                      facts={"leaks": True, "host": "x"})  # fmt: skip
    await scene.add("boss", ApprovalAsked("3", "action", "May it pay?", "d", PAY, verdict),
                    args={"to": SAID})  # fmt: skip
    await scene.add("boss", ApprovalGiven("3", "d", "approve", "ann", "fine"))
    await scene.add("boss", StepPlanned("3", PAY))
    await scene.add("boss", StepSettled("3"), value=SAID, world="a" * 64)
    await scene.add("fork", RunStarted("boss", fork_of="boss", fork_pos=2), args={})
    await scene.add("fork", StepPlanned("3", PAY, held=True), args={"to": "eve"})
    await scene.add("boss", RunEnded("done", steps=3), value=SAID)
    score = {"good": True, "score": 0.9, "note": SAID}
    blobs: Blobs = {}
    found = Draft(FindingAdded(1, "score", "ann"), scene.at + 9, value=pack(score, blobs))
    await store.append((Batch("boss", (found,)),), blobs)
    return ["boss", "boss.1", "fork"]
