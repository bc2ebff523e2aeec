"""Agents as a journal and a policy know them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from holdfast.gate import Proposal, Verdict
from holdfast.gate.agents import AgentCard, card_of
from holdfast.gate.switches import Switchboard
from holdfast.journal.record import OWN
from holdfast.journal.views import BRANCH, THREAD, RunRow


class Registered(msgspec.Struct, frozen=True):
    """One agent. ``standing``: registered, pending (a policy with agents does not know it), stopped
    (``why`` says by whom or what), or "" if the policy lists no agents. ``last``: when one of its
    ``runs`` changed last (ms)."""

    agent: str
    standing: str
    owner: str
    role: str
    autonomy: int
    runs: int
    last: int
    why: str
    keyed: bool


def registry(
    rows: Iterable[RunRow], cards: Sequence[AgentCard], board: Switchboard
) -> list[Registered]:
    """Every agent that ran, and every one that a policy names, the latest first."""
    seen: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row.run not in OWN and row.agent not in (BRANCH, THREAD):
            runs, last = seen.get(row.agent, (0, 0))
            seen[row.agent] = (runs + 1, max(last, row.changed, row.started))
    named = (name for card in cards for name in card.agent if "*" not in name and "?" not in name)
    for name in named:
        seen.setdefault(name, (0, 0))
    found = [_one(agent, *seen[agent], cards, board) for agent in seen]
    return sorted(found, key=lambda one: (-one.last, one.agent))


def _one(
    agent: str, runs: int, last: int, cards: Sequence[AgentCard], board: Switchboard
) -> Registered:
    card = card_of(cards, agent)
    own = agent.startswith("holdfast.")  # built in
    standing = "registered" if card is not None or own else ("pending" if cards else "")
    verdict = board.overrule(Proposal(agent, "", "tool", "", "read", {}), Verdict("allow"))
    why = verdict.reason if verdict.decision == "deny" else card.stopped if card else ""
    card = card or AgentCard((agent,))
    return Registered(
        agent, "stopped" if why else standing, card.owner, card.role, card.autonomy, runs, last,
        why, bool(card.key),
    )  # fmt: skip
