"""What the gate is asked: one action, before it happens, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

KINDS: Final = ("tool", "ask", "wait", "spawn", "model", "merge")
"""What a step may ask for. The gate denies any other word."""

EFFECTS: Final = ("read", "world", "idempotent", "once")
"""What an action may do to the outside (see DESIGN.md, section 2). The gate denies any other."""


class Proposal(msgspec.Struct, frozen=True):
    """One action that an agent asks for. ``args`` are Python values after validation.

    ``tool`` is the tool's name; for other kinds than ``tool`` it is whatever the step names (a
    model, the program to spawn), or empty.
    """

    agent: str
    role: str
    kind: str
    tool: str
    effect: str
    args: Mapping[str, Any]
