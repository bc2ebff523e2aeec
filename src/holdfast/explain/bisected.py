"""What a bisection of a run came to, and which of its steps could have come out otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from holdfast.engine.history import History, Step
from holdfast.explain.because import Why
from holdfast.explain.bisect import Belief, Fork, Kind, Search, Share, belief, needed, tell
from holdfast.explain.past import moments
from holdfast.explain.telling import action
from holdfast.journal.events import Event, body_of
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound

VARIES: Final = ("model", "dice", "spawn")
"""Kinds of steps that can come out otherwise when they are taken again; tools that read do too."""
CLOCK: Final = "now"
"""The name of a look at the clock: it always comes out otherwise, and decides nothing by itself."""
STILL: Final = 4
"""Forks that came out exactly as the run before it is said that taking steps again changes nothing;
half of them at the earliest step."""

Verdict = Literal["found", "none", "same", "inconclusive"]


class Candidate(msgspec.Struct, frozen=True):
    """A step that could be the one. ``pos``: position just before its first event: where a fork of
    it is cut; ``end``: of the event that a finding about it names; ``asked``: whether it is in the
    part of the run that is asked about."""

    key: str
    action: str
    pos: int
    end: int
    asked: bool


class Made(msgspec.Struct, frozen=True):
    """A fork that was made: ``kind`` of change at ``step``; ``good``: whether it ended well (or
    otherwise than the run, if nobody says what is good), None if that cannot be told; ``same``:
    every step came out as in the run; ``money``: what its own steps cost."""

    run: str
    kind: Kind
    step: str
    good: bool | None
    text: str
    same: bool
    money: float = 0.0


class Place(msgspec.Struct, frozen=True):
    """A step with what is believed of it; ``good`` of ``of`` forks made there ended well."""

    key: str
    action: str
    belief: float
    good: int
    of: int


class Bisected(msgspec.Struct, frozen=True):
    """How a bisection stands. ``outcome``: of the run itself; ``verdict``: found, none of these
    steps, the same whatever is taken again, or inconclusive; ``step``: the likeliest ("": none of
    them) with its ``probability``; ``credible``: the fewest steps that have 95 % together ("": none
    of them); ``changed``: of the forks that took the decision at ``step`` anew, how many ended
    well, ``kept``: of those that kept it; ``untold``: forks of which it cannot be told; ``more``:
    about how many more forks it takes, 0 if none is
    wanted, -1 if none helps; ``text``: all that in a sentence."""

    run: str
    outcome: str
    verdict: Verdict
    step: str
    probability: float
    none: float
    places: tuple[Place, ...]
    credible: tuple[str, ...]
    changed: Share
    kept: Share
    forks: tuple[Made, ...]
    untold: int
    money: float
    more: int
    text: str


def candidates(
    events: Sequence[Event], first: str = "", last: str = "", given: Sequence[str] = ()
) -> list[Candidate]:
    """The steps of a run's newest segment that can come out otherwise, or ``given`` these, in the
    order they were begun; asked about are those from step ``first`` to ``last``. `NotFound` for a
    step that is not there, `Misuse` if none can be the one."""
    starts = [at for at, one in enumerate(events)
              if one.kind == "run.started" and not body_of(one).fork_of]  # fmt: skip
    past, begun, ended = History(), dict[str, int](), dict[str, int]()
    for event in events[starts[-1] if starts else 0 :]:
        body = body_of(event)
        past.add(event, body)
        key = getattr(body, "key", "") if event.kind != "checkpoint.signed" else ""
        if key in past.steps:
            begun.setdefault(key, event.pos)
            ended[key] = event.pos
    for key in (first, last, *given):
        if key and key not in begun:
            raise NotFound(f"there is no step {key!r} in the run's newest segment")
    low = begun[first] if first else 0
    high = begun[last] if last else max(begun.values(), default=0)
    if first and last and low > high:
        raise Misuse(f"--steps {first}..{last}: say A..B with A before B: {last}..{first}")
    found = [
        Candidate(key, action(past.steps[key].plan), pos - 1, ended[key], low <= pos <= high)
        for key, pos in begun.items()
        if (key in given if given else _varies(past.steps[key]))
    ]
    if not any(one.asked for one in found):
        raise Misuse(
            "no step there asks a model, a child, chance or a tool that reads, so taking steps "
            "again changes nothing: give what could have come otherwise, --alternative STEP=VALUE"
        )
    return sorted(found, key=lambda one: one.pos)


def _varies(step: Step) -> bool:
    plan = step.plan
    if plan is None or step.settled is None:
        return False
    if plan.kind == "tool":
        return plan.effect == "read"
    return plan.kind in VARIES and plan.name != CLOCK


def options(steps: Sequence[Candidate], kind: Kind) -> list[Fork]:
    """What can be forked: the steps that are asked about. Forks ``from`` the last of them take what
    is behind anew as well, so the next step behind is one, too: it tells the two apart."""
    asked = [at for at, one in enumerate(steps) if one.asked]
    if kind == "from" and asked[-1] + 1 < len(steps):
        asked.append(asked[-1] + 1)
    return [Fork(kind, at) for at in asked]


def suspected(why: Why) -> dict[str, float]:
    """How likely steps are before any fork, by key: what the slice of the run's ending, ``why``,
    says of them. Empty where it names none."""
    found: dict[str, float] = {}
    for edge in [*why.led, *(edge for one in why.arguments for edge in one.edges)]:
        if edge.source.run == why.action.run:
            for key in (edge.source.step, *edge.through):
                if key:
                    bare = key.rpartition("@")[2].rpartition(":")[2]
                    found[bare] = found.get(bare, 0.0) + edge.score
    return found


def steps_of(events: Sequence[Event]) -> dict[tuple[int, str], Step]:
    """Every step of a run's chain by segment and key."""
    return {
        (moment.segment, moment.step.key): moment.step
        for moment in moments(list(events))
        if moment.step is not None
    }


def unchanged(run: Mapping[Any, Step], fork: Mapping[Any, Step]) -> bool:
    """Whether every step of a fork came out as in the run."""

    def told(steps: Mapping[Any, Step]) -> dict[Any, tuple[Any, ...]]:
        return {
            key: (step.args, step.value, step.settled.status if step.settled else "open")
            for key, step in steps.items()
            if step.plan is None or step.plan.name != CLOCK
        }

    return told(run) == told(fork)


def still(made: Sequence[Made], forks: Sequence[Fork], earliest: str) -> tuple[bool, bool]:
    """Whether the earliest step is to be taken again next, to see if anything changes at all; and
    whether that is settled: nothing does."""
    again = [one for one in made if one.kind == "from"]
    if forks[0].kind != "from" or len(again) < STILL // 2 or not all(one.same for one in again):
        return False, False
    there = sum(one.step == earliest for one in again)
    return True, len(again) >= STILL and there >= STILL // 2


def evidence(search: Search, steps: Sequence[Candidate], made: Sequence[Made]) -> Search:
    """``search`` told of all that the forks in ``made`` show."""
    # INVARIANT X44: no evidence is what cannot be told of a fork (and where that is much of them,
    # nothing is found: `blind`), nor steps taken again as long as that never changed anything
    places = {one.key: at for at, one in enumerate(steps)}
    varied = any(one.kind == "from" and not one.same for one in made)
    for one in made:
        if one.good is None or one.step not in places or (one.kind == "from" and not varied):
            continue
        search = tell(search, Fork(one.kind, places[one.step]), good=one.good)
    return search


def shown(search: Search, found: Belief) -> bool:
    """Whether forks show what is believed of a step: one that took it anew ended otherwise, and
    where it could be another step, there is one more fork to set against it."""
    # INVARIANT X48: no step is found by what was believed of it before any fork flipped
    return found.changed.good > 0 and (search.steps == 1 or search.spent > 1)


def blind(made: Sequence[Made]) -> bool:
    """Whether of so many forks nothing can be told that the others may mislead: those that end can
    be those that do as the run did, because what leaves the world is then in the record."""
    untold = sum(one.good is None for one in made)
    return untold >= limits.BISECT_UNTOLD_RUNS and untold * 4 > len(made)


def standing(
    run: str, outcome: str, steps: Sequence[Candidate], search: Search, made: Sequence[Made],
    *, forks: Sequence[Fork], confidence: float,
) -> Bisected:  # fmt: skip
    """How the search stands after the forks in ``made``."""
    search = evidence(search, steps, made)
    found = belief(search)
    nothing = still(made, forks, steps[forks[0].place].key)[1]
    sure = found.sure >= confidence and not nothing and not blind(made)
    unshown = sure and found.best >= 0 and not shown(search, found)
    sure = sure and not unshown
    named = sure and found.best >= 0
    verdict: Verdict = (
        "same" if nothing else "found" if named else "none" if sure else "inconclusive"
    )
    key = steps[found.best].key if found.best >= 0 else ""
    more = needed(search, forks, confidence) if not (sure or nothing or blind(made)) else 0
    more = max(1, more) if unshown else more
    tally = {one.key: [0, 0] for one in steps}
    for one in made:
        if one.good is not None and one.step in tally:
            tally[one.step][0] += one.good
            tally[one.step][1] += 1
    places = tuple(
        Place(one.key, one.action, found.steps[at], *tally[one.key]) for at, one in enumerate(steps)
    )
    bare = Bisected(
        run, outcome, verdict, key, found.sure, found.none, places,
        tuple("" if at < 0 else steps[at].key for at in found.credible), found.changed, found.kept,
        tuple(made), sum(one.good is None for one in made), sum(one.money for one in made), more,
        "",
    )  # fmt: skip
    return msgspec.structs.replace(bare, text=_sentence(bare))


def _sentence(found: Bisected) -> str:
    forks = f"{len(found.forks)} forks"
    match found.verdict:
        case "same":
            return (
                f"taking steps again changes nothing: {forks} came out as the run, step by step; "
                "give what could have come otherwise, --alternative STEP=VALUE"
            )
        case "found":
            return (
                f"step {found.step} decides, with {found.probability:.0%}: of the forks that took "
                f"it anew {found.changed.good} of {found.changed.of} ended otherwise "
                f"({found.changed.low:.0%} to {found.changed.high:.0%}), of those that kept it "
                f"{found.kept.good} of {found.kept.of} ({found.kept.low:.0%} to "
                f"{found.kept.high:.0%})"
            )
        case "none":
            return f"none of these steps decides, with {found.probability:.0%}, after {forks}"
        case _ if blind(found.forks):
            one = next(one for one in reversed(found.forks) if one.good is None)
            return (
                f"inconclusive: of {found.untold} of {forks} it cannot be told how they end "
                f"({one.run}: {one.text}); give tools that leave the world a preview, or say "
                "--outcome over steps"
            )
        case _:
            likely = f"step {found.step}" if found.step else "none of them"
            left = len(found.credible)
            more = f"about {found.more} more forks" if found.more > 0 else "other changes to try"
            if found.step and not found.changed.good:
                more += ", one of them that takes it anew and ends otherwise: none has yet"
            return (
                f"inconclusive after {forks}: {likely} is likeliest with {found.probability:.0%}, "
                f"{left} {'answer' if left == 1 else 'answers'} left within 95 %; it takes {more}"
            )
