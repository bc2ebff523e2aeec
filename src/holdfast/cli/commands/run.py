"""``holdfast run``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("target")
@click.argument("args", nargs=-1)
@click.option("--args", "json_args", metavar="JSON", help="Arguments as a JSON object or array.")
@click.option("--name", default=None, metavar="ID", help="The run's id (default: a new one).")
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--world", default="", metavar="DIR", help="Begin with this directory's content.")
@click.option("--no-input", is_flag=True, help="Ask nothing here, even on a terminal.")
@click.option("--quiet", "-q", is_flag=True, help="Do not tell about single steps.")
@shared
def command(
    target: str,
    args: tuple[str, ...],
    *,
    json_args: str | None,
    name: str | None,
    policy: str,
    world: str,
    no_input: bool,
    quiet: bool,
    desk: Desk,
) -> int:
    """Start an agent and stay with it until it ends or waits.

    TARGET is FILE.py:NAME or MODULE:NAME. ARGS are values, or name=value: JSON if it is JSON, else
    text; a parameter declared as str takes the text as it is. The result is printed as JSON on
    stdout, all else on stderr.

    On a terminal, what the run asks a person is asked here. Otherwise, when the run waits for a
    person or a signal, this says how to answer and ends with exit code 10. Ctrl-C suspends the run
    (`holdfast resume` goes on with it); a second Ctrl-C ends at once.

    \b
    Examples:
      holdfast run repair.py:repair library=toolz tries=3
      holdfast run shop.agents:refund --args '{"order": "A-17"}' --policy policy.yaml
    """
    from holdfast.cli.attend import Manner
    from holdfast.cli.launching import arguments, load
    from holdfast.cli.refs import naming, run_name
    from holdfast.cli.running import execute, runtime_of

    wanted = run_name(name)
    runtime = runtime_of(desk, policy=policy)
    program = load(runtime, target)
    positional, named = arguments(program, args, json_args)
    program.bind(positional, named)  # wrong arguments must not leave an empty store behind

    async def begin(runtime: Any, _: Any) -> list[str]:
        with naming(wanted):
            handle = await runtime.launch(
                program, positional, named, name=wanted, world=Path(world) if world else None
            )
        desk.screen.note((f"run {handle.id}", "bold"), f"  {program.name}")
        return [handle.id]

    manner = Manner(user=desk.user, timers=True, quiet=quiet)
    return asyncio.run(execute(desk, runtime, begin, manner, may_ask=not no_input))
