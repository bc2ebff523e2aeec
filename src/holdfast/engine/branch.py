"""Branches inside a run: `fork`, and merging them and children back, with a check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from holdfast.engine import scope
from holdfast.engine.choices import Resolve, decide_all
from holdfast.engine.publish import Published, inside, on_branch, publish_held
from holdfast.engine.run import Run
from holdfast.engine.steps import outcome
from holdfast.values.errors import Misuse

Check = Callable[[], Awaitable[Any]]
"""What says whether a candidate is good: true or not. What it does to files is thrown away."""


class Merge(msgspec.Struct, frozen=True):
    """How a merge went. ``conflicts``: (path, kind) of what could not be merged; ``passed``: what
    the check said (True without one). With conflicts, or if it did not pass, nothing was changed.
    ``published``: what became of the effects that were held."""

    merged: bool
    conflicts: tuple[tuple[str, str], ...] = ()
    passed: bool = True
    published: Published = Published()


class Branch:
    """A branch of a run's world; see `fork`. ``branch``: its key; ``id``: of the run."""

    def __init__(self, root: str = "") -> None:
        self._root = root
        self.branch = ""
        self.id = ""
        self.settled = False

    async def __aenter__(self) -> Branch:
        run, lane = inside("holdfast.fork()"), scope.lane.get()
        if self.branch or lane is None:
            raise Misuse(f"branch {self.branch}: is entered already; call holdfast.fork() again")
        root = self._root or run.root_of(lane.branch)
        self._run, self._lane, self._around, self.id = run, lane, lane.branch, run.id
        self.branch, _ = run.note("fork", "begin", root, opens=True)
        lane.branch = self.branch
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lane.branch = self._around
        if not self._run.leaving:
            self._run.closed.add(self.branch)
            self._run.note("fork", "leave", "", self.branch)

    async def merge(self, check: Check | None = None, resolve: Resolve | None = None) -> Merge:
        """Merge what was done on the branch into the world around it, three ways, all or nothing;
        then publish what it held, in order. Steps.

        With a ``check``, what is around is first merged into the branch, and the check runs there:
        the world around moves only if it is true and nothing else moved it meanwhile (then it is
        all done again). ``resolve`` decides conflicts: "ours" (what is around), "theirs" (the
        branch), "base", or a function of one `MergeConflict`; see `holdfast.merge`. Conflicts that
        are left and a check that did not pass are returned, not raised.
        """
        here = scope.lane.get()
        if here is None or here.run is not self._run or here.branch != self.branch:
            raise Misuse(f"branch {self.branch}: merge it inside its `async with`, on the branch")
        while True:
            if check is not None:
                found = await self._step(self.branch, self._around, resolve, around=True)
                if found["conflicts"]:
                    return Merge(False, _conflicts(found))
                async with fork():
                    passed = await check()
                if not passed:
                    return Merge(False, passed=False)
            found = await self._step(
                self._around, self.branch, resolve, around=False, checked=check is not None
            )
            if not found["moved"]:
                break
        if not found["merged"]:
            return Merge(False, _conflicts(found))
        self.settled = True
        with on_branch(self._around):
            return Merge(True, published=await publish_held(self.id, self.branch))

    async def _step(
        self,
        into: str,
        source: str,
        resolve: Resolve | None,
        *,
        around: bool,
        checked: bool = False,
    ) -> dict[str, Any]:
        run = self._run
        asked = {"source": "@" + source, "around": around, "checked": checked}
        return await _take(run, f"branch {self.branch}", asked, resolve, into=into)


async def _take(
    run: Run, name: str, asked: dict[str, Any], resolve: Resolve | None, into: str | None = None
) -> dict[str, Any]:
    """The merge as a step; with ``resolve``, once more for as long as there is something to decide
    that was not decided yet. ``into``: the branch, or the one that the task is on."""
    if resolve is not None:
        asked["choices"] = []
    while True:
        pending = run.step("merge", name, asked, "world")
        if into is not None:
            pending.branch = into
        found = outcome(await run.take(pending), run.outer.fetch)
        if resolve is None or not found["conflicts"]:
            return found
        mirrored = bool(asked.get("around"))
        choices = await decide_all(run.stage, found["conflicts"], resolve, mirrored=mirrored)
        if choices is None:
            return found
        asked = {**asked, "choices": choices}


def _conflicts(found: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((one["path"], one["kind"]) for one in found["conflicts"])


def fork() -> Branch:
    """A branch of the run's world from here: ``async with holdfast.fork() as branch``.

    Steps of this task within the block, and of tasks it makes there, see and change the branch;
    other tasks go on with the world around it. What leaves the world is held. `Branch.merge` brings
    all of it back; what was not merged when the block is left is discarded. May be nested.
    """
    return Branch()


async def merge_child(
    run: Run, name: str, base: str, theirs: str, resolve: Resolve | None = None,
    *, more: Mapping[str, Any] | None = None,
) -> Merge:  # fmt: skip
    """Merge the world of a child that ended into the world of the caller. ``more``: what else those
    who judge it are to see."""
    asked = {"source": name, "base": base, "theirs": theirs, **(more or {})}
    found = await _take(run, name, asked, resolve)
    return Merge(found["merged"], _conflicts(found))
