"""docs/anomalies.md: its policies load, its program runs and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from holdfast.explain.anomaly import PARTS
from holdfast.gate import parse_policy

PAGE = (Path(__file__).parents[2] / "docs" / "anomalies.md").read_text("utf-8")


def test_its_policies_load():
    first, second = (
        parse_policy(text, "docs/anomalies.md")
        for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    )
    assert (first.anomalies.alarms_a_day, first.anomalies.of_agent) == (20, 5)
    assert "alarms" in {
        name for rule in second.rules if rule.condition for name in rule.condition.uses
    }


def test_it_runs_as_it_stands(tmp_path: Path):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "program.py").write_text(program, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=env, check=False,
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"It prints `{done.stdout.strip()}`" in PAGE


def test_every_part_is_named():
    table = PAGE.split("## Parts")[1].split("**Rank.**")[0]
    assert [name for name in PARTS if f"`{name}`" not in table] == []
