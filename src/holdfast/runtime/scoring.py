"""What people and checks think that a run's outcome is worth, kept as findings."""

from __future__ import annotations

import math
from typing import Any

from holdfast.engine.answers import ending
from holdfast.journal.events import Draft, FindingAdded
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import SCORE
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Misuse

Worth = tuple[bool | None, float | None]
"""Good or bad, and a number; None: not said."""


def read_score(text: str) -> Worth:
    """``good``, ``bad`` or a number; `Misuse` for anything else."""
    if text in ("good", "bad"):
        return text == "good", None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Misuse(f"{text!r} is no score: say good, bad or a number")
    return None, number


async def add_score(
    store: Store, run: str, worth: Worth, note: str, *, by: str, now_ms: int
) -> dict[str, Any]:
    """Add a score about a run's end and return it as recorded. ``by``: a person, or ``check:NAME``.
    `Misuse` if the run has not ended."""
    row = await store.run(run)
    if not row.ended:
        raise Misuse(f"run {run} has not ended: there is no outcome to score yet")
    about = (await ending(store, run)).pos
    value = {"good": worth[0], "score": worth[1], "note": note}
    blobs: Blobs = {}
    draft = Draft(FindingAdded(about, SCORE, by), now_ms, value=pack(value, blobs))
    await store.append((Batch(run, (draft,)),), blobs)
    return value
