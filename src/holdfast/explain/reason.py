"""The parts of alarms in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from holdfast.explain.alarm import AlarmPart
from holdfast.explain.baseline import Hint
from holdfast.explain.telling import took

Say = Callable[[Hint, float], str]


def _times(value: float, usual: float) -> str:
    return f", {value / usual:.1f} times the usual" if usual > 0 and value > usual else ""


SAYINGS: Final[dict[str, Say]] = {
    "order": lambda h, u: f"{h.about} comes as a surprise of {h.value:.1f} bits after the steps "
                          f"before it, usually {u:.1f}",
    "cost": lambda h, u: f"{h.about} cost {h.value:.4g}{_times(h.value, u)} {u:.4g}",
    "tokens": lambda h, u: f"{h.about} took {h.value:,.0f} tokens{_times(h.value, u)} {u:,.0f}",
    "latency": lambda h, u: f"{h.about} took {took(int(h.value))}{_times(h.value, u)} "
                            f"{took(int(u))}",
    "cost.drift": lambda h, u: f"{h.about} costs more for a while now: {h.value:.4g}, usually "
                               f"{u:.4g}",
    "tokens.drift": lambda h, u: f"{h.about} takes more tokens for a while now: {h.value:,.0f}, "
                                 f"usually {u:,.0f}",
    "latency.drift": lambda h, u: f"{h.about} takes longer for a while now: {took(int(h.value))}, "
                                  f"usually {took(int(u))}",
    "errors": lambda h, u: f"{h.value:.0f}% of its latest steps failed, usually {u:.0f}%",
    "rate": lambda h, u: f"{h.value:.0f} steps within a minute, usually {u:.0f}",
    "burst": lambda h, u: f"{h.value:.0f} steps within a minute by an agent that is hardly known",
    "length": lambda h, u: f"this run has come to {h.value:.0f} steps, usually {u:.0f}",
    "spent": lambda h, u: f"this run has cost {h.value:.4g}, usually {u:.4g}",
    "loop": lambda h, u: f"the same calls with the same results {h.value:.0f} times in a row, the "
                         f"last one of {h.about}",
    "tool": lambda h, u: f"it never used {h.about.split()[0]} before",
    "sink": lambda h, u: f"{h.about.split()[0]} goes to a target that it never went to before",
    "source": lambda h, u: f"{h.about.split()[0]} reads from a source that it never read before",
    "origin": lambda h, u: f"what decides in {h.about.split()[0]} was found only in what anybody "
                           "could have written, for the first time",
    "leak": lambda h, u: f"{h.about} carries more than its destination may see",
    "links": lambda h, u: f"{h.about} has {h.value:.0f} links that nobody trusted named, usually "
                          f"{u:.0f}",
    "secrets": lambda h, u: f"{h.about} has {h.value:.0f} things that look like credentials, "
                            f"usually {u:.0f}",
    "prefix": lambda h, u: f"{h.about}: {h.value:,.0f} kB that the provider had kept were read and "
                           "paid anew, since the conversation begins in another way",
}  # fmt: skip
"""A sentence for each part, of what was seen and what is usual."""


def part_of(hint: Hint, usual: float, *, bad: bool) -> AlarmPart:
    """A hint as a part of an alarm. ``bad``: a person called the like of it bad before."""
    sentence = SAYINGS[hint.name](hint, usual)
    if bad:
        sentence += "; the like of it was called bad before"
    return AlarmPart(hint.name, hint.value, usual, hint.rank, sentence, hint.about)


def summary(agent: str, parts: tuple[AlarmPart, ...]) -> str:
    """An alarm in one sentence."""
    more = len(parts) - 1
    rest = f" (and {more} more)" if more else ""
    return f"{agent}: {parts[0].sentence}{rest}"
