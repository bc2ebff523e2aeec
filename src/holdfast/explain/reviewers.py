"""How well persons review: from what they answered, what others answered, what came of it and
which seeded cases they caught. Pure: a fold over events in the order of their store."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from holdfast.engine.seeding import CAUGHT, PLANTED
from holdfast.explain.answers import Open, follow
from holdfast.journal.events import ApprovalAsked, ApprovalGiven, Event, body_of, is_erased
from holdfast.journal.record import SEEDED
from holdfast.journal.views import REVIEWED
from holdfast.values.canon import digest, unpack
from holdfast.values.errors import HoldfastError

READ: Final = frozenset({
    "run.started", "approval.asked", "approval.given", "step.planned", "step.settled",
    "finding.added",
})  # fmt: skip
"""Kinds of events that this is made from."""


class Reviewer(msgspec.Struct, frozen=True):
    """One person. ``answers`` that counted, and of these about actions: ``approved``, ``denied``,
    ``edited``; ``seconds``: the median time from a question to the answer (None: no answer).
    ``agrees``, ``differs``: pairs of an answer of theirs and another person's about the same
    action; ``right``, ``wrong``: what somebody else thought afterwards of what they approved;
    ``seeded``: seeded cases that they answered, ``caught``: those that they did not approve."""

    by: str
    answers: int = 0
    approved: int = 0
    denied: int = 0
    edited: int = 0
    seconds: float | None = None
    agrees: int = 0
    differs: int = 0
    right: int = 0
    wrong: int = 0
    seeded: int = 0
    caught: int = 0


class _Tally:
    """What is known of everybody while events are read."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.took: dict[str, list[int]] = defaultdict(list)
        self.said: dict[str, dict[str, list[int]]] = defaultdict(dict)
        """By action and person: how often not approved, how often approved."""
        self.agents: dict[str, str] = {}
        self.waiting: Open = {}
        self.since: dict[tuple[str, str], int] = {}
        self.args: dict[tuple[str, str], str] = {}
        self.approvers: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.steps: dict[tuple[str, int], tuple[str, str]] = {}
        self.seeds: dict[int, int] = {}


def reviewers(
    events: Iterable[Event], fetch: Callable[[str], bytes], *, since_ms: int = 0
) -> list[Reviewer]:
    """Everybody who answered since a time, in the order of their names. ``events``: of the kinds in
    `READ` at least, from the beginning; ``fetch`` reads content by hash."""
    tally = _Tally()
    for event in events:
        body: Any = body_of(event)
        if event.kind == "run.started":
            tally.agents[event.run] = body.agent
        elif event.kind == "finding.added":
            _finding(tally, event, body, fetch, counts=event.at >= since_ms)
        elif event.kind in READ:
            _step(tally, event, body, counts=event.at >= since_ms)
    _agreement(tally)
    names = sorted({*tally.counts, *tally.took})
    return [
        Reviewer(
            name, seconds=statistics.median(tally.took[name]) / 1000 if tally.took[name] else None,
            **tally.counts[name],
        )
        for name in names
    ]  # fmt: skip


def _step(tally: _Tally, event: Event, body: Any, *, counts: bool) -> None:
    place = (event.run, body.key)
    asked = tally.waiting.get(place)
    if event.args is not None:
        tally.args[place] = digest(event.args)
    if isinstance(body, ApprovalAsked):
        tally.since[place] = event.at
        if event.value is not None:  # a person changed the arguments: another action
            tally.args[place] = digest(event.value)
    if not follow(tally.waiting, event, body) or asked is None:
        if place in tally.approvers and event.kind in ("step.planned", "step.settled"):
            tally.steps[event.run, event.pos] = place
        return
    assert isinstance(body, ApprovalGiven)
    if body.decision in ("approve", "edit") and asked.about == "action":
        tally.approvers[place].add(body.by)
    if not counts:
        return
    mine = tally.counts[body.by]
    mine["answers"] += 1
    tally.took[body.by].append(max(0, event.at - tally.since[place]))
    word = {"approve": "approved", "deny": "denied", "edit": "edited"}.get(body.decision)
    if word is None or asked.about != "action" or asked.plan is None:
        return
    mine[word] += 1
    what = [tally.agents.get(event.run, ""), asked.plan.kind, asked.plan.name]
    action = "\n".join([*what, tally.args.get(place, f"{event.run}@{body.key}")])
    tally.said[action].setdefault(body.by, [0, 0])[body.decision == "approve"] += 1


def _finding(
    tally: _Tally, event: Event, body: Any, fetch: Callable[[str], bytes], *, counts: bool
) -> None:
    if event.value is None or is_erased(event.value):
        return
    if event.run == SEEDED and body.type == PLANTED:
        tally.seeds[event.pos] = event.at
        return
    if body.type not in (REVIEWED, CAUGHT) or not counts:
        return
    try:
        said = unpack(event.value, fetch)
    except HoldfastError:
        return
    if not isinstance(said, dict):
        return
    if body.type == CAUGHT:
        # INVARIANT G83: only a case that was seeded, and only its first answer, counts as one
        asked_at = tally.seeds.pop(body.about, None) if event.run == SEEDED else None
        if asked_at is not None:
            mine = tally.counts[body.by]
            mine["answers"] += 1
            mine["seeded"] += 1
            mine["caught"] += said.get("right") is True
            tally.took[body.by].append(max(0, event.at - asked_at))
        return
    opinion = said.get("opinion")
    if opinion in ("right", "wrong"):
        place = tally.steps.get((event.run, body.about), ("", ""))
        for name in tally.approvers.get(place, set()) - {body.by}:
            tally.counts[name][str(opinion)] += 1


def _agreement(tally: _Tally) -> None:
    """Count, for each answer, those of others about the same action that say the same or not."""
    for people in tally.said.values():
        no, yes = (sum(each[word] for each in people.values()) for word in (0, 1))
        for name, (mine_no, mine_yes) in people.items():
            tally.counts[name]["agrees"] += mine_no * (no - mine_no) + mine_yes * (yes - mine_yes)
            tally.counts[name]["differs"] += mine_no * (yes - mine_yes) + mine_yes * (no - mine_no)
