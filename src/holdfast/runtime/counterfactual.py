"""Forks that ask why: one thing changed, executed until they end or can go no further.

Every one of them holds (decision 0013): nothing leaves the world, and nobody publishes them here.
Nothing is decided here either: what to change and where is the caller's.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from holdfast.engine.fork import check_terms, fork
from holdfast.engine.history import Step
from holdfast.explain import conversation
from holdfast.explain.past import find_step
from holdfast.explain.telling import plain
from holdfast.journal.store import Store
from holdfast.journal.views import BRANCH, CHILD, THREAD, RunRow
from holdfast.runtime.runtime import Runtime
from holdfast.values import limits
from holdfast.values.errors import Misuse, RunFailed
from holdfast.values.ids import new_id

SYSTEM = "system"
"""The place of a system text that stands apart from the messages."""
RESULT = "result"
"""In `Changes.without`: the outcome of the step itself."""


class Changes(msgspec.Struct, frozen=True):
    """What a fork changes. ``edits``: new values by path, as `holdfast.engine.fork.fork` takes
    them; ``messages``: other words for messages of a model step's request, by their place (from 0,
    or "system"); ``without``: messages, or the step's ``result``, that are replaced by neutral
    ones; ``model``: another model of the same provider for a model step; ``fresh``: later steps run
    again even if nothing of theirs changed. Nothing at all: the step, and all after it, once more.
    """

    edits: dict[str, Any] = {}
    messages: dict[str, str] = {}
    without: tuple[str, ...] = ()
    model: str = ""
    fresh: bool = False


async def fork_with(
    runtime: Runtime, run: str, key: str, changes: Changes, *, name: str = ""
) -> str:
    """Fork ``run`` just before step ``key`` with ``changes`` and execute the fork, which holds,
    until it ended or waits for what will not come by itself. Its id.

    `Misuse` for changes that do not fit the step and for runs that no program of ours makes,
    `NotFound` for a step that is not there; what stopped the fork, such as `Diverged`.
    """
    store = runtime.store
    can_rerun(await store.run(run))
    edits = await _edits(store, run, key, changes)
    await check_terms(store, run, key, runtime.policy)
    clock = runtime.host.clock
    # INVARIANT X20: a fork that asks why holds what leaves the world, and is never published by
    # what made it
    made = await fork(
        store, run, key, name=name or new_id(runtime.host.dice), now_ms=clock.now_ms(),
        edits=edits, reuse=False if changes.fresh else None, live=False, by=runtime.settings.user,
    )  # fmt: skip
    await stay(runtime, made)
    return made


def can_rerun(row: RunRow) -> None:
    """`Misuse`, with what can be done instead, for a run that cannot be executed again here."""
    if row.door:
        raise Misuse(
            f"run {row.run} was made by a client behind door {row.door}: only that client can go "
            f"on from a changed past; `holdfast fork {row.run}@STEP --set …` makes the fork, the "
            f"client goes on with it under its name, and `holdfast diff {row.run} FORK` compares"
        )
    if row.agent in (BRANCH, THREAD) and not row.ref:
        raise Misuse(f"run {row.run} has no program: there is nothing to run again")


async def _edits(store: Store, run: str, key: str, changes: Changes) -> dict[str, Any]:
    """The changes as paths and values."""
    edits = dict(changes.edits)
    if not (changes.messages or changes.without or changes.model):
        return edits
    step, _ = await find_step(store, run, key)
    places = tuple(one for one in changes.without if one != RESULT)
    if RESULT in changes.without:
        edits["result"] = conversation.neutral(plain(step.value, store.get))
    if not (changes.messages or places or changes.model):
        return edits
    if step.plan is None or step.plan.kind != "model":
        raise Misuse(f"step {key} of {run} asks no model: it has no messages, and no model")
    args = plain(step.args, store.get)
    if changes.model:
        edits |= _other_model(args, changes.model)
    talk = conversation.asked(args)
    for place, text in {**changes.messages, **dict.fromkeys(places, "")}.items():
        path, message = _message(talk, place, f"{run}@{key}")
        edits[path] = conversation.with_words(message, text)
    return edits


def _message(talk: conversation.Conversation, place: str, where: str) -> tuple[str, Any]:
    """The path and value of a message."""
    if place == SYSTEM and talk.system is not None:
        return f"args.request.{talk.system[0]}", talk.system[1]
    if place.isdigit() and talk.place and int(place) < len(talk.messages):
        return f"args.request.{talk.place}.{int(place)}", talk.messages[int(place)]
    known = f"0 to {len(talk.messages) - 1}" if talk.messages else "none"
    apart = ", and system" if talk.system is not None else ""
    raise Misuse(f"the request of {where} has no message {place!r}: it has {known}{apart}")


def _other_model(args: Any, name: str) -> dict[str, Any]:
    provider, colon, rest = name.partition(":")
    asked = args.get("provider", "") if isinstance(args, dict) else ""
    if colon and provider != asked:
        raise Misuse(
            f"--model {name}: the program asks through {asked}, and only another model of that can "
            "be asked in its place"
        )
    wanted = rest if colon else name
    within = isinstance(args.get("request"), dict) and "model" in args["request"]
    return {"args.model": wanted} | ({"args.request.model": wanted} if within else {})


async def stay(runtime: Runtime, run: str) -> None:
    """Execute a run until it ended or waits for what will not come by itself."""
    handle = await runtime.resume(run)
    ended = asyncio.ensure_future(handle.result())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=limits.FORK_LOOK_SECONDS)
            if not ended.done() and await _stopped(runtime, run):
                return
        try:
            ended.result()
        except RunFailed:
            return  # that is an outcome, too
    finally:
        ended.cancel()


async def _stopped(runtime: Runtime, run: str) -> bool:
    """Whether a run left memory and nothing that will happen by itself brings it back."""
    row = await runtime.store.run(run)
    if row.status != "waiting" or row.woken or run in runtime.host.residents:
        return False
    soon = runtime.host.clock.now_ms() + limits.FORK_PATIENCE_MS
    for wait in row.waits:
        if wait.kind == "timer" and wait.due <= soon:
            return False
        if wait.name.startswith(CHILD):
            child = await runtime.store.run(wait.name.removeprefix(CHILD))
            if not await _stopped(runtime, child.run):
                return False
    return True


async def step_of(store: Store, run: str, key: str) -> tuple[Step, int]:
    """A step, and the position of the event that a finding about it names: its outcome, else its
    first."""
    step, about = await find_step(store, run, key)
    settled = [moment for moment in about if moment.event.kind == "step.settled"]
    return step, (settled or about)[-1 if settled else 0].event.pos
