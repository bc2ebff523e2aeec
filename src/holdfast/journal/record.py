"""The runs that Holdfast keeps of itself in a store: signed roots and deletions; what was stopped;
cases that measure reviewers.

They never execute: they are over as soon as they begin, and only news is added to them. They belong
to one store, so archives leave them out and nothing deletes them.
"""

from __future__ import annotations

from typing import Final

from holdfast.journal.events import Draft, RunEnded, RunStarted
from holdfast.journal.store import Batch, Store
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Conflict, NotFound

AUDIT: Final = "holdfast.audit"
"""Name of the run of signed roots and deletions, and of its agent."""
SWITCHES: Final = "holdfast.switches"
"""Name of the run of what persons stopped, and of its agent."""
SEEDED: Final = "holdfast.seeded"
"""Name of the run of cases that only measure who reviews them, and of its agent."""
OWN: Final = frozenset({AUDIT, SWITCHES, SEEDED})
"""The runs of Holdfast's own."""
DELETED: Final = "deleted"
"""Type of findings that keep the ids of deleted events."""
KILL: Final = "$kill"
"""Name of the signal that stops an agent, a tool or a rule. Value: what, name, reason."""
LIFT: Final = "$lift"
"""Name of the signal that takes a `KILL` back. Value: what, name, reason."""


async def keep_record(store: Store, run: str, now_ms: int, token: str) -> str:
    """Begin the own run ``run`` if it has not begun; the id of its first event. ``token`` is
    random: it makes this store's record unlike any other's."""
    try:
        await store.run(run)
    except NotFound:
        blobs: Blobs = {}
        args = pack({"store": token}, blobs)
        drafts = (
            Draft(RunStarted(run, by=run), now_ms, args=args),
            Draft(RunEnded("done"), now_ms),
        )
        try:
            await store.append((Batch(run, drafts, expect=-1),), blobs)
        except Conflict:
            pass  # another process began it at the same time
    (first,) = await store.read(run, 0, 1)
    return first.id
