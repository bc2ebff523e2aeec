"""Who let a step happen, what it changed and what it cost; what forks showed about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from holdfast.explain.because import (
    Alternative,
    Answer,
    Caused,
    Changed,
    Check,
    Cost,
    Ruling,
    World,
)
from holdfast.explain.chain import Chain, Found, Lost
from holdfast.explain.matching import leaves
from holdfast.explain.text import cut, one_line
from holdfast.gate.asked import families_of_tool
from holdfast.journal.events import ApprovalAsked, ApprovalGiven, Verdict
from holdfast.journal.quorum import people
from holdfast.journal.views import CAUSED, hear, place_of
from holdfast.values.errors import Corrupt
from holdfast.world import EMPTY, Stage, diff

CHANGES: Final = 200
"""Paths of a world that are listed."""
NEAR: Final = 400
"""Events before a step among which refused proposals are looked for."""
_REFUSED: Final = 12
"""Refused proposals that are named."""
_EDITED: Final = 300
"""Characters of what a person changed."""


def verdict_of(step: Found) -> Verdict | None:
    """What the gate answered last."""
    found = None
    for body in step.bodies:
        found = getattr(body, "verdict", None) or found
    return found


def ruling_of(chain: Chain, step: Found) -> Ruling:
    """Verdict, checks and answers of people."""
    verdict = verdict_of(step)
    answers = tuple(_answers(chain, step))
    if verdict is None:
        return Ruling(answers=answers)
    return Ruling(
        verdict.decision, verdict.policy, verdict.rules, verdict.reason, verdict.way, verdict.facts,
        verdict.risk, verdict.parts,
        tuple(Check(one.name, one.passed, one.text) for one in verdict.checked)
        or tuple(Check(name, False, "not run") for name in verdict.checks),
        verdict.observed, answers,
    )  # fmt: skip


def _answers(chain: Chain, step: Found) -> Iterator[Answer]:
    asked: ApprovalAsked | None = None
    asked_at = 0
    answered = True
    for event, body in zip(step.events, step.bodies, strict=True):
        if isinstance(body, ApprovalAsked):
            if not answered and asked is not None:
                yield _unanswered(asked, asked_at)
            asked, asked_at, answered = body, event.at, False
        elif isinstance(body, ApprovalGiven) and asked is not None:
            answered = True
            # INVARIANT X2: an answer that did not count is shown as one that did not
            counted = body.digest == asked.digest and hear(asked, body, event.at) is not None
            edits: dict[str, str] = {}
            if body.decision == "edit":
                given = chain.plain(event.value)
                edits = _edits(chain.args(step), given)
            yield Answer(
                asked.text, asked.about, asked_at, body.decision, body.by, event.at,
                max(0, event.at - asked_at), body.note, edits, counted, people(asked.panels),
            )  # fmt: skip
    if not answered and asked is not None:
        yield _unanswered(asked, asked_at)


def _unanswered(asked: ApprovalAsked, at: int) -> Answer:
    named = people(asked.panels) or (asked.verdict.approvers if asked.verdict else ())
    return Answer(asked.text, asked.about, at, counted=False, may_answer=named)


def _edits(before: Any, after: Any) -> dict[str, str]:
    if isinstance(before, Lost) or isinstance(after, Lost):
        return {}
    old = dict(leaves("", before))
    return {
        path: cut(text, _EDITED) for path, text in leaves("", after) if old.get(path) != text
    }  # fmt: skip


def edited_by(chain: Chain, step: Found) -> tuple[Any, str, Any]:
    """The arguments that a person gave a step, who, and the event; (None, "", None) if nobody."""
    found: tuple[Any, str, Any] = (None, "", None)
    for event, body in zip(step.events, step.bodies, strict=True):
        if isinstance(body, ApprovalGiven) and body.decision == "edit":
            found = (chain.plain(event.value), body.by, event)
        elif isinstance(body, ApprovalAsked) and body.edited and event.value is not None:
            found = (chain.plain(event.value), body.edited, event)
    return found


# ---- what else was proposed ------------------------------------------------------------------


def refused(chain: Chain, step: Found, since: int) -> Iterator[Alternative]:
    """Proposals before a step that were refused: of the same tool or purpose, or made after event
    ``since``, where the model that decided it was asked."""
    name = step.plan.name if step.plan is not None else ""
    mine, _ = families_of_tool(name)
    count = 0
    for event in reversed(chain.events[max(0, step.begun - NEAR) : step.begun]):
        if event.kind != "step.settled" or b'"refused"' not in event.body:
            continue
        other = chain.step_at(event.pos)
        if other.settled is None or other.settled.status != "refused" or other.plan is None:
            continue
        theirs, _ = families_of_tool(other.plan.name)
        alike = other.plan.name == name or not (mine - {"read"}).isdisjoint(theirs)
        if not alike and (since < 0 or event.pos < since):
            continue
        error = other.settled.error
        why = one_line(error.text) if error is not None else "refused"
        args = chain.args(other)
        shown = {} if isinstance(args, Lost) or not isinstance(args, dict) else args
        text = f"{other.plan.name}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"
        yield Alternative("refused", other.place, cut(one_line(text), 160), cut(why, 300))
        count += 1
        if count >= _REFUSED:
            return


# ---- world, cost -----------------------------------------------------------------------------


def world_of(chain: Chain, step: Found) -> tuple[str, str]:
    """Roots of the world that a step is taken on, before and after it."""
    pos = step.last.pos
    settled = step.settled
    if settled is not None and settled.branch:
        mark = f'"branch":"{settled.branch}"'.encode()
        before = ""
        for event in reversed(chain.events[:pos]):
            if mark in event.body and b'"root":"' in event.body:
                before = chain.body(event.pos).root
                break
        return before, settled.root or before
    before = chain.events[pos - 1].world if pos else ""
    return before, step.last.world


def compared(before: str, after: str, fetch: Callable[[str], bytes]) -> tuple[World, str]:
    """What differs between two roots, and why that cannot be said, if it cannot."""
    if before == after or not after:
        return World(before, after), ""
    try:
        found = diff(Stage(fetch), before or EMPTY, after)
    except Corrupt:
        return World(before, after), "what changed in the files: content of a world is deleted"
    changes = tuple(Changed(one.path, one.kind) for one in found[:CHANGES])
    return World(before, after, changes, len(found)), ""


def cost_of(step: Found, model: Found | None, answers: Sequence[Answer]) -> Cost:
    """What a step and the model step that decided it used."""
    settled = step.settled
    usage = dict(settled.usage) if settled is not None else {}
    decision: dict[str, float] = {}
    decided = 0
    if model is not None and model.settled is not None and model.key != step.key:
        decision, decided = dict(model.settled.usage), model.settled.took
    unverified = settled is not None and settled.unverified
    return Cost(
        usage, decision, usage.get("money", 0.0) + decision.get("money", 0.0),
        settled.took if settled is not None else 0, decided,
        sum(one.waited for one in answers), unverified,
    )  # fmt: skip


# ---- what forks showed -----------------------------------------------------------------------


def caused_of(chain: Chain, positions: set[int]) -> Iterator[Caused]:
    """Findings of forks about the steps that events at ``positions`` belong to."""
    for event in chain.events:
        if event.kind != "finding.added" or b'"caused"' not in event.body:
            continue
        body = chain.body(event.pos)
        if body.type != CAUSED or body.about not in positions:
            continue
        value = chain.plain(event.value)
        if not isinstance(value, dict):
            continue
        about = chain.events[body.about]
        key = getattr(chain.body(body.about), "key", "")
        where = place_of(chain.segment_at(body.about), key) if key else "start"
        yield Caused(
            f"{about.run}@{where}", one_line(str(value.get("intervention", ""))),
            _count(value.get("flips")), _count(value.get("of")), _share(value.get("low")),
            _share(value.get("high")), body.by, event.at,
        )  # fmt: skip


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _share(value: Any) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else 0.0
