"""Which version of which skill was read in which runs, and what came of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from holdfast.journal.events import Event, Plan, body_of, is_erased
from holdfast.values.canon import unpack

_STEP: Final = re.compile(r"skills\.(activate|read)\.")
_COUNTED: Final = ("tool", "spawn")
"""Kinds of steps that are what an agent did."""


class InRun(msgspec.Struct):
    """One version of a skill in one run. ``step``: the first that read it (``RUN@KEY``), at
    ``first`` (ms); ``activated``, ``read``, ``refused``: how often that was asked for, and not
    given. After it: ``calls`` of other tools, how many of them were refused or failed, and answers
    of persons. ``ended``: done, failed, cancelled, "" for a run that goes on."""

    skill: str
    version: str
    run: str
    agent: str
    step: str
    first: int
    last: int
    activated: int = 0
    read: int = 0
    refused: int = 0
    calls: int = 0
    calls_refused: int = 0
    calls_failed: int = 0
    approved: int = 0
    denied: int = 0
    ended: str = ""

    @property
    def used(self) -> bool:
        """Whether anything of it was handed out."""
        return bool(self.activated or self.read)


class OfVersion(msgspec.Struct):
    """One version of a skill over all runs; see `InRun`. ``open``: runs that go on."""

    skill: str
    version: str
    since: int = 0
    last: int = 0
    runs: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    open: int = 0
    activated: int = 0
    read: int = 0
    refused: int = 0
    calls: int = 0
    calls_refused: int = 0
    calls_failed: int = 0
    approved: int = 0
    denied: int = 0


class _Run:
    """What a run did so far, as far as skills go."""

    def __init__(self) -> None:
        self.agent = ""
        self.segment = 0
        self.found: dict[tuple[str, str], InRun] = {}
        self.open: dict[str, tuple[str, str]] = {}  # by key: which skill's step it is
        self.at: list[tuple[int, tuple[str, str]]] = []  # positions at which one was first read
        self.actions: dict[str, str] = {}  # by key: kind of a step that is not settled yet
        self.about: dict[str, str] = {}  # by key: what the last question of it was about


def uses(events: Iterable[Event], fetch: Callable[[str], bytes]) -> list[InRun]:
    """Every use of skills in ``events`` (in the order of commits), the first first. ``fetch``: a
    blob of the store, by hash."""
    runs: dict[str, _Run] = {}
    for event in events:
        run = runs.setdefault(event.run, _Run())
        body = body_of(event)
        if event.kind == "run.started":
            _started(event, body, run, runs)
        elif event.kind == "run.ended":
            for one in run.found.values():
                one.ended = body.status
        elif event.kind in ("step.planned", "approval.asked", "step.settled"):
            _stepped(event, body, run, fetch)
        elif event.kind == "approval.given" and run.about.get(body.key) == "action":
            for one in _before(run, body.key):
                one.approved += body.decision in ("approve", "edit")
                one.denied += body.decision == "deny"
    found = [one for run in runs.values() for one in run.found.values()]
    return sorted(found, key=lambda one: (one.first, one.step))


def _started(event: Event, body: Any, run: _Run, runs: dict[str, _Run]) -> None:
    # INVARIANT D117: what a run was forked from read is read in the fork too
    run.agent = body.agent
    run.segment += 1
    run.open.clear()
    run.actions.clear()
    run.about.clear()
    source = runs.get(body.fork_of)
    if source is None or run.segment > 1:
        return
    for pos, which in source.at:
        if pos <= body.fork_pos:
            old = source.found[which]
            run.found[which] = InRun(
                *which, event.run, body.agent, old.step, event.at, event.at,
                int(old.activated > 0), int(old.read > 0),
            )  # fmt: skip
            run.at.append((0, which))


def _stepped(event: Event, body: Any, run: _Run, fetch: Callable[[str], bytes]) -> None:
    key, plan = body.key, body.plan
    if plan is not None and key not in run.open and key not in run.actions:
        _met(event, key, plan, run, fetch)
    if event.kind == "approval.asked":
        run.about[key] = body.about
    if event.kind != "step.settled":
        return
    which = run.open.pop(key, None)
    if which is not None:
        _handed(event, body, which, run)
    elif run.actions.pop(key, "") in _COUNTED:
        for one in _before(run, key):
            one.calls += 1
            one.calls_refused += body.status in ("refused", "expired")
            one.calls_failed += body.status in ("error", "unknown")


def _met(event: Event, key: str, plan: Plan, run: _Run, fetch: Callable[[str], bytes]) -> None:
    """A step that is seen for the first time."""
    if plan.kind != "tool" or not _STEP.match(plan.name):
        run.actions[key] = plan.kind
        return
    args: Any = {}
    if event.args is not None and not is_erased(event.args):
        args = unpack(event.args, fetch)
    named = isinstance(args, dict) and isinstance(args.get("skill"), str)
    skill = args["skill"] if named else _STEP.sub("", plan.name)
    version = str(args.get("version", "")) if named else "erased"
    which = (skill, version)
    run.open[key] = (skill, version)
    if which not in run.found:
        place = f"{event.run}@{run.segment}.{key}" if run.segment > 1 else f"{event.run}@{key}"
        run.found[which] = InRun(skill, version, event.run, run.agent, place, event.at, event.at)
    run.actions.setdefault(key, "read" if ".read." in plan.name[:12] else "activate")


def _handed(event: Event, body: Any, which: tuple[str, str], run: _Run) -> None:
    """A step that reads a skill has ended."""
    one = run.found[which]
    verb = run.actions.pop(body.key, "")
    one.last = event.at
    if body.status == "value":
        if not one.used:
            run.at.append((event.pos, which))
        one.activated += verb == "activate"
        one.read += verb == "read"
    else:
        one.refused += 1


def _before(run: _Run, key: str) -> list[InRun]:
    """Those that were handed out before a step that is not itself of a skill."""
    return [] if key in run.open else [one for one in run.found.values() if one.used]


def by_version(found: Iterable[InRun]) -> list[OfVersion]:
    """The same, one line for each version, the latest first."""
    versions: dict[tuple[str, str], OfVersion] = {}
    for one in found:
        sums = versions.setdefault((one.skill, one.version), OfVersion(one.skill, one.version))
        sums.since = min(sums.since or one.first, one.first)
        sums.last = max(sums.last, one.last)
        if one.used:
            sums.runs += 1
            ended = one.ended or "open"
            setattr(sums, ended, getattr(sums, ended) + 1)
        for name in _SUMMED:
            setattr(sums, name, getattr(sums, name) + getattr(one, name))
    return sorted(versions.values(), key=lambda one: (one.skill, -one.last, one.version))


_SUMMED: Final = (
    "activated", "read", "refused", "calls", "calls_refused", "calls_failed", "approved", "denied",
)  # fmt: skip
