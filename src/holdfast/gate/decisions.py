"""Decisions of the past: what was asked, on what facts, what the gate said and what persons said.

Read from events in the order of their store. Nothing here needs a payload but the arguments, and of
those only where a policy mentions them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from holdfast.gate.counting import RULE
from holdfast.gate.facts import Facts
from holdfast.gate.proposal import Proposal
from holdfast.gate.verdict import Decision, Verdict
from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Event,
    Plan,
    body_decoder,
    is_erased,
)
from holdfast.journal.quorum import met
from holdfast.journal.views import REVIEWED, hear
from holdfast.values.canon import unpack

_JUDGED: Final = frozenset({"step.planned", "step.settled", "approval.asked"})
TOLD: Final = _JUDGED | {"run.started", "approval.given", "finding.added", "run.ended"}
"""Kinds of events that decisions are read from."""


class Decided(msgspec.Struct, eq=False, gc=False):
    """One decision, made ``at`` (ms since 1970) at event ``pos`` of its run. ``args``: skeleton of
    the arguments, None if it is not in that event. ``answer``: what persons said of the action
    as it was asked: approve (all who must), deny, edit (not so: they changed it, which says no more
    of it), or "" if nobody was asked or too few answered in time; ``reviewed``: as said afterwards
    of an allowed call, right or wrong."""

    seq: int
    at: int
    run: str
    pos: int
    key: str
    agent: str
    role: str
    plan: Plan
    verdict: Verdict
    args: bytes | None = None
    answer: str = ""
    reviewed: str = ""

    @property
    def facts(self) -> Facts:
        """The facts that were kept with the verdict."""
        return msgspec.convert(self.verdict.facts, Facts)

    def proposal(self, args: dict[str, Any]) -> Proposal:
        """What was judged, with these arguments."""
        kind = "wait" if self.plan.kind == "signal" else self.plan.kind
        return Proposal(self.agent, self.role, kind, self.plan.name, self.plan.effect, args)

    @property
    def stood(self) -> Decision:
        """What came of it as it was asked: an escalation that was approved let it happen."""
        return "allow" if self.answer == "approve" else self.verdict.decision


Ask = tuple[ApprovalAsked, Decided | None]
"""An open question, and the decision that it is about, if it is about one."""


def decisions(events: Iterable[Event], fetch: Callable[[str], bytes]) -> list[Decided]:
    """Every decision among ``events``, oldest first, with what persons said of it.

    ``events`` are in the order of their store from its beginning, of the kinds in `TOLD` at least;
    ``fetch`` reads content by hash.
    """
    agents: dict[str, tuple[str, str]] = {}
    found: list[Decided] = []
    asks: dict[tuple[str, str], Ask] = {}
    placed: dict[tuple[str, int], Decided] = {}
    for event in events:
        kind = event.kind
        if kind in _JUDGED:
            body = body_decoder(kind).decode(event.body)
            one = _judged(event, body, agents)
            if one is not None:
                found.append(one)
                placed[event.run, event.pos] = one
            if kind == "approval.asked":
                asks[event.run, body.key] = (body, one)
        elif kind == "run.started":
            body = body_decoder(kind).decode(event.body)
            agents[event.run] = (body.agent, body.role)
        elif kind == "approval.given":
            body = body_decoder(kind).decode(event.body)
            _answered(asks, (event.run, body.key), body, event.at)
        elif kind == "finding.added":
            body = body_decoder(kind).decode(event.body)
            one = placed.get((event.run, body.about))
            value = None if is_erased(event.value) else event.value
            if one is not None and body.type == REVIEWED and value is not None:
                said = unpack(value, fetch)
                one.reviewed = str(said.get("opinion", "")) if isinstance(said, dict) else ""
    return found


def _answered(
    asks: dict[tuple[str, str], Ask], place: tuple[str, str], said: ApprovalGiven, at: int
) -> None:
    """Take in an answer, as the run does that asked."""
    # INVARIANT G62: only an answer that decided whether an action may happen counts as one: none to
    # another question, none that came too late, and no approval as long as others are missing
    asked, one = asks.get(place, (None, None))
    if asked is None or asked.digest != said.digest:
        return
    approved = hear(asked, said, at)
    if approved is None:
        return
    if said.decision == "approve" and not met(asked.panels, approved):
        asks[place] = msgspec.structs.replace(asked, approved=approved), one
        return
    del asks[place]
    if one is not None and said.decision in ("approve", "deny", "edit"):
        one.answer = said.decision


def _judged(event: Event, body: Any, agents: dict[str, tuple[str, str]]) -> Decided | None:
    if body.verdict is None or body.plan is None or getattr(body, "about", "action") != "action":
        return None
    if body.verdict.rules[:1] and body.verdict.rules[0].startswith(RULE):
        return None  # a budget's: what it held at that moment, no rule can say again
    whose = getattr(body, "of", "").partition("@")[0] or event.run
    agent, role = agents.get(whose, ("", ""))
    return Decided(
        event.seq, event.at, event.run, event.pos, body.key, agent, role, body.plan, body.verdict,
        event.args,
    )  # fmt: skip
