"""docs/why.md: its agent and its commands run as they stand, in a directory of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "why.md").read_text("utf-8")
AGENT, CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(COMMANDS,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
READS = """
import asyncio
import holdfast

async def main():
    async with holdfast.Runtime() as runtime:
        store = runtime.store
{code}
        print(found.arguments[1].edges[0].source.place)

asyncio.run(main())
"""


def test_the_page_runs_as_it_stands(tmp_path: Path):
    (tmp_path / "clerk.py").write_text(AGENT)
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env |= {"NO_COLOR": "1"}
    said: dict[str, str] = {}
    for line in COMMANDS.splitlines():
        text, _, about = line.removeprefix("$ holdfast ").partition("  # ")
        done = subprocess.run(
            ["sh", "-c", f"{sys.executable} -m holdfast.cli {text}"], cwd=tmp_path, env=env,
            check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        wanted = int(found[1]) if (found := re.match(r"exit (\d+)", about)) else 0
        assert done.returncode == wanted, (text, done.stdout, done.stderr)
        said[text] = done.stdout + done.stderr
    answer = said["why tidy@3"]
    assert "└ carried  tidy@2 result  read_mail(id=2)" in answer
    assert "“Lunch was 90 euro in the end" in answer
    assert "“Tidy up my mail.”" in answer
    assert "escalate by once" in answer
    assert "amount = " not in said["why tidy@3.to"]
    found = json.loads(said["why tidy@3 --json"])
    assert {one["path"]: one["edges"][0]["source"]["place"] for one in found["arguments"]} == {
        "amount": "tidy@2", "to": "tidy@2"}  # fmt: skip
    assert found["ruling"]["answers"][0]["decision"] == "approve"
    assert "the end of clerk" in said["why tidy"]
    assert "has no step '9'; its newest are 1, 2, 3" in said["why tidy@9"]
    lines = ["        " + line if line else "" for line in CODE.splitlines()]
    (tmp_path / "reads.py").write_text(READS.format(code="\n".join(lines)))
    done = subprocess.run(
        [sys.executable, "reads.py"], cwd=tmp_path, env=env, check=False, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "tidy@2\n", done.stderr
