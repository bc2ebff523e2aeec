"""What is suggested agrees with every answer, covers what was seen, and loads."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import Proposal, Verdict, judge, parse_policy
from holdfast.gate.decisions import Decided
from holdfast.gate.proposing import rule_of
from holdfast.gate.suggest import suggest
from holdfast.journal.events import Plan
from holdfast.values.canon import pack
from holdfast.values.errors import Corrupt


def fetch(name: str) -> bytes:
    raise Corrupt(name)


def answered(args: dict[str, Any], answer: str, rules: tuple[str, ...] = ("sends",)) -> Decided:
    facts = {"origin": dict.fromkeys(args, "person")}
    verdict = Verdict("escalate", rules, policy="abc", facts=facts)
    return Decided(1, 1, "r", 1, "1", "clerk", "", Plan("send", "tool", "once"), verdict,
                   pack(args, {}), answer)  # fmt: skip


VALUES = st.fixed_dictionaries({
    "to": st.sampled_from(["a@x.example", 'quo"te\\', "ü\n", "b@x.example"]),
    "amount": st.integers(-5, 50) | st.floats(0, 50),
})  # fmt: skip
ANSWERS = st.lists(st.tuples(VALUES, st.sampled_from(["approve", "deny"])), max_size=25)


@given(ANSWERS)
def test_a_suggestion_agrees_with_every_answer(seen: list[tuple[dict[str, Any], str]]):
    """G35: judged by the suggested rule, no answer comes out against what the person said, and all
    that it counts come out as they said."""
    past = [answered(args, answer) for args, answer in seen]
    for one in suggest(past, fetch, 3):
        then = "allow" if one.answer == "approve" else "deny"
        policy = policy_of(rule_of("clerk", "send", one.condition, one.verdict, then, "why").text())
        covered = 0
        for args, answer in seen:
            found = judge(Proposal("clerk", "", "tool", "send", "once", args), policy).decision
            if answer == one.answer:
                covered += found == then
            else:
                assert found == "escalate"
        assert covered == one.count >= 3


def policy_of(text: str) -> Any:
    """The policy that has one rule that asks, with the suggested lines put in as they say."""
    added = [line[2:] for line in text.splitlines() if line.startswith("+ ")]
    rule = yaml.safe_load("\n".join(line for line in added if not line.startswith('  if: "!')))
    asks: dict[str, Any] = {"id": "sends", "when": {"tool": "send"}, "then": "escalate"}
    left_out = re.findall(r'^\+   if: ("!.*")$', text, re.MULTILINE)
    if left_out:
        asks["if"] = msgspec.json.decode(left_out[0])
    rules = [*rule, asks]
    return parse_policy(msgspec.json.encode({"version": 1, "rules": rules}).decode(), "s.yaml")


def test_nothing_from_few_or_from_what_is_open():
    few = [answered({"to": "a"}, "approve")] * 4
    assert suggest(few, fetch) == []
    many = [answered({"to": f"p{number}"}, "approve") for number in range(20)]
    assert suggest(many, fetch) == []  # anybody: too wide
    listed = [answered({"to": ["a"]}, "approve")] * 9
    assert suggest(listed, fetch) == []
    assert suggest([answered({"to": "a"}, "approve", ("risk", "x"))] * 9, fetch) == []


def test_what_was_erased_or_changed_is_no_ground_for_a_rule():
    """G62"""
    past = [answered({"to": "a@x.example"}, "approve") for _ in range(5)]
    for one in past[:2]:
        one.args = b'{"$erased":"' + b"0" * 64 + b'"}'
    assert suggest(past, fetch, 4) == []
    assert [one.count for one in suggest(past, fetch, 3)] == [3]
    assert suggest([answered({"to": "a@x.example"}, "edit") for _ in range(9)], fetch, 2) == []


def test_most_answers_first():
    past = [answered({"to": "a"}, "approve", ("one",))] * 5
    past += [answered({"to": "b"}, "deny", ("two",))] * 7
    found = suggest(past, fetch)
    assert [(one.answer, one.count, one.condition) for one in found] == [
        ("deny", 7, 'args.to == "b"'), ("approve", 5, 'args.to == "a"'),
    ]  # fmt: skip
