"""Anomalies: what is found of those planted in simulated days, with how many false alarms, and
what the fold costs."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

from bench.ground import Ground
from bench.report import Figure, median
from holdfast.explain.anomaly import Budget, fold, no_state
from holdfast.testing.days import PLANTED, SHOWN_BY, Days

QUIET, TIMES = 15, 2


async def measure(ground: Ground) -> list[Figure]:
    seeds = ground.size(5, 1)
    journals = [_lived(seed) for seed in range(seeds)]
    figures: list[Figure] = []
    speeds: list[float] = []
    for a_day in (1, 2, 5, 20):
        found: Counter[str] = Counter()
        planted: Counter[str] = Counter()
        false = days = 0
        for lived in journals:
            state = no_state(Budget(a_day, a_day))
            begun = time.process_time()
            alarms = fold(state, lived.events)
            speeds.append((time.process_time() - begun) / len(lived.events) * 1e7)
            by_run: defaultdict[str, set[str]] = defaultdict(set)
            for alarm in alarms:
                by_run[alarm.run] |= {part.name for part in alarm.parts}
            planted.update(lived.planted.values())
            found.update(
                kind for run, kind in lived.planted.items() if by_run[run] & SHOWN_BY[kind]
            )
            late = [one for one in alarms if int(one.run[3:].split("-")[0]) >= QUIET]
            false += sum(one.run not in lived.planted for one in late)
            days += lived.day - QUIET
        recall = found.total() / planted.total()
        kinds = ", ".join(f"{kind} {found[kind] / planted[kind]:.2f}" for kind in PLANTED)
        note = f"false alarms a day {false / days:.2f}; {kinds}"
        figures.append(
            Figure(f"planted anomalies found, {a_day} alarms a day", recall, "of all", note=note)
        )
    ms = median(speeds)
    what = "fold of anomalies, processor time per 10,000 events"
    return [*figures, Figure(what, ms, "ms", "<= 200 ms", ms <= 200)]


def _lived(seed: int) -> Days:
    """Quiet days to learn from, then days with one anomaly each."""
    days = Days(seed)
    for _ in range(QUIET):
        days.live()
    for _ in range(TIMES):
        for kind in PLANTED:
            days.live(plant=(kind,))
    return days
