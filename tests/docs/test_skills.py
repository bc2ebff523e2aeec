"""What docs/skills.md shows is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from holdfast.gate import parse_policy
from holdfast.tools.skills import check

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "skills.md").read_text("utf-8")


def test_the_program_runs_as_it_stands(clean_home: Path, capsys: pytest.CaptureFixture[str]):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (clean_home / "program.py").write_text(program, "utf-8")
    runpy.run_path(str(clean_home / "program.py"), run_name="__main__")
    told, names = capsys.readouterr().out.splitlines()
    assert told == "['1', 'Three lines. Read form.md first.', '5, 7 and 5 syllables.']"
    assert re.fullmatch(r"skills\.activate skills\.read [0-9a-f]{12}", names)


def test_the_policy_pins_the_example():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    policy = parse_policy(text, "docs/skills.md")
    skill, found = check(ROOT / "examples" / "skills" / "release-notes")
    assert skill is not None
    assert found == []
    for verb in ("activate", "read"):
        assert policy.tool(f"skills.{verb}.release-notes").pin == skill.version
