"""The Python block of docs/budgets.md is a program that runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from holdfast.gate import parse_policy

PAGE = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text("utf-8")


def test_its_policies_load():
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        head = "" if "rules:" in text else "version: 1\nrules: []\n"
        assert parse_policy(head + text, "docs/budgets.md").budgets


def test_it_runs_as_it_stands(tmp_path: Path):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "program.py").write_text(program, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=env, check=False,
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "THREE WORDS ONLY\n"
