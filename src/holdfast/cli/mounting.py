"""A version's files in a directory of their own, for a shell or a command of the person here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from holdfast.cli.desk import Desk
from holdfast.values.errors import Misuse, NotFound
from holdfast.world import CopyCheckout, Stage


class Opened(CopyCheckout):
    """A checkout with the stage that its new content goes to."""

    def __init__(self, stage: Stage, place: Path) -> None:
        super().__init__(stage, place / "world", place / "index")
        self.stage = stage


@contextlib.contextmanager
def opened(store: Any, root: str) -> Generator[Opened]:
    """A checkout of a version, gone afterwards."""
    checkouts = store.directory.resolve() / "checkouts"
    checkouts.mkdir(exist_ok=True, mode=0o700)
    place = Path(tempfile.mkdtemp(prefix="mount-", dir=checkouts))
    try:
        checkout = Opened(Stage(store.get, store.put_now), place)
        checkout.sync(root)
        yield checkout
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def run_inside(desk: Desk, directory: Path, words: tuple[str, ...]) -> tuple[int, list[str]]:
    """Run a command, or the person's shell, there, at this terminal; its exit code and words."""
    command = list(words) or [os.environ.get("SHELL") or "/bin/sh"]
    if not words:
        desk.screen.note(f"a copy in {directory}; leave with exit")
    try:
        process = await asyncio.create_subprocess_exec(*command, cwd=directory)
    except FileNotFoundError:
        raise NotFound(f"command {command[0]!r} is not found") from None
    except (OSError, ValueError) as error:
        raise Misuse(f"{command[0]!r} cannot be started: {error}") from None
    code = await process.wait()
    return (code if code >= 0 else 128 - code), command
