"""What the gate answers: one decision, and everything that led to it."""

from __future__ import annotations

from typing import Final

from holdfast.journal.events import Decision, Verdict

STRICTNESS: Final[dict[Decision, int]] = {"allow": 0, "verify": 1, "escalate": 2, "deny": 3}
"""The order in which decisions win: the larger number is stricter."""

OTHERWISE: Final = "otherwise"
"""Rule id of a verdict for which no rule matched."""
MALFORMED: Final = "malformed"
"""Rule id of the denial of a proposal that cannot be judged at all."""
PENDING: Final = "pending"
"""Rule id of the denial of an agent that the policy does not know."""
STOPPED: Final = "stopped"
"""Rule id of the denial of an agent that the policy stops."""
RESERVED: Final = (OTHERWISE, MALFORMED, PENDING, STOPPED)
"""Ids that no rule may have."""

__all__ = [
    "MALFORMED",
    "OTHERWISE",
    "PENDING",
    "RESERVED",
    "STOPPED",
    "STRICTNESS",
    "Decision",
    "Verdict",
]
