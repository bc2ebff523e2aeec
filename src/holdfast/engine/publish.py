"""Publishing and discarding what a run, a child or a branch holds. Each effect is a step."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
from pydantic.dataclasses import dataclass

from holdfast.engine import scope
from holdfast.engine.declare import agent
from holdfast.engine.held import Held
from holdfast.engine.run import Pending, Run
from holdfast.engine.steps import outcome, publication
from holdfast.values.canon import unpack
from holdfast.values.errors import Misuse


@dataclass(frozen=True)
class Effect:
    """An effect that was held at ``step`` (``RUN@STEP``) of tool ``name``. ``status``: value, held
    (again, by what is around), error, refused, unknown; or "" if it was not come to. ``result``:
    what publishing gave, or its error's text; ``preview``: what its preview had given; ``differs``:
    these are not the same."""

    step: str
    name: str
    status: str = ""
    result: Any = None
    preview: Any = None
    differs: bool = False


@dataclass(frozen=True)
class Published:
    """How publishing went, in the order in which effects were held: ``done``; ``stopped`` at the
    first that was denied or failed (None: at none); ``left``: not come to, still held."""

    done: tuple[Effect, ...] = ()
    stopped: Effect | None = None
    left: tuple[Effect, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left and nothing was denied or failed."""
        return self.stopped is None and not self.left


class Holder(Protocol):
    """What may be published: a child, or a branch that was merged. ``id``: of the run;
    ``branch``: its key, "" for the whole run; ``settled``: whether its end was awaited, or it was
    merged."""

    id: str
    branch: str

    @property
    def settled(self) -> bool: ...


def inside(what: str) -> Run:
    """The run that the calling agent code is inside of; `Misuse` outside of one."""
    run = scope.current_run()
    if run is None:
        raise Misuse(f"{what} works inside a run only: start the agent with a runtime")
    return run


@contextmanager
def on_branch(key: str) -> Generator[None]:
    """Take the steps within on that branch."""
    lane = scope.lane.get()
    assert lane is not None
    before, lane.branch = lane.branch, key
    try:
        yield
    finally:
        lane.branch = before


async def publish(what: Holder) -> Published:
    """Publish what a child, or a branch that was merged, holds: its effects are performed now, in
    the order in which they were held, each a step through the gate. Stops at the first that is
    denied or fails, and says what is left; publishing again goes on behind it. `Conflict` if
    another run is publishing it. In a run or branch that holds, they are held again there."""
    inside("holdfast.publish()")
    if not what.settled:
        raise Misuse(f"publish of {what.id}: merge it first")
    return await publish_held(what.id, what.branch)


async def publish_held(name: str, branch: str = "") -> Published:
    """Publish what run ``name`` holds, and what its descendants hold; or what a branch of the
    calling run does."""
    run = inside("holdfast.publish()")
    target = f"{name}@{branch}"
    if target in run.publishing:
        raise Misuse(f"publish of {name}: another task of this run is publishing it")
    run.publishing.add(target)
    claim: dict[str, Any] = {}
    try:
        # a fork of this run asks the same in its shared past: a branch is not named by its run
        asked = {"act": "list", "run": "" if branch else name, "branch": branch}
        title = f"branch {branch}" if branch else name
        claim = outcome(await run.take(run.step("publish", title, asked)), run.outer.fetch)
        held = [msgspec.convert(one, Held) for one in claim["held"]]
        # INVARIANT E42: what was listed in the past that a fork shares is its source's to publish
        mine = claim["token"].rpartition("@")[0] == run.id
        return await _perform(run, held, mine)
    finally:
        run.publishing.discard(target)
        if claim and not run.leaving:
            asked = {"act": "end", "runs": claim["runs"], "token": claim["token"]}
            await run.take(run.step("publish", f"branch {branch}" if branch else name, asked))


async def _perform(run: Run, held: list[Held], mine: bool) -> Published:
    done: list[Effect] = []
    for number, one in enumerate(held):
        pending = publication(run, one)
        shared = pending.key in run.history.shared_steps
        effect = await _effect(run, one, pending) if mine or shared else None
        if effect is None or effect.status not in ("value", "held"):
            left = tuple(Effect(f"{other.run}@{other.place}", other.name)
                         for other in held[number + (effect is not None) :])  # fmt: skip
            return Published(tuple(done), effect, left)
        done.append(effect)
    return Published(tuple(done))


async def _effect(run: Run, held: Held, pending: Pending) -> Effect:
    step = await run.take(pending)
    settled = step.settled
    assert settled is not None
    fetch = run.outer.fetch
    result = None if step.value is None else unpack(step.value, fetch)
    if settled.error is not None:
        result = settled.error.text
    preview = None if held.preview is None else unpack(held.preview.encode(), fetch)
    where = f"{held.run}@{held.place}"
    return Effect(where, held.name, settled.status, result, preview, settled.differs)


async def discard_held(name: str) -> None:
    """Drop what run ``name`` holds, and stop it if it goes on. A step."""
    run = inside("discarding")
    if run.leaving:
        return
    asked = {"act": "discard", "run": name, "branch": ""}
    outcome(await run.take(run.step("publish", name, asked)), run.outer.fetch)


@agent(name="holdfast.publish")
async def publishing(run: str) -> Published:
    """The built-in agent that publishes what a run holds."""
    return await publish_held(run)
