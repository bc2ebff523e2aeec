"""What docs/launcher.md names is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click

from holdfast.cli import main
from holdfast.launch import clients, keys, places
from holdfast.proxy.wiring import BASES

PAGE = (Path(__file__).parents[2] / "docs" / "launcher.md").read_text("utf-8")


def test_every_variable_file_and_agent_is_named():
    variables = [BASES[name][0] for name in BASES] + [
        one for some in keys.ALSO.values() for one in some
    ]
    assert not [one for one in variables if f"`{one}`" not in PAGE]
    said = PAGE.replace("opencode.json(c)", "opencode.json opencode.jsonc")
    files = [
        *places.PROJECT,
        *(f"~/{one}" for one in places.PERSONAL if "/." not in f"/{one}"[1:]),
    ]
    short = [one for one in files if ".config/" not in one and ".copilot" not in one]
    assert not [one for one in short if one not in said]
    assert not [one for one in clients.BELOW if f"`{one} " not in PAGE]
    assert "opencode's" in PAGE
    assert "VS Code's and Copilot's" in PAGE


def test_the_options_and_commands_that_are_shown_exist():
    run = main.get_command(click.Context(main), "run")
    assert run is not None
    known = {option for param in run.params for option in param.opts}
    shown = re.findall(r"^\$ holdfast run (.*?)-- ", PAGE, re.MULTILINE)
    assert len(shown) == 3
    for text in shown:
        assert {word for word in text.split() if word.startswith("--")} <= known
    for verb in ("diff", "merge", "discard"):
        assert f"holdfast world {verb} " in PAGE
