"""What reaches a terminal: hostile text is harmless, colour is for terminals, help is quick."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.cli.asking import Answer, understand
from holdfast.cli.front import TOPICS, main
from holdfast.cli.reference import render
from holdfast.explain.text import clean, cut, json_text, one_line, pretty
from tests.cli.support import invoke, newest
from tests.cli.terminal import Terminal

ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_what_agents_say_cannot_command_the_terminal(place: Path):
    invoke("run", "agents.py:hostile")
    hostile = newest()
    invoke("run", "agents.py:bad", code=1)
    bad = newest()
    invoke("run", "agents.py:number", code=10)
    asks = newest()
    lines = [
        "ps", "log", f"show {hostile}", f"show {hostile}@1", f"show {bad}", f"show {asks}",
        f"show {asks}@1", f"diff {hostile} {bad}", f"replay {hostile}", "log --json", "ps --json",
        f"show {hostile} --json", f"show {hostile}@1 --json", f"resume {bad}",
        f"resume {asks}", f"resume {hostile}", f"approve {asks}",
    ]  # fmt: skip
    for line in lines:
        done = invoke(*line.split(), code=None)
        assert done.exit_code in (0, 1, 2, 10), (line, done.stderr)
        assert not ODD.search(done.stdout + done.stderr), line
    assert "[bold]red[/bold]" in invoke("show", hostile).stdout  # markup is only text
    (step,) = [json.loads(invoke("show", f"{hostile}@1", "--json").stdout)]
    assert step["value"].endswith("\x1b]0;owned\x07\x1b[31m[bold]red[/bold]\u202e")  # whole


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m\r", "\\x9b31m\\r"),
        ("a\u202eb", "a\\u202eb"),
        ("\U000e0041", "\\U000e0041"),
        ("\udc80", "\\udc80"),
        ("grün ✓ 漢字", "grün ✓ 漢字"),
    ],
)
def test_clean(text: str, shown: str):
    assert clean(text) == shown


def test_json_escapes_and_reads_back():
    value = {"a": "\x7f\x9b\u202e\U000e0041\u2028é", "b": [1, None, b"\0"]}
    text = json_text(value)
    assert not ODD.search(text)
    assert json.loads(text)["a"] == value["a"]
    assert json.loads(pretty(value)) == json.loads(text)


def test_cut_and_one_line():
    assert cut("abcdef", 4) == "abc…"
    assert one_line("a\n\t b\x1b") == "a b\\x1b"


@pytest.mark.parametrize(
    ("about", "choices", "typed", "meant"),
    [
        ("action", (), "approve fine", Answer("approve", note="fine")),
        ("action", (), "N too much", Answer("deny", note="too much")),
        ("action", (), "later", Answer()),
        ("action", (), "", "say approve, deny or later"),
        ("action", (), "result 3", "'result 3' is not understood"),
        ("unknown", (), "result 3", Answer("answer", 3)),
        ("question", (), "no", Answer("answer", "no")),
        ("question", (), "42", Answer("answer", 42)),
        ("question", ("red", "1"), "1", Answer("answer", "1")),
        ("question", ("red", "green"), "2", Answer("answer", "green")),
        ("question", ("red", "green"), "3", "choose 1 to 2, or the words"),
        ("question", (), "/deny why", Answer("deny", note="why")),
        ("question", (), "/later", Answer()),
    ],
)
def test_what_a_typed_line_means(
    about: str, choices: tuple[str, ...], typed: str, meant: Answer | str
):
    assert understand(about, choices, typed) == meant


# At a real terminal ----------------------------------------------------------------------------


def test_questions_are_asked_at_a_terminal(place: Path):
    terminal = Terminal("run", "agents.py:colour", "--name", "asks", cwd=place)
    terminal.until("(/deny [why], /later): ")
    terminal.type("blue")
    terminal.until("choose 1 to 2")
    terminal.until("/later): ")
    terminal.type("2")
    terminal.until('"green"\r\n')
    assert terminal.end() == 0


def test_somebody_else_may_answer_first(place: Path):
    terminal = Terminal("run", "agents.py:shop", "--name", "asks", cwd=place)
    terminal.until("or later? ")
    invoke("approve", "asks")
    terminal.until("somebody else answered")
    terminal.until("paid 3 to bob")
    assert terminal.end() == 0


def test_an_answer_can_be_put_off(place: Path):
    terminal = Terminal("run", "agents.py:shop", "--name", "asks", cwd=place)
    terminal.until("or later? ")
    terminal.type("later")
    terminal.until("holdfast approve asks")
    assert terminal.end() == 10


def test_ctrl_c_at_a_question_suspends(place: Path):
    terminal = Terminal("run", "agents.py:shop", "--name", "asks", cwd=place)
    terminal.until("or later? ")
    terminal.process.send_signal(2)
    terminal.until("suspended; resume with: holdfast resume asks")
    assert terminal.end() == 130


def test_colour_is_for_terminals_and_not_with_no_color(place: Path):
    invoke("run", "agents.py:add", "1", "--name", "one")
    coloured = Terminal("ps", cwd=place)
    coloured.until("\x1b[")
    coloured.end()
    plain = Terminal("ps", cwd=place, NO_COLOR="1")
    plain.until("one")
    plain.end()
    assert "\x1b[" not in plain.shown
    assert "\x1b[" not in invoke("ps").stdout


# Help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["--help", "--version", "ps --help", "approve --help"])
def test_help_loads_nothing_heavy(line: str):
    program = (
        "import sys\nfrom holdfast.cli import main\n"
        f"try: main({line.split()!r}, prog_name='holdfast')\nexcept SystemExit: pass\n"
        "heavy = {'pydantic', 'rich', 'sqlite3', 'yaml', 'pygit2', 'holdfast.engine.host',\n"
        "         'holdfast.runtime', 'holdfast.stores'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_overview_says_what_the_commands_say():
    import click

    context = click.Context(main)
    for topic in TOPICS.values():
        for name, line in topic.items():
            found = main.get_command(context, name)
            assert found is not None
            assert (found.help or "").split("\n")[0] == line, name
            assert "Example" in (found.help or ""), name


def test_the_reference_is_written_from_the_help():
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text("utf-8") == render(), (
        "run: python -m holdfast.cli.reference > docs/cli.md"
    )


def test_version(place: Path):
    assert json.loads(invoke("version", "--json").stdout)["holdfast"]
    assert invoke("--version").stdout.startswith("holdfast ")
    assert invoke("version").stdout == invoke("--version").stdout
