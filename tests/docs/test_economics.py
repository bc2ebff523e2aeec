"""The Python blocks of docs/economics.md are programs that run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "economics.md").read_text("utf-8")
PRINTED = {
    0: "openai.gpt-4o 0.0054 USD, 2040 tokens, 2 calls\n"
       "0.0027 USD for each of 2 responses\n"
       "100% asked nobody\n",
    1: "money\n",
}  # fmt: skip


@pytest.mark.parametrize("number", PRINTED)
def test_it_runs_as_it_stands(tmp_path: Path, number: int):
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == len(PRINTED)
    (tmp_path / "program.py").write_text(programs[number], "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=env, check=False,
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == PRINTED[number]
