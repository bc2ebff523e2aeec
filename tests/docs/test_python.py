"""Every Python block of docs/python.md is a program that runs, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PRINTED = [
    "['booked 20', 'sent to Ada'] [20]\n",
    "Rome: [0, 1, 4, 9, 16], 1, 50, green\n",
    "['title', 'tea', 'salt']\n",
    "['0.txt', '1.txt', 'made.txt']\n",
    "['salt', 11]\n",
    "[42.0, '43', ['the answer is 42', 'better']]\n['answer.txt']\n",
    "announce: it declares no undo; the train is full []\n",
    "250\n",
    "went\n",
    "['taxes', 'again', '2 files'] 2 files\n",
    "RuntimeError\n",
]


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)))
def test_it_runs_as_it_stands(tmp_path: Path, program: str, printed: str):
    (tmp_path / "program.py").write_text(program, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=env, check=False,
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


@pytest.mark.parametrize(
    "name", ["call", "run_id", "attempt", "idempotency_key", "spawn", "fork", "publish"]
)
def test_what_agents_call_is_on_the_page(name: str):
    assert name in PAGE
