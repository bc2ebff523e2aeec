"""``holdfast resume``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="Every run that can go on now.")
@click.option("--stay", is_flag=True, help="Serve: go on with what others leave or wake.")
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--no-input", is_flag=True, help="Ask nothing here, even on a terminal.")
@click.option("--quiet", "-q", is_flag=True, help="Do not tell about single steps.")
@shared
def command(
    runs: tuple[str, ...],
    *,
    everything: bool,
    stay: bool,
    policy: str,
    no_input: bool,
    quiet: bool,
    desk: Desk,
) -> int:
    """Go on with runs that were suspended or left.

    Runs that a run spawned are resumed with it. Ends when each has ended or waits again, for a
    person, a signal or a time (exit code 10; on a terminal, what a named run asks is asked here).
    With --stay it serves the store until Ctrl-C: runs that others start and leave, answer or wake
    go on here.

    \b
    Examples:
      holdfast resume 7k3
      holdfast resume --all
      holdfast resume --stay
    """
    from holdfast.cli.attend import Manner
    from holdfast.cli.resuming import resume_all, resume_named
    from holdfast.cli.running import execute, runtime_of
    from holdfast.values.errors import Misuse

    if not (runs or everything or stay):
        raise Misuse("say which RUN to resume, or --all, or --stay; `holdfast ps` lists them")
    if runs and everything:
        raise Misuse("say RUN or --all, not both")
    runtime = runtime_of(desk, policy=policy, serve=stay)

    async def begin(runtime: Any, troubles: Any) -> list[str]:
        if stay:
            desk.screen.note(f"serving {desk.settings.store}; Ctrl-C ends it")
        if runs:
            return await resume_named(runtime, runs, troubles)
        return await resume_all(desk, runtime, troubles, stay=stay)

    manner = Manner(user=desk.user, forever=stay, quiet=quiet)
    named = len(runs) == 1 and not stay
    may_ask = bool(runs) and not no_input
    return asyncio.run(
        execute(desk, runtime, begin, manner, may_ask=may_ask, many=not named, create=False)
    )
