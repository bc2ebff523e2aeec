"""The commands of docs/export.md and docs/sql.md are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import place
from tests.cli.support import invoke

DOCS = Path(__file__).parents[2] / "docs"
__all__ = ["place"]


@pytest.mark.parametrize("name", ["export.md", "sql.md"])
def test_the_commands_of_a_page_run(place: Path, name: str):
    invoke("run", "agents.py:add", "1", "-q")
    blocks = re.findall(r"```console\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)
    lines = "".join(blocks).splitlines()
    assert lines
    for line in lines:
        program, *words = shlex.split(line.removeprefix("$ "))
        assert program == "holdfast"
        assert invoke(*words).stdout, line
