"""May this happen? A verdict on every step, from a policy in YAML files.

`judge` takes a `Proposal`, a `Policy` and `Facts` and returns a `Verdict`: allow, verify, escalate
or deny. It is pure and total, evaluates every rule, lets the strictest win, and denies what it
cannot evaluate. `parse_policy` refuses anything that it does not understand, with file and line.
The language is described in docs/policy.md.
"""

from __future__ import annotations

from holdfast.gate.facts import NO_FACTS, Facts
from holdfast.gate.files import FORMER_DEFAULTS, default_policy, load_policy_file
from holdfast.gate.judge import judge
from holdfast.gate.parse import parse_policy
from holdfast.gate.policy import Policy, Rule
from holdfast.gate.proposal import EFFECTS, KINDS, Proposal
from holdfast.gate.verdict import STRICTNESS, Decision, Verdict

DEFAULT_POLICY: Policy
"""What applies without a policy file: read, world and idempotent run, once asks a person."""


def __getattr__(name: str) -> Policy:
    """`DEFAULT_POLICY` is read when it is first used: it has conditions, and whoever has a policy
    without any is spared the CEL library."""
    if name != "DEFAULT_POLICY":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return default_policy()


__all__ = [
    "DEFAULT_POLICY",
    "EFFECTS",
    "FORMER_DEFAULTS",
    "KINDS",
    "NO_FACTS",
    "STRICTNESS",
    "Decision",
    "Facts",
    "Policy",
    "Proposal",
    "Rule",
    "Verdict",
    "default_policy",
    "judge",
    "load_policy_file",
    "parse_policy",
]
