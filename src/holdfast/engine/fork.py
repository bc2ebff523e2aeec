"""Forks: a new run that shares another's past up to a step, with one thing changed or nothing.

A fork is a pointer. Its chain is the source's up to just before the step, then its own; so history
and world go back together. With edits, later steps whose action and world are unchanged keep their
outcomes and the rest run again; without, everything from the step on runs again.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from holdfast.engine.history import History, Step, changed
from holdfast.gate import FORMER_DEFAULTS, Policy, default_policy
from holdfast.journal.events import (
    Draft,
    Edit,
    Event,
    RunStarted,
    StepSettled,
    body_of,
)
from holdfast.journal.like import is_short
from holdfast.journal.store import Batch, Store
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack, unpack
from holdfast.values.errors import Misuse, NotFound
from holdfast.world import EMPTY

START = "0"
"""The step that names a run's beginning."""


class Cut(msgspec.Struct):
    """Where a run is cut: events up to ``pos`` are shared; ``step`` is the one that comes next."""

    pos: int
    started: Event
    step: Step | None


async def find_cut(store: Store, source: str, key: str) -> Cut:
    """Just before step ``key`` of the newest segment that has it; "0" or "" is the beginning."""
    row = await store.run(source)
    segments = row.segments or (0,)
    end = (await store.head(source)).pos + 1
    if key in ("", START):
        (started,) = await store.read(source, segments[-1], segments[-1] + 1)
        return Cut(started.pos, started, None)
    if not key.partition(".")[0].isdigit():
        raise NotFound(f"{key!r} is not a step: they are numbers such as 7 or 3.2")
    for number in range(len(segments) - 1, -1, -1):
        start = segments[number]
        stop = segments[number + 1] if number + 1 < len(segments) else end
        (started,) = await store.read(source, start, start + 1)
        near = await _look_near(store, source, key, start, stop)
        if near is not None:
            return Cut(near.pos - 1, started, _step_of([near], key))
        events = await store.read(source, start, stop)
        first = next((event.pos for event in events if _key_of(event) == key), None)
        if first is not None:
            return Cut(first - 1, started, _step_of(events, key))
    raise NotFound(f"run {source} has no step {key!r}; `holdfast show {source}` lists them")


def _key_of(event: Event) -> str | None:
    if event.kind in ("step.planned", "step.settled", "approval.asked", "branch.merged"):
        return body_of(event).key or None
    return None


def _step_of(events: list[Event], key: str) -> Step:
    past = History()
    past.extend(events)
    return past.steps[key]


async def _look_near(store: Store, run: str, key: str, start: int, stop: int) -> Event | None:
    """The only event of step ``key``, found without reading the whole segment; None if that fails.

    Keys of the program's main task grow along the chain, so a binary search over their leading
    number lands near it. An outcome that carries its plan and its whole arguments is the only
    event of its step; anything else is left to the caller's full scan.
    """
    wanted = int(key.partition(".")[0])
    # most often every step is one event, so that its number is its place
    guess = start + wanted
    events = await store.read(run, max(start, guess - 1), min(stop, guess + 2))
    found = _alone(events, key)
    if found is not None:
        return found
    low, high = start, stop
    while high - low > limits.FORK_WINDOW_EVENTS:
        middle = (low + high) // 2
        probe = await store.read(run, middle, min(middle + 4, high))
        numbers = [int(k.partition(".")[0]) for event in probe if (k := _key_of(event))]
        if not numbers:
            return None
        low, high = (middle, high) if numbers[0] <= wanted else (low, middle)
    first = max(start, low - limits.FORK_WINDOW_EVENTS)
    return _alone(await store.read(run, first, min(stop, high + limits.FORK_WINDOW_EVENTS)), key)


def _alone(events: list[Event], key: str) -> Event | None:
    """The event of step ``key`` among ``events``, if it is sure to be the step's only one."""
    for event in events:
        if event.kind == "step.settled" and _key_of(event) == key:
            body = body_of(event)
            plan = body.plan  # a merge has an event of its own before its outcome
            alone = plan is not None and plan.kind != "merge" and event.args is not None
            alone = alone and not body.branch  # the root of its branch is told by earlier ones
            return event if alone and not is_short(event.args or b"") else None
    return None


async def fork(
    store: Store,
    source: str,
    key: str,
    *,
    name: str,
    now_ms: int,
    edits: Mapping[str, Any] | None = None,
    reuse: bool | None = None,
    live: bool = False,
    by: str = "",
) -> str:
    """Make run ``name``, a fork of ``source`` just before step ``key``; return its id.

    ``edits``: new values by path: ``result.x`` replaces (part of) the step's outcome, ``args.x``
    what it is performed with, ``input.x`` the program's own arguments. ``reuse``: keep outcomes of
    later steps that are unchanged (default: if anything is edited). ``live``: what leaves the world
    is performed; else it is held until the fork is published. Nobody runs it yet: resume it.
    """
    edits = dict(edits or {})
    places = {path.partition(".")[0] for path in edits}
    if wrong := places - {"result", "args", "input"}:
        raise Misuse(f"--set {wrong.pop()}: start with result., args. or input.")
    if "input" in places and key not in ("", START):
        raise Misuse("--set input.: changes the beginning of a run; leave out @STEP")
    cut = await find_cut(store, source, key)
    if cut.step is None and places & {"result", "args"}:
        raise Misuse("--set: result. and args. change a step: say RUN@STEP")
    plan = cut.step.plan if cut.step is not None else None
    if "args" in places and (plan is None or plan.kind not in ("tool", "model")):
        raise Misuse(f"--set args.: step {key} of {source} is no call of a tool or a model")
    blobs: Blobs = {}
    program: RunStarted = body_of(cut.started)
    body = RunStarted(
        program.agent,
        ref=program.ref,
        role=program.role,
        segment=program.segment,
        fork_of=source,
        fork_pos=cut.pos,
        reuse=bool(edits) if reuse is None else reuse,
        edits=tuple(
            Edit(key, path.partition(".")[2], value)
            for path, value in edits.items()
            if path.startswith("args")
        ),
        policy=program.policy,
        code=program.code,
        by=by,
        carry=program.carry,
        holds=not live,
    )
    given = await _input_of(store, source, cut)
    drafts = [Draft(body, now_ms, args=_edited_input(store, given, edits, blobs))]
    if "result" in places and cut.step is not None:
        drafts.append(_edited_result(store, source, cut.step, edits, now_ms, blobs))
    await store.append((Batch(name, tuple(drafts), expect=-1),), blobs)
    return name


def same_terms(run: str, named: str, policy: Policy) -> None:
    """INVARIANT E92: a run that was started under a policy never goes on under none: what its
    policy forbids must not happen because somebody forgot to name it. ``named``: the hash of the
    policy that ``run`` was started under; `Misuse` if ``policy`` is the default and that was not.
    """
    default = default_policy().hash
    if policy.hash == default and named not in ("", default, *FORMER_DEFAULTS):
        raise Misuse(
            f"run {run} was started under policy {named[:12]}, and no policy is named now: "
            "say --policy FILE, or set HOLDFAST_POLICY"
        )


async def check_terms(store: Store, source: str, key: str, policy: Policy) -> None:
    """`Misuse` if a fork of ``source`` before step ``key`` could not go on under ``policy``: to be
    asked before a fork is made that is to be run, so that none is left that cannot be."""
    row = await store.run(source)
    if not row.door and policy.hash == default_policy().hash:
        cut = await find_cut(store, source, key)
        same_terms(source, body_of(cut.started).policy, policy)


async def _input_of(store: Store, run: str, cut: Cut) -> bytes:
    """The arguments that a run's program began with, through the forks that changed them."""
    row = await store.run(run)
    while row.fork_of and row.fork_pos >= cut.pos:
        (started,) = await store.read(row.run, row.fork_pos + 1, row.fork_pos + 2)
        if started.args is not None:
            return started.args
        row = await store.run(row.fork_of)
    return cut.started.args or b"{}"


def _edited_input(
    store: Store, given: bytes, edits: Mapping[str, Any], blobs: Blobs
) -> bytes | None:
    mine = {path: value for path, value in edits.items() if path.startswith("input")}
    if not mine:
        return None
    plain = unpack(given, store.get)
    for path, value in mine.items():
        plain = changed(plain, path.partition(".")[2], value)
    return pack(plain, blobs)


def _edited_result(
    store: Store, source: str, step: Step, edits: Mapping[str, Any], now_ms: int, blobs: Blobs
) -> Draft:
    if step.settled is None or step.plan is None:
        raise Misuse(f"--set result: step {step.key} of {source} has no outcome to change")
    plain = None if step.value is None else unpack(step.value, store.get)
    for path, value in edits.items():
        if path.startswith("result"):
            plain = changed(plain, path.partition(".")[2], value)
    settled = StepSettled(step.key, plan=step.plan, origin="edit", inline=step.settled.inline)
    return Draft(settled, now_ms, world=step.world_after, args=step.args, value=pack(plain, blobs))


async def root_at(store: Store, run: str, at: str | None = None) -> str:
    """The root of a run's world now, after step ``at``, or at its "start"; `NotFound`."""
    if at is None:
        return (await store.head(run)).world or EMPTY
    row = await store.run(run)
    starts = [*(row.segments or (0,)), None]
    if at == "start":
        (first,) = await store.read(run, 0, 1)
        return first.world or EMPTY
    for start, stop in reversed(list(pairwise(starts))):
        past = History()
        past.extend(await store.read(run, start or 0, stop))
        step = past.steps.get(at)
        if step is not None and step.settled is not None:
            return step.world_after or EMPTY
    raise NotFound(f"run {run} has no outcome of a step {at!r}; `holdfast show {run}` lists them")


async def common_world(store: Store, one: str, other: str) -> str:
    """The world at the newest event that two runs share, or that a child was spawned with."""
    line: dict[str, int] = {}
    name, pos = one, (await store.head(one)).pos
    while name:
        line[name] = pos
        row = await store.run(name)
        name, pos = row.fork_of, row.fork_pos
    name, pos = other, (await store.head(other)).pos
    while name:
        if name in line:
            (event,) = await store.read(name, min(pos, line[name]), min(pos, line[name]) + 1)
            return event.world or EMPTY
        row = await store.run(name)
        name, pos = row.fork_of, row.fork_pos
    row = await store.run(one)
    if row.parent == other:
        (event,) = await store.read(one, 0, 1)
        return event.world or EMPTY
    raise Misuse(
        f"runs {one} and {other} share no past: "
        "neither forked from the other, nor was spawned by it"
    )


async def above(store: Store, run: str) -> int:
    """How many runs are above a run: its parent, that one's parent, and so on; a fork has those of
    the run that it was forked from."""
    count = 0
    row = await store.run(run)
    while row.parent or row.fork_of:
        count += bool(row.parent)
        row = await store.run(row.parent or row.fork_of)
    return count
