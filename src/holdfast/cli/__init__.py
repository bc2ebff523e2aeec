"""The command line: one file per command in `commands`, loaded when it is called.

This room decides nothing about runs. It reads words into values, calls the engine through the
runtime, and says what came of it: for people, or with ``--json`` for programs.
"""

from __future__ import annotations

from holdfast.cli.front import main

__all__ = ["main"]
