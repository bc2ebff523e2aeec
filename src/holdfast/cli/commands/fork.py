"""``holdfast fork``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.option("--set", "edits", multiple=True, metavar="PATH=VALUE",
              help="Change result.…, args.… of the step, or input.… of the run.")  # fmt: skip
@click.option("--name", default=None, metavar="ID", help="The fork's id (default: a new one).")
@click.option("--fresh", is_flag=True, help="Run every later step again, even unchanged ones.")
@click.option("--live", is_flag=True, help="Perform what leaves the world; do not hold it.")
@click.option("--no-run", is_flag=True, help="Only make the fork; resume it later.")
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--no-input", is_flag=True, help="Ask nothing here, even on a terminal.")
@click.option("--quiet", "-q", is_flag=True, help="Do not tell about single steps.")
@shared
def command(
    run: str,
    *,
    edits: tuple[str, ...],
    name: str | None,
    fresh: bool,
    live: bool,
    no_run: bool,
    policy: str,
    no_input: bool,
    quiet: bool,
    desk: Desk,
) -> int:
    """Branch a run off before a step, with something changed or nothing.

    The fork shares the past up to the step, journal and world alike; the run itself stays as it
    is. With --set, later steps whose action and world are unchanged keep their outcomes and the
    rest run again; without, everything from the step on runs again, under today's code. Without
    @STEP it is forked at its beginning.

    What leaves the world is held: served from the record where the run itself did the same, else
    previewed, else kept until `holdfast publish`. --live performs it.

    \b
    Examples:
      holdfast fork 7k3@4 --set result.price=12
      holdfast fork 7k3 --set input.tries=5 --name more-tries
    """
    from holdfast.cli.refs import pair, run_name

    wanted = run_name(name)
    changes = dict(pair(text, "--set") for text in edits)
    if no_run:
        return asyncio.run(_only_fork(desk, run, changes, wanted, (fresh, live)))

    from holdfast.cli.attend import Manner
    from holdfast.cli.running import execute, runtime_of
    from holdfast.engine.fork import check_terms
    from holdfast.runtime.refs import find

    async def begin(runtime: Any, _: Any) -> list[str]:
        row, key = await find(runtime.store, run)
        await check_terms(runtime.store, row.run, key, runtime.policy)
        made = await _fork(desk, runtime.store, run, changes, wanted, (fresh, live))
        if door := (await runtime.store.run(made)).door:
            desk.screen.note((f"run {made}", "bold"), f"  fork of {run}; a client behind door "
                             f"{door} can go on with it under this name")  # fmt: skip
            return []
        how = "live: what leaves the world happens" if live else "what leaves the world is held"
        desk.screen.note((f"run {made}", "bold"), f"  fork of {run}", (f"  {how}", "dim"))
        await runtime.resume(made)
        return [made]

    manner = Manner(user=desk.user, timers=True, quiet=quiet)
    runtime = runtime_of(desk, policy=policy)
    return asyncio.run(execute(desk, runtime, begin, manner, may_ask=not no_input, create=False))


async def _only_fork(
    desk: Desk, place: str, changes: dict[str, Any], name: str, how: tuple[bool, bool]
) -> int:
    async with desk.store() as store:
        made = await _fork(desk, store, place, changes, name, how)
    if desk.screen.json:
        desk.screen.document({"run": made})
    else:
        desk.screen.say(made)
        desk.screen.note(f"to run it: {desk.command(f'holdfast resume {made}')}")
    return 0


async def _fork(
    desk: Desk, store: Any, place: str, changes: dict[str, Any], name: str, how: tuple[bool, bool]
) -> str:
    from holdfast.cli.refs import naming
    from holdfast.engine.fork import fork
    from holdfast.runtime.refs import find
    from holdfast.values.ids import new_id
    from holdfast.values.ports import SystemDice

    row, key = await find(store, place)
    fresh, live = how
    with naming(name):
        return await fork(
            store, row.run, key, name=name or new_id(SystemDice()),
            now_ms=desk.now_ms(), edits=changes, reuse=False if fresh else None, live=live,
            by=desk.user,
        )  # fmt: skip
