"""The judge: one proposal, one policy, one verdict. Pure and total; what is unclear is denied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from holdfast.gate.conditions import hold
from holdfast.gate.policy import Plan, Policy, Rule
from holdfast.gate.proposal import EFFECTS, KINDS, Proposal
from holdfast.gate.verdict import MALFORMED, OTHERWISE, STRICTNESS, Verdict
from holdfast.values import limits

_POLICY_DIGITS: Final = 12
_DENY: Final = STRICTNESS["deny"]

Match = tuple[int, int, Rule, str]
"""A rule that matched, in the order in which it decides: strictness (negated), 1 if it could not be
evaluated, the rule, and why it could not be evaluated."""


def judge(proposal: Proposal, policy: Policy) -> Verdict:
    """The verdict of ``policy`` on ``proposal``. Never raises.

    All rules are evaluated and the strictest match decides; among equally strict ones the first in
    the file gives the reason. A rule that applies by its names but whose conditions cannot be
    evaluated counts as a deny. No match: the policy's ``otherwise``.
    """
    # INVARIANT G1: any proposal gets a verdict; what cannot be judged is denied
    try:
        names = (proposal.kind, proposal.tool, proposal.effect, proposal.role, proposal.agent)
        plan = policy.plans.get(names)
        if plan is None:
            plan = _plan(proposal, policy, names)
        args = cast(Any, proposal.args)  # nothing has checked it
        if type(args) is not dict and not isinstance(args, Mapping):
            return _malformed(policy, "its arguments are not a mapping")
        if isinstance(plan, Verdict):
            return plan
        return _weigh(plan, args, policy)
    except Exception as error:  # noqa: BLE001 - G1
        return _malformed(policy, f"it cannot be judged ({type(error).__name__})")


def _plan(proposal: Proposal, policy: Policy, names: tuple[str, ...]) -> Plan:
    """Apply the part of every rule that does not look at arguments, and remember the result."""
    # INVARIANT G6: a remembered plan depends on its five names only, so it changes no verdict
    problem = _problem(proposal, names)
    if problem:
        return _malformed(policy, problem)
    plan: Plan = tuple(
        rule
        for rule in policy.rules
        if all(test.match(getattr(proposal, name)) for name, test in rule.names)
    )
    if not any(rule.conditions for rule in plan):
        plan = _weigh(plan, {}, policy)
    if len(policy.plans) >= limits.GATE_MEMO_ENTRIES:
        policy.plans.clear()
    policy.plans[names] = plan
    return plan


def _problem(proposal: Proposal, names: tuple[Any, ...]) -> str:
    """Why ``proposal`` is not a proposal at all, or nothing."""
    if not all(isinstance(name, str) for name in names):
        return "agent, role, kind, tool and effect must be strings"
    if max(map(len, names)) > limits.PATTERN_INPUT_CHARS:
        return f"a name is longer than {limits.PATTERN_INPUT_CHARS:,} characters"
    if proposal.kind not in KINDS:
        return f"its kind {proposal.kind[:40]!r} is unknown"
    if proposal.effect not in EFFECTS:
        return f"its effect {proposal.effect[:40]!r} is unknown"
    return ""


def _malformed(policy: Policy, why: str) -> Verdict:
    return Verdict(
        "deny", (MALFORMED,), f"the proposal is malformed: {why}", "", policy.hash[:_POLICY_DIGITS]
    )


def _weigh(rules: tuple[Rule, ...], args: Any, policy: Policy) -> Verdict:
    # INVARIANT G2: every rule is evaluated and the strictest match wins, in any order
    matched: list[Match] = []
    for rule in rules:
        holds = hold(rule.conditions, args) if rule.conditions else True
        if holds is True:
            matched.append((-STRICTNESS[rule.then], 0, rule, ""))
        elif holds is not False:
            # INVARIANT G3: a rule that cannot be evaluated denies, also if it was to allow
            matched.append((-_DENY, 1, rule, holds))
    if not matched:
        return _otherwise(policy)
    matched.sort(key=_rank)
    strictness, _, rule, unclear = matched[0]
    ids = tuple(match[2].id for match in matched)
    digits = policy.hash[:_POLICY_DIGITS]
    if unclear:
        reason = f"rule {rule.id!r} cannot be evaluated: {unclear}"
        return Verdict("deny", ids, reason, rule.way, digits)
    reason = rule.reason or _REASONS[rule.then].format(rule=rule.id)
    if -strictness != STRICTNESS["escalate"]:
        return Verdict(rule.then, ids, reason, rule.way, digits)
    approvers = _approvers(match[2] for match in matched)
    if approvers is None:
        reason = f"rules {' and '.join(_escalating(matched))} name no approver in common"
        return Verdict("deny", ids, reason, rule.way, digits)
    return Verdict("escalate", ids, reason, rule.way, digits, approvers)


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
    return [repr(match[2].id) for match in matched if match[2].approvers]


def _otherwise(policy: Policy) -> Verdict:
    reason = {
        "allow": "",
        "escalate": f"no rule of policy {policy.name!r} covers this, so a person decides",
    }.get(policy.otherwise, f"no rule of policy {policy.name!r} allows this")
    return Verdict(policy.otherwise, (OTHERWISE,), reason, "", policy.hash[:_POLICY_DIGITS])
