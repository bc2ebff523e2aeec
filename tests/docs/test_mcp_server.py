"""docs/mcp-server.md and docs/mcp-install.md say what is so: tools, limits, clients, snippets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from holdfast.cli import main
from holdfast.cli.serving.offer import offered
from holdfast.gate import parse_policy
from holdfast.launch.places import CLIENTS
from holdfast.values import limits

DOCS = Path(__file__).parents[2] / "docs"
SERVER = (DOCS / "mcp-server.md").read_text("utf-8")
INSTALL = (DOCS / "mcp-install.md").read_text("utf-8")


def test_the_tools_are_those_that_are_offered():
    runtime: Any = SimpleNamespace(store=None, settings=SimpleNamespace(policy=""))
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", SERVER, re.MULTILINE)
    assert rows == [(one.name, one.effect) for one in offered(runtime, "a")]


def test_limits_are_those_that_count():
    for text in (
        f"at most {limits.SERVE_RESULT_BYTES // 1024} kB", f"up to {limits.SERVE_ROWS} entries",
        f"{limits.SERVE_PAGE_CHARS:,} characters a page",
        f"looks at {limits.SERVE_SEARCH_EVENTS:,} events",
        f"first {limits.SERVE_SEARCH_CHARS:,} characters",
        f"(at most {limits.SERVE_WAIT_SECONDS:.0f})",
    ):  # fmt: skip
        assert text in SERVER, text


def test_snippets_are_what_they_say():
    (policy,) = re.findall(r"```yaml\n(.*?)```", SERVER, re.DOTALL)
    assert parse_policy(policy, "docs").tool("holdfast.merge").effect == "once"
    (config,) = re.findall(r"```json\n(.*?)```", SERVER, re.DOTALL)
    words = json.loads(config)["mcpServers"]["holdfast"]["args"]
    assert words[:2] == ["mcp", "serve"]


def test_every_client_is_in_the_table():
    assert re.findall(r"^\| `(\w[\w-]*)` \|", INSTALL, re.MULTILINE) == list(CLIENTS)
    for name, client in CLIENTS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", INSTALL, re.MULTILINE)
        assert all(f"`{path.removesuffix('c')}" in row or "jsonc" in path
                   for path in client.project), name  # fmt: skip


def test_commands_take_the_options_that_are_shown():
    for line in re.findall(r"^holdfast (?:mcp|scan) .*$", SERVER + INSTALL, re.MULTILINE):
        words = line.partition("#")[0].partition(" -- ")[0].split()[1:]
        command: Any = main
        for word in words:
            if word.startswith("-"):
                assert any(word in one.opts for one in command.params), line
            elif hasattr(command, "get_command"):
                command = command.get_command(None, word) or command
