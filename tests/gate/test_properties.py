"""What holds for every policy and every proposal."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gate import (
    DEFAULT_POLICY,
    EFFECTS,
    KINDS,
    STRICTNESS,
    Policy,
    Proposal,
    Verdict,
    judge,
    parse_policy,
)
from holdfast.gate.conditions import OPERATORS
from holdfast.values import limits
from holdfast.values.errors import Misuse

Rule = dict[str, Any]

_NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 2.5])
_WORDS = st.sampled_from(["a", "b", "ab", "a.b", "1", ""])
_SCALARS = _WORDS | _NUMBERS | st.booleans()


def _want() -> st.SearchStrategy[Any]:
    words = st.sampled_from(["a", "b", "ab"])
    operators: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("eq", "ne"), _SCALARS),
        **dict.fromkeys(("lt", "le", "gt", "ge"), _NUMBERS),
        **dict.fromkeys(
            ("in", "not_in"),
            st.lists(words, min_size=1, max_size=3) | st.lists(_NUMBERS, min_size=1, max_size=3),
        ),
        **dict.fromkeys(("starts_with", "ends_with", "contains"), words),
        "matches": st.sampled_from(["a*", "(a|b)+", "[a-z.]*"]),
        **dict.fromkeys(("absent", "present"), st.booleans()),
    }
    assert operators.keys() == OPERATORS.keys()
    one = st.sampled_from(sorted(operators)).flatmap(
        lambda name: operators[name].map(lambda operand: {name: operand})
    )
    two = st.tuples(one, one).map(lambda pair: {**pair[0], **pair[1]})
    return one | two | _SCALARS


_TOOLS = st.sampled_from(["t", "u", "t.x", "*", "t*", "?"])
_WHEN = st.fixed_dictionaries(
    {"tool": _TOOLS | st.lists(_TOOLS, min_size=1, max_size=2, unique=True)},
    optional={
        "effect": st.sampled_from(EFFECTS),
        "agent": st.sampled_from(["x", "x*", "*"]),
        "role": st.sampled_from(["clerk", "c*"]),
        "kind": st.sampled_from(KINDS),
        "args": st.dictionaries(
            st.sampled_from(["p", "q", "p.q", "p.0"]), _want(), min_size=1, max_size=3
        ),
    },
)


def _rules(then: st.SearchStrategy[str]) -> st.SearchStrategy[Rule]:
    return st.builds(
        lambda when, then, approvers: {
            "when": when,
            "then": then,
            **({"approvers": approvers} if approvers and then == "escalate" else {}),
        },
        _WHEN,
        then,
        st.lists(st.sampled_from("fgh"), max_size=2, unique=True),
    )


_DECISIONS = st.sampled_from(["allow", "escalate", "deny"])
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
    return _dump({"version": 1, "otherwise": otherwise, "rules": numbered})


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
    rule = {"when": {"args": {"p": 1}}, "then": "allow"}
    verdict = judge(Proposal("a", "r", "tool", "t", "read", _Hostile()), _policy([rule]))
    assert verdict.decision == "deny"
    assert "secret" not in verdict.reason
    assert judge(None, DEFAULT_POLICY).decision == "deny"  # type: ignore[arg-type]


@given(_POLICIES, _PROPOSALS, _rules(st.just("deny")), st.data())
def test_adding_a_deny_never_allows_more(
    rules: list[Rule], proposal: Proposal, deny: Rule, data: st.DataObject
) -> None:
    """INVARIANT G2."""
    at = data.draw(st.integers(0, len(rules)))
    before = judge(proposal, _policy(rules))
    after = judge(proposal, _policy([*rules[:at], deny, *rules[at:]]))
    assert _strictness(after) >= _strictness(before)


@given(_POLICIES, _PROPOSALS, _rules(_DECISIONS), st.data())
def test_adding_a_rule_never_weakens_a_match(
    rules: list[Rule], proposal: Proposal, more: Rule, data: st.DataObject
) -> None:
    """INVARIANT G2, and G7: nor does it add somebody who may approve."""
    at = data.draw(st.integers(0, len(rules)))
    before = judge(proposal, _policy(rules))
    after = judge(proposal, _policy([*rules[:at], more, *rules[at:]]))
    if before.rules != ("otherwise",):
        assert _strictness(after) >= _strictness(before)
    if before.decision == after.decision == "escalate" and before.approvers:
        assert after.approvers
        assert set(after.approvers) <= set(before.approvers)


@given(_POLICIES, _PROPOSALS, st.randoms(use_true_random=False))
def test_order_does_not_matter(rules: list[Rule], proposal: Proposal, dice: Any) -> None:
    """INVARIANT G2."""
    numbered = [{"id": f"r{index}", **rule} for index, rule in enumerate(rules)]
    shuffled = list(numbered)
    dice.shuffle(shuffled)
    one = judge(proposal, _policy(numbered))
    two = judge(proposal, _policy(shuffled))
    assert one.decision == two.decision
    assert set(one.rules) == set(two.rules)
    assert set(one.approvers) == set(two.approvers)


@given(_POLICIES, _PROPOSALS)
def test_strictest_match_decides(rules: list[Rule], proposal: Proposal) -> None:
    """INVARIANT G2: the verdict is the maximum of what each rule alone says."""
    alone = [judge(proposal, _policy([rule], "allow")) for rule in rules]
    hits = [verdict for verdict in alone if verdict.rules != ("otherwise",)]
    verdict = judge(proposal, _policy(rules, "allow"))
    assert _strictness(verdict) >= max(map(_strictness, hits), default=0)
    assert len(verdict.rules) == max(1, len(hits))
    if "in common" not in verdict.reason:
        assert _strictness(verdict) == max(map(_strictness, hits), default=0)


@given(_POLICIES, _PROPOSALS)
def test_an_allow_needs_every_condition_to_be_true(rules: list[Rule], proposal: Proposal) -> None:
    """INVARIANT G3: take the arguments away, and no rule with ``args`` may still allow by error."""
    bare = Proposal(
        proposal.agent, proposal.role, proposal.kind, proposal.tool, proposal.effect, {}
    )
    verdict = judge(bare, _policy(rules))
    if verdict.decision == "allow" and verdict.rules != ("otherwise",):
        matched = [rules[int(name[1:])] for name in verdict.rules]
        for rule in matched:
            for want in rule["when"].get("args", {}).values():
                assert want in ({"absent": True}, {"present": False}) or want == {
                    "absent": True,
                    "present": False,
                }


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


_OPERANDS: dict[str, Any] = {
    **dict.fromkeys(OPERATORS, "a"),
    **dict.fromkeys(("lt", "le", "gt", "ge"), 1),
    "in": ["a"],
    "not_in": ["a"],
    **dict.fromkeys(("absent", "present"), True),
}
_FULL = {
    "version": 1,
    "name": "full",
    "otherwise": "deny",
    "rules": [
        {
            "id": "r0",
            "when": {
                "tool": "t",
                "effect": "once",
                "agent": "x",
                "role": "clerk",
                "kind": "tool",
                "args": {"p": _OPERANDS},
            },
            "then": "escalate",
            "reason": "because",
            "way": "that way",
            "approvers": ["f"],
        }
    ],
}


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key of the language in the full policy (argument names are the author's own)."""
    if isinstance(node, list):
        return [found for index, item in enumerate(node) for found in _paths(item, (*path, index))]
    if not isinstance(node, dict):
        return []
    own = [] if path[-1:] == ("args",) else [(*path, key) for key in node]
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
    if new == name or (new in OPERATORS and name in OPERATORS):
        return
    with pytest.raises(Misuse, match=r"^full\.yaml:\d+: "):
        parse_policy(_dump(_renamed(_FULL, path, new)), "full.yaml")


@pytest.mark.parametrize("path", _paths(_FULL), ids=str)
def test_a_dropped_field_is_refused_or_does_not_decide(path: tuple[Any, ...]) -> None:
    """INVARIANT G4: what may be left out is a condition (then the rule covers more) or a text."""
    text = _dump(_renamed(_FULL, path, None))
    needed = {("version",), ("rules",)} | {("rules", 0, name) for name in ("id", "when", "then")}
    if path in needed:
        with pytest.raises(Misuse):
            parse_policy(text, "full.yaml")
        return
    policy = parse_policy(text, "full.yaml")
    assert policy.otherwise == "deny"
    assert [rule.then for rule in policy.rules] == ["escalate"]


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
