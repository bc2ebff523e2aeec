"""Judging 100,000 decisions of the past again with a policy of 20 rules, from a store on disk."""

from __future__ import annotations

import asyncio
import time

from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.explain.judged import past_decisions
from holdfast.gate import Policy, judge, parse_policy
from holdfast.gate.backtest import backtest
from holdfast.gate.facts import GROUPS, Facts
from holdfast.gate.proposal import Proposal
from holdfast.journal.events import Draft, Plan, RunEnded, RunStarted, StepSettled
from holdfast.journal.store import Batch
from holdfast.runtime import Settings
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import pack

RULES = [
    {"id": f"rule-{number}", "if": text, "then": "deny" if number % 3 == 0 else "escalate"}
    for number, text in enumerate(
        part
        for limit in range(4)
        for part in (
            f"args.amount > {1000 + limit}.0 && worst == 'untrusted'",
            f"args.to.endsWith('@bad{limit}.example') || new_links > {limit + 2}",
            f"risk > 0.{9 - limit} && new_target",
            f"denials > {3 + limit} && integrity == 'untrusted'",
            f"amount_z > {3 + limit}.0 && !asked",
        )
    )
]


async def measure(ground: Ground) -> list[Figure]:
    count = ground.size(100_000, 5_000)
    settings = ground.settings(ground.folder("backtesting"), synchronous="NORMAL")
    policy = parse_policy(policy_text(), "bench.yaml")
    await asyncio.to_thread(_fill, settings, count, policy)
    took: list[float] = []
    store = SqliteStore(settings.directory, synchronous="NORMAL")
    for _ in rounds(3):
        begun = time.perf_counter()
        past = await past_decisions(store)
        found = backtest(past, policy, store.get)
        took.append(time.perf_counter() - begun)
        assert found.judged == count, found.unjudged
        assert not found.changes, found.changes[0]
    await store.close()
    seconds = median(took)
    what = f"back-test of {count:,} past decisions, 20 rules with conditions"
    rate = f"{count / seconds:,.0f} decisions/s"
    return [Figure(what, seconds, "s", "<= 10 s", seconds <= 10, note=rate)]


def policy_text() -> str:
    rules = "\n".join(
        f"  - id: {rule['id']}\n    if: {rule['if']!r}\n    then: {rule['then']}" for rule in RULES
    )
    allow = "  - id: rest\n    when: {tool: '*'}\n    then: allow\n"
    return f"version: 1\nname: bench\nrisk: {{review: 5.0}}\nrules:\n{rules}\n{allow}"


def _fill(settings: Settings, count: int, policy: Policy) -> None:
    """Runs of ten steps each, judged as the engine would, written straight to the store."""
    store = SqliteStore(settings.directory, synchronous="NORMAL")
    groups = tuple(sorted(GROUPS))
    for first in range(0, count, 1000):
        batches: list[Batch] = []
        for number in range(first, min(first + 1000, count), 10):
            started = Draft(RunStarted("clerk", role="clerk"), number, args=b"{}")
            drafts = [started]
            for step in range(10):
                serial = number + step
                args = {"to": f"p{serial % 97}@example.org", "amount": float(serial % 900)}
                facts = Facts(
                    calls=step, uses=serial % 50, new_target=serial % 7 == 0, asked=True,
                    amount=float(serial % 900), worst="person", origin={"to": "person"},
                    groups=groups,
                )  # fmt: skip
                verdict = judge(
                    Proposal("clerk", "clerk", "tool", "send", "idempotent", args), policy, facts
                )
                body = StepSettled(str(step + 1), Plan("send", "tool", "idempotent"), verdict)
                drafts.append(Draft(body, serial, args=pack(args, {}), value=b"null"))
            drafts.append(Draft(RunEnded("done", steps=10), number))
            name = f"run-{number}"
            batches.append(Batch(name, tuple(drafts[:1]), expect=-1, lease=store.name))
            batches.append(Batch(name, tuple(drafts[1:]), epoch=1))
        store.append_now(batches, {})
    asyncio.run(store.close())
