"""The composition root: settings, wiring, and the `Runtime` that users open."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.runtime.programs import Programs
    from holdfast.runtime.runtime import Runtime, run
    from holdfast.runtime.settings import Settings

__all__ = ["Programs", "Runtime", "Settings", "run"]

_HOMES = {"Programs": "programs", "Runtime": "runtime", "Settings": "settings", "run": "runtime"}


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used: listing runs must not load the engine."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
