"""The queue of questions as JSON, and calls to look back at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.engine.inbox import Open, Question, Review
from holdfast.explain import telling
from holdfast.journal.quorum import missing


def question_document(found: Open, question: Question) -> dict[str, Any]:
    """A question as JSON: everything there is to it."""
    row, wait, asked = found.row, found.wait, question.asked
    verdict = asked.verdict
    facts: Mapping[str, Any] = verdict.facts if verdict else {}
    return {
        "run": row.run, "step": wait.key, "agent": row.agent, "about": wait.about,
        "text": wait.text, "action": telling.struct(asked.plan), "args": question.args,
        "edited": question.edited, "edited_by": asked.edited, "digest": wait.digest,
        "since": wait.since, "expires": wait.due, "needs": wait.needs,
        "approved": list(wait.approved), "approvers": list(wait.approvers),
        "missing": missing(wait.panels, wait.approved), "choices": list(wait.choices),
        "rules": list(verdict.rules) if verdict else [],
        "policy": verdict.policy if verdict else "",
        "reason": verdict.reason if verdict else "", "way": verdict.way if verdict else "",
        "risk": verdict.risk if verdict else 0.0, "parts": verdict.parts if verdict else {},
        "origin": facts.get("origin", {}), "via": facts.get("via", {}), "facts": facts,
        "checks": [telling.struct(one) for one in verdict.checked] if verdict else [],
    }  # fmt: skip


def review_document(found: Review, fetch: telling.Fetch) -> dict[str, Any]:
    """A call to be looked at afterwards, as JSON."""
    settled, verdict = found.step.settled, None
    for body in (found.step.planned, settled):
        verdict = body.verdict if body is not None and body.verdict is not None else verdict
    return {
        "run": found.row.run, "event": found.pos, "step": found.step.key,
        "agent": found.row.agent, "action": telling.struct(found.step.plan),
        "args": telling.plain(found.step.args, fetch),
        "value": telling.plain(found.step.value, fetch),
        "status": settled.status if settled else "open", "at": found.event.at,
        "verdict": telling.struct(verdict), "why": found.why,
    }  # fmt: skip
