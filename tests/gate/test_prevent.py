"""What is proposed stops the action, tells what else it stops, and says when nothing does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.gate import Policy, judge, parse_policy
from holdfast.gate.cases import parse_cases
from holdfast.gate.decisions import Decided
from holdfast.gate.prevent import (
    TOLERATED,
    candidates,
    case_text,
    effect_of,
    honest,
    offered,
    stricter,
)
from holdfast.gate.proposing import rule_of
from holdfast.gate.verdict import Verdict
from holdfast.journal.events import Plan
from holdfast.values.canon import encode, pack
from holdfast.values.errors import Corrupt, Misuse


def fetch(name: str) -> bytes:
    raise Corrupt(name)


def decided(number: int, facts: dict[str, Any], amount: float = 1, **more: Any) -> Decided:
    kept = {"groups": ["flow", "past", "run"], "origin": {"to": "person"}, **facts}
    verdict = Verdict(more.pop("decision", "allow"), ("all",), policy="abc", facts=kept)
    one = Decided(
        number, number, f"r{number}", 1, "1", more.pop("agent", "clerk"), "",
        Plan("pay", "tool", "once"), verdict, pack({"to": "a", "amount": amount}, {}),
    )  # fmt: skip
    for name, value in more.items():
        setattr(one, name, value)
    return one


ARGS = {"to": "a", "amount": 1}
OLD = parse_policy('version: 1\nrules:\n  - {id: all, when: {tool: "*"}, then: allow}\n', "old")


def with_rule(condition: str, then: str = "deny") -> Policy:
    rules = [
        {"id": "new", "when": {"agent": "clerk", "tool": "pay"}, "if": condition, "then": then},
        {"id": "all", "when": {"tool": "*"}, "then": "allow"},
    ]
    return parse_policy(encode({"version": 1, "rules": rules}).decode(), "new")


FACTS = st.fixed_dictionaries({
    "origin": st.sampled_from(["person", "untrusted", "nowhere"]).map(lambda word: {"to": word}),
    "worst": st.sampled_from(["person", "untrusted", "nowhere"]),
    "new_target": st.booleans(), "leaks": st.booleans(), "new_links": st.integers(0, 2),
    "integrity": st.sampled_from(["trusted", "untrusted"]), "amount": st.floats(0, 50),
})  # fmt: skip


@given(FACTS, st.lists(FACTS, max_size=8), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_what_is_offered_does_what_is_said_of_it(
    facts: dict[str, Any], others: list[dict[str, Any]], amount: int
):
    """X50: judged by a policy with the rule, the action is stopped, and of the right ones exactly
    those that are named."""
    bad = decided(0, facts, amount)
    right = [decided(number, each) for number, each in enumerate(others, 1)]
    args = {"to": "a", "amount": amount}
    found = candidates(bad, args, right, fetch)
    assert [len(one.stops) for one in found] == sorted(len(one.stops) for one in found)
    for one in found:
        changes = effect_of([bad, *right], OLD, with_rule(one.condition), fetch).changes
        stopped = {f"{each.old.run}@{each.old.key}" for each in changes}
        assert stopped == {"r0@1", *one.stops}
        assert all(each.new.decision == "deny" for each in changes)
    assert all(one.share <= TOLERATED for one in offered(found))


def test_origin_is_preferred_to_names_and_values():
    bad = decided(0, {"origin": {"to": "untrusted"}, "worst": "untrusted", "new_target": True}, 99)
    right = [decided(number, {}) for number in range(1, 6)]
    texts = [one.condition for one in candidates(bad, {"to": "x", "amount": 99}, right, fetch)]
    assert texts[0] == '"to" in origin && origin.to == "untrusted"'
    assert texts.index("new_target") > texts.index('worst == "untrusted"')
    beyond = "has(args.amount) && args.amount > 1"
    assert beyond in texts
    assert texts.index(beyond) < len(texts)


def test_two_conditions_together_where_none_alone_tells():
    bad = decided(0, {"new_target": True, "leaks": True}, 1)
    right = [decided(number, {"new_target": number % 2 == 0, "leaks": number % 2 == 1})
             for number in range(1, 9)]  # fmt: skip
    (first, *_) = offered(candidates(bad, ARGS, right, fetch))
    assert first.condition in ("leaks && new_target", "new_target && leaks")
    assert first.stops == ()


def test_nothing_is_offered_where_nothing_tells_it_apart():
    bad = decided(0, {})
    right = [decided(number, {}) for number in range(1, 6)]
    found = candidates(bad, ARGS, right, fetch)
    assert offered(found) == []
    assert all(len(one.stops) == 5 for one in found)


def test_what_counts_as_right():
    bad = decided(0, {})
    past = [
        bad, decided(1, {}), decided(2, {}, agent="other"), decided(3, {}, reviewed="wrong"),
        decided(4, {}, decision="deny"), decided(5, {}, decision="escalate"),
        decided(6, {}, decision="escalate", answer="approve"),
        decided(7, {}, decision="escalate", answer="deny"),
    ]  # fmt: skip
    assert [one.run for one in honest(bad, past)] == ["r1", "r6"]


def test_facts_that_were_not_kept_make_no_condition():
    bad = decided(0, {"groups": [], "worst": "untrusted", "new_target": True}, 9)
    right = [decided(number, {"groups": []}) for number in range(1, 4)]
    texts = [one.condition for one in candidates(bad, {"to": "a", "amount": 9}, right, fetch)]
    assert all("worst" not in text and "new_target" not in text for text in texts)


@pytest.mark.parametrize(("rule", "share", "then"), [("", 0.0, "deny"), ("", 0.05, "escalate")])
def test_how_strict_it_is(rule: str, share: float, then: str):
    assert stricter(decided(0, {}), OLD, fetch, share) == then


def test_what_is_asked_already_is_denied_and_what_is_denied_needs_nothing():
    bad = decided(0, {"new_target": True})
    asks = with_rule("new_target", "escalate")
    assert stricter(bad, asks, fetch, 0.05) == "deny"
    with pytest.raises(Misuse, match="denies it already, by new"):
        stricter(bad, with_rule("new_target"), fetch, 0.0)


def test_the_case_holds_with_the_rule_and_not_without():
    bad = decided(0, {"worst": "untrusted", "via": {"to": "r0@1"}}, 9)
    args = {"to": 'quo"te\nü', "amount": 9}
    text = case_text(bad, args, decision="deny", rule="new", why="it went\nwrong")
    (case,) = parse_cases(text, "case.yaml")
    assert dict(case.proposal.args) == args
    assert case.bad == "it went wrong"
    new = with_rule('worst == "untrusted"')
    assert case.wrong(judge(case.proposal, new, case.facts)) == ""
    assert case.wrong(judge(case.proposal, OLD, case.facts)) != ""
    assert rule_of("clerk", "pay", "", bad.verdict, "deny", "w").then == "deny"
