"""Decisions that plain code could make: rules learned from earlier runs, tried on later ones."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.explain.rates import Rate


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
