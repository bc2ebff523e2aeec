"""Routes: who may answer an escalation, how many of them must, and for how long they are asked."""

from __future__ import annotations

import msgspec


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
