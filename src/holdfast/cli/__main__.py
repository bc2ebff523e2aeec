"""``python -m holdfast.cli`` is ``holdfast``."""

from __future__ import annotations

from holdfast.cli.front import main

main(prog_name="holdfast")
