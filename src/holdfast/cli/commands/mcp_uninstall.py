"""``holdfast mcp uninstall``."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.desk import Desk, json_only


@click.command()
@click.option("--client", required=True, metavar="NAME",
              help="claude-code, claude-desktop, cursor, vscode, codex, opencode, gemini, windsurf "
              "or zed.")  # fmt: skip
@click.option("--project", default="", metavar="DIR",
              help="The configuration of this directory, not yours.")  # fmt: skip
@click.option("--config", default="", metavar="FILE", help="This file, wherever the client has it.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@json_only
def command(*, desk: Desk, **options: Any) -> int:
    """Take Holdfast out of a client's configuration.

    A file that nobody changed since `holdfast mcp install` becomes what it was, byte for byte; in
    any other only our entries change.

    \b
    Example: holdfast mcp uninstall --client claude-code --project .
    """
    from holdfast.cli.installing.doing import Wanted, take_out

    return take_out(desk, Wanted(**options))
