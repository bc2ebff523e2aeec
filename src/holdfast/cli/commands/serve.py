"""``holdfast serve``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Where; beyond this machine with --url, and --tokens or --oidc.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8740, show_default=True,
              help="0: any free one.")  # fmt: skip
@click.option("--url", default="", metavar="URL",
              help="The https address at which browsers reach it, of a TLS proxy.")  # fmt: skip
@click.option("--tokens", default="", metavar="FILE",
              help="Who may come in: a line each, NAME ROLE SHA256.")  # fmt: skip
@click.option("--new-token", default="", metavar="NAME:ROLE",
              help="Only make a token, and print it and its line for --tokens.")  # fmt: skip
@click.option("--oidc", default="", metavar="FILE",
              help="Sign in with OpenID Connect, as FILE says (docs/http.md).")  # fmt: skip
@click.option("--metrics-token", default="", metavar="FILE",
              help="File with a token that may read /metrics and nothing else.")  # fmt: skip
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--no-run", is_flag=True, help="Only show and take answers; go on with no run here.")
@shared
def command(*, desk: Desk, **chosen: Any) -> int:
    """Serve the console and the HTTP interface, and go on with runs that wait.

    On this machine alone it prints an address that signs a browser in once, as admin, and a token
    for programs. For others, --tokens or --oidc say who comes in as viewer, approver or admin, and
    a proxy of yours that speaks TLS stands before it. It ends on Ctrl-C or SIGTERM; runs that it
    was at are suspended, and go on with whoever serves or resumes next.

    Needs the extra api, and oidc for --oidc: pip install 'holdfast[api,oidc]'.

    \b
    Examples:
      holdfast serve
      holdfast serve --no-run --port 0 --json
      holdfast serve --new-token ann:approver
      holdfast serve --host 0.0.0.0 --url https://holdfast.example.org --oidc oidc.yaml
    """
    from holdfast.cli.hosting import Chosen, new_token, serve_console

    if wanted := chosen.pop("new_token"):
        return new_token(desk, wanted)
    return asyncio.run(serve_console(desk, Chosen(**chosen)))
