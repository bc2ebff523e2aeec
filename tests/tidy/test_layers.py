"""The layers of DESIGN section 3 hold (the contracts stand in pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys

from tests.tidy.source import PACKAGE, ROOT


def test_layers_hold():
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_is_a_package():
    """A folder without ``__init__.py`` is not seen by the layers contract."""
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        assert (folder / "__init__.py").is_file(), folder.relative_to(ROOT)
