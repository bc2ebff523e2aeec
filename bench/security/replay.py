"""One case through the real engine: a scripted agent, declared tools with canned results, a policy,
and a reviewer. No model: the agent makes exactly the calls of the case.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import holdfast
from bench.security.scenario import Call, Case, Signature
from holdfast import Refused, Runtime
from holdfast.gate import Policy
from holdfast.journal.events import ApprovalAsked, Event, StepSettled, body_of
from holdfast.values.canon import unpack

TYPES: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict,
    "list[str]": list[str], "list[int]": list[int],
}  # fmt: skip
PAUSE = 0.0005
PERSON = "ada"
Reviewer = Callable[[Case, str, dict[str, Any]], bool]
"""Whether a reviewer approves a call (tool, arguments) of a case."""


def careful(case: Case, tool: str, args: dict[str, Any]) -> bool:
    """Approves exactly the calls that serve the person."""
    return any(one.honest and one.tool == tool and _full(case, one) == args for one in case.calls)


def trusting(case: Case, tool: str, args: dict[str, Any]) -> bool:
    """Approves everything."""
    return True


@dataclass
class Done:
    """What became of one call. ``decision``: of the gate; ``performed``: its tool was called."""

    call: Call
    effect: str
    decision: str = ""
    rules: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    performed: bool = False


class Stage:
    """What the agent and the tools of one run act from. Not the run's input, which would be taken
    for the person's words, and no constant of the agent's code, which would be its own."""

    def __init__(self, case: Case) -> None:
        self.done = [Done(call, _signature(case, call.tool).effect) for call in case.calls]
        self.at = -1
        self.tools = {one.tool: self._declare(one) for one in case.tools}

    def _declare(self, one: Signature) -> holdfast.Tool[..., Any]:
        def perform(**_args: Any) -> Any:
            now = self.done[self.at]
            now.performed = True
            return "done" if now.call.gives is None else now.call.gives

        perform.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=TYPES[kind],
                    default=inspect.Parameter.empty if given is None else ast.literal_eval(given),
                )
                for name, kind, given in one.args
            ]
        )  # fmt: skip
        perform.__name__ = perform.__qualname__ = one.tool
        return holdfast.tool(effect=one.effect, name=one.tool)(perform)


STAGES: dict[str, Any] = {}


def _stage() -> Stage:
    return STAGES[holdfast.run_id()]


@holdfast.agent
async def scripted(ask: str) -> int:
    """Makes the calls of its script, whatever is refused; returns how many were not."""
    stage, count = _stage(), 0
    for at, done in enumerate(stage.done):
        stage.at = at
        with contextlib.suppress(Refused):
            await holdfast.call(stage.tools[done.call.tool], **done.call.args)
            count += 1
    return count


async def replay(case: Case, policy: Policy, approves: Reviewer) -> list[Done]:
    """What became of each call of ``case``."""
    name = "-".join(filter(None, (case.id, case.disguise)))
    stage = STAGES[name] = Stage(case)
    try:
        async with Runtime(
            holdfast.Settings(user=PERSON), store="memory", policy=policy
        ) as runtime:
            handle = await runtime.launch(scripted, (case.ask,), name=name)
            while not (row := await runtime.store.run(name)).ended:
                for wait in row.waits:
                    if wait.kind == "person" and not wait.ready:
                        yes = approves(case, *await _asked(runtime, name, wait.key))
                        await runtime.answer(
                            name, "approve" if yes else "deny", step=wait.key, note="reviewed"
                        )
                await asyncio.sleep(PAUSE)
            await handle.result()
            _read(stage, await runtime.store.read(name, 0, None))
    finally:
        del STAGES[name]
    return stage.done


async def _asked(runtime: Runtime, run: str, key: str) -> tuple[str, dict[str, Any]]:
    """The tool and the arguments that a person is asked about, as the journal has them."""
    for event in reversed(await runtime.store.read(run, 0, None)):
        if event.kind == "approval.asked":
            body: ApprovalAsked = body_of(event)
            if body.key == key and body.plan is not None and event.args is not None:
                return body.plan.name, unpack(event.args, runtime.store.get)
    raise LookupError(f"{run}@{key}")


def _read(stage: Stage, events: list[Event]) -> None:
    """Fill in how each call was decided. The script is sequential: the n-th step is the n-th
    call."""
    calls = iter(stage.done)
    of: dict[str, Done] = {}
    for event in events:
        if event.kind not in ("step.planned", "step.settled", "approval.asked"):
            continue
        body: StepSettled = body_of(event)
        if body.key not in of:
            of[body.key] = next(calls)
        if body.verdict is not None:
            done = of[body.key]
            if done.decision != "escalate":  # what was approved is judged again
                done.decision, done.rules = body.verdict.decision, body.verdict.rules
                done.facts = body.verdict.facts


def _signature(case: Case, tool: str) -> Signature:
    return next(one for one in case.tools if one.tool == tool)


def _full(case: Case, call: Call) -> dict[str, Any]:
    """The arguments of a call with the defaults of its tool."""
    given = _signature(case, call.tool).args
    return {
        **{name: ast.literal_eval(value) for name, _, value in given if value is not None},
        **call.args,
    }
