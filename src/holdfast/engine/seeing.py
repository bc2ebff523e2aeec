"""What a run has seen: its journal, told in order to a `gate.context.Context`.

A context is kept only for a policy that looks at information flow, and is brought up to date only
when it is looked at: what settled since is unpacked and told. So the facts of a step are the same
whether the run lives, is resumed, replayed or forked.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from holdfast.engine.declare import Agent, Declared
from holdfast.engine.history import History, Step, acted_with
from holdfast.engine.run import Pending, Run
from holdfast.gate import Policy
from holdfast.gate.context import Context, flow
from holdfast.gate.facts import GROUPS
from holdfast.gate.labels import PLAIN, Label, join, parse_label
from holdfast.gate.tools import UNKNOWN_TOOL, ToolFacts
from holdfast.journal.events import Event, Plan, RunStarted, StepSettled, is_erased
from holdfast.journal.views import CHILD, place_of
from holdfast.values import limits
from holdfast.values.canon import unpack

Literal = str | int | float

WORDS = Label("person")
"""What a person said."""

SAID = Label("untrusted")
"""What came from outside, and nobody says from whom."""


UNKNOWN = Label("untrusted", "secret")
"""What was seen while no policy looked at information flow."""

MODEL = ToolFacts(("*",), derives=True)
"""A model's answer is made from what the run has seen: it brings in nothing of its own."""

TOLD = ("tool", "model", "ask", "signal", "merge")
"""Kinds of steps whose outcomes bring something in."""


class Seen:
    """What one run has seen. ``context``; ``children``: labels of all that children saw, by run;
    ``sources``: those of other runs whose worlds are merged, as they were when they were judged;
    ``early``: steps that were told when their outcome was about to be recorded."""

    def __init__(self, run: Run) -> None:
        self.context = Context()
        self.children: dict[str, Label] = {}
        self.sources: dict[str, Label] = {}
        self.early: set[str] = set()
        self._told = self._landed = 0
        self._begin(run)

    def _begin(self, run: Run) -> None:
        history, context = run.history, self.context
        context.program(literals(run.program))
        begun = history.begun
        if begun is None:
            return
        where, value = f"{run.id}@start", unpack(history.input, run.outer.fetch)
        if begun.by and not begun.parent and begun.segment == 1:  # later ones: the program's words
            context.person(where, value)
        else:
            context.given(where, value, _label_at(begun))

    def catch_up(self, run: Run, policy: Policy) -> Seen:
        """Tell the context what was recorded since."""
        outcomes, landings = run.history.outcomes, run.history.landings
        while self._told < len(outcomes) or self._landed < len(landings):
            if self._landed < len(landings) and landings[self._landed][0] <= self._told:
                event = landings[self._landed][1]
                self._landed += 1
                label = landed(event, run.outer.fetch)
                self.context.given(f"{run.id}#{event.pos}", None, label)
                continue
            step = outcomes[self._told]
            self._told += 1
            if step.key in self.early:
                self.early.discard(step.key)
            elif step.settled is not None:
                self.tell(run, policy, step, step.settled, step.value)
        return self

    def tell(
        self, run: Run, policy: Policy, step: Step, settled: StepSettled, value: bytes | None,
        blobs: Mapping[str, bytes] = types.MappingProxyType({}),
    ) -> Label:  # fmt: skip
        """Tell the context one outcome; its label. ``blobs``: content that is not stored yet."""
        # INVARIANT E50: what a run has seen is a fold over its outcomes in the recorded order
        plan = step.plan or settled.plan
        if plan is None or settled.status in _NOTHING:
            return PLAIN
        where = f"{run.id}@{place_of(run.history.segment, step.key)}"

        def fetch(name: str) -> bytes:
            found = blobs.get(name)
            return run.outer.fetch(name) if found is None else found

        plain = None if value is None else unpack(value, fetch)
        match plan.kind:
            case "tool" | "model":
                facts = known_tool(run, policy, plan.name)
                # INVARIANT D47: what a model answers is no source: it is as bad as what was read
                if plan.kind == "model" and facts is UNKNOWN_TOOL:
                    facts = MODEL
                args = {} if facts is MODEL else _args(step, fetch)
                if step.given is not None and step.asked is not None:
                    self._approved(step, args, facts)
                said = settled.error.text if settled.error is not None else plain
                return self.context.result(where, facts, args, said, plan.effect, plan.name)
            case "ask":
                self.context.person(where, plain)
                return WORDS
            case "signal":
                return self._signal(run, settled, plan.name, where, plain)
            case "merge":
                label = self._merged(settled, str(_args(step, fetch).get("source", "")))
                self.context.given(where, None, label)
                return label
            case "dice":
                if isinstance(plain, str | int | float):
                    self.context.program((plain,))
            case _:  # what Holdfast itself made of it
                pass
        return PLAIN

    def _approved(self, step: Step, args: Mapping[str, Any], tool: ToolFacts) -> None:
        # INVARIANT E51: only an approval that was given for them makes values a person's
        asked, given = step.asked, step.given
        if asked is None or given is None or asked.about != "action":
            return
        if given.digest == asked.digest and given.decision in ("approve", "edit"):
            self.context.approve(args, tool)

    def _merged(self, settled: StepSettled, source: str) -> Label:
        if not is_run(source):
            return PLAIN
        if settled.label:
            return parse_label(settled.label)
        return self.children.get(source) or self.sources.get(source, UNKNOWN)

    def _signal(
        self, run: Run, settled: StepSettled, name: str, where: str, plain: Any
    ) -> Label:  # fmt: skip
        if name.startswith(CHILD) and isinstance(plain, dict):
            label = _known(str(plain.get("label", "")))
            self.children[name.removeprefix(CHILD)] = label
            if plain.get("narrow"):
                return self.context.narrow(where, plain.get("value"), label)
            self.context.given(where, plain, label)
            return label
        by = next((one.by for one in run.history.signals if one.pos == settled.cause), "")
        if by:
            self.context.person(where, plain)
            return WORDS
        self.context.given(where, plain, SAID)
        return SAID


def landed(event: Event, fetch: Callable[[str], bytes]) -> Label:
    """The label of what another run's world brought in, as whoever merged it wrote it down."""
    if event.value is None or is_erased(event.value):
        return PLAIN if event.value is None else UNKNOWN
    said = unpack(event.value, fetch)
    return parse_label(str(said.get(LABEL, ""))) if isinstance(said, dict) else PLAIN


LABEL = "label"
"""In the note of a merge into a run that others made: the label of all that its source has seen."""
_NOTHING = ("refused", "held", "expired")
"""How steps end that bring nothing in."""


def is_run(source: str) -> bool:
    """Whether what is merged is the world of another run: not a branch of the run itself, nor what
    a person brings from outside."""
    return bool(source) and not source.startswith("@")


def _known(label: str) -> Label:
    # INVARIANT E96: what was not labelled when it was recorded is unknown, not trusted
    return parse_label(label) if label else UNKNOWN


def _label_at(begun: RunStarted) -> Label:
    """The label of what a segment begins with: of a child and of a later segment it is written."""
    later = begun.parent or begun.segment > 1
    return _known(begun.label) if later and not begun.fork_of else parse_label(begun.label)


def _args(step: Step, fetch: Any) -> Mapping[str, Any]:
    skeleton = acted_with(step)
    found = unpack(skeleton, fetch) if skeleton is not None else {}
    return found if isinstance(found, dict) else {}


def known_tool(run: Run, policy: Policy, name: str) -> ToolFacts:
    """What is known of a tool: what the policy says, else what the tool declares of itself."""
    said = policy.tool(name)
    declared = run.declared.get(name)
    return declared if said is UNKNOWN_TOOL and declared is not None else said


def seen(run: Run, policy: Policy) -> Seen:
    """What a run has seen up to now."""
    found = run.seen
    if found is None:
        found = run.seen = Seen(run)
    return found.catch_up(run, policy)


@functools.lru_cache(maxsize=64)
def groups(policy: Policy) -> frozenset[str]:
    """Groups of facts that a policy can look at, in whatever it judges."""
    if policy.risk is not None or policy.engine is not None or policy.keeps:
        return frozenset(GROUPS)
    uses = {
        name for rule in policy.rules if rule.condition is not None for name in rule.condition.uses
    }
    found = {group for group, names in GROUPS.items() if not uses.isdisjoint(names)}
    return frozenset(found)


@functools.lru_cache(maxsize=64)
def looks(policy: Policy) -> bool:
    """Whether a policy can look at information flow."""
    return "flow" in groups(policy)


def label_of(
    run: Run, policy: Policy, pending: Pending, settled: StepSettled, value: bytes | None,
    blobs: Mapping[str, bytes],
) -> str:  # fmt: skip
    """The label of an outcome that is about to be recorded, as it is written; "" if it brings
    nothing in."""
    now, key = seen(run, policy), pending.key
    known = run.history.step(key)
    step = Step(key, known.plan or settled.plan, known.args or pending.args)
    step.asked, step.given = known.asked, known.given
    step.edited, step.given_value = known.edited, known.given_value
    # told now: appends are recorded in the order in which they are made
    label = now.tell(run, policy, step, settled, value, blobs)
    now.early.add(key)
    return str(label) if _brings(step.plan, settled) else ""


def _brings(plan: Plan | None, settled: StepSettled) -> bool:
    return plan is not None and plan.kind in TOLD and settled.status not in _NOTHING


def handed(run: Run, policy: Policy, args: Mapping[str, Any]) -> str:
    """The label of what a child is started with: a person's if all of it is the person's own words,
    else that of everything that this run has seen."""
    if not looks(policy):
        return ""
    context = seen(run, policy).context
    all_of_it = ToolFacts(("*",), deciding=tuple(args))
    found = flow(context, args, all_of_it, "", "read", "spawn")
    if args and found.get("worst") == "person":
        return str(join(WORDS, Label("person", found["carries"])))
    return str(context.label)


def parting(run: Run, policy: Policy) -> str:
    """The label of all that a run has seen, when it ends or goes on in a new segment."""
    return str(seen(run, policy).context.label) if looks(policy) else ""


def recorded_label(events: Iterable[Event], fetch: Callable[[str], bytes]) -> str:
    """The label of all that a run has seen, from the events of its last segment: what `parting`
    said, read again; unknown if something came in that was not labelled."""
    history = History()
    history.extend(events)
    found = PLAIN if history.begun is None else _label_at(history.begun)
    for step in history.outcomes:
        if step.settled is not None and _brings(step.plan, step.settled):
            found = join(found, _known(step.settled.label))
    for _, event in history.landings:
        found = join(found, landed(event, fetch))
    return str(found)


# The program's own words ---


def literals(program: Agent[..., Any]) -> list[Literal]:
    """The constants of an agent's code: of its function, what is nested in it, and what these name
    in its own module: functions, and constants as they stood when the agent was declared. Not what
    it was given, not what can change, and nothing that other modules say."""
    found: list[Literal] = []
    todo: list[types.CodeType] = []
    module = getattr(program.fn, "__globals__", {})
    names: set[str] = set()
    code = getattr(program.fn, "__code__", None)
    if code is not None:
        todo.append(code)
    while todo and len(found) < limits.LITERALS_MAX_ITEMS:
        one = todo.pop()
        found.extend(_constants(one.co_consts))
        todo.extend(each for each in one.co_consts if isinstance(each, types.CodeType))
        for name in one.co_names:
            if name in module and name not in names:
                names.add(name)
                value = module[name]
                inner = value.fn if isinstance(value, Declared) else value
                mine = getattr(inner, "__module__", None) == module.get("__name__")
                if isinstance(inner, types.FunctionType) and mine:
                    if not isinstance(value, Declared):
                        todo.append(inner.__code__)
                elif name in program.constants:
                    found.extend(_constants((program.constants[name],)))
    return found[: limits.LITERALS_MAX_ITEMS]


def _constants(values: Any, depth: int = 0) -> Iterator[Literal]:
    for value in values:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            yield value
        elif isinstance(value, tuple | frozenset) and depth < 4:
            yield from _constants(value, depth + 1)
