"""Judging 20 realistic conditions over arguments and facts, beside the same written in Python."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from bench.ground import Ground
from bench.report import Figure, median
from holdfast.gate import Facts, Policy, Proposal, judge, parse_policy

RULES: dict[str, tuple[str, Callable[[dict[str, Any], Facts], bool]]] = {
    "args.amount > 50": ("escalate", lambda a, f: a["amount"] > 50),
    "args.amount > 50 && new_target": ("escalate", lambda a, f: a["amount"] > 50 and f.new_target),
    'origin.to == "person" || args.amount < 100': (
        "allow", lambda a, f: f.origin["to"] == "person" or a["amount"] < 100),
    'args.to.endsWith("@example.com")': ("allow", lambda a, f: a["to"].endswith("@example.com")),
    "calls_last_minute > 20": ("escalate", lambda a, f: f.calls_last_minute > 20),
    'integrity == "untrusted" && grounded < 1.0': (
        "deny", lambda a, f: f.integrity == "untrusted" and f.grounded < 1.0),
    "leaks": ("deny", lambda a, f: f.leaks),
    "secrets > 0": ("deny", lambda a, f: f.secrets > 0),
    'new_links > 0 && integrity == "untrusted"': (
        "escalate", lambda a, f: f.new_links > 0 and f.integrity == "untrusted"),
    "amount_z > 3.0": ("escalate", lambda a, f: f.amount_z > 3.0),
    "denials >= 3": ("escalate", lambda a, f: f.denials >= 3),
    'args.currency in ["EUR", "USD"]': ("allow", lambda a, f: a["currency"] in {"EUR", "USD"}),
    'args.note.matches("(?i)urgent|asap")': (
        "escalate", lambda a, f: re.search("(?i)urgent|asap", a["note"]) is not None),
    'domain(args.to) == "example.com"': (
        "allow", lambda a, f: a["to"].rpartition("@")[2].lower() == "example.com"),
    "spent > 100.0": ("escalate", lambda a, f: f.spent > 100.0),
    "tokens > 100000": ("escalate", lambda a, f: f.tokens > 100_000),
    "approved_like > 2": ("allow", lambda a, f: f.approved_like > 2),
    "schema_changed": ("deny", lambda a, f: f.schema_changed),
    'worst == "untrusted" || worst == "nowhere"': (
        "deny", lambda a, f: f.worst in {"untrusted", "nowhere"}),
    'depth > 2 && effect == "once"': ("escalate", lambda a, f: f.depth > 2),
}  # fmt: skip
"""Twenty conditions, what follows from each, and the same as a function."""

ACTION = Proposal(
    "payer", "clerk", "tool", "bank.pay", "once",
    {"amount": 60, "to": "ann@example.com", "currency": "EUR", "note": "thanks for lunch " * 12,
     "attachment": "x" * 20_000},
)  # fmt: skip
FACTS = Facts(
    calls=3, calls_last_minute=2, origin={"to": "person", "amount": "person"}, worst="person",
    amount=60.0, amount_z=1.2, spent=3.5, tokens=1_200, uses=3,
)  # fmt: skip


async def measure(ground: Ground) -> list[Figure]:
    start = time.perf_counter()
    policy = _policy()
    loaded = (time.perf_counter() - start) * 1e3
    rounds = ground.size(20_000, 3_000)
    verdict = judge(ACTION, policy, FACTS)
    assert _reference(ACTION.args, FACTS) == (verdict.decision, set(verdict.rules))
    wall, spent = _times(lambda: judge(ACTION, policy, FACTS), rounds)
    plain, _ = _times(lambda: _reference(ACTION.args, FACTS), rounds)
    names = parse_policy("version: 1\nrules: [{id: r, when: {tool: '*'}, then: allow}]\n", "names")
    by_names, _ = _times(lambda: judge(ACTION, names), rounds)
    p99 = sorted(spent)[int(len(spent) * 0.99)]
    return [
        Figure("judge, 20 rules with facts, median", median(wall), "us", "<= 120 us",
               median(wall) <= 120, {"plain Python": median(plain)},
               note=f"policy loaded in {loaded:.0f} ms"),
        Figure("judge, 20 rules with facts, CPU p99", p99, "us", "<= 250 us", p99 <= 250),
        Figure("judge, rules of names only, median", median(by_names), "us"),
    ]  # fmt: skip


def _policy() -> Policy:
    rules = "".join(
        f"  - {{id: r{at}, when: {{tool: 'bank.*'}}, if: '{text}', then: {then}}}\n"
        for at, (text, (then, _)) in enumerate(RULES.items())
    )
    return parse_policy(f"version: 1\nrules:\n{rules}", "bench.yaml")


def _reference(args: Any, facts: Facts) -> tuple[str, set[str]]:
    """What a team would write by hand: no language, no types checked, nothing explained."""
    order = ("allow", "verify", "escalate", "deny")
    matched = [
        (order.index(then), f"r{at}")
        for at, (then, holds) in enumerate(RULES.values())
        if holds(args, facts)
    ]
    return order[max(matched)[0]] if matched else "deny", {name for _, name in matched}


def _times(act: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Wall and processor time of each call, in microseconds."""
    wall: list[float] = []
    spent: list[float] = []
    for _ in range(rounds):
        began, used = time.perf_counter_ns(), time.thread_time_ns()
        act()
        spent.append((time.thread_time_ns() - used) / 1e3)
        wall.append((time.perf_counter_ns() - began) / 1e3)
    return wall, spent
