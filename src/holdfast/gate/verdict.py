"""What the gate answers: one decision, and everything that led to it."""

from __future__ import annotations

from typing import Final

from holdfast.journal.events import Decision, Verdict

STRICTNESS: Final[dict[Decision, int]] = {"allow": 0, "verify": 1, "escalate": 2, "deny": 3}
"""The order in which decisions win: the larger number is stricter."""

OTHERWISE: Final = "otherwise"
"""Rule id of a verdict for which no rule matched. No rule may have this id."""
MALFORMED: Final = "malformed"
"""Rule id of the denial of a proposal that cannot be judged at all. No rule may have this id."""
KILLED: Final = "killed"
"""Rule id of the denial of what a person stopped (`holdfast.gate.switches`); reserved as well."""

__all__ = ["KILLED", "MALFORMED", "OTHERWISE", "STRICTNESS", "Decision", "Verdict"]
