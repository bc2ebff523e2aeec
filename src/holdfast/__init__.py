"""Holdfast: the layer between AI agents and the world.

Every call that an agent makes to anything outside its own code takes one path (look, judge, plan,
perform, settle) into one journal. See docs/architecture.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.engine.branch import Branch, Merge, fork
    from holdfast.engine.choices import MergeConflict
    from holdfast.engine.declare import NOT_DONE, Agent, Tool, agent, tool
    from holdfast.engine.described import Described
    from holdfast.engine.guest import Guest, Taken
    from holdfast.engine.host import Handle
    from holdfast.engine.meaning import tool_facts
    from holdfast.engine.publish import Effect, Published, publish
    from holdfast.engine.transaction import transaction
    from holdfast.engine.verbs import (
        Child,
        ask,
        attempt,
        call,
        continue_as,
        gather,
        idempotency_key,
        merge,
        now,
        race,
        random,
        run_id,
        sleep,
        spawn,
        spent,
        step,
        uuid,
        wait_for,
    )
    from holdfast.models.loop import Ended, Stop, loop
    from holdfast.models.model import Model, Stream, model
    from holdfast.models.replies import Reply
    from holdfast.runtime import Runtime, Settings, run
    from holdfast.tools.explore import Candidate, explore
    from holdfast.tools.skills import Skill, Skills, skills
    from holdfast.tools.sql import sql
    from holdfast.values.errors import (
        Conflict,
        Corrupt,
        Diverged,
        Exceeded,
        Expired,
        HoldfastError,
        LeaseLost,
        Misuse,
        NotFound,
        NotUndone,
        OutcomeUnknown,
        Outside,
        Refused,
        RunFailed,
        Suspended,
        TooLarge,
        ToolError,
    )

_HOMES = {
    "holdfast.engine.branch": ("Branch", "Merge", "fork"),
    "holdfast.engine.choices": ("MergeConflict",),
    "holdfast.engine.declare": ("NOT_DONE", "Agent", "Tool", "agent", "tool"),
    "holdfast.engine.described": ("Described",),
    "holdfast.engine.guest": ("Guest", "Taken"),
    "holdfast.engine.host": ("Handle",),
    "holdfast.engine.meaning": ("tool_facts",),
    "holdfast.engine.publish": ("Effect", "Published", "publish"),
    "holdfast.engine.transaction": ("transaction",),
    "holdfast.engine.verbs": (
        "Child", "ask", "attempt", "call", "continue_as", "gather", "idempotency_key",
        "merge", "now", "race", "random", "run_id", "sleep", "spawn", "spent", "step",
        "uuid", "wait_for",
    ),
    "holdfast.models.loop": ("Ended", "Stop", "loop"),
    "holdfast.models.model": ("Model", "Stream", "model"),
    "holdfast.models.replies": ("Reply",),
    "holdfast.runtime": ("Runtime", "Settings", "run"),
    "holdfast.tools.sql": ("sql",),
    "holdfast.tools.explore": ("Candidate", "explore"),
    "holdfast.tools.skills": ("Skill", "Skills", "skills"),
    "holdfast.values.errors": (
        "Conflict", "Corrupt", "Diverged", "Exceeded", "Expired", "HoldfastError", "LeaseLost",
        "Misuse", "NotFound", "NotUndone", "OutcomeUnknown", "Outside", "Refused", "RunFailed",
        "Suspended", "TooLarge", "ToolError",
    ),
}  # fmt: skip
_WHERE = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "NOT_DONE",
    "Agent",
    "Branch",
    "Candidate",
    "Child",
    "Conflict",
    "Corrupt",
    "Described",
    "Diverged",
    "Effect",
    "Ended",
    "Exceeded",
    "Expired",
    "Guest",
    "Handle",
    "HoldfastError",
    "LeaseLost",
    "Merge",
    "MergeConflict",
    "Misuse",
    "Model",
    "NotFound",
    "NotUndone",
    "OutcomeUnknown",
    "Outside",
    "Published",
    "Refused",
    "Reply",
    "RunFailed",
    "Runtime",
    "Settings",
    "Skill",
    "Skills",
    "Stop",
    "Stream",
    "Suspended",
    "Taken",
    "TooLarge",
    "Tool",
    "ToolError",
    "agent",
    "ask",
    "attempt",
    "call",
    "continue_as",
    "explore",
    "fork",
    "gather",
    "idempotency_key",
    "loop",
    "merge",
    "model",
    "now",
    "publish",
    "race",
    "random",
    "run",
    "run_id",
    "skills",
    "sleep",
    "spawn",
    "spent",
    "sql",
    "step",
    "tool",
    "tool_facts",
    "transaction",
    "uuid",
    "wait_for",
]


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used: `holdfast --help` must not load the engine."""
    home = _WHERE.get(name)
    if home is None:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__version__ = "0.1.0"
