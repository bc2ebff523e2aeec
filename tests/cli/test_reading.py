"""What `show`, `ps`, `diff` and `world` say of runs that are long, wait, or have no world."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.cli import screen
from holdfast.explain import telling
from holdfast.journal.views import RunRow, Wait
from tests.cli.support import invoke


def test_show_leaves_out_what_is_old(place: Path):
    invoke("run", "agents.py:slow", "600", "--name", "long", "-q")
    lines = invoke("show", "long").stdout.splitlines()
    assert "… 402 earlier events left out; --limit 0 shows all" in lines
    assert len(lines) == 3 + 200
    assert lines[-1].split()[:1] == ["601"]
    assert len(invoke("show", "long", "--limit", "0").stdout.splitlines()) == 2 + 602
    assert len(invoke("show", "long", "--limit", "7").stdout.splitlines()) == 3 + 7
    assert invoke("show", "long", "--json").stdout.count('"step.settled"') == 600


def test_no_world_is_the_empty_world(place: Path):
    (place / "writer.py").write_text(
        "import holdfast\nfrom holdfast.tools import world\n\n\n@holdfast.agent\n"
        "async def writer():\n    await world.write('a.txt', 'hello')\n"
    )
    invoke("run", "writer.py:writer", "--name", "w")
    assert "+hello" in invoke("world", "diff", "w@0", "w").stdout
    invoke("world", "export", "w@0", "before")
    assert not list((place / "before").iterdir())
    invoke("world", "export", "w", "after")
    assert (place / "after" / "a.txt").read_text() == "hello"


def test_a_name_that_is_taken(place: Path):
    invoke("run", "agents.py:add", "1", "--name", "ada")
    said = "holdfast: the name ada is taken: there is such a run already; choose another\n"
    assert invoke("run", "agents.py:add", "1", "--name", "ada", code=4).stderr == said
    assert invoke("fork", "ada", "--no-run", "--name", "ada", code=4).stderr == said


def test_an_empty_name_is_refused_and_leaves_no_store(place: Path):
    assert "run name ''" in invoke("run", "agents.py:add", "1", "--name", "", code=2).stderr
    assert not (place / ".holdfast").exists()


def test_an_import_that_fails_leaves_nothing_behind(place: Path):
    invoke("run", "agents.py:add", "1", "--store", "one")
    invoke("export", "--all", "all.holdfast", "--store", "one")
    whole = (place / "all.holdfast").read_bytes()
    (place / "cut.holdfast").write_bytes(whole[: len(whole) // 2])
    before = sorted(place.iterdir())
    invoke("import", "cut.holdfast", code=6)
    invoke("import", "cut.holdfast", "--store", "deep/er", code=6)
    assert sorted(place.iterdir()) == before
    invoke("import", "all.holdfast", "--store", "deep/er")
    assert "add" in invoke("ps", "--store", "deep/er").stdout
    (place / "there").mkdir()
    invoke("import", "all.holdfast", "--store", "there")
    assert "add" in invoke("ps", "--store", "there").stdout


def test_waiting_for_a_child_is_waiting_for_a_run(place: Path):
    invoke("run", "agents.py:worried", "--name", "w", "--no-input", code=10)
    for shown in (invoke("show", "w").stdout, invoke("ps").stdout):
        assert "waits for run w.1" in shown
        assert "$child" not in shown


POLICY = """
version: 1
rules:
  - {id: two-eyes, when: {effect: once}, then: escalate, approvers: [bob, carol]}
"""


def test_who_may_answer_is_said(place: Path):
    (place / "policy.yaml").write_text(POLICY)
    invoke("run", "agents.py:shop", "--name", "s", "--policy", "policy.yaml", code=10)
    assert "@1 may be answered by bob, carol only" in invoke("show", "s").stdout
    assert "may say  bob, carol" in invoke("show", "s@1").stdout
    assert "@1 asks bob, carol: " in invoke("ps").stdout
    assert "bob, carol may" in invoke("approve", "s", code=3).stderr


def test_a_timer_shows_until_when():
    row = RunRow("r", "a", waits=(Wait("1", "timer", due=86_400_000),))
    assert telling.wait_text(row.waits[0], "r").startswith("@1 until 1970-01-0")


@pytest.mark.parametrize("columns", [44, 80, 200])
def test_a_question_takes_two_lines_of_a_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    long = ("run-of-some-name", "an-agent-of-some-name", "waiting", "says 日本 " * 80 + "\nmore")
    screen.Screen().table(["RUN", "AGENT", "STATUS", "WAITS FOR"], [long, long], fold=2)
    out = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(out) == 5
    assert all(screen.cells(line) <= columns for line in out[1:])
    assert out[2].endswith("…")
