"""A policy's text with one more rule: nothing else changes, in whatever layout it is written."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import Policy, Proposal, judge
from holdfast.gate.amending import amended
from holdfast.gate.parse import parse_files
from holdfast.gate.proposing import propose
from holdfast.values.errors import Misuse

BLOCK = """# top
version: 1
otherwise: allow   # else
rules:

  # of money
  - id: big   # why
    when: {tool: pay}
    if: |
      args.amount > 3  &&
      args.amount < 1000
    then: escalate

  - when: {tool: pay}
    id: all
    then: escalate
# end
agents: [{agent: a}, {agent: b}]
"""
FLOW = "version: 1\notherwise: allow\nrules: [{id: all, when: {tool: pay}, then: escalate}]\n"
TIGHT = """version: 1
rules:
- id: all
  when:
    tool: pay
  then: escalate
  if: 'args.to != "it''s"'
- {id: big, when: {tool: pay}, if: args.amount > 3, then: escalate}  # last"""
NONE = "version: 1\nname: empty\notherwise: escalate\nrules: []\n"
TEXTS = {"block": BLOCK, "flow": FLOW, "tight": TIGHT, "none": NONE}


def call(agent: str = "a", **args: Any) -> Proposal:
    return Proposal(agent, "", "tool", "pay", "once", {"amount": 5, "to": "bob", **args})


def change(text: str, before: Policy, **args: Any) -> str:
    proposal = call(**args)
    verdict = judge(proposal, before)
    assert verdict.decision == "escalate"
    rule = propose("a", "pay", dict(proposal.args), verdict, 'ann approved it: "so" #1')
    ((new, _),) = amended([(text, "p.yaml")], rule)
    return new


# CEL holds no NUL: what it cannot say goes on being asked about, and `approve --write` refuses
WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@given(st.sampled_from(sorted(TEXTS)), st.integers(4, 20), WORDS, st.booleans())
def test_it_allows_this_and_changes_no_other_verdict(
    which: str, amount: int, to: str, windows: bool
):
    text = TEXTS[which].replace("\n", "\r\n") if windows else TEXTS[which]
    before = parse_files([(text, "p.yaml")], "p.yaml")
    new = change(text, before, amount=amount, to=to)
    after = parse_files([(new, "p.yaml")], "p.yaml")
    assert judge(call(amount=amount, to=to), after).decision == "allow"
    for other in (call(amount=amount + 1, to=to), call("b", amount=amount, to=to),
                  call(amount=amount, to=to + "x")):  # fmt: skip
        assert judge(other, after).decision == judge(other, before).decision == "escalate"
    assert len(after.rules) == len(before.rules) + 1
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert all(comment in new for comment in comments)
    gone = [line for line in text.splitlines() if line not in new.splitlines()]
    conditions = 2 * text.count("if: |") + text.count("if: '") + text.count("if: args")
    assert len(gone) <= conditions + (which in ("flow", "none")) + (which == "block")
    assert yaml.safe_load(new)["rules"]


def test_a_second_change_joins_the_first():
    before = parse_files([(BLOCK, "p.yaml")], "p.yaml")
    once = change(BLOCK, before, amount=5)
    twice = change(once, parse_files([(once, "p.yaml")], "p.yaml"), amount=6)
    after = parse_files([(twice, "p.yaml")], "p.yaml")
    said = [judge(call(amount=n), after).decision for n in (5, 6, 7)]
    assert said == ["allow", "allow", "escalate"]


def test_several_files_are_one_policy():
    files = [("version: 1\nname: two\n", "a.yaml"), (FLOW, "b.yaml")]
    policy = parse_files(files, "p")
    rule = propose("a", "pay", {"amount": 5}, judge(call(), policy), "why")
    new = amended(files, rule)
    assert new[0] == files[0]
    assert judge(call(), parse_files(new, "p")).decision == "allow"
    with pytest.raises(Misuse, match="there is no rule"):
        amended([("version: 1\nrules: []\n", "p.yaml")], rule)
