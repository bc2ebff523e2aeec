"""``holdfast mcp install``."""

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
@click.option("--serve", is_flag=True,
              help="Wrap nothing; add Holdfast itself (`holdfast mcp serve`).")  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", help="Wrap only this server.")
@click.option("--store", default="", metavar="DIR",
              help="Their store (default: .holdfast in the project, or at home).")  # fmt: skip
@click.option("--policy", default="", metavar="FILE", help="The policy of the entries.")
@click.option("--observe", is_flag=True, help="Only record what the policy says.")
@click.option("--env", multiple=True, metavar="NAME",
              help="Also hand this variable to the servers: theirs are named already.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@json_only
def command(*, desk: Desk, **options: Any) -> int:
    """Put Holdfast in front of the MCP servers of a client, in its configuration.

    Each entry that is a command gets `holdfast mcp --` before it; entries over HTTP are left, and
    named. Comments, layout and all else stay. What the file was before is kept beside it, and
    `holdfast mcp uninstall` brings it back. Values of variables stay where they are.

    \b
    Examples:
      holdfast mcp install --client claude-code --project .
      holdfast mcp install --client codex --policy policy.yaml --dry-run
    """
    from holdfast.cli.installing.doing import Wanted, put_in

    return put_in(desk, Wanted(**options))
