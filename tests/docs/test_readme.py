"""What the README shows is run: its agent, its script and its commands, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.gate import Proposal, judge, parse_policy
from holdfast.gate.facts import Facts

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
CONSOLE = [text for language, text in BLOCKS if language == "console"]


def holdfast(folder: Path, *words: str, ok: tuple[int, ...] = (0,)) -> str:
    """Run the command line in ``folder`` as a reader would, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.cli", *words],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode in ok, f"holdfast {words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.py").write_text(PYTHON[0])
    return tmp_path


def test_the_script_runs(folder: Path):
    (folder / "main.py").write_text(PYTHON[1])
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "sent to Ada\n", done.stderr


def test_the_commands_run(folder: Path):
    commands = [
        shlex.split(line[2:], comments=True)[1:]
        for line in CONSOLE[0].splitlines()
        if line.startswith("$ ")
    ]
    assert [words[0] for words in commands] == [
        "run", "ps", "approve", "show", "why", "fork", "replay", "what-if",
    ]  # fmt: skip
    holdfast(folder, *commands[0], ok=(10,))  # nobody is at the terminal: it waits for a person
    (row,) = json.loads(holdfast(folder, "ps", "--json"))
    run = row["run"] if "run" in row else row["id"]
    for words in commands[1:]:
        named = [word.replace("RUN", run) for word in words]
        holdfast(folder, *named, ok=(0, 10))
        if words[0] == "approve":
            assert "sent to Ada" in holdfast(folder, "resume", run)


def test_a_program_is_tried_on_forks(folder: Path):
    commands = [
        shlex.split(line[2:], comments=True)[1:]
        for line in CONSOLE[1].splitlines()
        if line.startswith("$ ")
    ]
    assert [words[0] for words in commands] == ["try", "world", "world"]
    said = [holdfast(folder, *words) for words in commands]
    assert "made.txt" in said[1]
    assert (folder / "made.txt").read_text() == "2\n"


def test_a_policy_governs_and_the_record_tells(folder: Path):
    commands = [
        shlex.split(line[2:], comments=True)[1:]
        for line in next(one for one in CONSOLE if one.startswith("$ holdfast policy")).splitlines()
        if line.startswith("$ ")
    ]
    assert [words[0] for words in commands] == [
        "policy", "run", "inbox", "policy", "policy", "audit", "report",
    ]  # fmt: skip
    holdfast(folder, *commands[0])
    holdfast(folder, *commands[1], ok=(10,))
    run = json.loads(holdfast(folder, "ps", "--json"))[0]["run"]
    said = [
        holdfast(folder, *(word.replace("RUN", run) for word in words)) for words in commands[2:]
    ]
    assert "unasked" in said[0]
    assert "matched" in said[1].lower() or "MATCHES" in said[1]
    assert "0 failed" in said[2]
    assert "escalated" in said[3]
    assert "**gap**" in said[4]


def test_the_policy_shown_loads_and_decides():
    (text,) = [text for language, text in BLOCKS if language == "yaml"]
    policy = parse_policy(text, "README.md")
    args = {"to": "DE1", "amount": 20}

    def decision(facts: Facts) -> str:
        return judge(Proposal("a", "", "tool", "bank.pay", "once", args), policy, facts).decision

    assert decision(Facts(worst="person")) == "allow"
    assert decision(Facts(worst="untrusted")) == "deny"
    assert decision(Facts(worst="person", new_target=True)) == "deny"  # no rule allows it


def test_agents_and_tools_are_plain_functions_outside_a_run(folder: Path):
    code = "import asyncio, hello; print(asyncio.run(hello.hello('Ada')))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "sent to Ada\n", done.stderr
