"""Limits in an agent's entry are budgets of scope agent, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import Policy, parse_policy
from holdfast.gate.budgets import Budget
from holdfast.gate.counting import Who, counts, shares
from holdfast.values.errors import Misuse

HEAD = "version: 1\nrules:\n- {id: a, when: {tool: x}, then: allow}\n"
AGENTS = (
    HEAD
    + """agents:
- agent: coder-1
  owner: ann
  limits:
  - {unit: money, limit: 20, per: day, alert: [0.8], approvers: [ann]}
  - {unit: calls, limit: 5, tool: [pay, "bank.*"]}
- {agent: free}
- agent: ["coder-*", free]
  limits:
  - {unit: money, limit: 3, per: day}
"""
)


def policy(text: str) -> Policy:
    return parse_policy(text, "p.yaml")


def who(agent: str, tool: str = "pay") -> Who:
    return Who(agent, "", "tool", tool, "r", "r")


def test_g85_a_limit_is_a_budget_of_its_agent():
    """INVARIANT G85"""
    money, calls, others = policy(AGENTS).budgets
    assert money.id == "limit-coder-1-money-day"
    assert (money.scope, money.per, money.limit, money.alert) == ("agent", "day", 20, (0.8,))
    assert calls.when == {"agent": ("coder-1",), "tool": ("pay", "bank.*")}
    found = shares(policy(AGENTS).budgets, who("coder-1"), {"money": 1, "calls": 1}, 0)
    assert [(one.budget.id, one.cap) for one in found] == [(money.id, 20_000_000), (calls.id, 5)]
    assert [
        one.budget for one in shares(policy(AGENTS).budgets, who("coder-1", "look"), {}, 0)
    ] == [money]
    (only,) = shares(policy(AGENTS).budgets, who("coder-7"), {"money": 1}, 0)
    assert (only.budget, only.meter.rpartition("/")[2]) == (others, "coder-7")
    assert shares(policy(AGENTS).budgets, who("free"), {"money": 1}, 0) == []
    assert shares(policy(AGENTS).budgets, who("else"), {"money": 1}, 0) == []


NAMES = st.sampled_from(["a", "a-1", "a-*", "b", "*"])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=2, unique=True), max_size=4), NAMES)
def test_g85_the_first_entry_counts_alone(entries: list[list[str]], agent: str):
    """G85: whom a limit is about is whom its entry is about."""
    agent = agent.replace("*", "x")
    text = "".join(
        f"- {{agent: {list(names)}, team: t{place},"
        f" limits: [{{id: l{place}, unit: calls, limit: 1}}]}}\n"
        for place, names in enumerate(entries)
    )
    found = policy(HEAD + ("agents:\n" + text if text else ""))
    card = found.agent(agent)
    hit = [one.id for one in found.budgets if counts(one, who(agent))]
    assert hit == ([f"l{card.team[1:]}"] if card else [])


@pytest.mark.parametrize(
    ("limit", "wrong"),
    [
        ("{unit: money}", "p.yaml:7: a limit has no 'limit'"),
        ("{unit: euro, limit: 1}", "unknown unit 'euro'"),
        ("{unit: money, limit: 1, scope: run}", "unknown field 'scope' in a limit"),
        ("{unit: runs, limit: 1, tool: x}", "counts started runs"),
        ("{unit: money, limit: -1}", "limit must be from 0"),
        ("{id: mine, unit: money, limit: 1}", "there is a budget 'mine' already"),
        ("{unit: money, limit: 1, approvers: [eve]}", "'eve' is no route and in no route"),
    ],
)
def test_what_is_wrong_has_its_line(limit: str, wrong: str):
    text = HEAD + "agents:\n- agent: coder\n  limits:\n  - " + limit + "\n"
    text += "budgets: [{id: mine, unit: money, limit: 1, scope: run}]\n"
    text += "routes: [{name: lead, people: [ann]}]\n"
    with pytest.raises(Misuse, match=wrong.replace("(", "[(]")) as refused:
        policy(text)
    assert str(refused.value).startswith("p.yaml:7: ")


def test_the_hash_of_a_policy_without_limits_stays():
    text = HEAD + "budgets: [{id: m, unit: money, limit: 1, scope: run}]\n"
    (budget,) = policy(text).budgets
    assert type(budget) is Budget
    assert policy(text).hash == "5aa568b08845862fa6b5d06258351a534abec061c13cb7ffa5942ce959573688"
    two = AGENTS.replace("limit: 20", "limit: 21")
    assert policy(two).hash != policy(AGENTS).hash
