"""What docs/compare.md shows happens as it stands."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "compare.md").read_text("utf-8")


def test_its_commands_say_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (policy,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "offers.py").write_text(program, "utf-8")
    (tmp_path / "all.yaml").write_text(policy, "utf-8")
    said = ""
    commands = 0
    for line in "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines():
        if not line.startswith("$ "):
            assert line in said, f"not said: {line}\n{said}"
            continue
        done = CliRunner().invoke(main, shlex.split(line[2:])[1:], prog_name="holdfast")
        assert not done.exit_code, (line, done.output)
        said = done.stdout + done.stderr
        commands += 1
    assert commands == 11
