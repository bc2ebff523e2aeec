"""``holdfast try``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits


@click.command(context_settings={"ignore_unknown_options": False})
@click.option("-n", "--count", type=click.IntRange(1, 100), default=4, show_default=True,
              help="How many forks.")  # fmt: skip
@click.option("--check", default="", metavar="COMMAND", help="Run this in each fork afterwards.")
@click.option("--score", is_flag=True, help="Rank by the last number that the check prints.")
@click.option("--seconds", type=click.FloatRange(0.1), default=limits.COMMAND_SECONDS,
              show_default=True, help="Time limit of the command, and of the check.")  # fmt: skip
@click.option("--network", multiple=True, metavar="HOST", help="A host that it may reach.")
@click.option("--read", "readable", multiple=True, metavar="PATH",
              help="A path outside that it may read.")  # fmt: skip
@click.option("--secret", "secrets", multiple=True, metavar="NAME",
              help="A variable that it may see; its value is not recorded.")  # fmt: skip
@click.option("--ignore", multiple=True, metavar="GLOB", help="Leave such paths out of the forks.")
@click.option("--gitignore", is_flag=True, help="Leave out what git ignores.")
@click.option("--name", default=None, metavar="ID", help="The run's id (default: a new one).")
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--no-input", is_flag=True, help="Ask and offer nothing here, even on a terminal.")
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND...")
@shared
def command(
    words: tuple[str, ...],
    *,
    count: int,
    check: str,
    score: bool,
    seconds: float,
    network: tuple[str, ...],
    readable: tuple[str, ...],
    secrets: tuple[str, ...],
    ignore: tuple[str, ...],
    name: str | None,
    desk: Desk,
    **manner: Any,
) -> int:
    """Run a command in forks of this directory, side by side, and keep the best.

    Each fork is a copy of the directory as it is now, with untracked and ignored files; the
    directory itself stays untouched until you merge a fork into it. The command (a coding agent, a
    script, a build) sees in HOLDFAST_ATTEMPT which fork it is in, from 1. It runs in a sandbox: its
    fork and the system's programs, no network but --network, none of your variables but --secret.

    Forks whose --check ends with exit code 0 rank first; then those with a higher --score, then
    those that changed fewer lines. The check is split into words, there is no shell: for one, say
    --check 'sh -c "..."'. What the check changes is dropped.

    On a terminal you are then asked what to do; else the commands for it are printed. The exit code
    is 1 if no fork succeeded. An interrupted try goes on with `holdfast resume`.

    \b
    Examples:
      holdfast try -- make
      holdfast try -n 3 --check 'pytest -q' -- my-agent 'fix the failing test'
    """
    from holdfast.cli.landing import words as split
    from holdfast.tools.attempts import Reach
    from holdfast.world.ignores import GITIGNORE

    plan: dict[str, Any] = {
        "command": list(words), "count": count, "check_command": list(split(check, "--check")),
        "seconds": seconds, "score": score, "directory": str(Path.cwd()),
        "ignore": [*ignore, *[GITIGNORE] * manner["gitignore"]],
        "reach": Reach(tuple(str(Path(one).absolute()) for one in readable), network, secrets),
    }  # fmt: skip
    return asyncio.run(_try(desk, plan, name, manner["policy"], may_ask=not manner["no_input"]))


async def _try(
    desk: Desk, plan: dict[str, Any], name: str | None, policy: str, *, may_ask: bool
) -> int:
    from holdfast.cli.asking import keyboard
    from holdfast.cli.attempting import how_to_go_on, offer, show
    from holdfast.cli.attend import Manner
    from holdfast.cli.refs import naming, run_name
    from holdfast.cli.running import execute, runtime_of
    from holdfast.cli.worlds import not_taken, remember_home
    from holdfast.tools.attempts import attempts

    wanted = run_name(name)
    runtime = runtime_of(desk, policy=policy)
    directory = Path(plan["directory"])
    ignore = not_taken(directory, desk.settings.directory, tuple(plan["ignore"]))
    begun: list[str] = []

    async def begin(runtime: Any, _: Any) -> list[str]:
        desk.screen.live(f"reading {directory}")
        root = await runtime.take_in(directory, ignore)
        desk.screen.erase()
        runtime.programs.add(attempts)
        with naming(wanted):
            handle = await runtime.host.start(attempts, (), plan, name=wanted, world=root,
                                              by=desk.user)  # fmt: skip
        begun.append(handle.id)
        await remember_home(runtime.store, handle.id, desk.settings.directory)
        forks = "1 fork" if plan["count"] == 1 else f"{plan['count']} forks"
        desk.screen.note((f"try {handle.id}", "bold"), f"  {forks} of {directory}")
        return begun

    manner = Manner(user=desk.user, timers=True, quiet=True, hushed=True)
    code = await execute(desk, runtime, begin, manner, may_ask=may_ask, many=True, documents=False)
    if not begun:
        return code
    async with desk.store() as store:
        row = await store.run(begun[0])
        if row.ended and code == 0:
            code = await show(desk, store, row)
        if desk.screen.json:
            return code
        if row.ended and may_ask and keyboard() is not None and desk.screen.out.isatty():
            await offer(desk, store, row)
        else:
            await how_to_go_on(desk, store, row)
    return code
