"""``holdfast replay``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.cli.failing import complain
from holdfast.explain.past import in_flight
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find_run


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="Every run that is in flight.")
@shared
def command(runs: tuple[str, ...], *, everything: bool, desk: Desk) -> int:
    """Check that runs still reproduce under today's code.

    Reads each journal through its program; performs and writes nothing. The exit code is 7 if one
    diverged, and the difference is shown.

    \b
    Examples:
      holdfast replay 7k3
      holdfast replay --all
    """
    from holdfast.values.errors import Misuse

    if bool(runs) == everything:
        raise Misuse("say which RUN to replay, or --all; `holdfast ps` lists them")
    return asyncio.run(_replay(desk, runs))


async def _replay(desk: Desk, names: tuple[str, ...]) -> int:
    from holdfast.cli.running import runtime_of

    programs = runtime_of(desk).programs
    codes: list[int] = []
    async with desk.store() as store:
        rows = [await find_run(store, name) for name in names]
        if not rows:  # what clients behind doors did is looked up, never replayed
            rows = [row for row in await in_flight(store) if not row.door]
        for number, row in enumerate(rows, 1):
            desk.screen.live(f"replaying {number} of {len(rows)}: {row.run}")
            with desk.screen.reserved(mute=True):
                found, code = await _one(store, row, programs)
            codes.append(code)
            desk.screen.erase()
            _tell(desk, found, code)
    if not rows:
        desk.screen.note("no run is in flight")
    return 7 if 7 in codes else max(codes, default=0)


async def _one(store: Store, row: RunRow, programs: Any) -> tuple[dict[str, Any], int]:
    import msgspec

    from holdfast.engine.replay import replay
    from holdfast.values.errors import Diverged, HoldfastError

    found: dict[str, Any] = {"run": row.run, "agent": row.agent}
    try:
        program = programs.find(row.agent, row.ref)
        return found | msgspec.to_builtins(await replay(store, row.run, program)), 0
    except Diverged as error:
        return found | {"diverged": str(error), "step": error.key, "diff": error.diff}, 7
    except HoldfastError as error:
        return found | {"trouble": str(error)}, error.exit_code


def _tell(desk: Desk, found: dict[str, Any], code: int) -> None:
    screen = desk.screen
    if screen.json:
        screen.document(found)
    if code:
        if not screen.json and found.get("diff"):
            screen.patch(found["diff"])
        complain(found.get("diverged") or found["trouble"])
    elif not screen.json:
        end = " so far" if found["in_flight"] else ""
        screen.say((f"run {found['run']}", "bold"), f" reproduces{end}: {found['steps']} steps")
