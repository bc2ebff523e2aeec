"""What the fold of `holdfast.explain.anomaly` knows: agents' habits, runs that go on, alarms.

All of it can be encoded, so that it can be kept; each part of it has a limit.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.explain import quota
from holdfast.explain.alarm import Alarm
from holdfast.explain.baseline import Baseline, Hint, Sight
from holdfast.explain.loops import Loop
from holdfast.explain.quota import Quota
from holdfast.explain.scale import Scale
from holdfast.journal.events import Plan
from holdfast.values import limits

VERSION = 1
"""Of the state: one of another version is not gone on with."""


class Budget(msgspec.Struct, frozen=True):
    """How many alarms there may be: in a store on one day, and of one agent."""

    alarms_a_day: int = limits.ANOMALY_A_DAY_ITEMS
    of_agent: int = limits.ANOMALY_OF_AGENT_ITEMS


class Opened(msgspec.Struct, gc=False):
    """What a step asked for before it had an outcome."""

    plan: Plan
    mark: int
    things: list[tuple[str, str]]
    facts: dict[str, Any]


class Running(msgspec.Struct, gc=False):
    """A run that goes on. ``before``, ``last``: symbols of its two newest steps; ``told``: what it
    raised alarms about; ``broken``: bytes of a prefix that were lost."""

    agent: str
    role: str
    loop: Loop
    opened: dict[str, Opened]
    told: list[str]
    segment: int = 1
    before: str = ""
    last: str = "start"
    steps: int = 0
    money: float = 0.0
    broken: float = 0.0


class Watched(msgspec.Struct, gc=False):
    """An agent. ``normal`` and ``bad``: what persons said of signatures, with the value it was said
    of; ``told``: when it raised alarms that are not about one run; ``minute``, ``count`` and
    ``prior`` count its steps; ``day``, ``today`` its alarms."""

    base: Baseline
    normal: dict[str, float]
    bad: dict[str, float]
    told: dict[str, int]
    failing: float = 0.0
    minute: int = 0
    count: int = 0
    prior: int = 0
    day: int = 0
    today: int = 0


class Kept(msgspec.Struct, gc=False):
    """An alarm with what it was made of, so that a judgement can change what is usual. ``told``:
    the journal has a finding of it."""

    alarm: Alarm
    sight: Sight
    hints: list[Hint]
    told: bool = False


class State(msgspec.Struct, gc=False):
    """Everything that the fold knows after event ``seq``, whose id is ``id``. ``alarms`` are the
    newest, by RUN#POS, oldest first."""

    budget: Budget
    agents: dict[str, Watched]
    roles: dict[str, Baseline]
    tools: dict[str, Scale]
    runs: dict[str, Running]
    alarms: dict[str, Kept]
    quota: Quota
    seq: int = 0
    id: str = ""
    version: int = VERSION


def no_state(budget: Budget | None = None) -> State:
    """The state before any event."""
    return State(budget or Budget(), {}, {}, {}, {}, {}, quota.no_quota())
