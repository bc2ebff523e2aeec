"""Routes: who may answer an escalation, how many of them must, and for how long they are asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast.gate.reading import Item, Reader, clip, entry, mapping_of, number, whole
from holdfast.values import limits


class Route(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``routes``, named in a rule's ``approvers`` beside names of persons.

    ``people``: persons or other routes (cycles are refused at load). ``needs``: how many different
    ones must approve; one who denies ends it. ``delegates``: who may stand in, by person.
    ``owner_may``: whether the owner of the agent may approve (never who started the run, unless
    ``starter_may``). ``expires``: seconds until nobody is asked any more (0: never).
    """

    name: str
    people: tuple[str, ...]
    needs: int = 1
    delegates: dict[str, tuple[str, ...]] = {}
    owner_may: bool = True
    starter_may: bool = True
    expires: float = 0.0


_READERS: Final[dict[str, Reader]] = {
    "name": Item.name,
    "people": Item.texts,
    "needs": whole(1, 100),
    "delegates": mapping_of(Item.texts),
    "owner_may": Item.flag,
    "starter_may": Item.flag,
    "expires": number(0, limits.AMOUNT_MAX_ITEMS),
}


def read_route(item: Item) -> Route:
    """One entry of ``routes``; raises `Misuse` with its line for what is not understood."""
    return Route(**entry(item, _READERS, "a route", ("name", "people")))


def check_routes(routes: Mapping[str, Route], places: Mapping[str, Item]) -> None:
    """Refuse cycles, and routes that need more people than they reach; ``places`` by name."""
    reached: dict[str, frozenset[str]] = {}

    def reach(name: str, above: tuple[str, ...]) -> frozenset[str]:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            places[name].refuse(f"routes lead in a circle: {circle}")
        if name not in routes:
            return frozenset((name,))
        if len(above) > limits.ROUTE_DEPTH:
            places[name].refuse(f"routes lead through more than {limits.ROUTE_DEPTH} others")
        if name not in reached:
            inner = (reach(each, (*above, name)) for each in routes[name].people)
            reached[name] = frozenset[str]().union(*inner)
        return reached[name]

    for name, route in routes.items():
        people = reach(name, ())
        if len(people) < route.needs:
            places[name].refuse(
                f"route {clip(name)} needs {route.needs} people and names {len(people)}"
            )
