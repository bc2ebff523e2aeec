"""docs/agents.md, and docs/adapters.md on pydantic-ai: their programs run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
AGENTS = _BLOCK.findall((DOCS / "agents.md").read_text("utf-8"))
PART = (DOCS / "adapters.md").read_text("utf-8").partition("\n## pydantic-ai\n")[2]
ADAPTERS = _BLOCK.findall(PART.partition("\n## ")[0])
PRINTED = [
    "Hello!\nname='Ada' born=1815 done 7\nOne, two|, three.|",
    "done: You have seat 12. 3 turns ['Bergen 9:05']\n",
    (
        "2 messages\n1 messages\n1 messages\n"
        "answers.json: no answer is recorded to this request of scrip\n1\n"
    ),
    (
        "send waits for a person: `holdfast approve report-1@1.send.1`, and the same call goes on "
        "with it\nIt is on its way. ['Ada'] [1, 3, 5]\n"
    ),
]


@pytest.mark.parametrize(
    ("program", "printed"), list(zip([*AGENTS, *ADAPTERS], PRINTED, strict=True))
)
def test_it_runs_as_it_stands(tmp_path: Path, program: str, printed: str):
    (tmp_path / "program.py").write_text(program, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=env, check=False,
        capture_output=True, text=True, timeout=110, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


@pytest.mark.parametrize(
    "name", ["model", "loop", "Reply", "Ended", "Stop", "scripted", "recorded"]
)
def test_what_agents_use_is_on_the_page(name: str):
    assert f"{name}" in (DOCS / "agents.md").read_text("utf-8")
