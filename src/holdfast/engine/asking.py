"""Asking people: may it happen, the agent's own questions, and did it happen."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from holdfast.engine.commands import (
    Append,
    Await,
    Command,
    Done,
    Path,
    Perform,
    Terms,
    action_digest,
    draft,
    settle,
    too_long,
)
from holdfast.engine.history import Step
from holdfast.engine.run import Pending, Run
from holdfast.gate import Verdict
from holdfast.journal.events import ApprovalAsked, Failure, StepPlanned
from holdfast.values.canon import digest, unpack
from holdfast.values.errors import Misuse

Asked = Generator[Command, Any, bool]


def approval(run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict) -> Asked:
    """Ask a person whether it may happen; True if so.

    INVARIANT E10: what was approved is what happens: if agent, tool, arguments, policy or world are
    others than when the person was asked, the person is asked again.
    """
    while True:
        bound_to = action_digest(run, pending, verdict)
        if step.asked is None or step.asked.digest != bound_to:
            may = f" {' or '.join(verdict.approvers)} may answer." if verdict.approvers else ""
            again = " Something changed since you were asked." if step.asked is not None else ""
            who = pending.of.agent if pending.of is not None else run.program.name
            name = f"{who} {pending.plan.name}({shown(pending)})"
            text = f"May {name}? {verdict.reason}{may}{again}".strip()
            body = ApprovalAsked(
                pending.key, "action", text, bound_to,
                plan=pending.plan, verdict=verdict,
            )  # fmt: skip
            first = step.args is None
            drafts = [draft(run, pending, settings, body, args=first)]
            yield Append(drafts, pending.blobs if first else {})
        if step.given is None:
            yield Await("person")
        given = step.given
        assert given is not None
        if given.decision != "approve":
            break
        if action_digest(run, pending, verdict) == bound_to:
            return True
    note = f": {given.note}" if given.note else ""
    failure = Failure("Refused", f"{pending.plan.name}: refused by {given.by}{note}")
    yield from settle(
        run, pending, settings, step, Done(error=failure), status="refused", origin="person"
    )
    return False


def shown(pending: Pending) -> str:
    """Arguments for people, each and all cut where they are long."""
    parts = [f"{name}={value!r}" for name, value in pending.bound.items()]
    text = ", ".join(part if len(part) <= 120 else part[:117] + "..." for part in parts)
    return text if len(text) <= 600 else text[:597] + "..."


def question(run: Run, pending: Pending, settings: Terms, step: Step) -> Path:
    """A question of the agent's to a person, asked again while the answer does not fit."""
    bound, trouble = pending.bound, ""
    while True:
        if step.asked is None or trouble:
            text = too_long(str(bound.get("text", "")) + trouble)
            body = ApprovalAsked(
                pending.key, "question", text,
                digest(f"{action_digest(run, pending, None)} {trouble}".encode()),
                plan=pending.plan, choices=tuple(bound.get("choices") or ()),
            )  # fmt: skip
            first = step.args is None
            drafts = [draft(run, pending, settings, body, args=first)]
            yield Append(drafts, pending.blobs if first else {})
        if step.given is None:
            yield Await("person")
        given, value = step.given, step.given_value or b"null"
        assert given is not None
        if given.decision == "deny":
            note = f": {given.note}" if given.note else ""
            failure = Failure("Refused", f"{given.by} declined to answer{note}")
            done = Done(error=failure)
            yield from settle(run, pending, settings, step, done, status="refused", origin="person")
            return
        trouble = _misfit(run, pending, value)
        if not trouble:
            yield from settle(run, pending, settings, step, Done(value=value), origin="person")
            return


def _misfit(run: Run, pending: Pending, value: bytes) -> str:
    """Why an answer is not of the type that the agent asked for; "" if it is."""
    if pending.check is None:
        return ""
    try:
        pending.check(unpack(value, run.outer.fetch))
    except Misuse as error:
        return f" (The last answer did not fit: {error})"
    return ""


def unknown(run: Run, pending: Pending, settings: Terms, step: Step, why: str) -> Asked:
    """An outcome is open: ask the tool's own look-up, else a person. True: perform it (again), and
    that intent is recorded as a new attempt."""
    attempt = step.planned.attempt if step.planned else 1
    done = Done(error=Failure("OutcomeUnknown", why))
    if pending.tool is not None and pending.tool.reconcile is not None:
        done = yield Perform(attempt, reconcile=True)
        if done.not_done:
            yield _plan_again(run, pending, settings, attempt, why)
            return True
        if done.error is None and not done.open:
            yield from settle(run, pending, settings, step, done, origin="reconcile")
            return False
    if step.asked is None or step.asked.about != "unknown":
        looked = pending.tool is not None and pending.tool.reconcile is not None
        failed = f" (its look-up failed: {done.error.text})" if done.error and looked else ""
        text = (
            f"Did {pending.plan.name}({shown(pending)}) happen? {why}{failed}. Approve: it did "
            "not, do it now. Answer: it did, with this result. Deny: leave it unknown."
        )
        body = ApprovalAsked(
            pending.key, "unknown", text,
            digest(f"{action_digest(run, pending, None)} {attempt}".encode()), plan=pending.plan,
        )  # fmt: skip
        yield Append([draft(run, pending, settings, body)], {})
    if step.given is None:
        yield Await("person")
    given = step.given
    assert given is not None
    if given.decision == "approve":
        yield _plan_again(run, pending, settings, attempt, why)
        return True
    if given.decision == "answer":
        done = Done(value=step.given_value or b"null")
        yield from settle(run, pending, settings, step, done, origin="person")
    else:
        text = f"{pending.plan.name}: nobody knows whether it happened ({why})"
        done = Done(error=Failure("OutcomeUnknown", text))
        yield from settle(run, pending, settings, step, done, status="unknown", origin="person")
    return False


def _plan_again(run: Run, pending: Pending, settings: Terms, attempt: int, why: str) -> Append:
    failed = Failure("OutcomeUnknown", why)
    body = StepPlanned(
        pending.key, pending.plan, attempt + 1, failed=failed, branch=pending.branch,
        of=pending.about,
    )  # fmt: skip
    return Append([draft(run, pending, settings, body)], {})
