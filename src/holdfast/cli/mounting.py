"""A version's files for a command in a sandbox, or for the shell of the person here."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from holdfast.cli.desk import Desk
from holdfast.cli.running import runtime_of
from holdfast.cli.worlds import Version, part_of
from holdfast.tools.attempts import mounted
from holdfast.values.errors import Misuse
from holdfast.world import EMPTY, CopyCheckout, Stage
from holdfast.world.temporary import Temporary, sweep

MOUNT = "mount-"
"""How the directories of shells begin, beside the checkouts of runs."""


async def run_inside(desk: Desk, store: Any, found: Version, words: list[str]) -> tuple[int, str]:
    """Run a command in a sandbox on a world, as a run; its exit code, and the world it left."""
    async with runtime_of(desk) as runtime:
        handle = await runtime.host.start(
            mounted, (words,), world=found.root, by=desk.user,
            name=part_of(found.row.run, "mount"),
        )  # fmt: skip
        desk.screen.note((f"run {handle.id}", "dim"))
        result = await handle.result()
    if not desk.screen.json:
        for text, tell in ((result.stdout, desk.screen.say), (result.stderr, desk.screen.note)):
            if text:
                tell(text.removesuffix("\n"))
    code = result.exit if result.exit >= 0 else 128 - result.exit
    return code, (await store.head(handle.id)).world or EMPTY


async def shell_inside(desk: Desk, store: Any, root: str) -> tuple[int, str]:
    """The person's shell in a copy of a world; its exit code, and the world it left."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    checkouts = store.directory.resolve() / "checkouts"
    checkouts.mkdir(exist_ok=True, mode=0o700)
    sweep(MOUNT, checkouts)
    place = Temporary(MOUNT, checkouts)
    try:
        stage = Stage(store.get, store.put_now)
        checkout = CopyCheckout(stage, place.path / "world", place.path / "index")
        checkout.sync(root)
        desk.screen.note(f"a copy in {checkout.path}, no sandbox; leave with exit")
        try:
            process = await asyncio.create_subprocess_exec(shell, cwd=checkout.path)
        except OSError as error:
            raise Misuse(f"{shell!r} cannot be started: {error}") from None
        code = await process.wait()
        after = await asyncio.to_thread(checkout.snapshot)
        await store.put(stage.take())
        return (code if code >= 0 else 128 - code), after
    finally:
        place.close()
