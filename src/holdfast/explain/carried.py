"""What was carried into the arguments of steps that left the world, for spans to link to."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.explain.chain import Fetch
from holdfast.explain.spans import Edge, Edges
from holdfast.explain.why import read_why
from holdfast.journal.events import Event, body_of
from holdfast.values import limits


def carried(fetch: Fetch) -> Edges:
    """Sources of steps as `holdfast.explain.why` grades them: those of which bytes reached an
    argument, with the path of that argument. ``fetch`` reads blobs."""

    def edges(events: Sequence[Event]) -> list[Edge]:
        # INVARIANT X201: what is told of a step depends on the chain up to it alone, so that late
        # and live spans are the same; nothing is told behind a position, not after a time
        if events[-1].pos > limits.EXPORT_WHY_EVENTS:
            return []
        known = {event.id for event in events}
        found = read_why(events, fetch, body_of(events[-1]).key)
        return [
            Edge(edge.source.pos, edge.grade, argument.path)
            for argument in found.arguments
            for edge in argument.edges
            if edge.grade == "carried" and edge.source.event in known
        ]

    return edges
