"""Events for tests: the few that most scenarios are made of."""

from __future__ import annotations

from typing import Any

from holdfast.journal.events import (
    Body,
    Draft,
    Event,
    Plan,
    RunStarted,
    SignalReceived,
    StepSettled,
)
from holdfast.journal.proof import prove
from holdfast.journal.store import Batch, Store

PLAN = Plan("test")


def draft(body: Body, at: int = 1, **more: Any) -> Draft:
    """A draft at a fixed time."""
    return Draft(body, at, **more)


def started(agent: str = "tester", **more: Any) -> Draft:
    """The first event of a run."""
    return draft(RunStarted(agent, **more))


def settled(key: str, value: bytes = b"1", **more: Any) -> Draft:
    """A whole step in one event."""
    return draft(StepSettled(key, PLAN), args=b"{}", value=value, **more)


def signal(name: str = "news") -> Draft:
    """Something that anybody may append."""
    return draft(SignalReceived(name))


async def begin(store: Store, run: str, *drafts: Draft, owner: str = "") -> list[Event]:
    """Start a run, leased to ``owner``."""
    return await store.append((Batch(run, (started(), *drafts), -1, lease=owner),), {})


async def sound(store: Store, run: str) -> list[Event]:
    """The whole chain of a run, proven."""
    chain = await store.read(run)
    assert prove(chain) == []
    assert [event.pos for event in chain] == list(range(len(chain)))
    return chain
