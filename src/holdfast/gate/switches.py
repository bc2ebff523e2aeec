"""Kill switches: agents, tools and rules that persons stopped, effective at once, without a policy.

A switch is a signal in a run of Holdfast's own, so it is known who threw it, when and why. Hosts
hear of it as they hear of any event. It stands before every rule: what is stopped is denied,
whatever the policy says.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from holdfast.gate.pattern import Names, names_of
from holdfast.gate.proposal import Proposal
from holdfast.gate.verdict import KILLED, Verdict
from holdfast.journal.events import Event, SignalReceived, body_of
from holdfast.journal.record import KILL, LIFT
from holdfast.values import limits

SWITCHED: Final = ("agent", "tool", "rule")
"""What can be stopped."""


class Switch(msgspec.Struct, frozen=True):
    """Something that is stopped. ``what``: a word of `SWITCHED`; ``name``: a name or glob (of a
    rule: its id); ``by`` whom, ``at`` (ms since 1970), why."""

    what: str
    name: str
    reason: str
    by: str
    at: int


class Switchboard:
    """What is stopped now. ``thrown``: whether anything is; a step looks at no more than that."""

    __slots__ = ("_globs", "switches", "thrown")

    def __init__(self) -> None:
        self.thrown = False
        self.switches: dict[tuple[str, str], Switch] = {}
        self._globs: dict[tuple[str, str], Names] = {}

    def hear(self, event: Event, value: Any) -> None:
        """Take note of a signal and its ``value``. What is not understood changes nothing."""
        body: SignalReceived = body_of(event)
        if event.kind != "signal.received" or not isinstance(value, dict):
            return
        said = cast("dict[str, Any]", value)
        what, name, reason = (said.get(key) for key in ("what", "name", "reason"))
        if what not in SWITCHED or not isinstance(name, str) or not is_switch_name(name):
            return
        place = (str(what), name)
        if body.name == KILL:
            self.switches[place] = Switch(*place, str(reason or ""), body.by, event.at)
            self._globs[place] = names_of((name,))
        elif body.name == LIFT:
            self.switches.pop(place, None)
            self._globs.pop(place, None)
        self.thrown = bool(self.switches)

    def overrule(self, proposal: Proposal, verdict: Verdict) -> Verdict:
        """``verdict``, or a denial if the agent, the tool or a rule that matched is stopped."""
        # INVARIANT J60: what is stopped is denied whatever the policy says, and nothing else is
        found = self._find(proposal, verdict)
        if found is None:
            return verdict
        why = f": {found.reason}" if found.reason else ""
        reason = f"{found.what} {found.name!r} was stopped by {found.by}{why}"
        way = f"a person can lift it: holdfast kill --lift {found.what} {found.name}"
        rules = (KILLED, *verdict.rules)
        return msgspec.structs.replace(
            verdict, decision="deny", rules=rules, reason=reason, way=way, approvers=(), checks=()
        )

    def _find(self, proposal: Proposal, verdict: Verdict) -> Switch | None:
        for place, switch in self.switches.items():
            if switch.what == "rule":
                stopped = switch.name in verdict.rules
            else:
                name = proposal.agent if switch.what == "agent" else proposal.tool
                # a name that no pattern can be held against is refused by the judge already
                small = len(name) <= limits.PATTERN_INPUT_CHARS
                stopped = small and self._globs[place].match(name)
            if stopped:
                return switch
        return None


def is_switch_name(name: str) -> bool:
    """Whether ``name`` can be stopped: a name, or a glob that can be understood."""
    if not name or not name.isprintable() or len(name) > limits.PATTERN_CHARS:
        return False
    return not set("[]{}") & set(name)
