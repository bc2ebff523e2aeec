"""Decisions of the past, read from a store to judge them again or learn from them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from holdfast.gate.backtest import Backtest
from holdfast.gate.decisions import TOLD, Decided, decisions
from holdfast.gate.policy import Rule
from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.values import limits


async def past_decisions(store: Store, *, since_ms: int = 0, agent: str = "") -> list[Decided]:
    """Every decision in the store, oldest first: those made since a time, of one agent if named."""
    told = await told_events(store, TOLD)
    return [
        one for one in decisions(told, store.get) if one.at >= since_ms and agent in ("", one.agent)
    ]


async def told_events(store: Store, kinds: Collection[str]) -> list[Event]:
    """Every event in the store of one of these kinds, oldest first."""
    last, after = await store.last_seq(), 0
    told: list[Event] = []
    while after < last:
        events = await store.tail(after, limits.READ_PAGE_EVENTS)
        if not events:
            break
        after = events[-1].seq
        told += [event for event in events if event.kind in kinds]
    return told


def backtest_document(found: Backtest, policy: str, limit: int) -> dict[str, Any]:
    """What came of a back-test as JSON; ``policy``: the hash of the one that was tried, ``limit``:
    how many changed decisions."""
    return {
        "policy": policy, "judged": found.judged, "beyond": found.beyond,
        "unjudged": found.unjudged, "agrees": found.agrees, "differs": found.differs,
        "weaker": len(found.weaker),
        "matrix": [
            {"then": then, "now": now, "count": count}
            for (then, now), count in found.matrix.items() if count
        ],
        "changes": [
            {"run": one.old.run, "step": one.old.key, "agent": one.old.agent,
             "tool": one.old.plan.name, "then": one.old.verdict.decision,
             "now": one.new.decision, "answer": one.old.answer, "rules": list(one.new.rules),
             "reason": one.new.reason}
            for one in found.changes[:limit]
        ],
    }  # fmt: skip


def rule_document(rule: Rule) -> dict[str, Any]:
    """A rule of a policy as JSON."""
    return {
        "id": rule.id, "source": rule.source, "line": rule.line, "when": dict(rule.when),
        "if": rule.condition.text if rule.condition else "", "then": rule.then,
        "reason": rule.reason, "way": rule.way, "approvers": list(rule.approvers),
        "checks": list(rule.checks),
    }  # fmt: skip
