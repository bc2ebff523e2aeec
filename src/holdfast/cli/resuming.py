"""Which runs `resume` takes, and taking them."""

from __future__ import annotations

from holdfast.cli.attend import descendants
from holdfast.cli.desk import Desk
from holdfast.cli.running import Troubles
from holdfast.explain.past import in_flight
from holdfast.runtime import Runtime
from holdfast.runtime.refs import find_run
from holdfast.values.errors import HoldfastError


async def resume_named(runtime: Runtime, texts: tuple[str, ...], troubles: Troubles) -> list[str]:
    """Resume these runs, and what they spawned that has not ended."""
    found: list[str] = []
    for text in texts:
        row = await find_run(runtime.store, text)
        for run in [row.run, *await descendants(runtime.store, row.run)]:
            await _resume(runtime, run, troubles)
        found.append(row.run)
    return list(dict.fromkeys(found))


async def resume_all(desk: Desk, runtime: Runtime, troubles: Troubles, *, stay: bool) -> list[str]:
    """Every run in flight that nobody else runs; only those that can go on now are loaded."""
    ready, _ = await runtime.store.wakeable(desk.now_ms(), 1_000_000)
    going = set(ready)
    found: list[str] = []
    for row in await in_flight(runtime.store):
        if (
            row.run in going and not stay and not row.door
        ):  # with --stay the host adopts them itself
            await _resume(runtime, row.run, troubles)
        elif row.door:
            continue
        elif row.run not in going and row.owner and not stay:
            desk.screen.note(f"run {row.run}: another process runs it")
            continue
        found.append(row.run)
    if not found and not stay:
        desk.screen.note("no run is in flight")
    return found


async def _resume(runtime: Runtime, run: str, troubles: Troubles) -> None:
    try:
        await runtime.resume(run)
    except HoldfastError as error:
        troubles[run] = error
