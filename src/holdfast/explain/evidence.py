"""Evidence: what a journal can show, counted and with examples, by kind.

The kinds are a closed list, which the controls in `holdfast.explain.controls` refer to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from holdfast.explain.answers import Open, follow
from holdfast.journal.events import Event, body_of
from holdfast.journal.record import AUDIT, KILL, OWN
from holdfast.journal.views import DROPPED, STATE, WRITES

KINDS: Final = {
    "agents": "agents that ran, each under a name",
    "owners": "agents for which the policy names an owner",
    "roles": "agents that ran in a role",
    "policies": "versions of the policy under which runs were started",
    "decisions": "actions that the policy decided on (questions about costs not counted)",
    "denials": "actions that the policy denied",
    "escalations": "actions that a person was asked about",
    "approvals": "answers of persons that counted, each bound to the exact action",
    "refusals": "actions that a person refused",
    "questions": "questions that agents asked persons",
    "checks": "automatic checks of actions",
    "risks": "decisions with a risk and its parts",
    "labels": "outcomes with a label of origin or confidentiality",
    "blocked_flows": "actions held back for where their values came from or where they would go",
    "drift": "actions held back because a tool's definition had changed",
    "children": "runs that agents started, under the same rules",
    "budgets": "steps charged to budgets",
    "holds": "effects that were held back in forks until somebody published them",
    "forks": "forks, from which any past state can be taken up again",
    "merges": "merges of what agents changed",
    "failures": "runs and steps that failed",
    "unknowns": "effects of which nobody knew whether they had happened",
    "stops": "agents, tools and rules that persons stopped, and runs that they cancelled",
    "findings": "later judgements of persons and checks",
    "erasures": "payloads that were erased",
    "records": "events, linked by hashes",
    "signed_roots": "signed roots over the whole record",
    "retention": "days that the record reaches back",
}
"""Every kind of evidence, in words."""

_SHOWN = 3


class Evidence(msgspec.Struct):
    """What was found of one kind: how much, and the newest examples as (RUN#POS, words)."""

    kind: str
    count: int = 0
    examples: list[tuple[str, str]] = msgspec.field(default_factory=list)

    def add(self, event: Event, words: str, count: int = 1) -> None:
        """Count an event, and keep it as an example."""
        self.count += count
        self.examples.append((f"{event.run}#{event.pos}", words))
        if len(self.examples) > _SHOWN:
            del self.examples[0]


class Collected(msgspec.Struct):
    """All evidence, by kind; ``first`` and ``last``: times of the oldest and newest event (ms)."""

    found: dict[str, Evidence]
    first: int = 0
    last: int = 0


def collect_evidence(events: Iterable[Event], owners: dict[str, str], since: int = 0) -> Collected:
    """Fold events (in the order of commits) into evidence. ``owners``: of agents, by name;
    ``since``: leave out what is older (ms), but for how far the record reaches back."""
    all_found = Collected({kind: Evidence(kind) for kind in KINDS})
    seen: dict[str, set[str]] = {
        "agents": set(),
        "owners": set(),
        "roles": set(),
        "policies": set(),
    }
    waiting: Open = {}
    held: set[tuple[str, str]] = set()
    for event in events:
        all_found.first = all_found.first or event.at
        all_found.last = max(all_found.last, event.at)
        own = event.run in OWN
        body = None if own else body_of(event)
        counted = not own and follow(waiting, event, body)
        again = not own and _held_before(held, event, body)
        if event.at < since:
            continue
        all_found.found["records"].add(event, event.kind)
        if own:
            _own(event, all_found.found)
        elif event.kind == "approval.given":
            _given(event, body, all_found.found, counted=counted)
        else:
            _one(event, body, all_found.found, seen, owners)
            if not again:
                _held(event, body, all_found.found)
    days = max(0, all_found.last - all_found.first) // 86_400_000
    all_found.found["retention"].count = days
    return all_found


def _own(event: Event, found: dict[str, Evidence]) -> None:
    if event.kind == "checkpoint.signed":
        found["signed_roots"].add(event, f"{body_of(event).size:,} events")
    elif event.kind == "signal.received" and body_of(event).name == KILL:
        found["stops"].add(event, f"by {body_of(event).by}")
    elif event.kind == "finding.added" and event.run == AUDIT:
        found["findings"].add(event, body_of(event).type)


def _one(
    event: Event,
    body: Any,
    found: dict[str, Evidence],
    seen: dict[str, set[str]],
    owners: dict[str, str],
) -> None:
    verdict = getattr(body, "verdict", None)
    # what asks about a cost is a limit that was reached: the action itself was decided on before
    if verdict is not None and getattr(body, "about", "") != "budget":
        _verdict(event, verdict, _name(body), found)
    match event.kind:
        case "run.started":
            _started(event, body, found, seen, owners)
        case "step.settled" | "step.planned":
            _step(event, body, found)
        case "approval.asked":
            found["questions" if body.about == "question" else "escalations"].add(
                event, _name(body)
            )
        case "signal.received":
            if body.name == "$cancel":
                found["stops"].add(event, f"cancelled by {body.by}")
        case "branch.merged":
            found["merges"].add(
                event, f"{body.conflicts} conflicts" if body.conflicts else "merged"
            )
        case "finding.added":
            if body.type not in (STATE, WRITES):  # what a framework saves judges nothing
                gone = body.type in ("erased", DROPPED)
                found["erasures" if gone else "findings"].add(event, body.type)
        case "run.ended":
            if body.status == "failed":
                found["failures"].add(event, body.error.type if body.error else "failed")
        case _:
            pass


def _name(body: Any) -> str:
    plan = getattr(body, "plan", None)
    return plan.name if plan is not None else f"step {getattr(body, 'key', '')}"


def _started(
    event: Event,
    body: Any,
    found: dict[str, Evidence],
    seen: dict[str, set[str]],
    owners: dict[str, str],
) -> None:
    owner = owners.get(body.agent, "")
    for kind, word in (
        ("agents", body.agent), ("roles", f"{body.agent} as {body.role}" if body.role else ""),
        ("policies", body.policy[:12]), ("owners", f"{body.agent}: {owner}" if owner else ""),
    ):  # fmt: skip
        if word and word not in seen[kind]:
            seen[kind].add(word)
            found[kind].add(event, word)
    if body.parent:
        found["children"].add(event, f"{body.agent}, started by run {body.parent}")
    if body.fork_of:
        found["forks"].add(event, f"of {body.fork_of}")


def _verdict(event: Event, verdict: Any, name: str, found: dict[str, Evidence]) -> None:
    rule = f" by rule {verdict.rules[0]}" if verdict.rules else ""
    words = f"{name}: {verdict.decision}{rule}"
    found["decisions"].add(event, words)
    if verdict.decision == "deny":
        found["denials"].add(event, words)
    if verdict.risk:
        found["risks"].add(event, f"{name}: {verdict.risk:.2f}")
    if verdict.checked:
        passed = sum(check.passed for check in verdict.checked)
        said = f"{name}: {passed} of {len(verdict.checked)} passed"
        found["checks"].add(event, said, len(verdict.checked))
    facts = verdict.facts
    untrusted = facts.get("integrity") == "untrusted" or facts.get("worst") == "untrusted"
    if verdict.decision != "allow" and (untrusted or facts.get("leaks") or facts.get("new_links")):
        found["blocked_flows"].add(event, words)
    if verdict.decision != "allow" and facts.get("schema_changed"):
        found["drift"].add(event, words)


def _step(event: Event, body: Any, found: dict[str, Evidence]) -> None:
    name = _name(body)
    if getattr(body, "label", ""):
        found["labels"].add(event, f"{name}: {body.label}")
    if body.charges:
        found["budgets"].add(event, name)
    if event.kind == "step.planned":
        return
    if body.status == "error":
        found["failures"].add(event, f"{name}: {body.error.type if body.error else 'error'}")
    elif body.status == "unknown":
        found["unknowns"].add(event, name)


def _given(event: Event, body: Any, found: dict[str, Evidence], *, counted: bool) -> None:
    if counted:
        found["approvals"].add(event, f"{body.decision} by {body.by}")
        if body.decision == "deny":
            found["refusals"].add(event, f"by {body.by}")


def _is_held(body: Any) -> bool:
    return getattr(body, "held", False) is True or getattr(body, "status", "") == "held"


def _held_before(held: set[tuple[str, str]], event: Event, body: Any) -> bool:
    """Whether an effect was held back already when its step began; each is counted once."""
    if event.kind not in ("step.planned", "step.settled"):
        return False
    place = event.run, body.key
    before = place in held
    if event.kind == "step.settled":
        held.discard(place)
    elif body.held:
        held.add(place)
    return before


def _held(event: Event, body: Any, found: dict[str, Evidence]) -> None:
    if event.kind in ("step.planned", "step.settled") and _is_held(body):
        found["holds"].add(event, _name(body))
