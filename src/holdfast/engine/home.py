"""Where runs live: what a resident run and its host need to know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from holdfast.engine.commands import Await, Terms
from holdfast.engine.declare import Agent, Tool
from holdfast.engine.history import Heard
from holdfast.engine.run import Pending, Run
from holdfast.gate.policy import Engine
from holdfast.journal.events import Draft, Event
from holdfast.journal.store import Batch, Store
from holdfast.values.canon import Blobs
from holdfast.values.ports import Clock


class Consulted(Protocol):
    """Asks a policy engine outside. Never raises: a text says why there is no answer."""

    async def ask(self, engine: Engine, document: dict[str, Any]) -> bytes | str:
        """The answer to a document, as it came."""
        ...

    def ask_now(self, engine: Engine, document: dict[str, Any]) -> bytes | str:
        """`ask`, blocking."""
        ...


class Nobody:
    """Stands where no policy engine outside can be asked."""

    async def ask(self, engine: Engine, document: dict[str, Any]) -> bytes | str:
        """There is no answer."""
        return self.ask_now(engine, document)

    def ask_now(self, engine: Engine, document: dict[str, Any]) -> bytes | str:
        """There is no answer."""
        return f"nobody asks {engine.opa} in this process"


class Home(Protocol):
    """What a resident needs of the host that it lives in. ``find`` loads a program by name and
    reference; ``ring``: something happened to other runs; ``tools``: what checks may call besides
    the tools of the program's module; ``outside``: asks policy engines outside."""

    store: Store
    clock: Clock
    settings: Terms
    linger: float
    find: Callable[[str, str], Agent[..., Any]]
    ring: Callable[[], None]
    tools: Mapping[str, Tool[..., Any]]
    outside: Consulted

    def committed(self, events: Sequence[Event]) -> None:
        """Events of this process were committed."""
        ...

    def left(self, resident: Any, error: BaseException | None, again: bool) -> None:
        """The run left memory: parked, ended or broken; ``again``: load it at once."""
        ...


class Leaving(Protocol):
    """What the ways of leaving memory need of a resident: see `holdfast.engine.resident`."""

    home: Home
    run: Run
    awaits: dict[str, tuple[Await, asyncio.Future[None], Pending]]
    carriers: set[asyncio.Task[None]]
    busy: int
    heard: Heard
    stopping: bool
    closing: asyncio.Task[None] | None

    async def append(
        self,
        drafts: list[Draft],
        blobs: Blobs,
        others: tuple[Batch, ...] = (),
        expect: int | None = None,
    ) -> list[Event]:
        """Commit drafts."""
        ...

    def send_out(self) -> Pending | None:
        """Carry out what the program asks for."""
        ...

    def go(self, error: BaseException | None, *, again: bool) -> None:
        """Leave memory now."""
        ...
