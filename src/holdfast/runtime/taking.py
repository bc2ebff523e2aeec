"""Taking a directory of the host in as a world."""

from __future__ import annotations

import asyncio
from pathlib import Path

from holdfast.stores.behind import Behind, Keeping
from holdfast.world import Stage, import_dir


async def take_in(store: Keeping, directory: Path, ignore: tuple[str, ...] = ()) -> str:
    """Store the content of a directory, which is not changed, and return its root; all of it is
    durable then. ``ignore``: globs to leave out."""

    def work() -> str:
        with Behind(store) as behind:
            stage = Stage(behind.get, behind.put)
            root = import_dir(stage, directory, ignore)
            behind.put(stage.take())
        return root

    return await asyncio.to_thread(work)
