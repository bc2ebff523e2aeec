"""What was spent and did not reach an outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from holdfast.explain.ledger import Ledger, Life, Used
from holdfast.gate.counting import SCALE

CAUSES: Final = ("fork", "run", "branch", "after", "refused", "error", "retry")
"""Why what was spent reached no outcome, in the order in which the first that fits counts."""
_SHOWN = 3


class Waste(msgspec.Struct, frozen=True):
    """What one cause lost; no step counts to two. ``cause``: "fork" (forks that failed, were
    cancelled, or were discarded), "run" (runs that failed, were cancelled or judged bad), "branch"
    (branches inside a run that were never merged into it), "after" (steps after the last that the
    outcome used), "refused" (model calls of which every proposal was refused), "error" (steps that
    ended with an error), "retry" (attempts before the one that ended a step). ``share``: of all
    money; ``steps``, ``runs``: how many; ``places``: the dearest, RUN or RUN@STEP."""

    cause: str
    money: float
    tokens: int
    steps: int
    runs: int
    share: float
    places: tuple[str, ...] = ()


class Fates(msgspec.Struct):
    """Which runs came to nothing, ``bad``: "fork" or "run", by run; ``reached``: up to which
    position what they did was part of an outcome all the same, since a fork went on from there."""

    bad: dict[str, str]
    reached: dict[str, int]


def fates(ledger: Ledger) -> Fates:
    """Which runs came to nothing. A fork is discarded if nothing took it in although something was
    to: it held what would leave the world, or another fork of the same run was taken."""
    lives = ledger.lives
    chosen = {one.fork_of for one in lives.values() if one.fork_of and one.taken}
    bad: dict[str, str] = {}
    for name, one in lives.items():
        lost = one.status in ("failed", "cancelled") or one.good is False
        left = one.fork_of and one.ended and (one.holds or one.fork_of in chosen)
        if not one.taken and (lost or (left and not one.good)):
            bad[name] = "fork" if one.fork_of else "run"
        elif one.parent in bad and not one.good:
            bad[name] = bad[one.parent]  # what it did was part of that
    reached: dict[str, int] = {}
    for name, one in lives.items():
        if name in bad:
            continue
        cut, source = one.fork_pos, one.fork_of
        while source and reached.get(source, -1) < cut:
            reached[source] = cut
            before = lives.get(source)
            if before is None:
                break
            cut, source = min(cut, before.fork_pos), before.fork_of
    return Fates(bad, reached)


class _Lost(msgspec.Struct):
    money: int = 0
    tokens: int = 0
    steps: int = 0
    places: dict[str, int] = msgspec.field(default_factory=dict)
    runs: set[str] = msgspec.field(default_factory=set)


def wasted(ledger: Ledger, found: Fates, last_used: Mapping[str, int] | None = None) -> list[Waste]:
    """What each cause lost, dearest first. ``last_used``: position of the last event that a run's
    outcome used, by run, from the slices of ``why``; without it nothing counts as "after".

    INVARIANT X85: each step is wasted for one cause at most, and for no more than it used.
    """
    sums: dict[str, _Lost] = {}
    total = 0
    for life in ledger.lives.values():
        total += sum(used.money for used in life.steps)
        for cause, used, money, tokens in _lost(life, found, (last_used or {}).get(life.run)):
            one = sums.setdefault(cause, _Lost())
            one.money += money
            one.tokens += tokens
            one.steps += 1
            one.runs.add(life.run)
            whole = cause in ("fork", "run")
            place = life.run if whole else f"{life.run}@{used.place}"
            one.places[place] = one.places.get(place, 0) + money
    made: list[Waste] = []
    for cause, one in sums.items():
        dearest = sorted(one.places, key=lambda place: (-one.places[place], place))[:_SHOWN]
        made.append(Waste(
            cause, one.money / SCALE["money"], one.tokens, one.steps, len(one.runs),
            one.money / total if total else 0.0, tuple(dearest),
        ))  # fmt: skip
    return sorted(made, key=lambda one: (-one.money, -one.tokens, CAUSES.index(one.cause)))


def _lost(life: Life, found: Fates, last_used: int | None) -> Iterator[tuple[str, Used, int, int]]:
    bad, reached = found.bad.get(life.run, ""), found.reached.get(life.run, -1)
    refused = _refused(life)
    for used in life.steps:
        if not (used.money or used.tokens or used.calls):
            continue
        if bad and used.pos > reached:
            yield bad, used, used.money, used.tokens
        elif used.branch and life.ended and not _merged(life, used.branch):
            yield "branch", used, used.money, used.tokens
        elif last_used is not None and max(last_used, reached) < used.pos:
            yield "after", used, used.money, used.tokens
        elif used.pos in refused:
            yield "refused", used, used.money, used.tokens
        elif used.status == "error":
            yield "error", used, used.money, used.tokens
        elif used.attempt > 1:
            # only of a model's answer it stands apart what the last attempt used
            last = used.told.total
            kept = used.last_money if used.kind == "model" and used.last_money else used.money
            tokens = used.tokens - last if last else 0
            yield "retry", used, max(0, used.money - kept), max(0, tokens)


def _merged(life: Life, branch: str) -> bool:
    """Whether what a branch did came into the run's own world."""
    for _ in range(len(life.opened) + 1):
        if not branch or branch not in life.opened:
            return True  # of what is no branch nobody knows that it was left
        if branch not in life.merged:
            return False
        branch = life.opened[branch]
    return True


def _refused(life: Life) -> set[int]:
    """Positions of model calls of which every proposal was refused: between each and the next one
    on the same branch, tools were refused and none was performed."""
    open_calls: dict[str, list[int]] = {}  # by branch: position, refused, performed
    found: set[int] = set()

    def close(branch: str) -> None:
        position, refusals, performed = open_calls.pop(branch, [0, 0, 0])
        if refusals and not performed:
            found.add(position)

    for used in life.steps:
        if used.kind == "model":
            close(used.branch)
            open_calls[used.branch] = [used.pos, 0, 0]
        elif used.kind == "tool" and used.branch in open_calls:
            open_calls[used.branch][1 if used.status in ("refused", "expired") else 2] += 1
    for branch in list(open_calls):
        close(branch)
    return found
