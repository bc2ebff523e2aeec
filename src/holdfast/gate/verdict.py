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
RISKY: Final = "risk"
"""Rule id of an escalation because the expected loss is above the cost of a review."""
ANSWERED: Final = "refused-before"
"""Rule id of the denial of what a person refused earlier in the run."""
KILLED: Final = "killed"
"""Rule id of the denial of what a person stopped (`holdfast.gate.switches`)."""
RESERVED: Final = (OTHERWISE, MALFORMED, PENDING, STOPPED, RISKY, ANSWERED, KILLED)
"""Ids that no rule may have."""

__all__ = [
    "ANSWERED",
    "KILLED",
    "MALFORMED",
    "OTHERWISE",
    "PENDING",
    "RESERVED",
    "RISKY",
    "STOPPED",
    "STRICTNESS",
    "Decision",
    "Verdict",
]
