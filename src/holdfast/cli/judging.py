"""A merge from the command line before it is made: judged by the policy, as one in a run is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click
import msgspec

from holdfast.cli.attend import Manner
from holdfast.cli.desk import Desk
from holdfast.cli.running import execute, runtime_of
from holdfast.engine.choices import Choice
from holdfast.engine.landing import Change
from holdfast.gate import Proposal, judge
from holdfast.journal.events import is_erased
from holdfast.journal.record import SWITCHES
from holdfast.journal.views import RunRow
from holdfast.tools.merging import merging, seen_by_policy
from holdfast.values import limits
from holdfast.values.canon import digest, encode, unpack
from holdfast.values.errors import NotFound
from holdfast.world import EMPTY

APPROVED = "approved"
"""In the note of a merge: the run whose approval it used up."""


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
    asked = await _asked(store, into, change)
    if not policy.engine and not await _switched(store):
        proposal = Proposal(
            merging.name, merging.role, "merge", change.source, "world", seen_by_policy(asked)
        )
        if not policy.needs(proposal) and judge(proposal, policy).decision == "allow":
            return change  # the names say it: no facts, nobody else to ask
    await look()
    asked = await _asked(store, into, change)
    about = digest(encode([asked, policy.hash]))[:_ABOUT_DIGITS]
    name, row = await _judging(store, f"{into[:40]}.merge-{about}", into, asked)
    if row is None or row.status != "done":
        await _ask(desk, store, name, row, asked)
    return msgspec.structs.replace(change, onto=asked["onto"], note={**change.note, APPROVED: name})


_ABOUT_DIGITS = 24


async def _asked(store: Any, into: str, change: Change) -> dict[str, Any]:
    """What a merge is: the arguments of the run that asks about it."""
    return {
        "source": change.source, "base": change.base, "theirs": change.theirs, "into": into,
        "onto": (await store.head(into)).world or EMPTY,
        "choices": {path: _chosen(one) for path, one in sorted(change.choices.items())},
    }  # fmt: skip


def _chosen(choice: Choice) -> str:
    content = f" {digest(choice.content)}" if choice.take == "file" else ""
    return f"{choice.take}{content} of {digest(encode([choice.sides, choice.row]))[:_ABOUT_DIGITS]}"


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


async def _switched(store: Any) -> bool:
    """Whether anything was ever stopped here."""
    try:
        await store.run(SWITCHES)
    except NotFound:
        return False
    return True


async def _judging(
    store: Any, stem: str, into: str, asked: dict[str, Any]
) -> tuple[str, RunRow | None]:
    """The run that asks about this merge, and how it stands; a new name if the last was refused,
    or its approval used."""
    used = await _used(store, into)
    number = 0
    while True:
        name = f"{stem}-{number}" if number else stem
        try:
            row = await store.run(name)
        except NotFound:
            return name, None
        open_ = (row.status == "done" and name not in used) or not row.ended
        if open_ and await _is_about(store, row, asked):
            return name, row
        number += 1


async def _is_about(store: Any, row: RunRow, asked: dict[str, Any]) -> bool:
    """Whether a run was begun here to ask about this very merge: anybody may take a name."""
    if row.agent != merging.name or row.parent or row.fork_of:
        return False
    (begun,) = await store.read(row.run, 0, 1)
    return not is_erased(begun.args) and unpack(begun.args, store.get) == asked


async def _used(store: Any, into: str) -> set[str]:
    """Runs whose approval a merge into this branch used."""
    found: set[str] = set()
    stop = (await store.head(into)).pos + 1
    for start in range(0, stop, limits.READ_PAGE_EVENTS):
        page = await store.read(into, start, min(stop, start + limits.READ_PAGE_EVENTS))
        for event in page:
            if event.kind == "branch.merged" and event.value and not is_erased(event.value):
                said = unpack(event.value, store.get)
                found.add(said.get(APPROVED, "") if isinstance(said, dict) else "")
    return found
