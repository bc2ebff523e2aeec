"""``holdfast mcp serve``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits


@click.command()
@click.option("--agent", default="mcp", metavar="NAME", show_default=True,
              help="Who calls, for the policy and in the journal.")  # fmt: skip
@click.option("--name", default="", metavar="ID",
              help="The run's id (default: one that was left open, else a new one).")  # fmt: skip
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--observe", is_flag=True, help="Only record what the policy says.")
@click.option("--ask", type=click.Choice(["client", "inbox", "both"]), default="client",
              show_default=True, help="Where a person is asked to approve a call: at the client if "
              "it can show a form, in the inbox, or in both.")  # fmt: skip
@click.option("--patience", type=click.FloatRange(0), default=limits.PATIENCE_SECONDS,
              show_default=True, metavar="SECONDS",
              help="How long a call waits for a person.")  # fmt: skip
@click.option("--listen", default="", metavar="HOST:PORT",
              help="Serve clients over HTTP, at /mcp, not at stdin and stdout.")  # fmt: skip
@click.option("--token-file", default="", metavar="FILE",
              help="For --listen: the bearer token, or lines AGENT: TOKEN; only you may read "
              "it.")  # fmt: skip
@shared
def command(*, desk: Desk, **options: Any) -> int:
    """Be an MCP server: let agents look at runs, fork, merge, restore, and ask people.

    Each call is a step of the client's own run, judged by the policy: the tools are called
    holdfast.list_runs, holdfast.merge and so on there. By default those that look, fork and ask
    run, and merge and restore need a person.

    \b
    Examples:
      holdfast mcp serve --agent claude
      holdfast mcp serve --listen 127.0.0.1:8738 --token-file token
    """
    from holdfast.cli.fronting import Options, serve

    return asyncio.run(serve(desk, Options(**options), _own))


def _own(runtime: Any, agent: str) -> list[Any]:
    from holdfast.cli.serving.offer import server

    return [server(runtime, agent)]
