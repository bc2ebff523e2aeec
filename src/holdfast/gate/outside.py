"""A policy engine outside, such as Open Policy Agent: what it is told, and what it may answer.

The documents are published as JSON Schema in docs/opa.md's folder; both engines speak of the same
action and the same facts. Whatever is not exactly an answer denies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from holdfast.gate.facts import Facts
from holdfast.gate.policy import Policy
from holdfast.gate.proposal import Proposal
from holdfast.gate.verdict import MALFORMED, OTHERWISE, STRICTNESS, Verdict
from holdfast.values import limits

OUTSIDE: Final = "outside"
"""Rule id of the denial of an action on which an engine outside gave no answer."""

Word = Literal["allow", "escalate", "deny"]


class Matched(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule that matched, as an engine outside tells it; see `Verdict` for the words."""

    id: str
    outcome: Word
    reason: str = ""
    way: str = ""
    approvers: tuple[str, ...] = ()


class Ruling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer of an engine outside: the strictest outcome, and every rule that matched."""

    outcome: Word
    rules: tuple[Matched, ...] = ()


class _Reply(msgspec.Struct, frozen=True):
    """What OPA's data API wraps an answer in; without ``result``, the document is undefined. What
    else stands there (metrics, a decision's id, warnings) is none of our business."""

    result: Ruling | None = None


_reply = msgspec.json.Decoder(_Reply)


def document(proposal: Proposal, facts: Facts, args: Mapping[str, Any]) -> dict[str, Any]:
    """What an engine outside is told: ``{"input": {"action": ..., "facts": ...}}``. All facts that
    were computed, defaults too, so that a rule never meets an undefined one."""
    action = {
        "agent": proposal.agent, "role": proposal.role, "kind": proposal.kind,
        "tool": proposal.tool, "effect": proposal.effect, "args": args,
    }  # fmt: skip
    told = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return {"input": {"action": action, "facts": told}}


def ruling(answer: bytes | str) -> Ruling | str:
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
    # INVARIANT E58: an answer whose outcome is weaker than one of its rules is no answer
    if any(STRICTNESS[one.outcome] > STRICTNESS[found.outcome] for one in found.rules):
        return "its answer contradicts itself: a rule is stricter than the outcome"
    if any(one.id in ("", MALFORMED, OTHERWISE) for one in found.rules):
        return "its answer has a rule with a reserved or empty id"
    if len(found.rules) > limits.POLICY_RULES:
        return f"its answer names {len(found.rules)} rules, at most {limits.POLICY_RULES} fit"
    return found


def stricter(verdict: Verdict, found: Ruling | str, policy: Policy) -> Verdict:
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
    joined = msgspec.structs.replace(
        verdict, decision=one.decision, rules=rules, reason=one.reason, way=one.way,
        approvers=one.approvers,
    )  # fmt: skip
    if one.decision != "escalate" or other.decision != "escalate" or not other.approvers:
        return joined
    both = tuple(name for name in one.approvers or other.approvers if name in other.approvers)
    if not both:
        return msgspec.structs.replace(
            joined, decision="deny", approvers=(),
            reason=f"{one.rules[0]} and {other.rules[0]} name no approver in common",
        )  # fmt: skip
    return msgspec.structs.replace(joined, approvers=both)


def _verdict(found: Ruling | str, policy: Policy) -> Verdict:
    digits = policy.hash[:12]
    if isinstance(found, str):
        return Verdict("deny", (OUTSIDE,), f"the policy engine outside did not decide: {found}",
                       "see that it runs, then try again", digits)  # fmt: skip
    ranked = sorted(found.rules, key=lambda one: -STRICTNESS[one.outcome])
    ids = tuple(one.id for one in ranked) or (OUTSIDE,)
    if not ranked or STRICTNESS[ranked[0].outcome] < STRICTNESS[found.outcome]:
        # its default is stricter than what matched: that decides, and has no rule
        return Verdict(found.outcome, (OUTSIDE, *(one for one in ids if one != OUTSIDE)),
                       "no rule of the policy engine outside allows this", "", digits)  # fmt: skip
    first = ranked[0]
    lists = [one.approvers for one in ranked if one.outcome == "escalate" and one.approvers]
    approvers = ()
    if found.outcome == "escalate" and lists:
        approvers = tuple(name for name in lists[0] if all(name in each for each in lists))
        if not approvers:
            return Verdict("deny", ids, "its rules name no approver in common", "", digits)
    return Verdict(found.outcome, ids, first.reason, first.way, digits, approvers)


class Action(msgspec.Struct, frozen=True):
    """The action, as an engine outside is told of it; see `Proposal`."""

    agent: str
    role: str
    kind: str
    tool: str
    effect: str
    args: dict[str, Any]


class Input(msgspec.Struct, frozen=True):
    """What an engine outside is told: ``input`` of its rules."""

    action: Action
    facts: Facts


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schemas of what an engine outside is told and may answer, by file name."""
    found = {"input": msgspec.json.schema(Input), "output": msgspec.json.schema(Ruling)}
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    facts = found["input"]["$defs"]["Facts"]
    facts["required"] = list(Facts.__struct_fields__)  # told in full, defaults too
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return {f"{name}.schema.json": draft | schema for name, schema in plain.items()}
