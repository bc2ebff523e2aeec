"""A merge from the command line before it is made: judged by the policy, as one in a run is."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.attend import Manner
from holdfast.cli.desk import Desk
from holdfast.cli.running import execute, runtime_of
from holdfast.engine.landing import Change
from holdfast.gate import Proposal, judge
from holdfast.journal.record import SWITCHES
from holdfast.journal.views import RunRow
from holdfast.tools.merging import merging
from holdfast.values.canon import digest
from holdfast.values.errors import NotFound
from holdfast.world import EMPTY


async def allowed(desk: Desk, store: Any, into: str, change: Change) -> None:
    """Return if the merge may be made; else leave with the exit code of what stands in the way.

    What is not plainly allowed becomes a run of the agent ``holdfast.merge``: its one step is the
    merge, so that a refusal is recorded, and an approval asked for, as everywhere else.
    """
    # INVARIANT E82: no merge goes around the policy in force, whoever makes it.
    asked = {"source": change.source, "base": change.base, "theirs": change.theirs}
    policy = runtime_of(desk).policy
    proposal = Proposal(merging.name, merging.role, "merge", change.source, "world", asked)
    plain = policy.engine is None and not policy.needs(proposal) and not await _switched(store)
    if plain and judge(proposal, policy).decision == "allow":
        return  # the names say it: no facts, nobody else to ask
    about = digest("|".join([*asked.values(), policy.hash]).encode())[:12]
    name, row = await _judging(store, f"{into[:40]}.merge-{about}")
    if row is not None and row.status == "done":
        return  # it was approved
    world = (await store.head(into)).world or EMPTY

    async def begin(runtime: Any, _: Any) -> list[str]:
        if row is not None:
            handle = await runtime.host.resume(name)
        else:
            args = (change.source, change.base, change.theirs)
            handle = await runtime.host.start(merging, args, name=name, world=world, by=desk.user)
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


async def _switched(store: Any) -> bool:
    """Whether anything was ever stopped here."""
    try:
        await store.run(SWITCHES)
    except NotFound:
        return False
    return True


async def _judging(store: Any, stem: str) -> tuple[str, RunRow | None]:
    """The run that asks about this merge, and how it stands; a new name if the last was refused."""
    number = 0
    while True:
        name = f"{stem}-{number}" if number else stem
        try:
            row = await store.run(name)
        except NotFound:
            return name, None
        if row.status == "done" or not row.ended:
            return name, row
        number += 1
