"""Asking people: may it happen, the agent's own questions, and did it happen."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

import msgspec
from pydantic import ValidationError

from holdfast.engine.commands import (
    Append,
    Await,
    Command,
    Done,
    Path,
    Perform,
    Terms,
    action_digest,
    cost_digest,
    draft,
    plain_args,
    settle,
    too_long,
)
from holdfast.engine.held import LEAVES
from holdfast.engine.history import Step
from holdfast.engine.run import Pending, Run
from holdfast.engine.steps import holds, plan_of
from holdfast.gate import Verdict
from holdfast.gate.approvers import Asking, resolve
from holdfast.gate.context import target_of
from holdfast.gate.verdict import ANSWERED
from holdfast.journal.events import ApprovalAsked, Failure, StepPlanned
from holdfast.journal.quorum import may, met, missing
from holdfast.values.canon import Blobs, digest, unpack
from holdfast.values.errors import Misuse
from holdfast.values.masking import named

CHANGED = "The world has changed since you were asked: what was said then counts no more."
"""What people read when only the world made them be asked again."""

Asked = Generator[Command, Any, bool]
Said = Generator[Command, Any, Literal["yes", "no", "changed", "edited"]]


def approval(run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict) -> Said:
    """Ask people whether it may happen. "yes": it may. "no": it may not, and that is its recorded
    outcome. "changed": a person gave it other arguments, which must be judged. "edited": with
    those, it may.

    INVARIANT E10: what was approved is what happens: if agent, tool, arguments, policy or world are
    others than when people were asked, they are asked again.
    """
    trouble = amend(run, pending, step)
    while True:
        bound_to, given = action_digest(run, pending, verdict), step.given
        editor = given.by if given is not None and given.decision == "edit" else ""
        if step.cleared == bound_to:
            return "yes"  # it was allowed, and since then only its cost was asked about
        if editor or step.asked is None or step.asked.digest != bound_to:
            asking = _whom(run, pending, settings, verdict)
            if asking.nobody:
                never = msgspec.structs.replace(verdict, decision="deny", reason=asking.nobody)
                text = f"{pending.plan.name}: nobody may approve this: {asking.nobody}"
                yield from _end(run, pending, settings, step, "refused", text, verdict=never)
                return "no"
            approved = _so_far(run, pending, step, verdict, asking, trouble=trouble)
            if editor and not trouble and met(asking.panels, approved):
                return "edited"
            yield _ask(run, pending, settings, step, verdict, (asking, approved, trouble, bound_to))
            trouble = ""
        while (given := step.given) is None:
            assert step.asked is not None
            expires = step.asked.expires
            # INVARIANT E66: a question expires when its run sees that its time is over; from then
            # on that is its recorded outcome, whatever a clock says later
            if expires and settings.now_ms() >= expires:
                text = f"{pending.plan.name}: expired: {_silence(step)}"
                yield from _end(run, pending, settings, step, "expired", text)
                return "no"
            yield Await("person", expires)
        if given.decision == "edit":
            trouble = amend(run, pending, step)
            if not trouble:
                return "changed"
        elif given.decision != "approve":
            yield from denied(run, pending, settings, step)
            return "no"
        elif action_digest(run, pending, verdict) == bound_to:
            return "yes"


def said_no(step: Step) -> bool:
    """Whether a person refused the action of a step."""
    given, asked = step.given, step.asked
    return (
        given is not None
        and given.decision == "deny"
        and asked is not None
        and (asked.about == "action")
    )


def denied(run: Run, pending: Pending, settings: Terms, step: Step) -> Path:
    """Settle a step that a person refused."""
    given, asked = step.given, step.asked
    assert given is not None
    note = f": {given.note}" if given.note else ""
    way = f"; {asked.verdict.way}" if asked and asked.verdict and asked.verdict.way else ""
    text = f"{pending.plan.name}: refused by {given.by}{note}{way}"
    yield from _end(run, pending, settings, step, "refused", text)


def _so_far(
    run: Run, pending: Pending, step: Step, verdict: Verdict, asking: Asking, *, trouble: str
) -> tuple[str, ...]:
    """Whose approval stands when a question is asked again because of an edit."""
    given, asked = step.given, step.asked
    if given is None or given.decision != "edit" or asked is None:
        return ()
    if action_digest(run, pending, verdict, step.edited or step.args) != asked.digest:
        return ()  # something else changed too, so nobody has seen what it is now
    if trouble:
        return step.approved
    # INVARIANT E65: whoever changes an action approves what they made of it, as far as they may
    # approve that; approvals of what it was count no more, and others must still give theirs
    return (given.by,) if may(asking.panels, asking.barred, given.by) else ()


def _whom(run: Run, pending: Pending, settings: Terms, verdict: Verdict) -> Asking:
    """Who may approve an action, under the policy that asks for it."""
    started, policy = run.history.started, settings.policy
    agent = pending.of.agent if pending.of is not None else run.program.name
    card = policy.agent(agent)
    owner, starter = card.owner if card else "", started.by if started else ""
    return resolve(
        verdict.approvers, policy.routes, agents=dict.fromkeys((agent, run.program.name)),
        owner=owner, starter=starter, now=settings.now_ms(),
    )  # fmt: skip


def _ask(
    run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict,
    how: tuple[Asking, tuple[str, ...], str, str],
) -> Append:  # fmt: skip
    """Ask: of whom, who approved already, what was wrong with the last answer, bound to what."""
    asking, approved, trouble, bound_to = how
    may_answer = missing(asking.panels, approved)
    parts = [verdict.reason, f"To approve: {may_answer}." if may_answer else ""]
    if pending.edited:
        parts.append(f"{pending.edited} changed it.")
    elif step.asked is not None and not trouble:
        same = step.asked.verdict is not None and step.asked.verdict.policy == verdict.policy
        what = "The world, or the tool," if same else "Something"
        parts.append(f"{what} has changed since you were asked: what was said then counts no more.")
    who = pending.of.agent if pending.of is not None else run.program.name
    parts.append(trouble)
    text = f"May {who} {pending.plan.name}({shown(pending)})? {' '.join(filter(None, parts))}"
    first = step.args is None
    body = ApprovalAsked(
        pending.key, "action", text.strip(), bound_to, plan=pending.plan, verdict=verdict,
        expires=asking.expires, needs=asking.needs, panels=asking.panels, barred=asking.barred,
        edited=pending.edited, approved=approved,
    )  # fmt: skip
    asked = draft(run, pending, settings, body, args=first,
                  value=pending.args if pending.edited else None)  # fmt: skip
    return Append([asked], pending.blobs if first or pending.edited else {})


def asked_again(run: Run, pending: Pending, settings: Terms, step: Step) -> Append | None:
    """The question of a step that nobody waits for, asked about the world that there is now; None
    if it counts as it stands, or cannot count any more."""
    asked, given = step.asked, step.given
    if asked is None or asked.about not in ("action", "budget") or asked.verdict is None:
        return None
    if step.planned is not None or step.settled is not None:
        return None
    if given is not None and given.decision != "approve":
        return None
    bound_to = action_digest(run, pending, asked.verdict, step.edited or step.args)
    if asked.about == "budget":
        bound_to = cost_digest(asked.verdict, bound_to)
    if bound_to == asked.digest:
        return None
    text = asked.text.removesuffix(CHANGED).rstrip()
    body = msgspec.structs.replace(
        asked, digest=bound_to, text=f"{text} {CHANGED}", approved=(),
        verdict=msgspec.structs.replace(asked.verdict, checked=()),  # of the world as it was
    )  # fmt: skip
    edited = step.edited if asked.about == "action" else None
    return Append([draft(run, pending, settings, body, value=edited)], {})


def amend(run: Run, pending: Pending, step: Step) -> str:
    """Put the arguments that a person gave an action in place of those that its program asked with;
    why that cannot be, as a sentence for whoever gave them, "" if all is well."""
    given, trouble = step.given, ""
    if given is not None and given.decision == "edit":
        trouble = _put(run, pending, given.by, step.given_value or b"null")
        if not trouble:
            return ""
    if step.edited is not None:
        by = step.asked.edited if step.asked is not None else ""
        _put(run, pending, by or "a person", step.edited)
    return trouble


def _put(run: Run, pending: Pending, by: str, skeleton: bytes) -> str:
    tool = pending.tool
    if tool is None or pending.plan.kind != "tool":
        return f"(Only the arguments of tools can be changed, this is a {pending.plan.kind}.)"
    try:
        plain = unpack(skeleton, run.outer.fetch)
        if not isinstance(plain, dict):
            raise Misuse("arguments are names with values")
        bound = tool.unpack_args(plain)
    except Misuse as error:
        return f"(The arguments that {by} gave do not fit: {error})"
    except ValidationError as error:  # of one argument that is not bound by name
        problem = error.errors(include_url=False, include_context=False)[0]["msg"]
        return f"(The arguments that {by} gave do not fit: {problem})"
    plan = plan_of(run, tool, bound)
    blobs: Blobs = {}
    if plan.effect in LEAVES and pending.plan.effect not in LEAVES and holds(run, pending):
        # INVARIANT E111: no edit makes a held step one that leaves the world: what is held is kept
        # with the arguments that its program gave, so nobody would see these when publishing it
        return f"(With the arguments that {by} gave it leaves the world, which is held here.)"
    if plan.effect in LEAVES and pending.around is not None:
        try:
            pending.around.add(pending)  # it is undone with the others
        except Misuse as error:
            return f"({error})"
    pending.args = tool.pack_args(bound, blobs)
    pending.bound, pending.blobs, pending.edited = bound, {**pending.blobs, **blobs}, by
    pending.plan = plan
    return ""


def refused_before(run: Run, pending: Pending, settings: Terms, verdict: Verdict) -> Verdict:
    """The verdict, or a denial that cites the answer, if a person refused an action of this class
    in this run: the same tool with the same target or, if the policy names no target of the tool,
    with the same arguments."""
    # INVARIANT E67: what a person refused is not asked again, and no policy's allowing it counts
    name = pending.plan.name
    facts = settings.policy.tool(name)
    # in the one form that it has in facts, of the plain arguments: what is recorded of old ones
    mine = target_of(plain_args(run, pending), facts) if facts.target else ""
    for old in run.history.refusals:
        if old.plan is None or (old.plan.kind, old.plan.name) != (pending.plan.kind, name):
            continue
        given = old.given
        assert given is not None
        asked_with = [one for one in (old.args, old.edited) if one is not None]
        if mine:
            same = any(target_of(_plain(run, one), facts) == mine for one in asked_with)
        else:
            same = pending.args in asked_with
        if same:
            note = f": {given.note}" if given.note else ""
            what = f" with the same {facts.target}" if mine else " with the same arguments"
            reason = f"{given.by} refused {name}{what} at step {old.key}{note}"
            return msgspec.structs.replace(
                verdict, decision="deny", rules=(ANSWERED, *verdict.rules), reason=reason,
                way=verdict.way or "ask for something else, or let a person change that answer",
            )  # fmt: skip
    return verdict


def _plain(run: Run, skeleton: bytes) -> dict[str, Any]:
    plain = unpack(skeleton, run.outer.fetch)
    return plain if isinstance(plain, dict) else {}


def _silence(step: Step) -> str:
    """Who did not answer."""
    asked = step.asked
    if asked is None or not step.approved:
        return "nobody answered in time"
    return f"{', '.join(step.approved)} approved, {missing(asked.panels, step.approved)} did not"


def _end(
    run: Run, pending: Pending, settings: Terms, step: Step,
    status: Literal["refused", "expired"], text: str, *, verdict: Verdict | None = None,
) -> Path:  # fmt: skip
    """Settle a step that people did not let happen. Who is refused by a person is told so."""
    done = Done(error=Failure("Refused" if status == "refused" else "Expired", too_long(text)))
    yield from settle(
        run, pending, settings, step, done, status=status, verdict=verdict,
        origin="" if verdict is not None else "person",
    )  # fmt: skip


def shown(pending: Pending) -> str:
    """Arguments for people, each and all cut where they are long, credentials masked."""
    # INVARIANT E90: what is asked leaves for chats, and stands in a body that nobody can erase
    parts = [named(name, value) for name, value in pending.bound.items()]
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
                barred=_itself(run),
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


def _itself(run: Run) -> tuple[str, ...]:
    """Names that an agent could answer its own questions under."""
    return resolve((), {}, agents=(run.program.name,), owner="", starter="", now=0).barred


def _misfit(run: Run, pending: Pending, value: bytes) -> str:
    """Why an answer is not of the type that the agent asked for; "" if it is."""
    if pending.check is None:
        return ""
    try:
        pending.check(unpack(value, run.outer.fetch))
    except Misuse as error:
        return f" (The last answer did not fit: {error})"
    return ""


def approved(run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict) -> bool:
    """Whether those who must approve what ``verdict`` asks for have done so, under its policy."""
    asked, given = step.asked, step.given
    if asked is None or given is None or given.decision not in ("approve", "edit"):
        return step.cleared == action_digest(run, pending, verdict)
    if asked.about == "action":
        return asked.verdict is not None and asked.verdict.policy == verdict.policy
    if asked.about == "unknown":
        whom = _whom(run, pending, settings, verdict)
        return (asked.panels, asked.barred) == (whom.panels, whom.barred)
    return step.cleared == action_digest(run, pending, verdict)


def _whom_again(
    run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict
) -> Asking:
    """Who may say that something that may have happened is performed again: never fewer or others
    than had to approve it."""
    asked = step.asked
    if verdict.decision == "escalate":
        return _whom(run, pending, settings, verdict)
    if asked is not None and asked.about in ("action", "unknown"):
        return Asking(asked.panels, asked.barred, asked.needs, 0, "")
    return resolve((), {}, agents=(run.program.name,), owner="", starter="", now=0)


def unknown(
    run: Run, pending: Pending, settings: Terms, step: Step, why: str, verdict: Verdict
) -> Asked:
    """An outcome is open: ask the tool's own look-up, else a person. True: it did not happen, and
    may be performed (again), for all that ``verdict`` asks for."""
    attempt = step.planned.attempt if step.planned else 1
    done = Done(error=Failure("OutcomeUnknown", why))
    if pending.tool is not None and pending.tool.reconcile is not None:
        stopped = verdict.decision == "deny"  # then nothing of the tool is called
        done = done if stopped else (yield Perform(attempt, reconcile=True))
        if done.not_done and (
            verdict.decision != "escalate" or approved(run, pending, settings, step, verdict)
        ):
            return True
        if done.error is None and not done.open and not done.not_done:
            yield from settle(run, pending, settings, step, done, origin="reconcile")
            return False
    asking, asked = _whom_again(run, pending, settings, step, verdict), step.asked
    if asking.nobody:
        text = f"{pending.plan.name}: nobody knows whether it happened ({why}); {asking.nobody}"
        done = Done(error=Failure("OutcomeUnknown", text))
        yield from settle(run, pending, settings, step, done, status="unknown")
        return False
    same = asked is not None and (asked.panels, asked.barred) == (asking.panels, asking.barred)
    if asked is None or asked.about != "unknown" or not same:
        yield _ask_unknown(run, pending, settings, asking, f"{why}{_looked(pending, done)}")
    while (given := step.given) is None:
        yield Await("person")
    if given.decision == "approve":
        return True
    if given.decision == "answer":
        done = Done(value=step.given_value or b"null")
        yield from settle(run, pending, settings, step, done, origin="person")
    else:
        text = f"{pending.plan.name}: nobody knows whether it happened ({why})"
        done = Done(error=Failure("OutcomeUnknown", text))
        yield from settle(run, pending, settings, step, done, status="unknown", origin="person")
    return False


def _looked(pending: Pending, done: Done) -> str:
    """What a tool's own look-up said."""
    if done.not_done:
        return " (its look-up says that it did not)"
    looked = pending.tool is not None and pending.tool.reconcile is not None
    return f" (its look-up failed: {done.error.text})" if done.error and looked else ""


def _ask_unknown(run: Run, pending: Pending, settings: Terms, asking: Asking, why: str) -> Append:
    planned = run.history.step(pending.key).planned
    attempt = planned.attempt if planned else 1
    may_answer = missing(asking.panels, ())
    text = (
        f"Did {pending.plan.name}({shown(pending)}) happen? {why}. Approve: it did "
        "not, do it now. Answer: it did, with this result. Deny: leave it unknown."
        f"{f' To approve: {may_answer}.' if may_answer else ''}"
    )
    body = ApprovalAsked(
        pending.key, "unknown", text,
        digest(f"{action_digest(run, pending, None)} {attempt}".encode()), plan=pending.plan,
        needs=asking.needs, panels=asking.panels, barred=asking.barred,
    )  # fmt: skip
    return Append([draft(run, pending, settings, body)], {})


def plan_again(run: Run, pending: Pending, settings: Terms, why: str) -> Append:
    """Plan a new attempt at what did not happen after all."""
    planned = run.history.step(pending.key).planned
    body = StepPlanned(
        pending.key, pending.plan, (planned.attempt if planned else 1) + 1,
        failed=Failure("OutcomeUnknown", why), branch=pending.branch, of=pending.about,
    )  # fmt: skip
    return Append([draft(run, pending, settings, body)], {})
