"""What holds for every policy and every proposal."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import (
    DEFAULT_POLICY,
    EFFECTS,
    KINDS,
    NO_FACTS,
    STRICTNESS,
    Facts,
    Policy,
    Proposal,
    Verdict,
    judge,
    load_policy_file,
    parse_policy,
)
from holdfast.gate.facts import GROUPS
from holdfast.values import limits
from holdfast.values.errors import Misuse

Rule = dict[str, Any]

_NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 2.5])
_WORDS = st.sampled_from(["a", "b", "ab", "a.b", "1", ""])
_SCALARS = _WORDS | _NUMBERS | st.booleans()
_SIMPLE = st.one_of(
    st.builds(
        "args.{} {} {}".format,
        st.sampled_from(["p", "q", "p.q"]), st.sampled_from(["==", "!="]),
        _SCALARS.map(json.dumps),
    ),
    st.builds(
        "args.{} {} {}".format,
        st.sampled_from(["p", "q"]), st.sampled_from(["<", "<=", ">", ">="]),
        _NUMBERS.map(json.dumps),
    ),
    st.sampled_from([
        'args.p in ["a", "b"]', "args.q in [1, 2]", 'args.p.matches("^a*$")',
        'args.q.startsWith("a")', '"a" in args.p', "has(args.p)", "has(args.p.q)", "args.p",
        'args.p[0] == "a"', "args.p == args.q", 'args.p.exists(x, x == "a")', "args.size() > 1",
        "calls > 2", 'integrity == "untrusted"', 'origin.p == "person"', "new_target",
        "amount_z > 1.5", "1 / calls > 0", 'domain(args.p) == "a.b"', 'inside(args.p, "a")',
        'role == "clerk"', 'effect == "once"',
    ]),
)  # fmt: skip
_CONDITIONS = st.recursive(
    _SIMPLE,
    lambda inner: st.one_of(
        inner.map("!({})".format),
        st.builds("({}) && ({})".format, inner, inner),
        st.builds("({}) || ({})".format, inner, inner),
        st.builds("has(args.p) && ({})".format, inner),
    ),
    max_leaves=3,
)
_FACTS = st.builds(
    Facts,
    calls=st.integers(0, 4),
    integrity=st.sampled_from(["person", "untrusted"]),
    origin=st.dictionaries(st.sampled_from("pq"), st.sampled_from(["person", "nowhere"])),
    new_target=st.booleans(),
    amount_z=st.sampled_from([0.0, 2.0]),
)


_TOOLS = st.sampled_from(["t", "u", "t.x", "*", "t*", "?"])
_WHEN = st.fixed_dictionaries(
    {"tool": _TOOLS | st.lists(_TOOLS, min_size=1, max_size=2, unique=True)},
    optional={
        "effect": st.sampled_from(EFFECTS),
        "agent": st.sampled_from(["x", "x*", "*"]),
        "role": st.sampled_from(["clerk", "c*"]),
        "kind": st.sampled_from(KINDS),
    },
)


def _rules(then: st.SearchStrategy[str]) -> st.SearchStrategy[Rule]:
    return st.builds(
        lambda when, condition, then, approvers: {
            "when": when,
            "then": then,
            **({"if": condition} if condition else {}),
            **({"checks": "c"} if then == "verify" else {}),
            **({"approvers": approvers} if approvers and then == "escalate" else {}),
        },
        _WHEN,
        st.just("") | _CONDITIONS,
        then,
        st.lists(st.sampled_from("fgh"), max_size=2, unique=True),
    )


_DECISIONS = st.sampled_from(["allow", "verify", "escalate", "deny"])
_POLICIES = st.lists(_rules(_DECISIONS), max_size=5)
_VALUES = st.recursive(
    st.none() | _SCALARS | st.sampled_from([float("nan"), b"a", object(), {1}]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["p", "q", "0"]), inner, max_size=2)
    ),
    max_leaves=4,
)
_PROPOSALS = st.builds(
    Proposal,
    agent=st.sampled_from(["x", "xy", "z"]),
    role=st.sampled_from(["clerk", "cook", ""]),
    kind=st.sampled_from(KINDS),
    tool=st.sampled_from(["t", "t.x", "u", ""]),
    effect=st.sampled_from(EFFECTS),
    args=st.dictionaries(st.sampled_from(["p", "q"]), _VALUES, max_size=2),
)


def _refusal(text: str) -> str:
    """What `parse_policy` says, or nothing; any other error fails the test."""
    try:
        parse_policy(text, "noise.yaml")
    except Misuse as error:
        return str(error)
    return ""


def _dump(document: Any) -> str:
    return yaml.safe_dump(json.loads(json.dumps(document)))  # nothing shared, so no aliases


def _text(rules: list[Rule], otherwise: str = "deny") -> str:
    numbered = [{"id": f"r{index}", **rule} for index, rule in enumerate(rules)]
    checks = [{"name": "c", "kind": "condition", "that": "true"}]
    return _dump({"version": 1, "otherwise": otherwise, "rules": numbered, "checks": checks})


def _policy(rules: list[Rule], otherwise: str = "deny") -> Policy:
    return parse_policy(_text(rules, otherwise), "generated.yaml")


def _strictness(verdict: Verdict) -> int:
    return STRICTNESS[verdict.decision]


_JUNK = st.none() | st.integers() | st.text(max_size=3) | st.just([]) | st.just(object())


@given(
    _POLICIES,
    st.builds(Proposal, agent=_JUNK, role=_JUNK, kind=_JUNK, tool=_JUNK, effect=_JUNK, args=_JUNK)
    | st.builds(
        Proposal,
        agent=st.just("x"),
        role=st.just("clerk"),
        kind=st.just("tool"),
        tool=st.just("t"),
        effect=st.just("read"),
        args=_JUNK | st.dictionaries(_JUNK.filter(lambda key: key != []), _VALUES, max_size=2),
    ),
)
def test_total(rules: list[Rule], proposal: Proposal) -> None:
    """INVARIANT G1: never raises, and what is no proposal is denied whatever the policy says."""
    verdict = judge(proposal, _policy(rules, "allow"))
    assert isinstance(verdict, Verdict)
    names = (proposal.agent, proposal.role, proposal.kind, proposal.tool, proposal.effect)
    if not all(isinstance(name, str) for name in names) or not isinstance(proposal.args, dict):
        assert verdict.decision == "deny"


class _Hostile(dict[str, Any]):
    def get(self, *_: object) -> Any:
        raise RuntimeError("secret")


def test_total_with_hostile_arguments() -> None:
    rule = {"if": "args.p == 1", "then": "allow"}
    verdict = judge(Proposal("a", "r", "tool", "t", "read", _Hostile()), _policy([rule]))
    assert verdict.decision == "deny"
    assert "secret" not in verdict.reason
    assert judge(None, DEFAULT_POLICY).decision == "deny"  # type: ignore[arg-type]


@given(_POLICIES, _PROPOSALS, _rules(st.just("deny")), st.data())
def test_adding_a_deny_never_allows_more(
    rules: list[Rule], proposal: Proposal, deny: Rule, data: st.DataObject
) -> None:
    """INVARIANT G2."""
    facts = data.draw(_FACTS)
    at = data.draw(st.integers(0, len(rules)))
    before = judge(proposal, _policy(rules), facts)
    after = judge(proposal, _policy([*rules[:at], deny, *rules[at:]]), facts)
    assert _strictness(after) >= _strictness(before)


@given(_POLICIES, _PROPOSALS, _rules(_DECISIONS), st.data())
def test_adding_a_rule_never_weakens_a_match(
    rules: list[Rule], proposal: Proposal, more: Rule, data: st.DataObject
) -> None:
    """INVARIANT G2, and G7: nor does it add somebody who may approve."""
    facts = data.draw(_FACTS)
    at = data.draw(st.integers(0, len(rules)))
    before = judge(proposal, _policy(rules), facts)
    after = judge(proposal, _policy([*rules[:at], more, *rules[at:]]), facts)
    if before.rules != ("otherwise",):
        assert _strictness(after) >= _strictness(before)
    if before.decision == after.decision == "escalate" and before.approvers:
        assert after.approvers
        assert set(after.approvers) <= set(before.approvers)


@given(_POLICIES, _PROPOSALS, _FACTS, st.randoms(use_true_random=False))
def test_order_does_not_matter(
    rules: list[Rule], proposal: Proposal, facts: Facts, dice: Any
) -> None:
    """INVARIANT G2."""
    numbered = [{"id": f"r{index}", **rule} for index, rule in enumerate(rules)]
    shuffled = list(numbered)
    dice.shuffle(shuffled)
    one = judge(proposal, _policy(numbered), facts)
    two = judge(proposal, _policy(shuffled), facts)
    assert one.decision == two.decision
    assert set(one.rules) == set(two.rules)
    assert set(one.approvers) == set(two.approvers)
    assert set(one.checks) == set(two.checks)


@given(_POLICIES, _PROPOSALS, _FACTS)
def test_strictest_match_decides(rules: list[Rule], proposal: Proposal, facts: Facts) -> None:
    """INVARIANT G2: the verdict is the maximum of what each rule alone says."""
    alone = [judge(proposal, _policy([rule], "allow"), facts) for rule in rules]
    hits = [verdict for verdict in alone if verdict.rules != ("otherwise",)]
    verdict = judge(proposal, _policy(rules, "allow"), facts)
    assert _strictness(verdict) >= max(map(_strictness, hits), default=0)
    assert len(verdict.rules) == max(1, len(hits))
    if "in common" not in verdict.reason:
        assert _strictness(verdict) == max(map(_strictness, hits), default=0)


@given(_rules(st.just("allow")), _PROPOSALS, _FACTS)
def test_an_allow_needs_its_condition_to_be_true(
    rule: Rule, proposal: Proposal, facts: Facts
) -> None:
    """INVARIANT G3: a rule and its opposite never both allow, and are unclear together."""
    text = rule.get("if", "true")
    one = judge(proposal, _policy([{**rule, "if": text}]), facts)
    other = judge(proposal, _policy([{**rule, "if": f"!({text})"}]), facts)
    assert not one.decision == other.decision == "allow"
    if one.decision == "allow":
        assert other.rules == ("otherwise",)
    assert ("cannot be evaluated" in one.reason) == ("cannot be evaluated" in other.reason)


@given(_rules(st.just("allow")), _PROPOSALS, _FACTS, st.sampled_from("pq"))
def test_a_lost_argument_never_allows_what_it_denied(
    rule: Rule, proposal: Proposal, facts: Facts, name: str
) -> None:
    """INVARIANT G10: to lose an argument that a condition compares is no way to an allow, unless
    the condition asks whether the argument is there at all."""
    text = rule.get("if", "")
    if not text or "has(" in text or "size()" in text:
        return
    policy = _policy([rule])
    args = {key: value for key, value in proposal.args.items() if key != name}
    less = msgspec.structs.replace(proposal, args=args)
    before, after = judge(proposal, policy, facts), judge(less, policy, facts)
    if before.rules == ("otherwise",):
        assert after.decision == "deny"


@given(_POLICIES, _PROPOSALS, _FACTS)
def test_facts_are_told_if_they_were_looked_at(
    rules: list[Rule], proposal: Proposal, facts: Facts
) -> None:
    """INVARIANT G13: a policy needs every group of facts that decides, and only these are told."""
    policy = _policy(rules)
    needs = policy.needs(proposal)
    verdict = judge(proposal, policy, facts)
    seen = {name for group in needs for name in GROUPS[group]}
    kept = Facts(**{name: getattr(facts, name) for name in seen})
    same = judge(proposal, policy, kept)
    assert (same.decision, same.rules) == (verdict.decision, verdict.rules)
    assert bool(verdict.facts) == (bool(needs) and facts != NO_FACTS)


@given(_POLICIES, st.lists(_PROPOSALS, max_size=6))
def test_memory_does_not_change_a_verdict(rules: list[Rule], proposals: list[Proposal]) -> None:
    """INVARIANT G6."""
    warm = _policy(rules)
    for proposal in proposals + proposals:
        assert judge(proposal, warm) == judge(proposal, _policy(rules))


def test_memory_is_bounded() -> None:
    policy = _policy([{"when": {"tool": "t*"}, "then": "allow"}])
    for index in range(limits.GATE_MEMO_ENTRIES + 10):
        proposal = Proposal("a", "r", "tool", f"t{index}", "read", {})
        assert judge(proposal, policy).decision == "allow"
    assert len(policy.plans) <= limits.GATE_MEMO_ENTRIES


@pytest.mark.parametrize("name", ["agent", "role", "tool"])
def test_a_very_long_name_is_denied(name: str) -> None:
    fields: dict[str, Any] = {"agent": "a", "role": "r", "tool": "t", name: "x" * 5000}
    verdict = judge(Proposal(kind="tool", effect="read", args={}, **fields), DEFAULT_POLICY)
    assert verdict.rules == ("malformed",)


_FULL = {
    "version": 1,
    "name": "full",
    "otherwise": "deny",
    "rules": [
        {
            "id": "r0",
            "when": {
                "tool": "t", "effect": "once", "agent": "x", "role": "clerk", "kind": "tool",
            },
            "if": "args.p > 1",
            "then": "escalate",
            "reason": "because",
            "way": "that way",
            "approvers": ["f"],
        },
        {"id": "r1", "if": "calls > 1", "then": "verify", "checks": ["c"]},
    ],
    "tools": [
        {
            "tool": "t", "effect": "once", "output": "untrusted/public", "endorses": True,
            "derives": True, "deciding": ["p"], "content": ["p"], "target": "p", "amount": "p",
            "clearance": "public", "harm": 1, "harm_per": 1, "args": {"p": "number"},
            "pin": "0" * 64, "cost": 1, "tokens": 1, "undo": "u", "preview": "v",
        }
    ],
    "agents": [
        {
            "agent": "x", "owner": "f", "role": "clerk", "team": "t", "organisation": "o",
            "autonomy": 2, "key": "A" * 43 + "=", "stopped": "because",
        }
    ],
    "routes": [
        {
            "name": "f", "people": ["g"], "needs": 1, "delegates": {"g": "h"}, "owner_may": True,
            "starter_may": False, "expires": 60,
        }
    ],
    "risk": {
        "base": -2, "weights": {"new_target": 1}, "review": 1, "check": 1, "sample": 0.1,
        "version": "a",
    },
    "budgets": [
        {
            "id": "b", "unit": "money", "limit": 5, "scope": "run", "per": "day",
            "when": {"tool": "t", "agent": "x", "role": "r", "kind": "tool"}, "alert": [0.5],
            "approvers": ["f"],
        }
    ],
    "checks": [
        {
            "name": "c", "kind": "tool", "that": "result.ok", "use": "t", "give": {"p": "q"},
            "fails": "deny",
        },
        {"name": "d", "kind": "command", "command": ["make", "test"]},
    ],
    "engine": {"opa": "http://localhost:8181", "path": "a/b", "seconds": 0.05},
}  # fmt: skip
_FREE = {("weights",), ("args",), ("give",), ("delegates",)}
"""Mappings whose keys are the author's own."""


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key of the language in the full policy (argument names are the author's own)."""
    if isinstance(node, list):
        return [found for index, item in enumerate(node) for found in _paths(item, (*path, index))]
    if not isinstance(node, dict):
        return []
    own = [] if path[-1:] in _FREE else [(*path, key) for key in node]
    return own + [found for key, item in node.items() for found in _paths(item, (*path, key))]


def _renamed(node: Any, path: tuple[Any, ...], name: str | None) -> Any:
    """``node`` with the key at ``path`` renamed, or removed."""
    if len(path) == 1:
        return {
            (name if key == path[0] else key): item
            for key, item in node.items()
            if name is not None or key != path[0]
        }
    copy = list(node) if isinstance(node, list) else dict(node)
    copy[path[0]] = _renamed(node[path[0]], path[1:], name)
    return copy


@given(st.sampled_from(_paths(_FULL)), st.data())
def test_a_misspelled_name_is_refused(path: tuple[Any, ...], data: st.DataObject) -> None:
    """INVARIANT G4: so a typing error never makes a policy weaker silently."""
    parse_policy(_dump(_FULL), "full.yaml")
    name = path[-1]
    at = data.draw(st.integers(0, len(name) - 1))
    change = data.draw(st.sampled_from(["drop", "twice", "upper", "swap", "x"]))
    new = {
        "drop": name[:at] + name[at + 1 :],
        "twice": name[:at] + name[at] + name[at:],
        "upper": name[:at] + name[at].upper() + name[at + 1 :],
        "swap": name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
        "x": name[:at] + "x" + name[at + 1 :],
    }[change]
    if new == name:
        return
    with pytest.raises(Misuse, match=r"^full\.yaml:\d+: "):
        parse_policy(_dump(_renamed(_FULL, path, new)), "full.yaml")


_NEEDED = {
    "version", "rules", "id", "then", "checks", "tool", "agent", "name", "people", "unit", "limit",
    "scope", "kind", "use", "command", "opa", "if",
}  # fmt: skip


@pytest.mark.parametrize("path", _paths(_FULL), ids=str)
def test_a_dropped_field_is_refused_or_does_not_decide(path: tuple[Any, ...]) -> None:
    """INVARIANT G4: what may be left out is a condition (then the rule covers more) or a text."""
    text = _dump(_renamed(_FULL, path, None))
    try:
        policy = parse_policy(text, "full.yaml")
    except Misuse:
        assert path[-1] in _NEEDED
        return
    assert policy.otherwise == "deny"
    assert [rule.then for rule in policy.rules] == ["escalate", "verify"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(list("ab:-[]{}\n \"'&*!1,")), max_size=40))
def test_parse_raises_only_misuse(text: str | list[str]) -> None:
    said = _refusal("".join(text))
    assert said.startswith("noise.yaml:")
    assert len(said.splitlines()) == 1


@given(_POLICIES, st.data())
def test_a_damaged_policy_raises_only_misuse(rules: list[Rule], data: st.DataObject) -> None:
    text = _text(rules)
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 5)) :]
    assert len(_refusal(damaged).splitlines()) <= 1


@given(st.data())
def test_a_damaged_full_policy_raises_only_misuse(data: st.DataObject) -> None:
    text = _dump(_FULL)
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 9)) :]
    assert len(_refusal(damaged).splitlines()) <= 1


@given(st.binary(max_size=80) | st.binary(max_size=6).map(lambda junk: b"version: 1\n" + junk))
def test_a_file_of_any_bytes_raises_only_misuse(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "noise.yaml"
        path.write_bytes(content)
        with pytest.raises(Misuse, match=r"noise\.yaml:\d+: "):
            load_policy_file(path)


_BITS = st.sampled_from([
    "args", "args.p", "calls", "origin", "has", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?",
    "&&", "||", "!", "==", "<", "+", "-", "/", "%", "in", "1", "1.5", "0x1", '"a"', "r'(a'", "b'a'",
    "true", "null", "matches", "exists", "all", "x", "size", "domain", "inside", "type", "int",
    "//", "\n", "'", '"', "\\", "é", "dyn", "string", "duration", "timestamp", "map", "filter",
])  # fmt: skip


@given(st.lists(_BITS, max_size=14).map(" ".join) | st.lists(_BITS, max_size=14).map("".join))
def test_any_condition_is_refused_or_judged(text: str) -> None:
    """INVARIANT G4, and G1: what loads never raises when it is judged."""
    try:
        policy = _policy([{"if": text, "then": "allow"}])
    except Misuse as error:
        said = str(error)
    else:
        for args in ({}, {"p": "a", "q": [1]}, {"p": {"q": 1}}):
            verdict = judge(Proposal("x", "", "tool", "t", "read", args), policy)
            assert "malformed" not in verdict.rules
        return
    assert said.startswith("generated.yaml:")
    assert len(said.splitlines()) == 1
