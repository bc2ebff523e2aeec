"""What came of a run, and whether that is good: what comparisons, what-ifs and searches go by.

Good is what a condition in CEL says (the language of policies, over the names of `NAMES`), else
what the newest score says, a person's before a check's. Without either, outcomes can still be told
apart: by status and value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast.engine.history import History, Step
from holdfast.explain.comparison import Score
from holdfast.explain.telling import Fetch, plain
from holdfast.explain.text import cut, one_line
from holdfast.gate.cel import BadCondition, Condition, Scene, Scope, compile_text
from holdfast.gate.plain import Unclear
from holdfast.gate.plain import plain as comparable
from holdfast.journal.events import Event, FindingAdded, RunEnded, Verdict, body_of
from holdfast.journal.views import SCORE
from holdfast.values.canon import encode
from holdfast.values.errors import Misuse

NAMES: Final[Scope] = (
    ("status", "string"), ("error", "string"), ("value", "dyn"), ("args", "map<string, dyn>"),
    ("agent", "string"), ("steps", "list"),
)  # fmt: skip
"""What a condition on an outcome may use: ``status`` is done, failed, cancelled or open; ``error``
its type; ``args`` what the run was given; each of ``steps`` has key, kind, name, effect, status
(how it ended, or open), happened (it was performed, or would have been: held, previewed), args,
value, decision (the gate's)."""

CHECK: Final = "check:"
"""Who adds a finding begins so if it is no person: ``check:NAME``."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of a run. ``good``: None if nobody said; ``text``: in a few words; ``value``: what
    tells two outcomes apart where nobody said which is good, None where that cannot be told."""

    good: bool | None
    text: str
    value: Any = None


class Wanted(msgspec.Struct, frozen=True):
    """When an outcome is good: a condition, or None for scores."""

    condition: Condition | None = None


def wanted_of(text: str) -> Wanted:
    """Read a condition on outcomes ("" is none); `Misuse` says what is wrong with it."""
    if not text:
        return Wanted()
    try:
        return Wanted(compile_text(text, NAMES))
    except BadCondition as error:
        raise Misuse(f"--outcome: {error}") from None


def _nowhere(name: str) -> bytes:
    raise Misuse(f"content {name[:12]}… is needed to tell this outcome: give its store's get")


def outcome_of(
    events: Sequence[Event], wanted: Wanted | str = "", fetch: Fetch = _nowhere
) -> Outcome:
    """What came of the run whose chain ``events`` are. ``fetch``: reads content (a store's get)."""
    if isinstance(wanted, str):
        wanted = wanted_of(wanted)
    return outcome_in(_segment(events), events, wanted, fetch)


def outcome_in(past: History, events: Sequence[Event], wanted: Wanted, fetch: Fetch) -> Outcome:
    """`outcome_of` where the history of the newest segment is at hand."""
    if wanted.condition is not None:
        return _judged(wanted.condition, past, fetch)
    score = score_of(events, fetch)
    if past.ended is None:
        return _unended(past, score.good if score else None, fetch)
    value = ended_value(past, fetch)
    text = f"{past.ended.status}: {short(value)}"
    found = {"status": past.ended.status, "value": value}
    if score is None:
        return Outcome(None, text, found)
    said = "good" if score.good else "bad" if score.good is False else f"score {score.score:g}"
    return Outcome(score.good, f"{said}, says {score.by or 'a check'}; {text}", found)


def _unended(past: History, good: bool | None, fetch: Fetch) -> Outcome:
    """What can be said of a run that has not ended: where it stands before something that it would
    do to the world outside and that is held, that is its outcome so far."""
    held = [step for step in past.steps.values()
            if step.settled is None and step.planned is not None and step.planned.held]  # fmt: skip
    if not held:
        return Outcome(good, "open: it has not ended")
    value = [{"name": step.planned.plan.name, "args": plain(step.args, fetch)}
             for step in held if step.planned is not None]  # fmt: skip
    names = ", ".join(one["name"] for one in value)
    text = f"held: {short(names)} waits to be published"
    return Outcome(good, text, {"status": "held", "value": value})


def differs(one: Outcome, other: Outcome) -> bool | None:
    """Whether two outcomes are not the same; None if that cannot be told."""
    if one.good is not None and other.good is not None:
        return one.good != other.good
    if one.value is None or other.value is None:
        return None
    return encode(one.value) != encode(other.value)


def score_of(events: Sequence[Event], fetch: Fetch) -> Score | None:
    """What the run itself (not what it forked from) was given as its score: the newest by a person
    counts before the newest by a check."""
    own = events[-1].run if events else ""
    found: Score | None = None
    for event in events:
        if event.kind != "finding.added" or event.run != own:
            continue
        body: FindingAdded = body_of(event)
        if body.type != SCORE:
            continue
        score = _score(body, plain(event.value, fetch))
        if score is not None and (found is None or _person(score) or not _person(found)):
            found = score
    return found


def _person(score: Score) -> bool:
    return bool(score.by) and not score.by.startswith(CHECK)


def _score(body: FindingAdded, value: Any) -> Score | None:
    """A score in the form that decision 0013 gives it; None for what is none."""
    if not isinstance(value, dict):
        return None
    good, number, note = value.get("good"), value.get("score"), value.get("note")
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not isinstance(good, bool) and not is_number:
        return None
    return Score(
        good if isinstance(good, bool) else None,
        float(number) if is_number and number is not None else None,
        note if isinstance(note, str) else "", body.by, body.about,
    )  # fmt: skip


def short(value: Any, room: int = 80) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else encode(value).decode()
    return cut(one_line(text), room)


def ended_value(past: History, fetch: Fetch) -> Any:
    """What a run returned, or its error as a mapping."""
    ended: RunEnded | None = past.ended
    if ended is not None and ended.error is not None:
        return {"type": ended.error.type, "text": ended.error.text}
    return plain(past.ended_value, fetch)


def verdict_of(step: Step) -> Verdict | None:
    """What the gate said of a step when it was taken, however that was recorded."""
    settled = step.settled.verdict if step.settled is not None else None
    asked = step.asked.verdict if step.asked is not None else None
    return settled or step.verdict or asked


def _segment(events: Sequence[Event]) -> History:
    """The history of the newest segment."""
    start = 0
    for place, event in enumerate(events):
        if event.kind == "run.started" and not body_of(event).fork_of:
            start = place
    past = History()
    past.extend(events[start:])
    return past


def _judged(condition: Condition, past: History, fetch: Fetch) -> Outcome:
    given = plain(past.input, fetch)
    try:
        scene = Scene(NAMES, _document(condition, past, fetch),
                      given if isinstance(given, dict) else {}, condition.args)  # fmt: skip
    except (Unclear, Misuse) as error:
        return Outcome(None, f"cannot be told: something in it {error}")
    found = scene.holds(condition)
    if isinstance(found, str):
        return Outcome(None, f"cannot be told: {found}")
    status = past.ended.status if past.ended is not None else "open"
    return Outcome(found, f"{'good' if found else 'bad'} ({status})", found)


def _document(condition: Condition, past: History, fetch: Fetch) -> dict[str, Any]:
    """The values of the names that a condition uses."""
    uses, ended = condition.uses, past.ended
    error = ended.error if ended is not None else None
    value = plain(past.ended_value, fetch) if "value" in uses else None
    steps = past.steps.values() if "steps" in uses else ()
    return {
        "status": ended.status if ended is not None else "open",
        "error": error.type if error is not None else "",
        "value": comparable(value),
        "agent": past.started.agent if past.started is not None else "",
        "steps": [comparable(_told(step, fetch)) for step in steps],
    }


def _told(step: Step, fetch: Fetch) -> dict[str, Any]:
    """A step as a condition sees it."""
    settled, plan, verdict = step.settled, step.plan, verdict_of(step)
    status = settled.status if settled is not None else "open"
    held = step.planned is not None and step.planned.held
    return {
        "key": step.key,
        "kind": plan.kind if plan is not None else "",
        "name": plan.name if plan is not None else "",
        "effect": plan.effect if plan is not None else "",
        "status": status,
        "happened": status in ("value", "held", "unknown") or (held and settled is None),
        "args": plain(step.args, fetch),
        "value": plain(step.value, fetch),
        "decision": verdict.decision if verdict is not None else "",
    }
