"""The blocks of docs/models.md: a program that runs, settings and a policy that are read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from holdfast.gate import parse_policy
from holdfast.proxy.wiring import providers_of, read_wiring, rules_of

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_program_runs_as_it_stands(tmp_path: Path):
    (tmp_path / "program.py").write_text(block("python"), "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=env, check=False,
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello\n"


def test_settings_and_policy_are_read(tmp_path: Path):
    (tmp_path / "wire.json").write_text(block("json"))
    wiring = read_wiring(str(tmp_path / "wire.json"))
    providers = providers_of(wiring.upstreams, {"SPARE_KEY": "k", "ANTHROPIC_API_KEY": "a"})
    assert [one.name for one in providers] == ["anthropic", "spare", "local"]
    assert rules_of(wiring).fallback[0].to == "spare"
    assert parse_policy(block("yaml"), "models.md").rules
