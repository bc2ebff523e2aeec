"""What docs/mcp.md shows is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import msgspec
import pytest

from holdfast.cli import main
from holdfast.cli.commands.mcp import command
from holdfast.gate import parse_policy
from holdfast.proxy.config import read_config
from holdfast.values import limits

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text("utf-8")


def above() -> click.Context:
    """What a command is called in: click keeps its names for help with the command."""
    return click.Context(main, info_name="holdfast", **main.context_settings)


def test_the_policy_loads_and_means_what_the_page_says():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    policy = parse_policy(text, "docs/mcp.md")
    assert policy.tool("notes.read_graph").effect == "read"
    assert policy.tool("notes.delete_entities").effect == "once"


def test_the_config_is_one(tmp_path: Path):
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "mcp.json"
    file.write_text(text)
    (server,) = read_config(str(file))
    assert server.command[:2] == ("holdfast", "mcp")
    parsed = command.make_context("mcp", list(server.command[2:]), parent=above())
    assert parsed.params["agent"] == "coder"
    assert parsed.meta["holdfast.server"][0] == "npx"
    assert msgspec.json.decode(text)


@pytest.mark.parametrize("line", re.findall(r"^holdfast mcp .*$", PAGE, re.MULTILINE))
def test_the_commands_are_understood(line: str):
    assert isinstance(
        command.make_context("mcp", shlex.split(line)[2:], parent=above()), click.Context
    )


def test_the_limits_are_those_of_the_page():
    assert "32 MiB" in PAGE
    assert limits.FRAME_BYTES == 32 * 1024 * 1024
    assert "30 by default" in PAGE
    assert limits.PATIENCE_SECONDS == 30
    assert "within three seconds" in PAGE
    assert limits.CANCEL_SECONDS == 3
