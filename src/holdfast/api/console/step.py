"""What a page shows of one step: how it was judged, what was asked, what came, what it changed."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.api.console.diffs import Row, value_rows, world_rows
from holdfast.api.console.used import used_text
from holdfast.engine.history import Step, acted_with
from holdfast.explain import telling
from holdfast.explain.past import Moment
from holdfast.gate import Policy, Rule
from holdfast.journal.events import Verdict
from holdfast.journal.store import Store


class Point(msgspec.Struct, frozen=True):
    """What one fact added to a risk: ``share`` of the largest, 0 to 1."""

    name: str
    points: float
    share: float


class Line(msgspec.Struct, frozen=True):
    """A rule that matched. ``rule``: its text, None where the policy in force has no such rule, or
    is another one than judged."""

    id: str
    rule: Rule | None


class Judged(msgspec.Struct, frozen=True):
    """A verdict, to read. ``origin``: where each deciding value came from, with the way it took;
    ``facts``: the others; ``same``: it was given under the policy that is in force now."""

    verdict: Verdict
    lines: list[Line]
    points: list[Point]
    origin: list[tuple[str, str, str]]
    facts: dict[str, Any]
    same: bool


class Answered(msgspec.Struct, frozen=True):
    """A question or an answer: ``who`` is "" for a question."""

    at: int
    pos: int
    who: str
    said: str
    note: str


class StepView(msgspec.Struct, frozen=True):
    """All that a page shows of a step."""

    step: Step
    name: str
    effect: str
    status: str
    args: Any
    changed: list[Row]
    value: Any
    error: str
    judged: Judged | None
    answers: list[Answered]
    attempts: list[Moment]
    patch: list[Row]
    used: str
    events: list[Moment]


def judged_of(verdict: Verdict, policy: Policy) -> Judged:
    """A verdict with the rules that decided, where the policy in force still has them."""
    same = bool(verdict.policy) and policy.hash.startswith(verdict.policy)
    rules = {rule.id: rule for rule in policy.rules} if same else {}
    most = max((abs(points) for points in verdict.parts.values()), default=0.0) or 1.0
    parts = sorted(verdict.parts.items(), key=lambda part: -abs(part[1]))
    facts = dict(verdict.facts)
    origin, via = facts.pop("origin", {}), facts.pop("via", {})
    return Judged(
        verdict,
        [Line(name, rules.get(name)) for name in verdict.rules],
        [Point(name, points, abs(points) / most) for name, points in parts],
        [(name, str(word), str(via.get(name, ""))) for name, word in origin.items()],
        facts,
        same,
    )


def step_view(store: Store, step: Step, about: list[Moment], policy: Policy) -> StepView:
    """Read a step and the events about it."""
    settled, plan, acted = step.settled, step.plan, acted_with(step)
    verdicts = [one.body.verdict for one in about if getattr(one.body, "verdict", None)]
    args = telling.plain(step.args, store.get)
    changed = value_rows(args, telling.plain(acted, store.get)) if acted is not step.args else []
    error = settled.error if settled else None
    return StepView(
        step,
        telling.action(plan),
        plan.effect if plan else "read",
        settled.status if settled else "open",
        args,
        changed,
        telling.plain(step.value, store.get),
        f"{error.type}: {error.text}" if error else "",
        judged_of(verdicts[-1], policy) if verdicts else None,
        [_answered(one) for one in about if one.event.kind.startswith("approval.")],
        [one for one in about if one.event.kind == "step.planned"],
        world_rows(store, step.world_before, step.world_after) if step.world_after else [],
        used_text(dict(settled.usage)) if settled else "",
        about,
    )


def _answered(moment: Moment) -> Answered:
    body, event = moment.body, moment.event
    if event.kind == "approval.asked":
        return Answered(event.at, event.pos, "", body.text, "")
    return Answered(event.at, event.pos, body.by, body.decision, body.note)
