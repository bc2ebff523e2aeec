"""``holdfast spend``, ``holdfast economics`` and ``holdfast economize``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.runtime.settings import from_environment
from holdfast.values.errors import Misuse
from tests.cli.support import invoke

PROGRAM = """
import holdfast
from holdfast.testing.models import scripted

ask = scripted(lambda request: {"text": "yes", "usage": {"input": 1000, "output": 20}},
               name="openai:gpt-4o")

@holdfast.agent
async def clerk(n: int):
    return (await ask(f"question {n}")).text
"""


@pytest.fixture
def spent(place: Path) -> None:
    (place / "program.py").write_text(PROGRAM, "utf-8")
    for n in "12":
        invoke("run", "program.py:clerk", n, "-q")


def test_what_was_spent(spent: None):
    head, clerk, total = invoke("spend").stdout.splitlines()
    assert head.split()[:4] == ["AGENT", "MONEY", "SHARE", "TOKENS"]
    assert clerk.split() == ["clerk", "0.005400", "100.0%", "2,040", "2,000", "40", "0", "2", "2"]
    assert total.split()[1:] == clerk.split()[1:]
    told = json.loads(invoke("spend", "--by", "model", "--json").stdout)
    assert [one["name"] for one in told["lines"]] == ["openai.gpt-4o"]
    assert told["total"]["money"] == 0.0054
    told = json.loads(invoke("spend", "--by", "run", "--limit", "1", "--json").stdout)
    assert (len(told["lines"]), told["of"]) == (1, 2)


def test_joules_of_a_model_whose_meter_is_configured(spent: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_JOULES", "local.*=1; openai.gpt-*=0.5")
    assert invoke("spend").stdout.splitlines()[1].split()[-1] == "1,020.0"
    assert "0.5000 joules" in invoke("economics").stdout


def test_the_overview(spent: None):
    said = invoke("economics", "--within", "1h").stdout
    assert "cost per meaningful response 0.002700 = E_t x A x C_t + P_t x C_p" in said
    assert "E_t = 1,020" in said
    assert "straight through 100.0%" in said
    assert "in time 100.0%" in said
    told = json.loads(invoke("economics", "--json").stdout)
    assert told["response"]["cost"] == pytest.approx(0.0027)
    assert told["sla"] is None
    assert "no price" not in said


def test_nothing_to_show(place: Path):
    invoke("run", "agents.py:add", "1", "-q")
    assert "nothing was spent" in invoke("spend", "--agent", "nobody").stderr
    assert "there are no runs" in invoke("economics", "--agent", "nobody").stderr
    assert "nothing to propose" in invoke("economize").stdout + invoke("economize").stderr


def test_hostile_names_do_not_reach_the_terminal(place: Path):
    invoke("run", "agents.py:hostile", "-q")
    for command in ("spend", "economics", "economize"):
        assert "\x1b" not in invoke(command).output


def test_what_is_no_meter_is_refused():
    assert from_environment({"HOLDFAST_JOULES": "a.b=0.4;"}).joules == {"a.b": 0.4}
    for text in ("a.b", "a.b=x", "a.b=-1", "=3", "a.b=inf", "a.b=nan"):
        with pytest.raises(Misuse, match="HOLDFAST_JOULES"):
            from_environment({"HOLDFAST_JOULES": text})
