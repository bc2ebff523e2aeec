"""The path of an effect that is held: served from the record, previewed, or kept for publishing."""

from __future__ import annotations

from holdfast.engine.commands import Append, Await, Done, Path, Perform, Terms, draft, settle
from holdfast.engine.held import LEAVES, read_told
from holdfast.engine.history import Step
from holdfast.engine.run import Pending, Run
from holdfast.gate import Verdict
from holdfast.journal.events import Failure, StepPlanned
from holdfast.journal.views import PUBLISHED, place_of


def hold(run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict | None) -> Path:
    """INVARIANT E12: a step that holds performs nothing that leaves the world: its outcome is the
    recorded one of an identical action, the preview's, "held", or that of its publication."""
    tool = pending.tool
    assert tool is not None
    if pending.changes:
        # what it does out there and what it makes of this world cannot be told apart, and whoever
        # publishes it would perform it in another world
        text = (
            f"{tool.name}: leaves the world and changes it, which cannot be held in a fork: "
            "do it where nothing is held, or in a way that does not leave the world"
        )
        done = Done(error=Failure("Refused", text))
        yield from settle(run, pending, settings, step, done, verdict=verdict, status="refused")
        return
    if step.planned is None:
        old = _recorded(run, pending)
        if old is not None:
            of = f"{run.record_of}@{old.key}"
            done = Done(value=old.value)
            yield from settle(
                run, pending, settings, step, done, verdict=verdict, origin="fork", of=of
            )
            return
        if tool.preview is not None and pending.of is None:
            done = yield Perform(1, preview=True)
            yield from settle(run, pending, settings, step, done, verdict=verdict, origin="preview")
            return
        if tool.returns.exact is type(None) or (pending.of is not None and not pending.of.waits):
            done = Done(value=None if pending.of is None else _shown(pending))
            yield from settle(run, pending, settings, step, done, verdict=verdict, status="held")
            return
        body = StepPlanned(
            pending.key, pending.plan, verdict=verdict, held=True, branch=pending.branch,
            of=pending.about,
        )  # fmt: skip
        yield Append([draft(run, pending, settings, body, args=step.args is None)], pending.blobs)
    name = PUBLISHED + place_of(run.history.segment, pending.key)
    while True:
        while not (found := run.history.pending_signals(name)):
            yield Await("signal", name=name)
        signal = found[0]
        run.history.consumed.add(signal.pos)
        told = read_told(signal.value)
        if told.status != "held":  # else it is held further up now
            break
    error = Failure(told.type, told.text) if told.type else None
    done = Done(value=None if error else bytes(told.value), error=error)
    yield from settle(
        run, pending, settings, step, done,
        status=told.status, origin="publish", cause=signal.pos,
    )  # fmt: skip


def _shown(pending: Pending) -> bytes | None:
    """What a preview said goes along when its effect is held again, further up."""
    preview = pending.of.preview if pending.of is not None else None
    return None if preview is None else preview.encode()


def _recorded(run: Run, pending: Pending) -> Step | None:
    """The outcome of an identical action in the run forked from that this one has not used: at the
    same step, else the first."""
    if run.record is None or pending.of is not None:
        return None
    if run.used is None:
        past = run.history
        run.used = set(past.shared_steps)
        for step in past.steps.values():
            if step.settled is not None and step.settled.origin == "fork":
                run.used.add(step.settled.of.rpartition("@")[2] or step.key)
    same = run.record.steps.get(pending.key)
    found = same if same is not None and _fits(run, pending, same) else None
    if found is None:
        steps = run.record.steps.values()
        found = next((one for one in steps if _fits(run, pending, one)), None)
    if found is not None:
        run.used.add(found.key)
    return found


def _fits(run: Run, pending: Pending, old: Step) -> bool:
    settled, plan = old.settled, old.plan
    if settled is None or settled.status != "value" or settled.origin in ("preview", "edit"):
        return False
    if plan is None or (plan.kind, plan.name) != ("tool", pending.plan.name):
        return False
    return plan.effect in LEAVES and old.args == pending.args and old.key not in (run.used or ())
