"""The only impure call: a tool's own function, with its time limit and its errors as data."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import ValidationError

from holdfast.engine import scope
from holdfast.engine.choices import choices_of, settle, told
from holdfast.engine.commands import Done, Perform, text_of, too_long
from holdfast.engine.declare import NOT_DONE, Tool
from holdfast.engine.history import History
from holdfast.engine.run import Pending, Run
from holdfast.journal.events import BranchMerged, Failure
from holdfast.journal.views import place_of
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import HoldfastError, Misuse, NotFound, Outside
from holdfast.values.ports import Clock
from holdfast.world import EMPTY, Stage, merge


def open_call(run: Run, pending: Pending, command: Perform) -> scope.Call:
    """What the tool's code may ask about this performance."""
    name, key = run.id, place_of(run.history.segment, pending.key)
    if pending.of is not None:
        # INVARIANT E13: an effect is published under the idempotency key that it was held with
        name, _, key = pending.of.first.partition("@")
    stage, root = run.stage, run.root_of(pending.branch)
    if command.aside is not None:
        made = command.after.blobs if command.after is not None else {}
        stage = Stage(run.stage.get)
        stage.new.update(made)
        root = (command.after.world if command.after is not None else "") or root
    return scope.Call(
        name,
        key,
        pending.args,
        attempt=command.attempt,
        stage=stage,
        root=root,
        caches=run.outer.caches,
        epoch=run.epoch,
        root_at=partial(root_after, run.history),
        usage=pending.usage,
    )


def root_after(history: History, key: str) -> str:
    """The root after a step, "start" being the beginning of the segment; `NotFound`."""
    if key == "start":
        return history.first or EMPTY
    step = history.steps.get(key)
    if step is None or step.settled is None:
        raise NotFound(f"step {key!r} has no outcome yet, so there is no world after it")
    return step.world_after or EMPTY


async def perform(run: Run, pending: Pending, command: Perform, clock: Clock) -> Done:
    """Perform a tool for asynchronous code; blocking functions run in a thread."""
    pending = command.aside or pending
    if pending.plan.kind == "merge":
        return await merge_worlds(run, pending, clock)
    tool, call = pending.tool, open_call(run, pending, command)
    assert tool is not None
    start = clock.ticks_ns()
    token = scope.call.set(call)
    try:
        fn = _stand_in(tool, command)
        if fn is None and tool.is_async and tool.timeout is None:
            result = await tool.invoke(pending.bound)
        else:
            result = await asyncio.wait_for(_result(tool, fn, pending), tool.timeout)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if not pending.dropped and task is not None and task.cancelling():
            raise  # this process stops: nothing is recorded, the next one decides
        return _failed(pending, error, _took(clock, start))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a tool may raise anything: it becomes data
        return _failed(pending, error, _took(clock, start))
    finally:
        scope.call.reset(token)
    return finish(tool, call, result, _took(clock, start))


def _stand_in(tool: Tool[..., Any], command: Perform) -> Callable[..., Any] | None:
    """What is called instead of the tool's own function."""
    if command.preview:
        return tool.preview
    return tool.reconcile if command.reconcile else None


async def _result(tool: Tool[..., Any], fn: Callable[..., Any] | None, pending: Pending) -> Any:
    if fn is not None:
        found = fn(**pending.bound)
        return await found if inspect.isawaitable(found) else found
    if tool.is_async:
        return await tool.invoke(pending.bound)
    return await asyncio.to_thread(tool.invoke, pending.bound)


def perform_now(run: Run, pending: Pending, command: Perform, clock: Clock) -> Done:
    """Perform a tool in the calling thread, blocking it."""
    pending = command.aside or pending
    tool, call = pending.tool, open_call(run, pending, command)
    if tool is None:
        raise Misuse(f"{pending.plan.kind} {pending.plan.name}: asked for by code that cannot wait")
    start = clock.ticks_ns()
    tokens = scope.call.set(call), scope.lane.set(None)
    try:
        fn = _stand_in(tool, command)
        result = tool.invoke(pending.bound) if fn is None else fn(**pending.bound)
        if inspect.isawaitable(result):
            raise Misuse(
                f"tool {tool.name}: code that cannot wait calls a tool, so its reconcile, its "
                "preview and the tools of its checks must block too"
            )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a tool may raise anything: it becomes data
        return _failed(pending, error, _took(clock, start))
    finally:
        scope.call.reset(tokens[0])
        scope.lane.reset(tokens[1])
    return finish(tool, call, result, _took(clock, start))


def finish(tool: Tool[..., Any], call: scope.Call, result: Any, took: int) -> Done:
    """The result as data, checked against the tool's hint, with the world after it."""
    if result is NOT_DONE:
        return Done(not_done=True, took=took)
    blobs: Blobs = {}
    try:
        shape = tool.returns
        value = pack(shape.plain(shape.check(result)), blobs)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        shown = too_long(repr(result)[:200])
        happened = "" if tool.effect == "read" else " (it did happen)"
        text = f"tool {tool.name}, result: {first['msg']}, not {shown}{happened}"
        return Done(error=Failure("Misuse", text), took=took)
    except Misuse as error:
        return Done(error=Failure("Misuse", f"tool {tool.name}: its result {error}"), took=took)
    looked, saw = call.looked, call.saw
    world = ""
    if tool.effect == "world":
        world = call.root
        blobs.update(call.stage.take())
    return Done(value, None, False, False, took, world, blobs, None, looked, saw)


async def merge_worlds(run: Run, pending: Pending, clock: Clock) -> Done:
    """Merge another run's world into this one; conflicts are part of the result, not errors."""
    start = clock.ticks_ns()
    bound, ours = pending.bound, run.root_of(pending.branch)
    source: str = bound["source"]
    if source.startswith("@"):  # a branch into what is around it, or the other way round
        inner = pending.branch if bound["around"] else source[1:]
        base, theirs = run.history.bases[inner] or EMPTY, run.root_of(source[1:])
        if bound["checked"] and base != ours:  # what was checked is not what this would make
            moved = pack({"merged": False, "moved": True, "conflicts": []}, {})
            return Done(value=moved, took=_took(clock, start))
    else:
        base, theirs = bound["base"], bound["theirs"]
    # INVARIANT E46: a merge, which may take seconds, runs beside the loop; the step holds the world
    stage = Stage(run.stage.get)
    merged = await asyncio.to_thread(merge, stage, base, ours, theirs)
    chosen = bound.get("choices")
    conflicts = [{"path": one.path, "kind": one.kind} for one in merged.conflicts]
    if chosen is not None:
        try:
            merged = await asyncio.to_thread(settle, stage, merged, choices_of(chosen))
        except Misuse as error:
            return Done(error=Failure("Misuse", text_of(error)), took=_took(clock, start))
        conflicts = told(merged.conflicts)
    keep = ours if conflicts else merged.root
    blobs = stage.take()
    body = BranchMerged(pending.key, source, base, theirs, len(conflicts), pending.branch)
    value = pack({"merged": not conflicts, "moved": False, "conflicts": conflicts}, blobs)
    return Done(value=value, took=_took(clock, start), world=keep, blobs=blobs, merged=body)


def _took(clock: Clock, start: int) -> int:
    return (clock.ticks_ns() - start) // 1000


def _failed(pending: Pending, error: BaseException, took: int) -> Done:
    """An error as data. What leaves an effect of ``once`` open is said to be open."""
    tool, once = pending.tool, pending.plan.effect == "once"
    assert tool is not None
    retryable = isinstance(error, Outside) and error.retryable
    cut_off = _cut_off(error)
    name = type(error).__name__
    text = text_of(error)
    if isinstance(error, TimeoutError) and not text and tool.timeout is not None:
        text = f"tool {tool.name}: no result within {tool.timeout:g} s"
    if isinstance(error, asyncio.CancelledError):
        text = f"tool {tool.name}: cancelled"
    if not isinstance(error, HoldfastError) and not text:
        text = f"tool {tool.name}: {name}"
    failure = Failure(name, text, retryable or (cut_off and not once))
    return Done(error=failure, took=took, open=cut_off and once)


_CUT_OFF = ("Timeout", "Disconnect", "Connect", "Incomplete", "Network", "Transport", "Protocol")


def _cut_off(error: BaseException) -> bool:
    """Whether an error may have come after the effect: the reply was lost, not the request refused.

    Clients have their own classes for that, often not derived from the builtin ones; their names
    agree. A tool that knows better raises `Outside` (nothing happened; ``retryable`` or not).
    """
    if isinstance(error, HoldfastError):
        return False
    if isinstance(error, asyncio.CancelledError | OSError | SystemExit | GeneratorExit):
        return not isinstance(error, FileNotFoundError | PermissionError | FileExistsError)
    return any(word in kind.__name__ for kind in type(error).__mro__ for word in _CUT_OFF)
