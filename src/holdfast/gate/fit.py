"""Learning risk from what persons decided: a Bayesian logistic regression, never silently applied.

Weights have a Gaussian prior around the ones in force and stay at least 0; every effect, tool and
agent gets an offset that is drawn towards the one in force (0 at first) the more, the finer it is
(partial pooling: an agent with three decisions says little). What no example speaks of stays. The
most probable weights are found by coordinate-wise Newton steps (A. Genkin, D. Lewis, D. Madigan,
"Large-scale Bayesian logistic regression for text categorization", Technometrics 49, 2007), their
uncertainty from the curvature there (Laplace).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast.gate.risk import PRIOR, RiskTable, squash
from holdfast.values.canon import digest

SPREAD: Final[dict[str, float]] = {
    "weight": 1.0,
    "base": 1.5,
    "effect": 0.8,
    "tool": 0.5,
    "agent": 0.35,
}
"""Standard deviation of the prior: of weights, of the base, and of offsets from coarse to fine."""

_SWEEPS: Final = 60
_CLOSE: Final = 1e-4


class Example(msgspec.Struct, frozen=True, gc=False):
    """One judged action. ``refused``: 1.0 if a person refused it (or called it wrong afterwards),
    else 0.0; ``weight``: how many actions it stands for (reviews of a sampled share stand for all
    that were allowed); ``group``: the run, kept on one side of the split."""

    features: dict[str, float]
    effect: str
    tool: str
    agent: str
    refused: float
    weight: float = 1.0
    group: str = ""


class Quality(msgspec.Struct, frozen=True, gc=False):
    """How good probabilities were: ``auc`` (chance that a refused one ranks above an approved one),
    ``brier`` (mean squared error), ``loss`` (mean log loss), ``ece`` (expected calibration error
    over ten equal bins), ``bins``: (mean p, share refused, how many)."""

    examples: int
    refused: int
    auc: float
    brier: float
    loss: float
    ece: float
    bins: list[tuple[float, float, int]]


class Fit(msgspec.Struct, frozen=True, gc=False):
    """``table``: the new weights; ``spread``: standard deviation of each; ``before``, ``after``:
    quality on decisions that were held out."""

    table: RiskTable
    spread: dict[str, float]
    before: Quality
    after: Quality


def split(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Two thirds to learn from, one third held out, whole runs, the same on every machine."""
    held = [one for one in examples if int(digest(one.group.encode())[:8], 16) % 3 == 0]
    learn = [one for one in examples if int(digest(one.group.encode())[:8], 16) % 3]
    return learn, held


def fit(examples: Sequence[Example], table: RiskTable) -> Fit:
    """The table that ``examples`` (and the prior) make most probable, with its quality on the third
    of them that was held out; weights are learned from the other two thirds only."""
    # INVARIANT G61: a weight or an offset that no example has stays what it was
    learn, held = split(examples)
    rows = [_row(one) for one in learn]
    start = _start(rows, table)
    weights = dict(start)
    hessian = _climb(rows, learn, weights, start)
    new = msgspec.structs.replace(
        table,
        base=round(weights["base"], 4),
        weights={
            name: round(value, 4)
            for name, value in (table.weights | weights).items()
            if name in PRIOR and abs(value - PRIOR[name]) > _CLOSE
        },
        offsets={
            name: round(value, 4)
            for name, value in sorted((table.offsets | weights).items())
            if ":" in name and abs(value) > _CLOSE
        },
    )
    spread = {name: round(1 / math.sqrt(curve), 4) for name, curve in hessian.items()}
    return Fit(new, spread, quality(held, table), quality(held, new))


def _row(one: Example) -> dict[str, float]:
    return {
        "base": 1.0, f"effect:{one.effect}": 1.0, f"tool:{one.tool}": 1.0,
        f"agent:{one.agent}": 1.0, **one.features,
    }  # fmt: skip


def _start(rows: Sequence[dict[str, float]], table: RiskTable) -> dict[str, float]:
    """The middle of the prior: the table in force."""
    names = {name for row in rows for name in row}
    found = {name: table.offsets.get(name, 0.0) for name in sorted(names) if ":" in name}
    found.update({name: table.weights.get(name, PRIOR[name]) for name in PRIOR if name in names})
    found["base"] = table.base
    return found


def _climb(
    rows: Sequence[dict[str, float]],
    examples: Sequence[Example],
    weights: dict[str, float],
    start: dict[str, float],
) -> dict[str, float]:
    """Move ``weights`` to the top of the posterior; the curvature there, by name."""
    where: dict[str, list[tuple[int, float]]] = {name: [] for name in weights}
    logits: list[float] = []
    for index, row in enumerate(rows):
        logits.append(sum(weights[name] * value for name, value in row.items()))
        for name, value in row.items():
            where[name].append((index, value))
    hessian: dict[str, float] = {}
    for _ in range(_SWEEPS):
        moved = 0.0
        for name, places in where.items():
            prior = SPREAD[name.partition(":")[0] if ":" in name else
                           "base" if name == "base" else "weight"] ** -2  # fmt: skip
            slope, curve = prior * (start[name] - weights[name]), prior
            for index, value in places:
                p, one = squash(logits[index]), examples[index]
                slope += one.weight * value * (one.refused - p)
                curve += one.weight * value * value * p * (1 - p)
            hessian[name] = curve
            step = max(-1.0, min(1.0, slope / curve))
            # INVARIANT G33: no sign of danger ever gets a negative weight, whatever persons did
            if name in PRIOR:
                step = max(step, -weights[name])
            weights[name] += step
            moved = max(moved, abs(step))
            for index, value in places:
                logits[index] += step * value
        if moved < _CLOSE:
            break
    return hessian


def predict(one: Example, table: RiskTable) -> float:
    """The probability that ``one`` is refused, by ``table``."""
    names = (f"effect:{one.effect}", f"tool:{one.tool}", f"agent:{one.agent}")
    logit = table.base + sum(table.offsets.get(name, 0.0) for name in names)
    logit += sum(
        table.weights.get(name, PRIOR[name]) * value for name, value in one.features.items()
    )
    return squash(logit)


def quality(examples: Sequence[Example], table: RiskTable) -> Quality:
    """Discrimination and calibration of ``table`` on ``examples``; zeros without any."""
    if not examples:
        return Quality(0, 0, 0.0, 0.0, 0.0, 0.0, [])
    found = sorted((predict(one, table), one.refused, one.weight) for one in examples)
    total = sum(weight for _, _, weight in found)
    brier = sum(weight * (p - refused) ** 2 for p, refused, weight in found) / total
    loss = (
        -sum(weight * math.log(max(1e-12, p if refused else 1 - p)) for p, refused, weight in found)
        / total
    )
    bins: list[tuple[float, float, int]] = []
    ece = 0.0
    for low in range(10):
        part = [each for each in found if low / 10 <= each[0] < (low + 1) / 10 or
                (low == 9 and each[0] == 1.0)]  # fmt: skip
        size = sum(weight for _, _, weight in part)
        if size:
            mean = sum(p * weight for p, _, weight in part) / size
            share = sum(refused * weight for _, refused, weight in part) / size
            bins.append((round(mean, 4), round(share, 4), len(part)))
            ece += size / total * abs(mean - share)
    refused = sum(1 for _, label, _ in found if label)
    return Quality(
        len(found), refused, round(_auc(found), 4), round(brier, 4), round(loss, 4), round(ece, 4),
        bins,
    )  # fmt: skip


def _auc(found: Sequence[tuple[float, float, float]]) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half; 0.5 if undefined."""
    above = ties = low = 0.0
    approved = sum(weight for _, label, weight in found if not label)
    refused = sum(weight for _, label, weight in found if label)
    if not approved or not refused:
        return 0.5
    index = 0
    while index < len(found):
        stop = index
        while stop < len(found) and found[stop][0] == found[index][0]:
            stop += 1
        good = sum(weight for _, label, weight in found[index:stop] if not label)
        bad = sum(weight for _, label, weight in found[index:stop] if label)
        above += bad * low
        ties += bad * good
        low += good
        index = stop
    return (above + ties / 2) / (approved * refused)
