"""The judge: one proposal, one policy, its facts, one verdict. Pure and total; what is unclear is
denied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast

import msgspec

from holdfast.gate.cel import FACTS, RULE, Scene
from holdfast.gate.facts import NO_FACTS, Facts
from holdfast.gate.policy import Plan, Policy, Rule
from holdfast.gate.proposal import Proposal
from holdfast.gate.verdict import MALFORMED, OTHERWISE, STRICTNESS, Verdict

_POLICY_DIGITS: Final = 12
_DENY: Final = STRICTNESS["deny"]


class Match(NamedTuple):
    """A rule that matched, in the order in which it decides: strictness (negated), then what could
    be evaluated before what could not; ``unclear`` says why not."""

    rank: int
    late: int
    rule: Rule
    unclear: str


def judge(proposal: Proposal, policy: Policy, facts: Facts = NO_FACTS) -> Verdict:
    """The verdict of ``policy`` on ``proposal``, given its ``facts``. Never raises.

    All rules are evaluated and the strictest match decides; among equally strict ones the first in
    the file gives the reason. A rule that applies by its names but whose condition cannot be
    evaluated counts as a deny. No match: the policy's ``otherwise``.
    """
    # INVARIANT G1: any proposal gets a verdict; what cannot be judged is denied
    try:
        plan = policy.plan(proposal)
        if plan.problem:
            return _malformed(policy, plan.problem)
        args = cast(Any, proposal.args)  # nothing has checked it
        if type(args) is not dict and not isinstance(args, Mapping):
            return _malformed(policy, "its arguments are not a mapping")
        verdict = plan.settled or weigh(plan, look(plan, proposal, facts), policy)
        if plan.settled is None and not plan.conditional:
            policy.remember(proposal, replace(plan, settled=verdict))
        if facts is NO_FACTS or not plan.needs:
            return verdict
        return msgspec.structs.replace(verdict, facts=msgspec.to_builtins(facts))
    except Exception as error:  # noqa: BLE001 - G1
        return _malformed(policy, f"it cannot be judged ({type(error).__name__})")


Seen = list[tuple[Rule, bool | str]]
"""Each rule that applies by its names, and whether its condition holds (a text: why not to tell).
"""


def look(plan: Plan, proposal: Proposal, facts: Facts, lost: str = "") -> Seen:
    """Evaluate the condition of every rule of ``plan``; ``lost``: a fact that nobody knows."""
    if not plan.conditional:
        return [(rule, True) for rule in plan.rules]
    values: dict[str, Any] = {
        "agent": proposal.agent, "role": plan.role, "kind": proposal.kind, "tool": proposal.tool,
        "effect": plan.effect,
    }  # fmt: skip
    for name in plan.uses:
        if name in FACTS and name != lost:
            value = getattr(facts, name)
            values[name] = float(value) if FACTS[name] == "double" else value
    scene = Scene(RULE, values, proposal.args, plan.args)
    return [
        (rule, True if rule.condition is None else scene.holds(rule.condition))
        for rule in plan.rules
    ]


def _malformed(policy: Policy, why: str) -> Verdict:
    return Verdict(
        "deny", (MALFORMED,), f"the proposal is malformed: {why}", "", policy.hash[:_POLICY_DIGITS]
    )


def weigh(plan: Plan, seen: Seen, policy: Policy) -> Verdict:
    """The verdict that follows from what each rule says."""
    # INVARIANT G2: every rule is evaluated and the strictest match wins, in any order
    matched: list[Match] = []
    for rule, holds in seen:
        if holds is True:
            matched.append(Match(-STRICTNESS[rule.then], 0, rule, ""))
        elif holds is not False:
            # INVARIANT G3: a rule that cannot be evaluated denies, also if it was to allow
            matched.append(Match(-_DENY, 1, rule, holds))
    matched.sort(key=_rank)
    ids = tuple(match.rule.id for match in matched)
    digits = policy.hash[:_POLICY_DIGITS]
    if plan.standing is not None:
        standing, reason, way = plan.standing
        return Verdict("deny", (standing, *ids), reason, way, digits)
    if not matched:
        return _otherwise(policy)
    rank, _, rule, unclear = matched[0]
    if unclear:
        reason = f"rule {rule.id!r} cannot be evaluated: {unclear}"
        return Verdict("deny", ids, reason, rule.way, digits)
    reason = rule.reason or _REASONS[rule.then].format(rule=rule.id)
    if -rank == _DENY:
        return Verdict("deny", ids, reason, rule.way, digits)
    checks = tuple(dict.fromkeys(name for match in matched for name in match.rule.checks))
    approvers = _approvers(match.rule for match in matched)
    if approvers is None:
        reason = f"rules {' and '.join(_escalating(matched))} name no approver in common"
        return Verdict("deny", ids, reason, rule.way, digits)
    return Verdict(rule.then, ids, reason, rule.way, digits, approvers, checks=checks)


_REASONS: Final = {
    "allow": "",
    "verify": "rule {rule!r} asks for checks first",
    "escalate": "rule {rule!r} asks for a person's approval",
    "deny": "rule {rule!r} denies this",
}


def _rank(match: Match) -> tuple[int, int]:
    return match[:2]  # sort is stable: the file's order breaks ties


def _approvers(rules: Iterable[Rule]) -> tuple[str, ...] | None:
    """Who stands in the list of every escalating rule that has one; None if nobody does."""
    # INVARIANT G7: one more escalating rule never adds somebody who may approve
    lists = [rule.approvers for rule in rules if rule.approvers]
    if not lists:
        return ()
    return tuple(name for name in lists[0] if all(name in each for each in lists)) or None


def _escalating(matched: list[Match]) -> list[str]:
    return [repr(match.rule.id) for match in matched if match.rule.approvers]


def _otherwise(policy: Policy) -> Verdict:
    reason = {
        "allow": "",
        "escalate": f"no rule of policy {policy.name!r} covers this, so a person decides",
    }.get(policy.otherwise, f"no rule of policy {policy.name!r} allows this")
    return Verdict(policy.otherwise, (OTHERWISE,), reason, "", policy.hash[:_POLICY_DIGITS])
