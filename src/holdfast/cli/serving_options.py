"""What commands that serve MCP clients have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from holdfast.values import limits

_OPTIONS = (
    click.option("--agent", default="mcp", metavar="NAME", show_default=True,
                 help="Who calls, for the policy and in the journal."),
    click.option("--name", default="", metavar="ID",
                 help="The run's id (default: one that was left open, or a new one)."),
    click.option("--policy", default="", metavar="FILE",
                 help="Policy file (or HOLDFAST_POLICY)."),
    click.option("--observe", is_flag=True, help="Only record what the policy says."),
    click.option("--ask", type=click.Choice(["client", "inbox", "both"]), default="client",
                 show_default=True, help="Where a person is asked to approve a call: at the "
                 "client if it can show a form, in the inbox, or in both."),
    click.option("--patience", type=click.FloatRange(0), default=limits.PATIENCE_SECONDS,
                 show_default=True, metavar="SECONDS",
                 help="How long a call waits for a person."),
    click.option("--listen", default="", metavar="HOST:PORT",
                 help="Serve clients over HTTP, at /mcp, not at stdin and stdout."),
    click.option("--token-file", default="", metavar="FILE",
                 help="For --listen: the bearer token, or lines AGENT: TOKEN; only you may read "
                 "it."),
)  # fmt: skip


def for_clients(command: Callable[..., Any]) -> Callable[..., Any]:
    """A click decorator: who calls, where, and how long a call waits for a person."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
