"""What a step is told before it is performed, first and again: the verdict, and what became of it
since. Generators as in `holdfast.engine.path`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from holdfast.engine.asking import approved, plan_again, refused_before, unknown
from holdfast.engine.checking import verify
from holdfast.engine.commands import Command, Consult, Done, Path, Terms, plain_args, settle
from holdfast.engine.history import Step
from holdfast.engine.knowing import know, needs
from holdfast.engine.run import Pending, Run
from holdfast.gate import Proposal, Verdict, judge, outside
from holdfast.gate.facts import NO_FACTS
from holdfast.journal.events import Failure

Judged = Generator[Command, Any, Verdict]
Maybe = Generator[Command, Any, Verdict | None]


def ruled(run: Run, pending: Pending, settings: Terms, step: Step) -> Judged:
    """The verdict on a step, with what persons refused before and what its checks found."""
    verdict = yield from _judge(run, pending, settings)
    if run.history.refusals:
        verdict = refused_before(run, pending, settings, verdict)
    # INVARIANT E113: that somebody is to be asked too switches no check off
    asks = verdict.decision == "escalate" and verdict.checks
    if (verdict.decision == "verify" or asks) and not pending.hold:
        verdict = yield from verify(run, pending, settings, step, verdict)
    return verdict


def judged_by(verdict: Verdict, settings: Terms) -> bool:
    """Whether a verdict is one of the policy that counts now."""
    return settings.policy.hash.startswith(verdict.policy)


def known_verdict(step: Step) -> Verdict | None:
    """The verdict that a step was allowed or asked about under, if it is at hand."""
    planned, asked = step.planned, step.asked
    if planned is not None and planned.verdict is not None:
        return planned.verdict
    return asked.verdict if asked is not None and asked.about == "action" else None


def stands(known: Verdict | None, settings: Terms) -> bool:
    """Whether nothing has come about since a verdict that could change it."""
    return known is not None and not settings.switches.thrown and judged_by(known, settings)


def denied_by_now(run: Run, pending: Pending, settings: Terms, known: Verdict | None) -> Maybe:
    """The denial of a step that was allowed, by ``known``, if by now it is denied.

    INVARIANT E115: nothing is performed, first or again, that a person stopped meanwhile, or that
    the policy denies by now.
    """
    if known is not None and judged_by(known, settings):
        now = settings.switches.overrule(_proposal(run, pending), known)
        return None if now is known else now
    verdict = yield from _judge(run, pending, settings)
    return verdict if verdict.decision == "deny" else None


def happened(failed: Failure | None) -> bool:
    """Whether what failed so, or nobody knows how, may have happened all the same."""
    return failed is None or failed.type != "Outside"


def refuse(
    run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict,
    *, may_have: bool = False,
) -> Path:  # fmt: skip
    """INVARIANT E4: a denied action is recorded, and never performed. ``may_have``: it was, before
    it was denied; then nobody says that it did not happen."""
    way = f"; {verdict.way}" if verdict.way else ""
    text = f"{pending.plan.name}: refused by {verdict.rules[0]}: {verdict.reason}{way}{_CHANGE}"
    if may_have:
        text = f"{text}; whether it happened before that, nobody knows"
    failure = Failure("OutcomeUnknown" if may_have else "Refused", text)
    yield from settle(
        run, pending, settings, step, Done(error=failure), verdict=verdict,
        status="unknown" if may_have else "refused",
    )  # fmt: skip


_CHANGE = " (a person may change that: the policy, or in a fork)"


def once_more(run: Run, pending: Pending, settings: Terms, step: Step, why: str) -> Maybe:
    """An outcome is open. The verdict that it may be performed again under, which is planned then;
    None if it may not: then it is settled.

    INVARIANT E6: an effect that may have happened is never performed again unasked. INVARIANT E116:
    nor by fewer or other people than must allow it, nor unjudged.
    """
    while True:
        verdict = yield from ruled(run, pending, settings, step)
        asks = step.asked is not None and step.asked.about == "unknown"
        if verdict.decision == "deny" and not asks:
            yield from refuse(run, pending, settings, step, verdict, may_have=True)
            return None
        if not (yield from unknown(run, pending, settings, step, why, verdict)):
            return None
        # a person or the tool's own look-up says that it did not happen
        now = yield from ruled(run, pending, settings, step)
        if now.decision == "deny":
            yield from refuse(run, pending, settings, step, now)
            return None
        if now.decision != "escalate" or approved(run, pending, settings, step, now):
            yield plan_again(run, pending, settings, why)
            return now


def _judge(run: Run, pending: Pending, settings: Terms) -> Judged:
    policy = settings.policy
    proposal = _proposal(run, pending)
    facts, need = NO_FACTS, needs(proposal, policy)
    if need:
        facts = yield from know(run, pending, proposal, policy, need)
    verdict = judge(proposal, policy, facts)
    if policy.engine is not None:
        # INVARIANT E54: an engine outside can make a verdict stricter, never weaker
        answer = yield Consult(
            policy.engine, outside.question(proposal, facts, plain_args(run, pending))
        )
        verdict = outside.stricter(verdict, outside.ruling(answer), policy)
    mine = run.history.started
    if mine is not None and mine.observes and verdict.decision != "allow":
        # INVARIANT E121: observing lets happen what rules forbid, never what a person stopped
        verdict = msgspec.structs.replace(verdict, decision="allow", observed=verdict.decision)
    if settings.switches.thrown:  # also rules that only the engine outside names can be stopped
        verdict = settings.switches.overrule(proposal, verdict)
    return verdict


def _proposal(run: Run, pending: Pending) -> Proposal:
    plan = pending.plan
    kind = "wait" if plan.kind == "signal" else plan.kind
    who = (run.program.name, run.program.role)
    if pending.of is not None:  # it is the action of whoever asked for it
        who = (pending.of.agent, pending.of.role)
    return Proposal(*who, kind, plan.name, plan.effect, pending.bound)
