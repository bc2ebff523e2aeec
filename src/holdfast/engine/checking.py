"""The checks of a ``verify`` verdict: run before anything is planned, on a world that is dropped.

Checks change nothing: they look at arguments, call a preview or a reading tool, or perform what
changes only the world on a copy of it. So after a crash they are simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import msgspec

from holdfast.engine.commands import (
    Command,
    Done,
    Find,
    Perform,
    Terms,
    action_digest,
    plain_args,
)
from holdfast.engine.declare import Tool
from holdfast.engine.history import Step
from holdfast.engine.run import Pending, Run
from holdfast.engine.seeing import known_tool
from holdfast.engine.steps import plan_of
from holdfast.gate import Verdict
from holdfast.gate.checks import FALSE, Check, passes
from holdfast.journal.events import Checked, Plan
from holdfast.values import limits
from holdfast.values.canon import Blobs, unpack
from holdfast.values.errors import HoldfastError
from holdfast.world import EMPTY, Stage
from holdfast.world.diff import diff

COMMAND = "world.run"
"""The tool that a ``command`` check calls."""

Tried = Generator[Command, Any, tuple[bool, str, str]]
"""Whether it passed; why not, for people; why not, for the agent: only words of Holdfast's own."""


class CannotRun(Exception):
    """A check cannot be run; the text says why. It has not passed. ``told``: what the agent reads
    of that, if it is not all: a text of some tool's is not Holdfast's."""

    def __init__(self, text: str, told: str | None = None) -> None:
        super().__init__(text)
        self.told = text if told is None else told


def verify(
    run: Run, pending: Pending, settings: Terms, step: Step, verdict: Verdict
) -> Generator[Command, Any, Verdict]:
    """Run the checks that a verdict names: it stands, with how they ended; or it becomes an
    escalation or a denial, as the strictest check that did not pass says, never less than it was.
    """
    asked = step.asked
    told = asked.verdict if asked is not None else None
    if asked is not None and told is not None and told.checked:
        same = asked.digest == action_digest(run, pending, verdict)
        if same:
            return told  # a person is being asked about just this
    checked: list[Checked] = []
    failed: list[tuple[Check, str]] = []
    for name in verdict.checks:
        check = settings.policy.checks.get(name) or Check(name, "", fails="deny")
        try:
            passed, text, told = yield from _try(run, pending, settings, check)
        except CannotRun as error:
            # INVARIANT E55: a check that cannot be run has not passed
            passed, text = False, f"it cannot be run: {error}"
            told = f"it cannot be run: {error.told}".removesuffix(": ")
        checked.append(Checked(name, passed, text[: limits.CHECKED_TEXT_CHARS]))
        if not passed:
            failed.append((check, told))
    verdict = msgspec.structs.replace(verdict, checked=tuple(checked))
    if not checked:
        text = "it asks for checks and names none"
        return msgspec.structs.replace(verdict, decision="deny", reason=text)
    if not failed:
        return verdict
    # INVARIANT E112: what a failed check found is for people: the agent is told in our own words,
    # for nobody knows whose words a tool's are
    strictest, told = next((one for one in failed if one[0].fails == "deny"), failed[0])
    denies = strictest.fails == "deny"
    found = told if denies else next(one.text for one in checked if one.name == strictest.name)
    reason = f"check {strictest.name!r} did not pass{f': {found}' if found else ''}"
    if not denies and verdict.decision == "escalate" and verdict.reason:
        reason = f"{verdict.reason}; {reason}"
    return msgspec.structs.replace(
        verdict, decision="deny" if denies else "escalate", reason=reason
    )


def _try(run: Run, pending: Pending, settings: Terms, check: Check) -> Tried:
    result: Any = None
    changes: tuple[str, ...] = ()
    match check.kind:
        case "condition":
            pass
        case "preview":
            result = yield from _preview(run, pending, settings)
        case "tool":
            result = yield from _tool(run, pending, check)
        case "command":
            result = yield from _command(run, pending, check, None)
        case "fork":
            done = yield from _fork(run, pending)
            result, changes = _value(run, done), _changes(run, pending, done)
            if check.command:
                result = yield from _command(run, pending, check, done)
        case _:
            raise CannotRun("the policy has no check of that name")
    if check.command and result.get("exit") != 0:
        tail = (result.get("stderr") or result.get("stdout") or "").strip()[-200:]
        told = f"the command ended with {result.get('exit')}"
        return False, f"{told}: {tail}".rstrip(": "), told
    passed, text = passes(check, plain_args(run, pending), result, changes)
    ours = check.kind == "condition" or not check.that or text == FALSE
    return passed, text, text if ours else "its condition cannot be evaluated"


def _preview(run: Run, pending: Pending, settings: Terms) -> Generator[Command, Any, Any]:
    if pending.tool is not None and pending.tool.preview is not None:
        return _value(run, (yield Perform(1, preview=True)))
    name = known_tool(run, settings.policy, pending.plan.name).preview
    if not name:
        raise CannotRun(f"{pending.plan.name} has no preview")
    return (yield from _call(run, pending, name, dict(pending.bound), _reads))


def _tool(run: Run, pending: Pending, check: Check) -> Generator[Command, Any, Any]:
    args = plain_args(run, pending)
    given = {mine: _reach(args, theirs) for mine, theirs in check.give.items()}
    return (yield from _call(run, pending, check.use, given, _reads))


def _command(
    run: Run, pending: Pending, check: Check, after: Done | None
) -> Generator[Command, Any, dict[str, Any]]:
    found = yield from _call(
        run, pending, COMMAND, {"command": list(check.command)}, _changes_only, after
    )
    return found if isinstance(found, dict) else {}


def _reads(plan: Plan) -> str:
    return "" if plan.effect == "read" else "only tools that read may be called"


def _changes_only(plan: Plan) -> str:
    return "" if plan.effect == "world" else "only what changes nothing but the world may be run"


def _call(
    run: Run, pending: Pending, name: str, args: dict[str, Any],
    unfit: Callable[[Plan], str], after: Done | None = None,
) -> Generator[Command, Any, Any]:  # fmt: skip
    """Call a tool by name, aside."""
    tool: Tool[..., Any] | None = yield Find(name)
    if tool is None:
        raise CannotRun(f"the agent's module does not name one tool {name}")
    try:
        bound = tool.bind((), args)
        blobs: Blobs = {}
        aside = Pending(pending.key, plan_of(run, tool, bound), tool.pack_args(bound, blobs), blobs)
    except HoldfastError as error:
        raise CannotRun(str(error)) from None
    # INVARIANT E56: a check performs nothing that leaves the world
    if why := unfit(aside.plan):
        raise CannotRun(f"{name} is {aside.plan.effect}: {why}")
    aside.tool, aside.bound, aside.branch = tool, bound, pending.branch
    return _value(run, (yield Perform(1, aside=aside, after=after)))


def _fork(run: Run, pending: Pending) -> Generator[Command, Any, Done]:
    if pending.plan.effect not in ("read", "world") or pending.tool is None:
        raise CannotRun(f"{pending.plan.name} is {pending.plan.effect}, it cannot be tried first")
    done: Done = yield Perform(1, aside=pending)
    if done.error is not None:
        raise CannotRun(done.error.text, "")
    return done


def _value(run: Run, done: Done) -> Any:
    if done.error is not None:
        raise CannotRun(done.error.text, "")
    return None if done.value is None else unpack(done.value, _fetch(run, done.blobs))


def _changes(run: Run, pending: Pending, done: Done) -> tuple[str, ...]:
    before = run.root_of(pending.branch)
    found = diff(Stage(_fetch(run, done.blobs)), before, done.world or before or EMPTY)
    if len(found) > limits.CHANGED_MAX_ITEMS:
        raise CannotRun(f"it changes {len(found):,} paths, at most {limits.CHANGED_MAX_ITEMS:,} do")
    return tuple(one.path for one in found)


def _fetch(run: Run, blobs: Mapping[str, bytes]) -> Callable[[str], bytes]:
    def fetch(name: str) -> bytes:
        found = blobs.get(name)
        return run.stage.get(name) if found is None else found

    return fetch


def _reach(args: Any, path: str) -> Any:
    """What stands in arguments at a dotted path."""
    found = args
    for name in path.split("."):
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise CannotRun(f"there is no argument {path!r}")
    return found


def tool_named(program: Any, name: str) -> Tool[..., Any] | None:
    """The tool of that name that an agent's module names, itself or through a module, a class or
    the function's closure; None if there is none, or several."""
    places = [vars_of(program.fn)]
    places += [vars(one) for one in list(places[0].values()) if _holds_names(one)]
    found = {
        id(one): one
        for place in places
        for one in list(place.values())
        if isinstance(one, Tool) and one.name == name
    }
    return next(iter(found.values())) if len(found) == 1 else None


def vars_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """The names that a function can reach: its module's and those of functions around it."""
    names = dict(getattr(fn, "__globals__", {}))
    cells = getattr(fn, "__closure__", None) or ()
    for name, cell in zip(fn.__code__.co_freevars, cells, strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not set yet
            continue
    return names


def _holds_names(value: Any) -> bool:
    return isinstance(value, type) or type(value).__name__ == "module"
