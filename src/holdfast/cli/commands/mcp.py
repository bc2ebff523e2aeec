"""``holdfast mcp``."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.cli.serving_options import for_clients

SUBCOMMANDS: dict[str, str] = {
    "serve": "holdfast.cli.commands.mcp_serve",
    "install": "holdfast.cli.commands.mcp_install",
    "uninstall": "holdfast.cli.commands.mcp_uninstall",
}
"""Commands below this one, and their modules."""


class Served(click.Group):
    """A group that also takes a server's command, after ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What stands after the first ``--`` is the server's."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["holdfast.server"] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands below."""
        return [*super().list_commands(ctx), *SUBCOMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in SUBCOMMANDS:
            return super().get_command(ctx, cmd_name)
        return importlib.import_module(SUBCOMMANDS[cmd_name]).command


@click.group(cls=Served, invoke_without_command=True)
@click.option("--url", default="", metavar="URL", help="Instead of a command: a server over HTTP.")
@click.option("--config", default="", metavar="FILE",
              help="Instead: all servers of a file as clients have it (mcpServers).")  # fmt: skip
@click.option("--server", default="", metavar="NAME",
              help="The server's name in the journal (default: after its command).")  # fmt: skip
@click.option("--env", "env", multiple=True, metavar="NAME",
              help="Also hand this variable to the server's command.")  # fmt: skip
@click.option("--header", "header", multiple=True, metavar="NAME:VALUE",
              help="A header for --url; @FILE as the value reads it from a file.")  # fmt: skip
@for_clients
@shared
@click.pass_context
def command(ctx: click.Context, *, desk: Desk, **options: Any) -> int:
    """Stand between MCP clients and servers: each call of a tool is judged and recorded.

    Put `holdfast mcp --` before a server's command where a client starts it. Names, resources,
    prompts and all else pass unchanged, in both eras of the protocol (2025-11-25, 2026-07-28).
    A call that needs a person is asked at the client if it can show a form, else in
    `holdfast inbox`; one that was refused says why. A call that leaves the world is never repeated
    because a stream was lost: the journal answers.

    \b
    Examples:
      holdfast mcp -- npx -y @modelcontextprotocol/server-filesystem .
      holdfast mcp --url https://mcp.example.com/mcp --header "Authorization:@token"
      holdfast mcp --config .mcp.json --listen 127.0.0.1:8736 --token-file token
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from holdfast.cli.fronting import Options, serve

    server: tuple[str, ...] = ctx.meta.get("holdfast.server", ())
    return asyncio.run(serve(desk, Options(command=server, **options)))
