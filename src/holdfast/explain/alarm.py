"""An alarm: one event of a run that is unlike what its agent did before, and why it is."""

from __future__ import annotations

from typing import Any

import msgspec

NORMAL = "normal"
BAD = "bad"
VERDICTS = (NORMAL, BAD)
"""What a person may say of an alarm: that is how it should be, or it is not."""


class AlarmPart(msgspec.Struct, frozen=True, gc=False):
    """One reason of an alarm. ``name``: which part of the watch it is (`holdfast.explain.anomaly`
    lists them); ``value``: what was seen; ``baseline``: what is usual for this agent; ``rank``: the
    share of its past that was at least as unusual (small is unusual); ``sentence``: all of it in
    words. ``about``: what it is about, such as a tool; with ``name`` it tells repeats."""

    name: str
    value: float
    baseline: float
    rank: float
    sentence: str
    about: str = ""


class Alarm(msgspec.Struct, frozen=True, gc=False):
    """An alarm about event ``pos`` (step ``key``, "" for none) of ``run``, in the chain since
    ``at`` (ms since 1970). ``score``: 0 to 1, 1 less the fused rank: of two alarms the higher one
    is the more unusual; ``parts``: why, the most unusual first; ``sentence``: the first of them
    and how many more. ``judged``: what a person said, "" for nothing yet, ``by`` and ``note``."""

    run: str
    pos: int
    key: str
    agent: str
    at: int
    score: float
    parts: tuple[AlarmPart, ...]
    sentence: str
    judged: str = ""
    by: str = ""
    note: str = ""

    @property
    def place(self) -> str:
        """RUN@STEP, or RUN#EVENT where there is no step."""
        return f"{self.run}@{self.key}" if self.key else f"{self.run}#{self.pos}"


def finding_of(alarm: Alarm) -> dict[str, Any]:
    """What the finding ``anomaly`` about the alarm's event holds."""
    return {
        "score": alarm.score,
        "key": alarm.key,
        "agent": alarm.agent,
        "sentence": alarm.sentence,
        "parts": [msgspec.structs.asdict(part) for part in alarm.parts],
    }
