"""The commands of docs/worlds.md are run in their order, in a directory of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "worlds.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_runs_as_it_stands(tmp_path: Path):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    door = bin_ / "holdfast"
    door.write_text(f'#!/bin/sh\nexec {sys.executable} -m holdfast.cli "$@"\n')
    door.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env |= {"PATH": f"{bin_}:{env['PATH']}", "NO_COLOR": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # else each command compiles every module anew
    place = tmp_path / "here"
    place.mkdir()
    said: dict[str, str] = {}
    for line in "".join(BLOCKS).splitlines():
        assert line.startswith("$ "), line
        text, _, about = line[2:].partition("  # ")
        done = subprocess.run(
            ["sh", "-c", text], cwd=place, env=env, check=False, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        wanted = int(found[1]) if (found := re.match(r"exit (\d+)", about)) else 0
        assert done.returncode == wanted, (text, done.stdout, done.stderr)
        said[text] = said.get(text, "") + done.stdout
    assert said["cat made.txt"] == "2\n3\n"
    assert "+three" in said["holdfast world diff idea"]
    assert "<<<<<<<" in said["holdfast conflicts t --show made.txt"]
    assert "rewind to main#0" in said["holdfast world log main"]
    assert (place / "before" / "notes.txt").read_text() == "one\ntwo\n"
