"""A policy engine outside, such as Open Policy Agent: what its answer means beside our own rules.

It is told an input document and answers an output document (`holdfast.gate.document`). Whatever is
not exactly an answer denies.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from holdfast.gate.document import Output, input_document
from holdfast.gate.facts import Facts
from holdfast.gate.policy import Policy
from holdfast.gate.proposal import Proposal
from holdfast.gate.verdict import OTHERWISE, STRICTNESS, Verdict
from holdfast.values import limits

OUTSIDE: Final = "outside"
"""Rule id of the denial of an action on which an engine outside gave no answer."""


class _Reply(msgspec.Struct, frozen=True):
    """What OPA's data API wraps an answer in; without ``result``, the document is undefined. What
    else stands there (metrics, a decision's id, warnings) is none of our business."""

    result: Output | None = None


_reply = msgspec.json.Decoder(_Reply)


def question(proposal: Proposal, facts: Facts, args: dict[str, Any]) -> dict[str, Any]:
    """What an engine outside is asked; ``args``: the arguments of the action, plain."""
    return {"input": input_document(proposal, facts, args)}


def ruling(answer: bytes | str) -> Output | str:
    """The answer of an engine outside, checked; a text says why there is none. An answer that comes
    as text says why it did not come."""
    if isinstance(answer, str):
        return answer
    try:
        found = _reply.decode(answer).result
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"its answer does not fit the schema: {str(error)[:200]}"
    if found is None:
        return "its answer is undefined: the document asked for does not exist, or has no default"
    # INVARIANT E58: an answer that does not say by which rule it decides, or says verify without a
    # check, is no answer
    if not found.rules or not all(found.rules) or len(found.rules) > limits.POLICY_RULES:
        return f"its answer names {len(found.rules)} rules, or one without a name"
    if found.decision == "verify" and not found.checks:
        return "its answer asks for checks and names none"
    return found


def stricter(verdict: Verdict, found: Output | str, policy: Policy) -> Verdict:
    """One verdict of both engines: the strictest wins, all rules that matched are kept. If the
    policy has no rules of its own, the engine outside decides alone."""
    theirs = _verdict(found, policy)
    if not policy.rules and verdict.rules == (OTHERWISE,):
        return msgspec.structs.replace(theirs, facts=verdict.facts)
    one, other = (
        (theirs, verdict)
        if STRICTNESS[theirs.decision] > STRICTNESS[verdict.decision]
        else (verdict, theirs)
    )
    rules = (*one.rules, *(rule for rule in other.rules if rule not in (OTHERWISE, *one.rules)))
    checks = tuple(dict.fromkeys((*one.checks, *other.checks)))
    joined = msgspec.structs.replace(
        verdict, decision=one.decision, rules=rules, reason=one.reason, way=one.way,
        approvers=one.approvers, checks=checks,
    )  # fmt: skip
    if not other.approvers or one.decision != "escalate" or other.decision != "escalate":
        return joined
    both = tuple(name for name in one.approvers or other.approvers if name in other.approvers)
    if both:
        return msgspec.structs.replace(joined, approvers=both)
    return msgspec.structs.replace(
        joined, decision="deny", approvers=(),
        reason=f"{one.rules[0]} and {other.rules[0]} name no approver in common",
    )  # fmt: skip


def _verdict(found: Output | str, policy: Policy) -> Verdict:
    digits = policy.hash[:12]
    if isinstance(found, str):
        return Verdict("deny", (OUTSIDE,), f"the policy engine outside did not decide: {found}",
                       "see that it runs, then try again", digits)  # fmt: skip
    reason = found.reason[: limits.POLICY_TEXT_CHARS]
    if not reason and found.decision != "allow":
        reason = f"the policy engine outside says {found.decision} by {found.rules[0]!r}"
    return Verdict(
        found.decision, found.rules, reason, found.way[: limits.POLICY_TEXT_CHARS], digits,
        found.approvers, checks=found.checks,
    )  # fmt: skip
