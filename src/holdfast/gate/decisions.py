"""Decisions of the past: what was asked, on what facts, what the gate said and what persons said.

Read from events in the order of their store. Nothing here needs a payload but the arguments, and of
those only where a policy mentions them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from holdfast.gate.facts import Facts
from holdfast.gate.proposal import Proposal
from holdfast.gate.verdict import Decision, Verdict
from holdfast.journal.events import Event, Plan, body_decoder

_JUDGED: Final = frozenset({"step.planned", "step.settled", "approval.asked"})


class Decided(msgspec.Struct, eq=False, gc=False):
    """One decision. ``args``: skeleton of the arguments, None if erased or not in this event.
    ``answer``: approve, deny, or "" as long as nobody was asked or answered; ``reviewed``: as said
    afterwards of an allowed call, fine or wrong."""

    seq: int
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
        """What came of it: an escalation that was approved let it happen."""
        return "allow" if self.answer == "approve" else self.verdict.decision


Open = dict[str, dict[str, Decided]]
"""Decisions that may still be answered, by run and step."""


def decisions(events: Iterable[Event]) -> Iterator[Decided]:
    """Every decision among ``events``, which are in the order of their store from its beginning.

    A decision comes when what answers it is known or its run ends, so not in strict order.
    """
    agents: dict[str, tuple[str, str]] = {}
    waiting: Open = {}
    for event in events:
        kind = event.kind
        if kind in _JUDGED:
            body = body_decoder(kind).decode(event.body)
            mine = waiting.setdefault(event.run, {})
            yield from _judged(event, body, agents, mine)
        elif kind == "run.started":
            body = body_decoder(kind).decode(event.body)
            agents[event.run] = (body.agent, body.role)
        elif kind == "approval.given":
            body = body_decoder(kind).decode(event.body)
            found = waiting.get(event.run, {}).get(body.key)
            if found is not None and body.decision in ("approve", "deny", "edit"):
                found.answer = "deny" if body.decision == "deny" else "approve"
        elif kind == "run.ended":
            yield from waiting.pop(event.run, {}).values()
    for mine in waiting.values():
        yield from mine.values()


def _judged(
    event: Event, body: Any, agents: dict[str, tuple[str, str]], mine: dict[str, Decided]
) -> Iterator[Decided]:
    if event.kind == "approval.asked" and body.about != "action":
        return
    if body.verdict is None or body.plan is None:
        if event.kind == "step.settled" and body.key in mine:
            yield mine.pop(body.key)
        return
    before = mine.pop(body.key, None)
    if before is not None:  # asked again, about something else
        yield before
    whose = getattr(body, "of", "").partition("@")[0] or event.run
    agent, role = agents.get(whose, ("", ""))
    found = Decided(
        event.seq, event.run, event.pos, body.key, agent, role, body.plan, body.verdict, event.args
    )
    if event.kind == "step.settled":
        yield found
    else:
        mine[body.key] = found
