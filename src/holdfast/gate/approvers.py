"""Who may answer an escalation: approvers, through routes, for one agent in one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from holdfast.gate.routes import Route
from holdfast.journal.events import Panel


class Asking(msgspec.Struct, frozen=True, gc=False):
    """Who is asked: ``panels`` that must all approve (none: anybody), who is ``barred``, how many
    different people it takes at least, when it ``expires`` (ms, 0: never); ``nobody``: why it can
    never be approved, "" if it can."""

    panels: tuple[Panel, ...] = ()
    barred: tuple[str, ...] = ()
    needs: int = 1
    expires: int = 0
    nobody: str = ""


def resolve(
    approvers: Sequence[str],
    routes: Mapping[str, Route],
    *,
    agents: Iterable[str],
    owner: str,
    starter: str,
    now: int,
) -> Asking:
    """Who may answer an escalation of one of ``agents``, which belongs to ``owner`` ("": nobody),
    in a run that ``starter`` began. Pure and total.

    Routes among ``approvers`` must each approve; the other names are persons, of whom one must. A
    route among another's people stands for these people (with who may stand in for them), not for
    how many of them it needs. Whoever may not approve by a route has no seat in it, and nobody
    stands in for them there.
    """
    # INVARIANT E63: an agent never approves what it asks for, under any of its names
    barred = tuple(dict.fromkeys(name for agent in agents for name in (agent, f"agent:{agent}")))
    panels: list[Panel] = []
    persons = [name for name in dict.fromkeys(approvers) if name not in routes]
    if persons:
        panels.append(Panel({name: () for name in persons if name not in barred}))
    named = [routes[name] for name in dict.fromkeys(approvers) if name in routes]
    for route in named:
        seats = _seats(route, routes, owner, starter, frozenset())
        kept = {
            name: tuple(other for other in others if other not in barred)
            for name, others in seats.items()
            if name not in barred
        }
        panels.append(Panel(kept, route.name, max(1, route.needs)))
    expiries = [route.expires for route in named if route.expires > 0]
    return Asking(
        panels=tuple(panels),
        barred=barred,
        needs=max((panel.needs for panel in panels), default=1),
        expires=now + max(1, int(min(expiries) * 1000)) if expiries else 0,
        nobody=next((_nobody(panel) for panel in panels if len(panel.seats) < panel.needs), ""),
    )


def _seats(
    route: Route, routes: Mapping[str, Route], owner: str, starter: str, above: frozenset[str]
) -> dict[str, tuple[str, ...]]:
    """Who may approve by a route, each with who may stand in. A cycle, which loading refuses, adds
    nobody."""
    seats: dict[str, tuple[str, ...]] = {}
    for name in route.people:
        if name not in routes:
            inner = {name: tuple(route.delegates.get(name, ()))}
        elif name == route.name or name in above:
            continue
        else:
            inner = _seats(routes[name], routes, owner, starter, above | {route.name})
        for person, others in inner.items():
            seats[person] = tuple(dict.fromkeys((*seats.get(person, ()), *others)))
    # INVARIANT E64: whom a route excludes takes no seat in it, neither their own nor another's
    out = {owner} if owner and not route.owner_may else set[str]()
    if starter and not route.starter_may:
        out.add(starter)
    return {
        name: tuple(other for other in others if other not in out)
        for name, others in seats.items()
        if name not in out
    }


def _nobody(panel: Panel) -> str:
    have = ", ".join(panel.seats) or "nobody"
    what = f"route {panel.route!r} needs {panel.needs}" if panel.route else "one must approve"
    return f"{what}, and of its people only {have} may approve this"
