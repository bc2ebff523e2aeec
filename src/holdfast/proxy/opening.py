"""Opening a front on a runtime: the guest run behind it, found again or begun."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from holdfast.engine.guest import DOOR, Guest, met, owes
from holdfast.journal.store import RunQuery, Store
from holdfast.proxy import frames
from holdfast.proxy.asking import Asking
from holdfast.proxy.front import Front
from holdfast.proxy.stepping import Stepping
from holdfast.proxy.upstream import Server
from holdfast.runtime import Runtime
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Conflict, Misuse, Suspended
from holdfast.values.ids import NAME, new_id
from holdfast.values.ports import Dice, SystemClock, SystemDice


class Left(Suspended):
    """Control flow: the run stays open, for its client may come back."""


def front_on(
    runtime: Runtime, guest: Guest, servers: Sequence[Server], *, ask: str, patience: float,
    dice: Dice | None = None,
) -> Front:  # fmt: skip
    """A front whose calls are steps of ``guest``. For whoever has one already, such as a launcher.

    ``ask``: client, inbox or both; ``patience``: seconds that a call waits for a person."""
    chance = dice or SystemDice()
    asking = Asking(
        runtime.store, way=ask, by=runtime.settings.user, now_ms=SystemClock().now_ms,
        ring=runtime.host.ring,
    )  # fmt: skip
    stepping = Stepping(
        guest,
        effect=lambda name: runtime.policy.tool(name).effect,
        asking=asking,
        patience=patience,
        mark=lambda: new_id(chance, chars=26),
        met=partial(met, guest),
    )
    return Front(servers, stepping)


@asynccontextmanager
async def fronted(
    runtime: Runtime, servers: Sequence[Server], *, agent: str, name: str = "",
    ask: str = "client", patience: float = limits.PATIENCE_SECONDS, observes: bool = False,
    door: str = "mcp",
) -> AsyncGenerator[Front]:  # fmt: skip
    """A front with a guest run of ``agent`` behind ``door``, for as long as the context lasts.
    ``name``: the run's id; without one, a run that an earlier process left open for the same
    servers is gone on with, else a new one begun. At the end the run is done, unless its client may
    come back for something."""
    guest = await _guest(runtime, servers, agent, name, door=door, observes=observes)
    try:
        async with guest:
            front = front_on(runtime, guest, servers, ask=ask, patience=patience)
            try:
                yield front
            finally:
                busy = front.busy
                await front.close()
            # also what an earlier process was not told: this one may have come for a look only
            if busy or owes(guest):
                raise Left("its client may come back")
    except Left:
        return


async def _guest(
    runtime: Runtime, servers: Sequence[Server], agent: str, name: str, *, door: str,
    observes: bool,
) -> Guest:  # fmt: skip
    given = {"servers": [one.name for one in servers]}
    if name:
        return await runtime.guest(agent, name=name, door=door, given=given, observes=observes)
    base = base_of(agent, servers)
    # INVARIANT D25: a client that comes back finds the run that its last process left open, so
    # that what it was not told is not done again
    for run in await left_open(runtime.store, agent, base, door):
        try:
            return await runtime.guest(agent, name=run, door=door, given=given, observes=observes)
        except (Conflict, Misuse):  # another has it, it ended meanwhile, or enforces otherwise
            continue
    fresh = f"{base}.{new_id(SystemDice(), chars=6)}"
    return await runtime.guest(agent, name=fresh, door=door, given=given, observes=observes)


def base_of(agent: str, servers: Sequence[Server]) -> str:
    """How the runs of one agent with these servers begin: without what may be secret in them."""
    said = [[one.name, list(one.command), one.url, one.cwd] for one in servers]
    mark = digest(frames.plain(said))[:8]
    base = f"{agent[:40]}-{mark}"
    if not NAME.fullmatch(base):
        raise Misuse(f"agent name {agent!r}: use letters, digits, '_', '-' or '.'")
    return base


async def left_open(store: Store, agent: str, base: str, door: str = "mcp") -> list[str]:
    """The open guest runs that begin so, newest first."""
    found: list[str] = []
    for status in ("running", "waiting"):
        rows = await store.runs(RunQuery(limit=limits.LIST_ROWS, status=status, agent=agent))
        found += [
            row.run for row in rows if row.run.startswith(f"{base}.") and row.ref == f"{DOOR}{door}"
        ]
    return found
