"""Why a step was taken: the reading behind `holdfast why`, the console and the interface."""

from __future__ import annotations

from holdfast.explain.because import (
    Action,
    Alternative,
    Answer,
    Argument,
    Caused,
    Changed,
    Check,
    Context,
    Cost,
    Edge,
    Glimpse,
    Initiator,
    Origin,
    Ruling,
    Said,
    Why,
    World,
)

__all__ = [
    "Action", "Alternative", "Answer", "Argument", "Caused", "Changed", "Check", "Context", "Cost",
    "Edge", "Glimpse", "Initiator", "Origin", "Ruling", "Said", "Why", "World",
]  # fmt: skip
