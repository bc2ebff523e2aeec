"""``holdfast proxy``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.option("--upstream", "upstreams", multiple=True, metavar="NAME[=URL]",
              help="A provider: openai, anthropic, gemini, or any with its address.")  # fmt: skip
@click.option("--key-env", "key_envs", multiple=True, metavar="NAME=VAR",
              help="The variable that holds an upstream's key.")  # fmt: skip
@click.option("--config", default="", metavar="FILE",
              help="JSON: upstreams, fallback, prices (docs/models.md).")  # fmt: skip
@click.option("--listen", default="127.0.0.1:0", metavar="HOST:PORT", show_default=True,
              help="Where clients come in; port 0 is any free one.")  # fmt: skip
@click.option("--agent", default="client", metavar="NAME", show_default=True,
              help="Who the clients are, for the policy.")  # fmt: skip
@click.option("--role", default="", metavar="NAME", help="Their role.")
@click.option("--name", default="", metavar="ID", help="The run; one that is open is gone on with.")
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--observe", is_flag=True, help="Record verdicts, and enforce none of them.")
@click.option("--patience", type=click.FloatRange(0), metavar="SECONDS",
              help="How long a call waits for a person (default: 30).")  # fmt: skip
@click.option("--drain", is_flag=True, help="Read answers to their end though the client left.")
@click.option("--replay", metavar="RUN",
              help="Answer from what a run recorded ('all': any run); call nobody.")  # fmt: skip
@click.option("--record", is_flag=True, help="With --replay: call for what is not recorded.")
@click.option("--until-stdin-ends", is_flag=True, help="End when standard input does.")
@shared
def command(*, desk: Desk, **chosen: Any) -> int:
    """Stand between agents and models: judge, budget, record and replay every call.

    Clients get a base URL and a token; the providers' keys stay here, taken from the environment.
    What passes is passed byte for byte, as it comes: OpenAI chat completions and responses,
    Anthropic messages, Gemini. Each call is a step of one run. It ends when this is stopped; one
    with a name stays open, to be gone on with.

    The first thing printed is the clients' environment, to be read by a shell; with --json one
    document with url, token and environment. Needs the extras proxy and models:
    pip install 'holdfast[proxy,models]'.

    \b
    Examples:
      holdfast proxy --upstream openai --upstream anthropic
      holdfast proxy --upstream local=http://127.0.0.1:11434 --policy policy.yaml --name night
      holdfast proxy --upstream openai --replay night
    """
    from holdfast.cli.proxying import Chosen, serve_models

    return asyncio.run(serve_models(desk, Chosen(**chosen)))
