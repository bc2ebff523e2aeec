"""What the sections of a policy do to a verdict: tools, agents, checks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import EFFECTS, STRICTNESS, Facts, Policy, Proposal, judge, parse_policy


def _policy(text: str) -> Policy:
    return parse_policy("version: 1\n" + text, "p.yaml")


def _act(tool: str = "t", effect: str = "read", agent: str = "a", **args: Any) -> Proposal:
    return Proposal(agent, "", "tool", tool, effect, args)


BY_EFFECT = """
rules:
  - {id: read, when: {effect: read}, then: allow}
  - {id: world, when: {effect: world}, then: verify, checks: c}
  - {id: idempotent, when: {effect: idempotent}, then: escalate}
checks: [{name: c, kind: condition, that: 'true'}]
"""


@given(st.sampled_from(EFFECTS), st.sampled_from(("", *EFFECTS)))
def test_a_policy_makes_an_effect_stricter_only(declared: str, said: str) -> None:
    """INVARIANT G11."""
    extra = f"tools: [{{tool: 't*'{f', effect: {said}' if said else ''}}}]\n"
    with_tool = judge(_act(effect=declared), _policy(BY_EFFECT + extra))
    without = judge(_act(effect=declared), _policy(BY_EFFECT))
    assert STRICTNESS[with_tool.decision] >= STRICTNESS[without.decision]
    expected = max(declared, said or "read", key=EFFECTS.index)
    assert with_tool.rules == (expected if expected != "once" else "otherwise",)


def test_the_first_entry_that_matches_a_tool_counts() -> None:
    policy = _policy("rules: []\ntools: [{tool: pay, harm: 1}, {tool: 'p*', harm: 2}]\n")
    assert [policy.tool(name).harm for name in ("pay", "print", "x")] == [1.0, 2.0, 0.0]
    assert policy.tool("pay") is policy.tool("pay")


AGENTS = """
otherwise: allow
rules: [{id: clerks, when: {role: clerk, tool: pay}, then: escalate}]
agents:
  - {agent: [ann, 'bot-*'], owner: olga, role: clerk}
  - {agent: gone, stopped: it paid twice}
"""


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_unknown_agent_may_only_read(effect: str) -> None:
    """INVARIANT G12."""
    verdict = judge(_act(effect=effect, agent="stranger"), _policy(AGENTS))
    assert verdict.decision == ("allow" if effect == "read" else "deny")
    assert verdict.rules == ("otherwise" if effect == "read" else "pending",)
    told = judge(_act(effect=effect, agent="gone"), _policy(AGENTS))
    assert (told.decision, told.rules) == ("deny", ("stopped",))
    assert "it paid twice" in told.reason


def test_a_tool_that_is_said_to_write_is_no_reading() -> None:
    """INVARIANT G12: what counts is the effect that the policy sees."""
    policy = _policy(AGENTS + "tools: [{tool: t, effect: once}]\n")
    assert judge(_act(agent="stranger"), policy).rules == ("pending",)


def test_the_role_of_a_card_overrides_the_program_s_own() -> None:
    policy = _policy(AGENTS)
    assert judge(_act("pay", agent="bot-7"), policy).rules == ("clerks",)
    assert policy.needs(_act()) == {"agent"}
    card = policy.agent("bot-7")
    assert card is not None
    assert card.owner == "olga"


def test_checks_of_all_matching_rules_are_joined() -> None:
    policy = _policy("""
rules:
  - {id: one, if: 'true', then: verify, checks: [b, a]}
  - {id: two, when: {tool: t}, then: verify, checks: [a, c]}
  - {id: person, when: {tool: pay}, then: escalate}
  - {id: never, when: {tool: rm}, then: deny}
checks:
  - {name: a, kind: condition, that: args.x > 1}
  - {name: b, kind: preview, that: changes.size() < 5}
  - {name: c, kind: tool, use: second, give: {x: x}, that: result == args.x, fails: deny}
""")
    verdict = judge(_act(), policy)
    assert (verdict.decision, verdict.checks) == ("verify", ("b", "a", "c"))
    assert judge(_act("pay"), policy).checks == ("b", "a")
    assert judge(_act("rm"), policy).checks == ()


def test_every_group_is_needed_for_risk() -> None:
    text = "rules: [{id: r, if: calls > 1, then: escalate}]\n"
    assert _policy(text).needs(_act()) == {"run"}
    assert _policy(text + "risk: {base: -2}\n").needs(_act()) == {"run", "past", "flow", "agent"}


def test_a_risk_that_nobody_told_denies() -> None:
    policy = _policy("rules: [{id: r, if: risk > 0.5, then: escalate}]\nrisk: {base: -2}\n")
    assert judge(_act(), policy).decision in ("deny", "escalate")


def test_facts_of_a_policy_of_names_are_not_kept() -> None:
    policy = _policy("rules: [{id: r, when: {tool: t}, then: allow}]\n")
    assert policy.needs(_act()) == frozenset()
    assert judge(_act(), policy, Facts(calls=3)).facts == {}
