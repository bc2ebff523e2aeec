"""The blocks of docs/bisect.md are run in their order, in a directory of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "bisect.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_runs_as_it_stands(tmp_path: Path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env |= {"NO_COLOR": "1", "HOLDFAST_USER": "ann"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    (tmp_path / "orders.py").write_text(blocks("python")[0], "utf-8")
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "policy.yaml").write_text(blocks("yaml")[0], "utf-8")
    said: dict[str, str] = {}
    for line in "".join(blocks("console")).splitlines():
        if not line.startswith("$ holdfast "):
            assert line in said[next(reversed(said))]
            continue
        text = line.removeprefix("$ holdfast ").partition("  # ")[0]
        done = subprocess.run(
            ["sh", "-c", f"exec {sys.executable} -m holdfast.cli {text}"], cwd=tmp_path, env=env,
            check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        said[text] = done.stdout
    (found,) = [text for name, text in said.items() if name.startswith("bisect")]
    assert blocks("text")[0].strip() in found
    (shown,) = [text for name, text in said.items() if name == "prevent pens --policy orders"]
    assert "must not happen again" in shown
    assert "0 failed" in said["policy test orders"]
    assert "0 of 2 forks" in said["prevent pens@5 --policy orders --again 2"]
