"""Two runs side by side: their steps in pairs, where they first differ and from what, worlds, money
and time."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.explain.align import align
from holdfast.explain.comparison import Changed, Comparison, Pair, What, Worlds
from holdfast.explain.divergence import Couple, Sides, ending, first_divergence, lines_of
from holdfast.explain.outcome import Wanted, differs, outcome_in, verdict_of
from holdfast.explain.past import chain
from holdfast.explain.taken import Past, Taken, read, side
from holdfast.explain.telling import Fetch, action, plain, verdict_text
from holdfast.journal.events import Event
from holdfast.journal.store import Store
from holdfast.values import limits
from holdfast.values.errors import HoldfastError
from holdfast.world import EMPTY, Stage, diff


async def compare_runs(store: Store, a: str, b: str) -> Comparison:
    """Compare two runs of a store; `NotFound`."""
    return compare(await chain(store, a), await chain(store, b), store.get)


def compare(a: Sequence[Event], b: Sequence[Event], fetch: Fetch) -> Comparison:
    """Compare two runs by their whole chains. ``fetch``: reads content (a store's get)."""
    one, other = read(a), read(b)
    marks = [[past.mark(taken) for taken in past.steps] for past in (one, other)]
    aligned = align(*marks)
    couples: list[Couple] = [
        (None if i is None else one.steps[i], None if j is None else other.steps[j])
        for i, j, _ in aligned
    ]
    pairs = _pairs(one, other, couples, fetch)
    strayed = next((n for n, match in enumerate(aligned) if match.strayed), None)
    found = first_divergence(Sides(one, other, couples, pairs, strayed, fetch))
    histories = ((one.history, a), (other.history, b))
    return Comparison(
        a=side(one, a, fetch),
        b=side(other, b, fetch),
        shared=shared_events(a, b),
        pairs=tuple(pairs),
        same=sum(pair.what == "same" for pair in pairs),
        moved=sum(pair.what == "moved" for pair in pairs),
        differ=sum(pair.differs for pair in pairs),
        first=None if found is None else found[0],
        now=_worlds(one.world, other.world, fetch),
        then=None if found is None else _worlds(*_roots(one, other, found[1]), fetch),
        outcome=differs(*(outcome_in(p, events, Wanted(), fetch) for p, events in histories)),
    )


def shared_events(a: Sequence[Event], b: Sequence[Event]) -> int:
    """How many events two chains begin with in common: the shorter end is found by halving."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[middle - 1].id == b[middle - 1].id else (low, middle - 1)
    return low


def _pairs(a: Past, b: Past, couples: Sequence[Couple], fetch: Fetch) -> list[Pair]:
    found: list[Pair] = []
    shown = 0
    for one, other in couples:
        what = _what(a, b, one, other)
        lines: tuple[str, ...] = ()
        if one is not None and other is not None and what in ("arguments", "verdict", "outcome"):
            shown += 1
            if shown <= limits.COMPARE_TEXT_ITEMS:
                lines = _lines(what, one, other, fetch)
        here = one or other
        assert here is not None
        found.append(
            Pair(what, action(here.step.plan), None if one is None else one.place,
                 None if other is None else other.place, lines)
        )  # fmt: skip
    return found


def _what(a: Past, b: Past, one: Taken | None, other: Taken | None) -> What:
    if one is None:
        return "only_b"
    if other is None:
        return "only_a"
    if one.whole != other.whole:
        return "arguments"
    mine, theirs = _said(one), _said(other)
    if mine and theirs and mine != theirs:  # what a fork takes from the record is not judged
        return "verdict"
    if a.ended(one.step) != b.ended(other.step):
        return "outcome"
    return "same" if (one.segment, one.step.key) == (other.segment, other.step.key) else "moved"


def _said(taken: Taken) -> object:
    """What the gate decided of a step, by which rules."""
    verdict = verdict_of(taken.step)
    return None if verdict is None else (verdict.decision, verdict.rules, verdict.observed)


def _lines(what: What, one: Taken, other: Taken, fetch: Fetch) -> tuple[str, ...]:
    if what == "arguments":
        return lines_of(plain(one.step.args, fetch), plain(other.step.args, fetch))
    if what == "verdict":
        texts = [f"{verdict_text(said)}: {said.reason}" if (said := verdict_of(taken.step)) else ""
                 for taken in (one, other)]  # fmt: skip
        return lines_of(*texts)
    return lines_of(ending(one, fetch), ending(other, fetch))


def _roots(a: Past, b: Past, there: Couple) -> tuple[str, str]:
    """The worlds that the steps were taken in at which two runs first differ."""
    one, other = there
    return (a.world if one is None else one.world), (b.world if other is None else other.world)


def _worlds(a: str, b: str, fetch: Fetch) -> Worlds:
    a, b = a or EMPTY, b or EMPTY
    if a == b:
        return Worlds(a, b)
    try:
        changes = diff(Stage(fetch), a, b)
    except HoldfastError as error:
        return Worlds(a, b, missing=str(error))
    paths = tuple(
        Changed(change.path, change.kind) for change in changes[: limits.COMPARE_PATH_ITEMS]
    )
    return Worlds(a, b, paths, len(changes))
