"""When the answers to a question are enough: one pure rule, for the run, its row and who answers.

All that it needs stands in the question itself, so that a policy that changes meanwhile changes
nothing about answers that were given.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast.journal.events import Panel


def may(panels: Sequence[Panel], barred: Collection[str], by: str) -> bool:
    """Whether the answer of ``by`` counts at all: it stands in one of the panels, if there are any,
    and is not barred."""
    # INVARIANT E60: who is barred never counts, whatever else names them
    if by in barred:
        return False
    return not panels or by in people(panels)


def people(panels: Sequence[Panel]) -> tuple[str, ...]:
    """Everybody who may answer, those who stand in for others too, each once."""
    names = (
        name for panel in panels for seat, others in panel.seats.items() for name in (seat, *others)
    )
    return tuple(dict.fromkeys(names))


def met(panels: Sequence[Panel], approved: Collection[str]) -> bool:
    """Whether the approvals of these people are enough: for each panel, or of anybody."""
    # INVARIANT E61: the same set of people gives the same end, in whatever order they answered,
    # and one more approval never makes it less
    if not panels:
        return bool(approved)
    return all(seated(panel, approved) >= panel.needs for panel in panels)


def seated(panel: Panel, approved: Collection[str]) -> int:
    """How many seats of a panel these people can take, each person one, each seat once.

    The largest matching, by augmenting paths: panels are small.
    """
    taken: dict[str, str] = {}

    def place(name: str, tried: set[str]) -> bool:
        for seat, others in panel.seats.items():
            if seat in tried or (name != seat and name not in others):
                continue
            tried.add(seat)
            if seat not in taken or place(taken[seat], tried):
                taken[seat] = name
                return True
        return False

    return sum(place(name, set()) for name in approved)


def missing(panels: Sequence[Panel], approved: Collection[str]) -> str:
    """What is missing, as part of a sentence; "" if nothing is."""
    parts = [
        f"{panel.needs - seated(panel, approved)} of {', '.join(people((panel,)))}"
        + (f" ({panel.route})" if panel.route else "")
        for panel in panels
        if seated(panel, approved) < panel.needs
    ]
    return "; ".join(parts)
