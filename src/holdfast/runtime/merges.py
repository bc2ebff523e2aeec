"""Merges from outside of runs: what they are, whether they are plainly allowed, and which run of
the agent ``holdfast.merge`` asks about one that is not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from holdfast.engine.choices import Choice
from holdfast.engine.landing import Change, Landed, land
from holdfast.gate import Policy, Proposal, judge
from holdfast.journal.events import is_erased
from holdfast.journal.record import SWITCHES
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime.runtime import Runtime
from holdfast.tools.merging import merging, seen_by_policy
from holdfast.values import limits
from holdfast.values.canon import digest, encode, unpack
from holdfast.values.errors import NotFound, Refused
from holdfast.world import EMPTY

APPROVED = "approved"
"""In the note of a merge: the run whose approval it used up."""
_ABOUT_DIGITS = 24


async def asked_of(store: Store, into: str, change: Change) -> dict[str, Any]:
    """What a merge is: the arguments of the run that asks about it."""
    return {
        "source": change.source, "base": change.base, "theirs": change.theirs, "into": into,
        "onto": change.onto or (await store.head(into)).world or EMPTY,
        "choices": {path: _chosen(one) for path, one in sorted(change.choices.items())},
    }  # fmt: skip


def _chosen(choice: Choice) -> str:
    content = f" {digest(choice.content)}" if choice.take == "file" else ""
    return f"{choice.take}{content} of {digest(encode([choice.sides, choice.row]))[:_ABOUT_DIGITS]}"


async def plainly_allowed(store: Store, policy: Policy, asked: dict[str, Any]) -> bool:
    """Whether the policy allows a merge by its names alone: no facts, nobody else to ask."""
    if policy.engine or await _switched(store):
        return False
    proposal = Proposal(
        merging.name, merging.role, "merge", asked["source"], "world", seen_by_policy(asked)
    )
    return not policy.needs(proposal) and judge(proposal, policy).decision == "allow"


async def _switched(store: Store) -> bool:
    """Whether anything was ever stopped here."""
    try:
        await store.run(SWITCHES)
    except NotFound:
        return False
    return True


async def judging(
    store: Store, policy: Policy, into: str, asked: dict[str, Any]
) -> tuple[str, RunRow | None]:
    """The run that asks about this merge, and how it stands; a new name if the last was refused,
    or its approval used."""
    about = digest(encode([asked, policy.hash]))[:_ABOUT_DIGITS]
    stem = f"{into[:40]}.merge-{about}"
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


async def _is_about(store: Store, row: RunRow, asked: dict[str, Any]) -> bool:
    """Whether a run was begun here to ask about this very merge: anybody may take a name."""
    if row.agent != merging.name or row.parent or row.fork_of:
        return False
    (begun,) = await store.read(row.run, 0, 1)
    return not is_erased(begun.args) and unpack(begun.args or b"null", store.get) == asked


async def _used(store: Store, into: str) -> set[str]:
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


def approved(change: Change, asked: dict[str, Any], name: str) -> Change:
    """The change as run ``name`` let it be made: onto this world, once."""
    return msgspec.structs.replace(change, onto=asked["onto"], note={**change.note, APPROVED: name})


async def merge_judged(
    runtime: Runtime, into: str, change: Change, *, by: str, now_ms: int
) -> Landed | RunRow:
    """Make a merge if the policy lets it be made now; else the run that waits for a person to say
    so: once they have, the same again makes it. `Refused` if it may not be, `LeaseLost` if a
    process is running ``into``."""
    # INVARIANT D95: an agent's merge goes through the same judgement as a person's (E82, E91)
    store = runtime.store
    asked = await asked_of(store, into, change)
    if not await plainly_allowed(store, runtime.policy, asked):
        name, row = await judging(store, runtime.policy, into, asked)
        if row is None:
            await runtime.host.start(
                merging, tuple(asked.values()), name=name, world=asked["onto"], by=by
            )
        elif row.status != "done":
            await runtime.resume(name)
        row = await standing(runtime, name)
        if not row.ended:
            return row
        if row.status != "done":
            said = row.error.text if row.error is not None else f"run {name} is {row.status}"
            raise Refused(said)
        change = approved(change, asked, name)
    return await land(
        store, into, change, owner=getattr(store, "name", "here"), now_ms=lambda: now_ms
    )


async def standing(runtime: Runtime, run: str, seconds: float = 0.0) -> RunRow:
    """The row of a run of this process once it has ended or waits for a person; with ``seconds``,
    so long is waited for that person."""
    ended = asyncio.ensure_future(runtime.host.result(run))
    ended.add_done_callback(lambda one: one.cancelled() or one.exception())
    waited = 0.0
    try:
        while True:
            row = await runtime.store.run(run)
            asks = any(wait.kind == "person" and not wait.ready for wait in row.waits)
            if row.ended or (asks and waited >= seconds):
                return row
            await asyncio.wait({ended}, timeout=limits.SERVE_LOOK_SECONDS)
            if ended.done() and not ended.cancelled():
                row = await runtime.store.run(run)
                if row.ended:
                    return row
                ended.result()  # it cannot go on here: that is said
            waited += limits.SERVE_LOOK_SECONDS
    finally:
        ended.cancel()
