"""The one path of every step: look (done by the run), judge, plan, perform, settle.

`walk` is a generator without I/O: it yields what it needs done (`holdfast.engine.commands`) and
gets the answers sent back. The host drives it, awaiting for asynchronous code, blocking for code
that is not: the decisions stand here once.
"""

from __future__ import annotations

from holdfast.engine.asking import amend, approval, approved, denied, question, said_no
from holdfast.engine.commands import (
    Append,
    Await,
    Done,
    Look,
    Path,
    Perform,
    Terms,
    draft,
    settle,
)
from holdfast.engine.held import LEAVES
from holdfast.engine.history import Step
from holdfast.engine.hold import hold
from holdfast.engine.ruling import (
    denied_by_now,
    happened,
    judged_by,
    known_verdict,
    once_more,
    refuse,
    ruled,
    stands,
)
from holdfast.engine.run import Pending, Run
from holdfast.engine.seeing import handed
from holdfast.gate import Verdict
from holdfast.journal.events import Draft, Failure, Plan, RunStarted, Status, StepPlanned
from holdfast.journal.store import Batch
from holdfast.journal.views import CHILD
from holdfast.values import limits
from holdfast.values.canon import digest, pack
from holdfast.world import EMPTY


def walk(run: Run, pending: Pending, settings: Terms) -> Path:
    """The path of one step that history does not answer. Ends when its outcome is committed."""
    step = run.history.step(pending.key)
    if pending.plan.kind in ("publish", "transaction"):  # what they bring about is judged itself
        yield from settle(run, pending, settings, step, (yield Perform(1)))
        return
    reused = _reusable(run, pending, step)
    if reused is not None:
        yield from settle(run, pending, settings, step, _from_donor(reused), origin="fork")
        return
    verdict: Verdict | None = None
    if step.given is not None or step.edited is not None:
        amend(run, pending, step)
    if said_no(step) and step.planned is None:  # whatever the policy says by now
        yield from denied(run, pending, settings, step)
        return
    # INVARIANT E93: time passes without leave: a wait that was refused would be a loop without one
    while step.planned is None and pending.plan.kind != "wait":
        verdict = yield from ruled(run, pending, settings, step)
        if verdict.decision == "deny":
            yield from refuse(run, pending, settings, step, verdict)
            return
        if verdict.decision != "escalate" or pending.hold:
            break
        said = yield from approval(run, pending, settings, step, verdict)
        if said == "no":
            return
        if said == "changed":
            continue
        if said == "yes":
            if judged_by(verdict, settings) and not settings.switches.thrown:
                verdict = None  # stands in the question that was asked
                break
            # INVARIANT E114: a yes counts under the policy it was asked under, and while nobody has
            # stopped the action: else it is judged again
            verdict = yield from ruled(run, pending, settings, step)
            if verdict.decision == "deny":
                yield from refuse(run, pending, settings, step, verdict)
                return
            if verdict.decision == "escalate":
                if not approved(run, pending, settings, step, verdict):
                    continue
                verdict = None
        break
    if pending.hold:
        yield from hold(run, pending, settings, step, verdict)
        return
    match pending.plan.kind:
        case "tool" | "model" | "merge":
            yield from _tool(run, pending, settings, step, verdict)
        case "ask":
            yield from question(run, pending, settings, step)
        case "signal":
            yield from _signal(run, pending, settings, step, verdict)
        case "wait":
            yield Await("timer", pending.due)
            yield from settle(run, pending, settings, step, Done())
        case "spawn":
            yield from _spawn(run, pending, settings, step, verdict)
        case kind:
            raise AssertionError(f"no such kind of step: {kind}")


def abandon(run: Run, pending: Pending, settings: Terms) -> Path:
    """The program dropped a step before its outcome was known: record that if anything was recorded
    of it. What may have happened is said to be unknown."""
    step = run.history.step(pending.key)
    if step.planned is not None or step.asked is not None:
        planned = step.planned is not None and not step.planned.held
        may_have = planned and pending.plan.effect == "once"
        done = Done(error=Failure("CancelledError", "cancelled by the program while it waited"))
        status: Status | None = "unknown" if may_have else None
        yield from settle(run, pending, settings, step, done, status=status)
    else:
        run.pending.pop(pending.key, None)


def _tool(run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict | None) -> Path:
    """Plan if the effect leaves the world, perform with retries, settle."""
    leaves = pending.plan.effect in LEAVES
    attempt = step.planned.attempt if step.planned else 1
    known, may_have = verdict or known_verdict(step), False
    if step.planned is not None:
        may_have = leaves and (attempt > 2 or happened(step.planned.failed))
        if step.planned.due > settings.now_ms():
            yield Await("timer", step.planned.due)  # a retry that had not begun
        elif "once" in (pending.plan.effect, step.planned.plan.effect):
            known = yield from once_more(
                run, pending, settings, step, "the process ended meanwhile"
            )
            if known is None:
                return
            attempt, may_have = attempt + 1, False
        else:
            may_have = leaves
    elif leaves:
        body = StepPlanned(
            pending.key, pending.plan, 1, verdict=verdict, branch=pending.branch, of=pending.about
        )
        yield Append([draft(run, pending, settings, body, args=step.args is None)], pending.blobs)
        verdict = None
    while True:
        if not stands(known, settings):
            stopped = yield from denied_by_now(run, pending, settings, known)
            if stopped is not None:
                yield from refuse(run, pending, settings, step, stopped, may_have=may_have)
                return
        done: Done = yield Perform(attempt)
        if done.open:
            text = done.error.text if done.error else "the call was interrupted"
            known = yield from once_more(run, pending, settings, step, text)
            if known is None:
                return
            attempt, may_have = attempt + 1, False
            continue
        if not (done.error and done.error.retryable and _may_retry(pending, attempt)):
            yield from settle(run, pending, settings, step, done, verdict=verdict, attempt=attempt)
            return
        assert pending.tool is not None
        may_have = may_have or (leaves and happened(done.error))
        due = settings.now_ms() + int(pending.tool.backoff * 2 ** min(attempt - 1, 20) * 1000)
        attempt += 1
        body = StepPlanned(
            pending.key, pending.plan, attempt, verdict=verdict, failed=done.error, due=due,
            branch=pending.branch, of=pending.about,
        )  # fmt: skip
        yield Append([draft(run, pending, settings, body, args=step.args is None)], pending.blobs)
        verdict = None
        yield Await("timer", due)


def _may_retry(pending: Pending, attempt: int) -> bool:
    return pending.tool is not None and attempt <= pending.tool.retries


def _signal(
    run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict | None
) -> Path:
    """Wait for the oldest signal of a name that no other step has consumed."""
    name = str(pending.bound["name"])
    found = run.history.pending_signals(name)
    if not found and step.planned is None:
        body = StepPlanned(pending.key, Plan(name, "signal", "read"), verdict=verdict)
        yield Append([draft(run, pending, settings, body, args=True)], pending.blobs)
        verdict = None
    while not (found := run.history.pending_signals(name)):
        if not (name.startswith(CHILD) and run.history.started and run.history.started.fork_of):
            yield Await("signal")
            continue
        # the news of a child goes to the run that spawned it; a fork of that looks for itself
        news: bytes | None = yield Look(name.removeprefix(CHILD))
        if news:
            done = Done(value=news)
            yield from settle(run, pending, settings, step, done, verdict=verdict)
            return
        due = 0
        if news is None:  # somebody else's child, and it goes on
            attempt = step.planned.attempt + 1 if step.planned else 1
            wait = limits.CHILD_LOOK_MS * 2 ** min(attempt, 6)
            due = settings.now_ms() + wait
            body = StepPlanned(pending.key, Plan(name, "signal", "read"), attempt, due=due)
            yield Append([draft(run, pending, settings, body)], {})
        yield Await("signal", due)
    signal = found[0]
    run.history.consumed.add(signal.pos)
    yield from settle(
        run, pending, settings, step, Done(value=signal.value), verdict=verdict, cause=signal.pos
    )


def _spawn(
    run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict | None
) -> Path:
    """Start a child run: its first event and this step's outcome are one append."""
    child, bound = pending.child, pending.bound
    name = child_name(run.id, run.history.segment, pending.key)
    blobs = dict(pending.blobs)
    root, mine = run.root_of(pending.branch), run.history.started
    holds = bool(bound.get("holds") or pending.branch or (mine is not None and mine.holds))
    started = RunStarted(
        child.name, ref=run.outer.ref_of(child), role=child.role, parent=run.id,
        parent_key=pending.key, policy=settings.policy.hash, code=child.code, holds=holds,
        by=mine.by if mine is not None else "",
        label=handed(run, settings.policy, bound["args"]),
    )  # fmt: skip
    draft = Draft(started, settings.now_ms(), world=root, args=pack(bound["args"], blobs))
    found = {"run": name, "world": root, "holds": holds}
    done = Done(value=pack(found, blobs), blobs=blobs)
    batch = Batch(name, (draft,), expect=-1, lease=run.outer.owner)
    yield from settle(run, pending, settings, step, done, verdict=verdict, others=(batch,))


def child_name(parent: str, segment: int, key: str) -> str:
    """The id of the run that step ``key`` of ``parent`` spawns: the same on every attempt. Families
    too deep for a readable name get a short one."""
    place = key.replace(".", "-")
    name = f"{parent}.{place}" if segment == 1 else f"{parent}.s{segment}-{place}"
    return name if len(name) <= 64 else digest(name.encode())[:20]


def _reusable(run: Run, pending: Pending, step: Step) -> Step | None:
    """INVARIANT E7: in a fork, a step whose action and world are unchanged keeps its outcome."""
    if run.donor is None or step.planned is not None or step.asked is not None:
        return None
    old = run.donor.steps.get(pending.key)
    if old is None or old.settled is None or old.settled.status != "value" or old.plan is None:
        return None
    if (old.plan.kind, old.plan.name) != (pending.plan.kind, pending.plan.name):
        return None
    if old.args != pending.args or old.settled.inline != pending.inline:
        return None
    if old.settled.origin == "preview" or (
        pending.hold and pending.plan.effect in LEAVES and not pending.changes
    ):
        return None  # it did not happen; or it holds, and is judged first
    saw_world = old.settled.looked or pending.changes or old.plan.kind == "spawn"
    before = old.settled.saw or old.world_before or EMPTY
    return None if saw_world and before != run.root_of(pending.branch) else old


def _from_donor(old: Step) -> Done:
    world = old.world_after if old.world_after != old.world_before else ""
    looked = old.settled is not None and old.settled.looked
    return Done(value=old.value, world=world, looked=looked)
