"""Walls around commands: what this host can do, and running one command inside of them.

This room knows Linux and nothing of worlds' content, runs or policy. A caller gives directories
and a command (`Spec`) to a `Sandbox` and gets an `Ended`; `probe` says what the host can do. What
runs in the helper process (`forker`, `box`, `root`, `watch`, `syscalls`, `landlock`, `cgroup`,
`calls`) uses the standard library and this room's limits only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.sandbox.client import Opened, Sandbox
    from holdfast.sandbox.probe import Fact, Host, probe
    from holdfast.sandbox.spec import TIERS, Ended, Folder, Limits, Overlay, Spec, Tier

_HOMES = {
    "client": ("Opened", "Sandbox"),
    "probe": ("Fact", "Host", "probe"),
    "spec": ("TIERS", "Ended", "Folder", "Limits", "Overlay", "Spec", "Tier"),
}

__all__ = [
    "TIERS", "Ended", "Fact", "Folder", "Host", "Limits", "Opened", "Overlay", "Sandbox", "Spec",
    "Tier", "probe",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The names of this room, imported when they are asked for: the helper stays small."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"holdfast.sandbox.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
