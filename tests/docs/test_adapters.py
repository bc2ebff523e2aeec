"""docs/adapters.md and the examples that it names run as they stand, and are killed nowhere."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import runpy
from pathlib import Path

import pytest

from holdfast.engine.answers import answer
from holdfast.stores.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adapters.md").read_text("utf-8")
MINE = PAGE.partition("## pydantic-ai")[0]  # that is run by test_agents.py
PROGRAMS = re.findall(r"```python\n(.*?)```", MINE, re.DOTALL)
PRINTED = [
    (
        "post waits for a person: `holdfast approve report-1@call.2.c1.51ee0567fda6abd4`, and the "
        "same call goes on with it []\nThat is all. ['rain']\n"
    ),
    "3 so far 6\n",
    (
        "delete: refused by no-deleting: files stay; move it (a person may change that: the "
        "policy, or in a fork)\n"
    ),
]
absent = [name for name in ("langchain", "agents") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)))
def test_it_runs_as_it_stands(
    clean_home: Path, capsys: pytest.CaptureFixture[str], program: str, printed: str
):
    (clean_home / "program.py").write_text(program, "utf-8")
    runpy.run_path(str(clean_home / "program.py"), run_name="__main__")
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("example", "run", "key", "effect", "last"),
    [
        ("graph_agent", "invoice-A-7", "call.2.2", "(paid 40 EUR)", "Done."),
        (
            "handoff_agent", "complaint-B-3", "call.of-refund", "(refunded 12.5 EUR)",
            "Done, and sorry.",
        ),
    ],
)  # fmt: skip
def test_the_examples_wait_for_a_person_and_go_on(
    clean_home: Path, capsys: pytest.CaptureFixture[str], example: str, run: str, key: str,
    effect: str, last: str,
):  # fmt: skip
    assert f"examples/{example}.py" in PAGE
    script = str(ROOT / "examples" / f"{example}.py")
    runpy.run_path(script, run_name="__main__")
    shown = capsys.readouterr().out
    assert f"holdfast approve {run}@{key}" in shown
    assert effect not in shown
    asyncio.run(_approve(clean_home, run))
    runpy.run_path(script, run_name="__main__")
    assert capsys.readouterr().out.split("\n") == [f"    {effect}", last, ""]
    runpy.run_path(script, run_name="__main__")
    assert "has ended" in capsys.readouterr().out


async def _approve(folder: Path, run: str) -> None:
    store = SqliteStore(folder / ".holdfast", create=False)
    await answer(store, run, "", "approve", by="ann", now_ms=0)
    await store.close()
