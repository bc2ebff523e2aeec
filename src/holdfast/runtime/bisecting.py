"""Bisecting a run: forks it where that teaches the most, until the deciding step is known.

What to try next is decided in `holdfast.explain.bisect`; this is the only part that forks. Forks
have the names RUN.bisect-1, -2, ...: a search that was interrupted goes on with those that exist.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import msgspec

from holdfast.engine.history import Step
from holdfast.explain.bisect import Fork, Rate, Search, ask, begin, belief
from holdfast.explain.bisected import (
    Bisected,
    Candidate,
    Made,
    blind,
    candidates,
    evidence,
    options,
    shown,
    standing,
    steps_of,
    still,
    suspected,
    unchanged,
)
from holdfast.explain.outcome import Outcome, Wanted, differs, outcome_of, wanted_of
from holdfast.explain.past import chain
from holdfast.explain.telling import plain, wait_text
from holdfast.explain.why import why
from holdfast.journal.events import Draft, Event, FindingAdded, RunStarted, body_of
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import CAUSED, PUBLISHED, RunRow
from holdfast.runtime.counterfactual import Changes, can_rerun, fork_with, stay
from holdfast.runtime.runtime import Runtime
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Conflict, HoldfastError, Misuse, NotFound
from holdfast.values.ids import check_name


class Asked(msgspec.Struct, frozen=True):
    """What is asked of a bisection. ``outcome``: when a run ends well, a condition ("": its score;
    without one, whatever ends otherwise counts); ``budget``: forks at most, those that exist
    included; ``money``: what they may cost (0: no limit); ``confidence``: when a step is believed;
    ``first``, ``last``: only steps from here to there; ``alternatives``: other outcomes for steps,
    to be tried in their place; ``weights``: how likely steps are beforehand, by key (none: as the
    slice of the ending says); ``rates``: known rates of good ends, of forks that can repair the run
    and of others."""

    outcome: str = ""
    budget: int = limits.BISECT_RUNS
    money: float = 0.0
    confidence: float = 0.9
    first: str = ""
    last: str = ""
    alternatives: dict[str, tuple[Any, ...]] = {}
    weights: dict[str, float] = {}
    rates: tuple[Rate, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """The run that is bisected, as it ended, and what is asked; ``prior``: the search before any
    fork; ``options``: what can be forked, every step taken again with all behind it, or replaced by
    what was given for it."""

    run: str
    asked: Asked
    wanted: Wanted
    outcome: Outcome
    steps: dict[tuple[int, str], Step]
    candidates: list[Candidate]
    prior: Search
    options: list[Fork]


async def bisect(
    runtime: Runtime, run: str, asked: Asked, told: Callable[[Bisected], None] | None = None
) -> Bisected:
    """Find the step of ``run`` that, taken otherwise, flips how it ended. ``told`` hears how it
    stands after every fork.

    Forks are executed and hold what leaves the world. For a step that is found, a finding `CAUSED`
    is written once. `Misuse` for a run that cannot be executed here, has not ended, or ended well.
    """
    source = await _source(runtime.store, run, asked)
    made: list[Made] = []
    for number in count(1):
        # INVARIANT X42: forks that exist are told first and are not made again, so a search that
        # was killed goes on where it was, and finds what it would have found
        name = check_name(f"{run}.bisect-{number}", "fork")
        if await _there(runtime.store, name):
            await _ours(runtime.store, source, name)
            await _finish(runtime, name)
        else:
            fork = _next(source, made)
            if fork is None:
                break
            await _fork(runtime, source, fork, name, made)
        made.append(await _look(runtime.store, source, name))
        if told is not None:
            told(_standing(source, made))
    found = _standing(source, made)
    if found.verdict == "found":
        await _record(runtime, source, found)
    return found


def _standing(source: Source, made: list[Made]) -> Bisected:
    return standing(
        source.run, source.outcome.text, source.candidates, source.prior, made,
        forks=source.options, confidence=source.asked.confidence,
    )  # fmt: skip


async def _source(store: Store, run: str, asked: Asked) -> Source:
    row = await store.run(run)
    can_rerun(row)
    events, wanted = await chain(store, run), wanted_of(asked.outcome)
    outcome = outcome_of(events, wanted, store.get)
    if not row.ended:
        raise Misuse(f"run {run} has not ended: there is no outcome to flip yet")
    if outcome.good:
        raise Misuse(f"run {run} ended well ({outcome.text}): --outcome says when a run does not")
    if outcome.good is None and outcome.value is None:
        raise Misuse(f"run {run}: {outcome.text}: say with --outcome when a run ends well")
    found = candidates(events, asked.first, asked.last, tuple(asked.alternatives))
    likely = asked.weights or suspected(await why(store, run))
    weights = [likely.get(one.key, 0.0 if likely else 1.0) if one.asked else 0.0 for one in found]
    kind = "only" if asked.alternatives else "from"
    return Source(
        run, asked, wanted, outcome, steps_of(events), found,
        begin(len(found), weights, rates=asked.rates or None),
        options(found, kind),
    )  # fmt: skip


def _next(source: Source, made: list[Made]) -> Fork | None:
    """What to fork next; None if it is over."""
    asked, forks = source.asked, source.options
    # INVARIANT X43: no fork is begun beyond the budget of forks, or once the money is used up
    if len(made) >= asked.budget or (asked.money and sum(x.money for x in made) >= asked.money):
        return None
    probe, settled = still(made, forks, source.candidates[forks[0].place].key)
    if probe or settled:
        return None if settled else forks[0]
    search = evidence(source.prior, source.candidates, made)
    believed = belief(search)
    sure = believed.sure >= asked.confidence and (believed.best < 0 or shown(search, believed))
    if blind(made) or sure:
        return None
    found = ask(search, forks)
    return found[0] if found is not None else None


async def _fork(
    runtime: Runtime, source: Source, fork: Fork, name: str, made: Sequence[Made]
) -> None:
    """Make and execute one more fork."""
    key = source.candidates[fork.place].key
    changes = Changes(fresh=True)
    if fork.kind == "only":
        given = source.asked.alternatives[key]
        before = sum(one.step == key and one.kind == "only" for one in made)
        changes = Changes(edits={"result": given[before % len(given)]})
    try:
        await fork_with(runtime, source.run, key, changes, name=name)
    except HoldfastError:  # what stopped it is told by how it stands; without it, nothing was made
        if not await _there(runtime.store, name):
            raise


async def _there(store: Store, name: str) -> bool:
    try:
        await store.run(name)
    except NotFound:
        return False
    return True


async def _ours(store: Store, source: Source, name: str) -> None:
    """`Misuse` for a run that has the name of a fork and is none that this search made."""
    # INVARIANT X46: a run that only has the name is never gone on with: a live fork, or a run of
    # its own, would perform what leaves the world
    row = await store.run(name)
    if row.fork_of != source.run or not row.holds:
        raise Misuse(
            f"run {name} has the name of the next fork, and is no fork of {source.run} that holds: "
            f"delete it (holdfast gc, once it ended), or bisect under another name, a fork: "
            f"holdfast fork {source.run} --name OTHER"
        )


async def _finish(runtime: Runtime, name: str) -> None:
    """Execute a fork that an interrupted search left."""
    if not (await runtime.store.run(name)).ended:
        with contextlib.suppress(HoldfastError):  # as when it was made: it stands as it stands
            await stay(runtime, name)


async def _look(store: Store, source: Source, name: str) -> Made:
    """What came of a fork."""
    row, events = await store.run(name), await chain(store, name)
    own: list[Event] = [event for event in events if event.run == name]
    started: RunStarted = body_of(own[0])
    kind = "only" if started.reuse else "from"
    at = next((n for n, one in enumerate(source.candidates) if one.pos == row.fork_pos), None)
    outcome = outcome_of(events, source.wanted, store.get)
    good = differs(source.outcome, outcome) if _tells(row, source.wanted) else None
    if good is None and row.status in ("failed", "cancelled") and source.wanted.condition:
        good = False  # what the condition looks at is not there because it did not end well
    money = sum(
        body_of(event).usage.get("money", 0.0) for event in own if event.kind == "step.settled"
    )
    return Made(
        name, kind, source.candidates[at].key if at is not None else "", good,
        outcome.text if row.ended else f"{outcome.text}; {_stands(row)}",
        unchanged(source.steps, steps_of(events)), money,
    )  # fmt: skip


def _tells(row: RunRow, wanted: Wanted) -> bool:
    """Whether the outcome of a fork can be told: it ended, or it waits only for what it held to be
    published, and the condition looks at its steps, not at what they lead to."""
    if row.ended:
        return True
    waits = bool(row.waits) and all(one.name.startswith(PUBLISHED) for one in row.waits)
    condition = wanted.condition
    return waits and condition is not None and not condition.uses & {"status", "error", "value"}


def _stands(row: RunRow) -> str:
    return "; ".join(wait_text(one, row.run) for one in row.waits) or row.status


async def _record(runtime: Runtime, source: Source, found: Bisected) -> None:
    """Write the finding about the step that decides, unless the same stands there already."""
    # INVARIANT X45: a finding is about the step that is believed, with what its forks showed; the
    # same one is not written twice
    place = next(one for one in source.candidates if one.key == found.step)
    alone = all(one.kind == "only" for one in found.forks)
    how = "replaced" if alone else "taken again, with all behind it"
    value = {
        "step": found.step, "intervention": how, "flips": found.changed.good,
        "of": found.changed.of, "low": round(found.changed.low, 4),
        "high": round(found.changed.high, 4),
    }  # fmt: skip
    store = runtime.store
    blobs: Blobs = {}
    body = FindingAdded(place.end, CAUSED, by="check:bisect")
    draft = Draft(body, runtime.host.clock.now_ms(), value=pack(value, blobs))
    for _ in range(limits.ANSWER_ATTEMPTS):
        head = await store.head(source.run)
        for event in await chain(store, source.run):
            known = event.kind == "finding.added" and body_of(event).type == CAUSED
            if known and plain(event.value, store.get) == value:
                return
        with contextlib.suppress(Conflict):  # somebody wrote to the run since the head was read
            await store.append((Batch(source.run, (draft,), expect=head.pos),), blobs)
            return
    raise Conflict(f"run {source.run} is written to all the time: bisect again, its forks are kept")
