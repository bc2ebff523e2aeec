"""A merge from the command line before it is made: judged by the policy, as one in a run is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click
import msgspec

from holdfast.cli.attend import Manner
from holdfast.cli.desk import Desk
from holdfast.cli.running import execute, runtime_of
from holdfast.engine.landing import Change
from holdfast.journal.views import RunRow
from holdfast.runtime.merges import APPROVED, approved, asked_of, judging, plainly_allowed
from holdfast.tools.merging import merging


async def allowed(
    desk: Desk, store: Any, into: str, change: Change, look: Callable[[], Awaitable[None]]
) -> Change:
    """The change, if it may be made; else leave with the exit code of what stands in the way.
    ``look`` brings the branch up to what its directory holds.

    What is not plainly allowed becomes a run of the agent ``holdfast.merge``: its one step is the
    merge, so that a refusal is recorded, and an approval asked for, as everywhere else.
    """
    # INVARIANT E82: no merge goes around the policy in force, whoever makes it.
    # INVARIANT E91: an approval is for one merge: into this branch as it was, of this change with
    # these choices, under this policy; the event of that merge names it, so it counts once
    change = msgspec.structs.replace(
        change, note={name: said for name, said in change.note.items() if name != APPROVED}
    )
    policy = runtime_of(desk).policy
    if await plainly_allowed(store, policy, await asked_of(store, into, change)):
        return change
    await look()
    asked = await asked_of(store, into, change)
    name, row = await judging(store, policy, into, asked)
    if row is None or row.status != "done":
        await _ask(desk, store, name, row, asked)
    return approved(change, asked, name)


async def _ask(
    desk: Desk, store: Any, name: str, row: RunRow | None, asked: dict[str, Any]
) -> None:
    """Let the run decide; leave with its exit code unless the merge may be made now."""

    async def begin(runtime: Any, _: Any) -> list[str]:
        if row is not None:
            handle = await runtime.host.resume(name)
        else:
            handle = await runtime.host.start(
                merging, tuple(asked.values()), name=name, world=asked["onto"], by=desk.user
            )
        return [handle.id]

    manner = Manner(user=desk.user, timers=True, quiet=True, hushed=True)
    code = await execute(
        desk, runtime_of(desk), begin, manner, may_ask=True, many=True, documents=False
    )
    ended = await store.run(name)
    if ended.status == "done":
        return
    if ended.error is not None and ended.error.type == "Refused":
        raise click.exceptions.Exit(3)
    if not ended.ended:
        desk.screen.note("  then say the same again: an approved merge is made")
    raise click.exceptions.Exit(code)
