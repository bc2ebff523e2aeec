"""The log that auditors read: one sentence for each event in which something was asked or decided.

Sentences are generated from the record alone: agent, tool, policy and rule, the risk with its
parts, the decision, who decided, and where it stands (run, step, number of the event).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from holdfast.engine.seeding import CAUGHT, PLANTED
from holdfast.explain.answers import Open, follow
from holdfast.journal.events import Event, Plan, Verdict, body_of, is_erased
from holdfast.journal.record import DELETED, KILL, LIFT, OWN, SEEDED
from holdfast.journal.views import CANCEL
from holdfast.values.canon import unpack
from holdfast.values.errors import HoldfastError
from holdfast.values.masking import fit

Fetch = Callable[[str], bytes]


class Line(msgspec.Struct, frozen=True):
    """One line of the log. ``decision``: allow, verify, escalate, deny, approve, deny (by a person)
    or "" where nothing was decided; ``by``: the person, if one did; ``event``: its number."""

    event: int
    at: int
    run: str
    step: str
    agent: str
    kind: str
    tool: str
    decision: str
    by: str
    policy: str
    rules: tuple[str, ...]
    risk: float
    text: str


class Wanted(msgspec.Struct, frozen=True):
    """Which lines to show; "" and 0 mean all. ``since``: ms since 1970."""

    agent: str = ""
    tool: str = ""
    decision: str = ""
    run: str = ""
    since: int = 0

    def takes(self, line: Line) -> bool:
        """Whether a line is among them."""
        return (
            self.agent in ("", line.agent)
            and self.tool in ("", line.tool)
            and self.decision in ("", line.decision)
            and self.run in ("", line.run)
            and line.at >= self.since
        )


class _Known(msgspec.Struct):
    """What of a run is needed to speak of its later events. ``counted``: this event is an answer
    that counted."""

    agent: str
    plans: dict[str, Plan] = {}
    verdicts: dict[str, Verdict] = {}
    counted: bool = False


def tell(events: Iterable[Event], fetch: Fetch) -> Iterator[Line]:
    """The lines of events in the order of their commits, from the beginning of each run.
    ``fetch``: a blob by its hash."""
    runs: dict[str, _Known] = {}
    waiting: Open = {}
    for event in events:
        body = body_of(event)
        if event.kind == "run.started" and event.run not in runs:
            source = runs.get(body.fork_of)
            runs[event.run] = _Known(
                body.agent, dict(source.plans) if source else {},
                dict(source.verdicts) if source else {},
            )  # fmt: skip
        known = runs.setdefault(event.run, _Known("?"))
        known.counted = follow(waiting, event, body)
        line = _line(event, body, known, fetch)
        if line is not None:
            yield line


def _line(event: Event, body: Any, known: _Known, fetch: Fetch) -> Line | None:
    key = "" if event.kind == "checkpoint.signed" else getattr(body, "key", "")  # a public one
    verdict: Verdict | None = getattr(body, "verdict", None)
    plan: Plan | None = getattr(body, "plan", None) or known.plans.get(key)
    if plan is not None and key:
        known.plans[key] = plan
    by = getattr(body, "by", "")
    decision = verdict.decision if verdict is not None else ""
    if event.kind == "approval.given":
        decision = body.decision if known.counted else ""
    if event.kind in ("step.settled", "approval.given"):
        known.plans.pop(key, None)
    text = _sentence(event, body, known, plan, fetch)
    if text is None:
        return None
    told = verdict or known.verdicts.get(key)
    if verdict is not None:
        known.verdicts[key] = verdict
    place = f"run {event.run}@{key}" if key else f"run {event.run}"
    return Line(
        event.seq, event.at, event.run, key, known.agent, event.kind,
        plan.name if plan is not None else "", decision, by,
        told.policy if told else "", told.rules if told else (), told.risk if told else 0.0,
        f"{text}; {place}; event {event.seq}.",
    )  # fmt: skip


def _sentence(
    event: Event, body: Any, known: _Known, plan: Plan | None, fetch: Fetch
) -> str | None:
    """What an event says, None if nothing was asked or decided in it."""
    agent = fit(known.agent, 80)
    match event.kind:
        case "run.started":
            if event.run in OWN:
                return f"Holdfast began its record {event.run}"
            who = fit(body.by, 80) or (f"run {body.parent}" if body.parent else "somebody")
            fork = f", as a fork of {body.fork_of} after #{body.fork_pos}" if body.fork_of else ""
            return f"{who} started {agent}{fork}; policy {body.policy[:6] or 'none'}"
        case "step.planned" | "step.settled":
            return _step(event, body, agent, plan)
        case "approval.asked":
            return _asked(body, agent)
        case "approval.given":
            said = _given(body, agent, plan)
            return said if known.counted else f"{said}; this answer did not count"
        case "signal.received":
            return _signal(event, body, agent, fetch)
        case "branch.merged":
            found = f"{body.conflicts} conflicts stopped it" if body.conflicts else "done"
            return f"{agent} asked to merge {fit(body.source, 80)}; {found}"
        case "finding.added":
            return _finding(event, body, fetch)
        case "run.ended":
            if event.run in OWN:
                return None
            why = f" ({fit(f'{body.error.type}: {body.error.text}')})" if body.error else ""
            return f"{agent} ended: {body.status}{why}"
        case _:
            return f"Holdfast signed the root of {body.size:,} events with key {body.key[:8]}…"


def _step(event: Event, body: Any, agent: str, plan: Plan | None) -> str | None:
    name = action(plan)
    if body.verdict is not None:
        said = f"{agent} asked for {name}; {reasons(body.verdict)}; {decided(body.verdict)}"
    elif event.kind == "step.settled" and body.origin in ("person", "publish", "reconcile"):
        origin = {"person": "a person", "publish": "publishing", "reconcile": "a look-up"}
        said = f"the outcome of {agent}'s {name} came from {origin[body.origin]}"
    elif event.kind == "step.settled" and body.status in ("refused", "unknown", "expired"):
        said = f"{agent} asked for {name}"
    else:
        return None
    if event.kind == "step.settled" and body.status not in ("value", "refused"):
        said += f"; ended as {body.status}"
    if event.kind == "step.planned" and body.held:
        said += "; held until it is published"
    return said


def _asked(body: Any, agent: str) -> str:
    about = {
        "action": f"asked for {action(body.plan)}",
        "unknown": f"does not know whether {action(body.plan)} happened",
        "budget": f"wants to exceed a budget with {action(body.plan)}",
    }.get(body.about, "asked a person a question")
    said = f"{agent} {about}"
    if body.verdict is not None:
        said += f"; {reasons(body.verdict)}; {decided(body.verdict)}"
        if body.verdict.approvers:
            said += f" to {fit(', '.join(body.verdict.approvers), 120)}"
    if body.needs > 1:
        said += f"; {body.needs} must approve"
    return said


def _given(body: Any, agent: str, plan: Plan | None) -> str:
    verb = {
        "approve": "approved", "deny": "denied", "edit": "changed and approved",
        "answer": "answered",
    }.get(body.decision, f"said {fit(body.decision, 40)} to")  # fmt: skip
    note = f" ({fit(body.note)})" if body.note else ""
    what = f"{agent}'s {action(plan)}" if plan is not None else f"a question of {agent}"
    return f"{fit(body.by, 80) or 'somebody'} {verb} {what}{note}"


def _signal(event: Event, body: Any, agent: str, fetch: Fetch) -> str | None:
    who = fit(body.by, 80) or "somebody"
    if body.name in (KILL, LIFT):
        said = _value(event, fetch)
        verb = "stopped" if body.name == KILL else "let go on with"
        why = f" ({fit(str(said.get('reason')))})" if said.get("reason") else ""
        return f"{who} {verb} {said.get('what', '?')} {fit(str(said.get('name', '?')), 80)}{why}"
    if body.name == CANCEL:
        return f"{who} asked {agent} to stop"
    if body.name.startswith("$"):
        return None
    return f"{who} sent {agent} the signal {fit(body.name, 80)}"


def _finding(event: Event, body: Any, fetch: Fetch) -> str:
    who = fit(body.by, 80) or "Holdfast"
    said = _value(event, fetch)
    if body.type == "erased":
        what = f"step {said.get('step')}" if said.get("step") else "the run"
        why = f" ({fit(str(said.get('why')))})" if said.get("why") else ""
        return f"{who} erased {said.get('payloads', '?')} payloads of {what}{why}"
    if body.type == DELETED:
        spans: list[list[int]] = said.get("seqs", [])
        count = sum(last - first + 1 for first, last in spans)
        return f"{who} deleted {count} events of old runs; their hashes are kept"
    if event.run == SEEDED and body.type == PLANTED:
        agent, why = fit(str(said.get("agent")), 80), fit(str(said.get("bad")))
        return f"Holdfast put a seeded case among the questions of {agent}, known bad: {why}"
    if event.run == SEEDED and body.type == CAUGHT:
        did = "caught" if said.get("right") is True else "approved"
        return f"{who} {did} the seeded case #{body.about}; nothing was performed"
    return f"{who} added the finding {fit(body.type, 80)} about #{body.about}"


def _value(event: Event, fetch: Fetch) -> dict[str, Any]:
    if event.value is None or is_erased(event.value):
        return {}
    try:
        found = unpack(event.value, fetch)
    except HoldfastError:
        return {}
    return found if isinstance(found, dict) else {}


def action(plan: Plan | None) -> str:
    """What an action is called."""
    if plan is None:
        return "something"
    name = fit(plan.name, 120)
    return name if plan.kind == "tool" else f"{plan.kind} {name}".strip()


def reasons(verdict: Verdict) -> str:
    """Policy, rule, and risk with its parts."""
    said = f"policy {verdict.policy[:6] or 'none'}"
    for first in verdict.rules[:1]:
        more = f" and {len(verdict.rules) - 1} more" if verdict.rules[1:] else ""
        said += f" (rule {fit(first, 80)}{more})"
    if verdict.risk:
        parts = sorted(verdict.parts.items(), key=lambda part: -part[1])
        shown = ", ".join(
            f"{fit(name.replace('_', ' '), 60)} {weight:+.2f}"
            for name, weight in parts if name != "base"
        )  # fmt: skip
        said += f"; risk {verdict.risk:.2f}" + (f" ({shown})" if shown else "")
    return said


def decided(verdict: Verdict) -> str:
    """The decision, with its reason if it is not plainly allowed."""
    word = {
        "allow": "allowed", "verify": "to be checked", "escalate": "escalated", "deny": "denied",
    }[verdict.decision]  # fmt: skip
    failed = [check.name for check in verdict.checked if not check.passed]
    checked = f" after {len(verdict.checked)} checks" if verdict.checked else ""
    if failed:
        checked += f" ({fit(', '.join(failed), 120)} failed)"
    why = f": {fit(verdict.reason)}" if verdict.reason and verdict.decision == "deny" else ""
    return f"{word}{checked}{why}"
