"""The table of the JSON interface."""

from __future__ import annotations

from holdfast.api import runs
from holdfast.api.ways import Way

WAYS: list[Way] = [*runs.WAYS]
"""Every route of the JSON interface."""
