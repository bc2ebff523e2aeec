"""Decisions that plain code could make: rules learned from earlier runs, tried on later ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from holdfast.explain.decisions import Decision, Fetch, decisions
from holdfast.explain.rates import Rate, rate
from holdfast.explain.rules import Rule, code, learn
from holdfast.gate.counting import SCALE
from holdfast.journal.events import Event
from holdfast.values import limits

_MONTH: Final = 30 * 86_400_000  # ms


class Miss(msgspec.Struct, frozen=True):
    """A later decision on which a rule says something else. ``place``: RUN@STEP."""

    place: str
    rule: str
    was: str


class Proposal(msgspec.Struct, frozen=True):
    """A rule that could make some decisions of a step. ``agent``, ``step``: which; ``site``: hash
    of what stays the same in its requests. ``form``: "look-up" or "decision list"; ``rule``: it as
    data; ``code``: it as Python, to read (nothing here runs it). ``learned``: runs, the last of
    which began at ``until`` (ms); ``tried``: runs that began later. ``covered``: later decisions on
    which it says anything; ``agreement``: on how many of these what was decided; ``misses``: where
    not. ``money``, ``hours``: saved in a month at the present rate, on what it covers; ``leaves``:
    an effect that cannot be repeated follows this decision."""

    agent: str
    step: str
    site: str
    form: str
    rule: dict[str, Any]
    code: str
    learned: int
    until: int
    tried: int
    covered: Rate
    agreement: Rate
    misses: tuple[Miss, ...]
    money: float
    hours: float
    leaves: bool


class Left(msgspec.Struct, frozen=True):
    """A decision for which nothing is proposed, and why."""

    agent: str
    step: str
    site: str
    decisions: int
    why: str


class Economized(msgspec.Struct, frozen=True):
    """What `economize` found. ``decisions``: how many it looked at."""

    proposals: tuple[Proposal, ...]
    left: tuple[Left, ...]
    decisions: int


def economize(events: Iterable[Event], fetch: Fetch, agent: str = "") -> Economized:
    """Look for decisions that plain code could make. ``fetch``: reads content by hash; ``agent``:
    only this one's. Nothing is changed, and no code is run."""
    taken = [one for one in decisions(events, fetch) if not agent or one.agent == agent]
    sites: dict[tuple[str, str, str], list[Decision]] = {}
    for one in taken:
        sites.setdefault((one.agent, one.step, one.site), []).append(one)
    proposals: list[Proposal] = []
    left: list[Left] = []
    for each in sites.values():
        found = _look(each)
        if isinstance(found, Proposal):
            proposals.append(found)
        else:
            left.append(found)
    proposals.sort(key=lambda one: (-one.money, -one.hours))
    left.sort(key=lambda one: -one.decisions)
    return Economized(tuple(proposals), tuple(left), len(taken))


def parted(taken: Sequence[Decision]) -> tuple[list[Decision], list[Decision]]:
    """Decisions to learn from, and later ones to try rules on.

    INVARIANT X87: a rule is tried only on runs that began after the last decision that it was
    learned from; what lies between is used for neither.
    """
    began = sorted({one.run: one.began for one in taken}.items(), key=lambda item: item[1])
    count = len(began) * limits.ECONOMIZE_LEARN_PERCENT // 100
    early = {run for run, _ in began[:count]}
    learned = [one for one in taken if one.run in early]
    last = max((one.seq for one in learned), default=0)
    return learned, [one for one in taken if one.run not in early and one.began > last]


def _look(taken: Sequence[Decision]) -> Proposal | Left:
    """What can be proposed for the decisions of one site."""
    first = taken[0]

    def nothing(why: str) -> Left:
        return Left(first.agent, first.step, first.site, len(taken), why)

    learned, later = parted(taken)
    if len(learned) < limits.ECONOMIZE_MIN_ITEMS or not later:
        runs = len({one.run for one in taken})
        return nothing(
            f"too little to learn from: {len(taken):,} decisions in {runs:,} runs, of which "
            f"{len(learned):,} come before {len(later):,}"
        )
    answers = len({one.output for one in learned})
    if answers > limits.ECONOMIZE_ANSWERS_ITEMS:
        return nothing(f"no choice among few: {answers:,} different answers")
    rule = _chosen(learned)
    if rule is None:
        return nothing("no rule over single fields of the input says what was decided")
    return _tried(rule, taken, learned, later) or nothing(_why_not(rule, taken, later))


def _chosen(learned: Sequence[Decision]) -> Rule | None:
    """The form that does best when it is learned from the older part of what there is to learn
    from and tried on the newer; then learned again from all of it."""
    examples = [(one.fields, one.output) for one in learned[-limits.ECONOMIZE_EXAMPLES_ITEMS :]]
    cut = len(examples) * limits.ECONOMIZE_LEARN_PERCENT // 100
    older, newer = examples[:cut], examples[cut:]

    def score(rule: Rule) -> int:
        said = [(rule.decide(given), then) for given, then in newer]
        # a wrong answer costs more than none
        return sum(1 if one == then else -4 for one, then in said if one is not None)

    best = max(learn(older), key=score, default=None)
    again = learn(examples)
    if best is None:
        return again[0] if again else None
    return next((rule for rule in again if rule.form == best.form), None)


def _shadow(rule: Rule, later: Sequence[Decision]) -> tuple[Rate, Rate, list[Miss]]:
    """On how many later decisions a rule says anything, how often that is what was decided, and
    where it is not."""
    said = [(one, rule.decide(one.fields)) for one in later]
    covered = [(one, then) for one, then in said if then is not None]
    misses = [
        Miss(f"{one.run}@{one.place}", then, one.output)
        for one, then in covered
        if then != one.output
    ]
    agreed = len(covered) - len(misses)
    return rate(len(covered), len(later)), rate(agreed, len(covered)), misses


def _needed(*, leaves: bool) -> float:
    percent = limits.ECONOMIZE_LEAVES_PERCENT if leaves else limits.ECONOMIZE_AGREE_PERCENT
    return percent / 100


def _tried(
    rule: Rule, taken: Sequence[Decision], learned: Sequence[Decision], later: Sequence[Decision]
) -> Proposal | None:
    """The proposal, if the rule did well enough.

    INVARIANT X88: where an effect that cannot be repeated follows, nothing is proposed whose lower
    bound of agreement is under the higher limit.
    """
    first, leaves = taken[0], any(one.leaves for one in taken)
    covered, agreement, misses = _shadow(rule, later)
    if not agreement.of or agreement.low < _needed(leaves=leaves):
        return None
    span = max(limits.ECONOMIZE_SPAN_MS, taken[-1].at - taken[0].at)
    share = (covered.share or 0.0) * _MONTH / span
    what = f"{first.agent}: {first.step}, site {first.site}"
    return Proposal(
        first.agent, first.step, first.site, rule.form, rule.told(), code(rule, what),
        len({one.run for one in learned}), max(one.at for one in learned),
        len({one.run for one in later}), covered, agreement,
        tuple(misses[: limits.ECONOMIZE_MISSES_ITEMS]),
        sum(one.money for one in taken) / SCALE["money"] * share,
        sum(one.took for one in taken) / 3_600_000 * share, leaves,
    )  # fmt: skip


def _why_not(rule: Rule, taken: Sequence[Decision], later: Sequence[Decision]) -> str:
    covered, agreement, misses = _shadow(rule, later)
    if not agreement.of:
        return f"a {rule.form} was found, but says nothing of {len(later):,} later decisions"
    leaves = any(one.leaves for one in taken)
    where = f"; first otherwise at {misses[0].place}" if misses else ""
    follows = ", since an effect that cannot be repeated follows" if leaves else ""
    return (
        f"a {rule.form} agreed with {agreement.good:,} of {covered.good:,} later decisions: at "
        f"least {agreement.low:.1%}, and {_needed(leaves=leaves):.0%} is needed{follows}{where}"
    )
