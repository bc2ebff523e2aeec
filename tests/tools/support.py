"""Commands in worlds without an engine: a call for each, as the engine makes them."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from holdfast.engine import scope
from holdfast.tools import workplace, world
from holdfast.tools.command import Result
from holdfast.values.errors import HoldfastError
from holdfast.world import EMPTY, Stage
from tests.world.support import memory


class Site:
    """One directory of caches and the objects that its worlds are made of."""

    def __init__(self, caches: Path, wanted: str = "") -> None:
        self.caches = str(caches)
        self.objects = memory()
        workplace.enlist(self.caches, wanted)

    async def run(
        self, root: str, command: list[str], *, run: str = "r", epoch: int = 1, **asked: Any
    ) -> tuple[Result, str]:
        """How a command in a world ended, and the world after it."""
        call = scope.Call(
            run, "1", b"", attempt=1, stage=self.objects, root=root, caches=self.caches,
            epoch=epoch, root_at=lambda step: root,
        )  # fmt: skip
        token = scope.call.set(call)
        try:
            result = await world.run(command, **asked)
        finally:
            scope.call.reset(token)
        return result, call.root

    async def sh(self, root: str, text: str, **asked: Any) -> str:
        """The world after a shell command that must succeed."""
        result, after = await self.run(root, ["sh", "-ec", text], **asked)
        assert result.exit == 0, (text, result)
        return after

    @property
    def place(self) -> workplace.Workplace:
        return workplace.workplace(self.caches)

    def stage(self) -> Stage:
        return Stage(self.objects.get)


@contextlib.asynccontextmanager
async def site(wanted: str = "") -> AsyncGenerator[Site]:
    with tempfile.TemporaryDirectory(prefix="holdfast-tools-") as caches:
        made = Site(Path(caches), wanted)
        try:
            yield made
        finally:
            await workplace.close()


@cache
def can(wanted: str) -> bool:
    """Whether this host has these walls."""

    async def look() -> bool:
        async with site(wanted) as here:
            try:
                return (await here.run(EMPTY, ["true"]))[0].sandbox == wanted
            except HoldfastError:
                return False

    with ThreadPoolExecutor(1) as aside:  # the caller may be in a loop already
        return aside.submit(lambda: asyncio.run(look())).result()


def needs(wanted: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not can(wanted), reason=f"this host has no walls of {wanted}")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; the test's own time limit ends what never does."""
    while not holds():  # noqa: ASYNC110 - a file appears: nothing tells us
        await asyncio.sleep(0.01)
