"""``holdfast mcp serve``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.cli.serving_options import for_clients


@click.command()
@for_clients
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
