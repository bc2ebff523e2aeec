"""Dropping a branch and everything that hangs on it: runs, content, checkouts."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

from holdfast.cli.desk import Desk
from holdfast.cli.known import writing
from holdfast.cli.worlds import family
from holdfast.engine.landing import end_now
from holdfast.explain.text import one_line
from holdfast.journal.views import RunRow
from holdfast.runtime.maintenance import collect
from holdfast.values.errors import Conflict, LeaseLost, Misuse
from holdfast.world import interrupted
from holdfast.world.shelf import real


async def drop(desk: Desk, store: Any, row: RunRow) -> Any:
    """End the runs of a family that have not ended and delete them all; what was deleted.

    `LeaseLost` if a process runs one of them, `Misuse` for a part of a family.
    """
    above = row.parent or row.fork_of
    if above:
        raise Misuse(f"run {row.run} is a part of {above}: discard that, or leave this one be")
    checkouts = real(store.directory / "checkouts")
    writing_now = interrupted(writing(), str(store.directory.resolve()))
    if writing_now:
        raise Conflict(f"{one_line(writing_now[0])}: a merge into it is being written, or was "
                        "interrupted: it needs this; merge into it again first")  # fmt: skip
    members = await family(store, row)
    for one in members:
        if not one.ended:
            try:
                await end_now(store, one.run, owner=store.name, now_ms=desk.now_ms())
            except LeaseLost:
                raise LeaseLost(
                    f"run {one.run}: a process runs it: holdfast cancel {one.run}, or end that"
                ) from None
    names = {one.run for one in members}
    found = collect(store, only=names, progress=desk.progress)
    desk.screen.erase()
    for name in names:
        with contextlib.suppress(OSError):
            shutil.rmtree(checkouts / name)
    return found
