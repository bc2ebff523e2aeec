"""Trying policies without a run: cases, reasons, oddities, losses, differences; and the packs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import STRICTNESS, Facts, Policy, Proposal, judge, parse_policy
from holdfast.gate.cases import Case, parse_cases
from holdfast.gate.document import Input, Output, input_document, read_input, schemas
from holdfast.gate.files import load_cases, load_policy_file
from holdfast.gate.rehearse import changes, compare, explain, lint, mutate
from holdfast.runtime.packs import pack, packs
from holdfast.values.errors import Misuse, NotFound

ROOT = Path(__file__).parents[2]


def _policy(text: str) -> Policy:
    return parse_policy("version: 1\n" + text, "p.yaml")


# ---- cases -----------------------------------------------------------------------------------

CASES = """
base: {tool: pay, args: {amount: 5, note: x}, facts: {calls: 2, origin: {to: person}}}
cases:
  - {name: one, args: {amount: 7}, without: [note], facts: {denials: 1}, decision: allow}
  - {name: two, effect: read, decision: deny, rule: r, optional: [tool]}
"""


def test_a_case_starts_from_the_base() -> None:
    one, two = parse_cases(CASES, "c.yaml")
    assert one.proposal == Proposal("agent", "", "tool", "pay", "once", {"amount": 7})
    assert one.facts == Facts(calls=2, origin={"to": "person"}, denials=1)
    assert (two.proposal.effect, two.rule, two.optional) == ("read", "r", ("tool",))
    assert two.place == "c.yaml:5"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cases: []\nbase: {tol: x}\n", "2: unknown field 'tol' in 'base': did you mean 'tool'?"),
        ("cases: [{name: a}]\n", "1: a case has no 'decision'"),
        ("cases: [{name: a, decision: maybe}]\n", "1: unknown decision 'maybe'"),
        ("cases: [{name: a, decision: deny, facts: {cals: 1}}]\n", "did you mean 'calls'?"),
        ("cases: [{name: a, decision: deny, facts: {calls: many}}]\n", "1: facts: Expected `int`"),
        ("cases: [{name: a, decision: deny, effect: onse}]\n", "did you mean 'once'?"),
        ("cases: [{name: a, decision: deny, tool: 5}]\n", "tool must be a string"),
        ("cases: [{name: a, decision: deny, without: [x]}]\n", "there is no argument 'x'"),
        ("cases: [{name: a, decision: deny}, {name: a, decision: deny}]\n", "stands here twice"),
        ("cases: 5\n", "cases must be a list"),
    ],
)
def test_a_case_is_read_strictly(text: str, says: str) -> None:
    with pytest.raises(Misuse) as caught:
        parse_cases(text, "c.yaml")
    assert str(caught.value).startswith("c.yaml:")
    assert says in str(caught.value)


@given(st.text(max_size=40) | st.lists(st.sampled_from(list("cases: [{}]\n-'base")), max_size=40))
def test_reading_cases_raises_only_misuse(text: str | list[str]) -> None:
    try:
        parse_cases("".join(text), "c.yaml")
    except Misuse as error:
        said = str(error)
    else:
        return
    assert said.startswith("c.yaml:")


def _case(decision: Any, **more: Any) -> Case:
    proposal = Proposal("a", "", "tool", "pay", "once", {"amount": 5})
    plain: dict[str, Any] = {"rule": "", "approvers": None, "checks": None, "optional": ()}
    return Case("c", proposal, Facts(), decision, **{**plain, **more}, place="c.yaml:1")


def test_a_case_says_what_is_wrong() -> None:
    policy = _policy(
        "rules: [{id: r, when: {tool: pay}, then: escalate, approvers: [ann], reason: big}]\n"
    )
    verdict = judge(_case("deny").proposal, policy)
    assert _case("deny").wrong(verdict) == "escalate by r (big), not deny"
    assert _case("escalate", rule="s").wrong(verdict) == "escalate by r, not by s"
    assert _case("escalate", approvers=("bob",)).wrong(verdict) == "approvers ['ann'], not ['bob']"
    assert _case("escalate", checks=("c",)).wrong(verdict) == "checks [], not ['c']"
    assert _case("escalate", rule="r", approvers=("ann",), checks=()).wrong(verdict) == ""


# ---- packs -----------------------------------------------------------------------------------


def test_there_are_packs() -> None:
    wanted = {
        "read-only", "developer-workstation", "support", "payments", "red-and-blue", "publishers",
    }  # fmt: skip
    assert wanted <= set(packs())
    assert all(len(about) > 20 for about in packs().values())
    with pytest.raises(NotFound, match="there are "):
        pack("none")


@pytest.mark.parametrize("name", sorted(packs()))
def test_a_pack_keeps_its_cases_and_loses_nothing(name: str) -> None:
    """INVARIANT G15: and nothing in it is without effect; each rule decides some case."""
    policy = load_policy_file(pack(name))
    cases = load_cases(pack(name) / "tests")
    verdicts = [judge(case.proposal, policy, case.facts) for case in cases]
    told = [case.wrong(verdict) for case, verdict in zip(cases, verdicts, strict=True)]
    assert not any(told), told
    assert [(each.case.name, each.part) for case in cases for each in mutate(case, policy)] == []
    assert lint(policy) == []
    met = {rule for verdict in verdicts for rule in verdict.rules}
    assert {rule.id for rule in policy.rules} <= met


# ---- losses ----------------------------------------------------------------------------------


def test_a_loss_that_weakens_is_found() -> None:
    policy = _policy("""
otherwise: allow
rules:
  - {id: named, when: {tool: pay}, then: escalate}
  - {id: noted, if: has(args.amount) && args.amount > 3, then: deny}
  - {id: listed, if: '"to" in origin && origin.to == "untrusted"', then: deny}
""")
    case = _case("deny")
    assert {(each.part, each.how) for each in mutate(case, policy)} == {
        ("args.amount", "dropped"), ("args.amount", "misspelled"),
    }  # fmt: skip
    assert list(mutate(_case("deny", optional=("args.amount",)), policy)) == []
    planted = msgspec.structs.replace(case.proposal, args={})
    from_origin = Case(
        "o", planted, Facts(origin={"to": "untrusted"}), "deny", "", None, None, (), "c"
    )
    assert [(each.part, each.how) for each in mutate(from_origin, policy)] == [
        ("facts.origin.to", "dropped"), ("facts.origin.to", "misspelled"),
    ]  # fmt: skip


def test_parts_within_arguments_are_lost_too() -> None:
    """G15: whatever depth they stand in, and where a list holds several."""
    policy = _policy("""
otherwise: allow
rules:
  - {id: far, if: 'has(args.to) && has(args.to.country) && args.to.country == "XX"', then: deny}
  - {id: any, if: 'has(args.lines) && args.lines.exists(x, has(x.n) && x.n > 3)', then: deny}
""")
    deep = {"to": {"name": "bob", "country": "XX"}}
    case = replace(_case("deny"), proposal=Proposal("a", "", "tool", "pay", "once", deep))
    assert {(each.part, each.how) for each in mutate(case, policy)} == {
        (part, how) for part in ("args.to", "args.to.country") for how in ("dropped", "misspelled")
    }
    assert list(mutate(replace(case, optional=("args.to",)), policy)) == []
    lines = {"lines": [{"n": 1}, {"n": 5}]}
    case = replace(_case("deny"), proposal=Proposal("a", "", "tool", "pay", "once", lines))
    assert {each.part for each in mutate(case, policy)} == {"args.lines", "args.lines.n"}


@pytest.mark.parametrize("facts", ["worst: untursted", "origin: {to: persn}", "carries: ''"])
def test_g86_a_word_that_nobody_knows_is_refused(facts: str) -> None:
    """INVARIANT G86"""
    with pytest.raises(Misuse, match=r"c.yaml:1: facts: .* is never"):
        parse_cases(f"cases: [{{name: x, facts: {{{facts}}}, decision: deny}}]", "c.yaml")
    found: dict[str, Any] = yaml.safe_load(f"{{{facts}}}")
    document = {"agent": "a", "tool": "t", "facts": found}
    with pytest.raises(Misuse, match="is never"):
        read_input(json.dumps(document), "in")
    assert parse_cases("cases: [{name: x, facts: {worst: ''}, decision: deny}]", "c.yaml")


_CONDITIONS = st.sampled_from([
    "calls > 2", "!(calls > 2)", 'integrity != "untrusted"', "new_target || calls > 1",
    "new_target && amount_z > 1.0", 'worst == "" ? calls > 1 : leaks', "!leaks && !new_target",
])  # fmt: skip


@given(
    st.lists(st.tuples(_CONDITIONS, st.sampled_from(["allow", "escalate", "deny"])), max_size=4),
    st.sampled_from(["allow", "deny"]),
    st.builds(Facts, calls=st.integers(0, 3), new_target=st.booleans(), leaks=st.booleans()),
)
def test_a_lost_fact_never_weakens_a_verdict(
    rules: list[tuple[str, str]], otherwise: str, facts: Facts
) -> None:
    """INVARIANT G15."""
    lines = [
        f"  - {{id: r{at}, if: '{text}', then: {then}}}\n" for at, (text, then) in enumerate(rules)
    ]
    policy = _policy(f"otherwise: {otherwise}\nrules:\n{''.join(lines) or '  []'}\n")
    case = Case("c", _case("deny").proposal, facts, "deny", "", None, None, (), "c")
    assert [each for each in mutate(case, policy) if each.part.startswith("facts.")] == []


# ---- reasons and oddities --------------------------------------------------------------------


def test_every_rule_is_explained() -> None:
    policy = _policy("""
rules:
  - {id: other, when: {tool: refund}, then: allow}
  - {id: small, if: args.amount < 3, then: allow}
  - {id: lost, if: args.to == "x", then: allow}
  - {id: all, when: {effect: once}, then: escalate}
""")
    found = explain(_case("deny").proposal, policy)
    assert [(each.rule.id, each.matched, each.why) for each in found] == [
        ("other", False, "tool is 'pay'"),
        ("small", False, "if is false"),
        ("lost", None, "args.to is missing"),
        ("all", True, ""),
    ]
    assert explain(Proposal("a", "", "tool", "t", "onse", {}), policy) == []


def test_what_has_no_effect_is_told() -> None:
    policy = _policy("""
rules:
  - {id: never, if: 1 > 2, then: deny}
  - {id: wide, when: {tool: ["pay", "p*"]}, then: escalate}
  - {id: narrow, when: {tool: [pay, pray], role: clerk}, then: allow}
  - {id: mild, when: {tool: wipe, effect: read}, then: allow}
  - {id: fine, when: {tool: print, effect: read}, if: calls > 1, then: deny}
tools: [{tool: "w*", effect: once}, {tool: wipe}]
agents: [{agent: "*"}, {agent: ann}]
checks: [{name: c, kind: condition, that: 'true'}]
""")
    told = [text.removeprefix("p.yaml:") for text in lint(policy)]
    assert told == [
        "4: rule 'never': its 'if' is always false",
        "6: rule 'narrow' never decides: whatever it matches, rule 'wide' (escalate) matches too",
        "7: rule 'mild' never matches: section 'tools' gives its tools a stricter effect",
        " tools: 'wipe' is covered by an earlier entry",
        " agents: 'ann' is covered by an earlier entry",
        " checks: no rule asks for 'c'",
    ]


_NAMES = st.sampled_from(["*", "a", "b", "a*", "ab"])


@given(
    st.lists(
        st.tuples(
            st.lists(_NAMES, min_size=1, max_size=2, unique=True),
            st.sampled_from(["allow", "escalate", "deny"]),
        ),
        max_size=4,
    ),
    st.sampled_from(["a", "b", "ab", "c"]),
)
def test_a_rule_that_never_decides_never_does(
    rules: list[tuple[list[str], str]], tool: str
) -> None:
    """Only what is certain is told."""
    text = "".join(
        f"  - {{id: r{at}, when: {{tool: {names}}}, then: {then}}}\n"
        for at, (names, then) in enumerate(rules)
    )
    policy = _policy("rules:\n" + (text or "  []\n"))
    told = {line.split("'")[1] for line in lint(policy)}
    verdict = judge(Proposal("a", "", "tool", tool, "read", {}), policy)
    assert verdict.rules[0] not in told


# ---- differences -----------------------------------------------------------------------------


def test_a_change_of_policy_is_shown_with_what_it_changes() -> None:
    old = _policy(
        "rules: [{id: a, if: args.amount > 3, then: deny}, {id: b, if: 'true', then: allow}]"
    )
    new = _policy(
        "otherwise: allow\nrules: [{id: a, if: args.amount > 9, then: deny}, {id: c, if: 'true', "
        "then: escalate}]"
    )
    assert compare(old, new) == {
        "added": ["c"], "removed": ["b"], "changed": ["a"], "sections": ["otherwise"],
    }  # fmt: skip
    action = _case("deny").proposal
    small = msgspec.structs.replace(action, args={"amount": 1})
    found = changes(old, new, [("small", small, Facts()), ("big", action, Facts())])
    assert [(each.name, each.before.decision, each.after.decision) for each in found] == [
        ("big", "deny", "escalate"), ("small", "allow", "escalate"),
    ]  # fmt: skip
    assert changes(old, old, [("big", action, Facts())]) == []


# ---- documents -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["input", "output"])
def test_the_published_schema_is_current(name: str) -> None:
    path = ROOT / "docs" / f"policy-{name}.schema.json"
    assert path.read_text("utf-8") == json.dumps(schemas()[name], indent=2) + "\n", (
        f"write `schemas()[{name!r}]` of holdfast.gate.document to {path}, as JSON with indent 2"
    )


def test_an_input_document_is_read_back() -> None:
    facts = Facts(calls=3, origin={"amount": "person"})
    proposal = _case("deny").proposal
    document = input_document(proposal, facts, dict(proposal.args))
    assert set(document["facts"]) == set(schemas()["input"]["$defs"]["Facts"]["required"])
    assert read_input(msgspec.json.encode(document), "x.json") == (proposal, facts)
    assert msgspec.convert(document, Input).facts == facts
    with pytest.raises(Misuse, match=r"x\.json: not an input document: .*effct"):
        read_input(b'{"agent": "a", "tool": "t", "effct": "once"}', "x.json")


def test_a_verdict_fits_the_output_document() -> None:
    verdict = judge(_case("deny").proposal, _policy("rules: []\n"))
    fields = {name: getattr(verdict, name) for name in Output.__struct_fields__}
    assert msgspec.convert(msgspec.to_builtins(fields), Output).decision == "deny"
    words = schemas()["output"]["$defs"]["Output"]["properties"]["decision"]["enum"]
    assert set(STRICTNESS) == set(words)
