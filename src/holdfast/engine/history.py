"""What a run has recorded, arranged for looking: step by key, completions in order, signals.

Built once from the events of a run's current segment; then kept current as new events arrive.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    BranchMerged,
    Draft,
    Edit,
    Event,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
    Verdict,
    body_of,
    is_erased,
    payload_hash,
)
from holdfast.journal.like import is_short, restore
from holdfast.journal.meters import BUDGET
from holdfast.journal.quorum import met
from holdfast.journal.views import ANOMALY, ANOMALY_JUDGED, hear
from holdfast.values.canon import decode, unpack
from holdfast.values.errors import Corrupt, Diverged, Misuse

CANCEL_KEY = "0"
"""Keys that begin so are stops that were asked for; the program's own steps count from 1."""


class Step(msgspec.Struct, eq=False, gc=False):
    """Everything recorded about one step. ``args`` is the skeleton it was asked with, ``edited``
    the one that a person made of it; ``approved``: who approved so far; ``given``: the answer that
    decided, with ``given_value``; ``planned_pos``: position of the plan that it was allowed by,
    with its ``verdict`` (None: a person allowed it), not of retries; ``cleared``: digest of the
    action that people had allowed when they were asked about its cost; ``charges``: what its plans
    reserved, by meter; ``judged_at``: when it was first judged."""

    key: str
    plan: Plan | None = None
    args: bytes | None = None
    planned: StepPlanned | None = None
    planned_pos: int = 0
    verdict: Verdict | None = None
    asked: ApprovalAsked | None = None
    given: ApprovalGiven | None = None
    given_value: bytes | None = None
    approved: tuple[str, ...] = ()
    edited: bytes | None = None
    cleared: str = ""
    charges: Mapping[str, int] = MappingProxyType({})
    judged_at: int = 0
    settled: StepSettled | None = None
    settled_at: int = 0
    value: bytes | None = None
    world_before: str = ""
    world_after: str = ""


class Signal(msgspec.Struct, frozen=True, gc=False):
    """A signal that arrived: position in the chain, name, payload skeleton and who sent it."""

    pos: int
    name: str
    value: bytes | None
    by: str = ""


class History:
    """The recorded past of a run's segment.

    ``order``: steps in the order they settled (but those that complete on the spot); ``cursor``:
    how many of them the program was given; ``forked_at``: when the newest fork was made, after
    ``shared`` of these; ``edits``: arguments that forks replaced; ``first``: the root at the
    beginning; ``branches``: their roots by key, ``bases``: the roots of what is around them, as
    last merged; ``shared_steps``: keys settled in the past that the newest fork shares;
    ``refusals``: actions that a person refused;
    ``begun``: the start of the run that this one forked from, else its own; ``outcomes``: all steps
    that settled, in order; ``landings``: what others merged into its world, each after so many of
    these; ``judged``: steps that were judged, in order of first verdicts;
    ``of_tool``: how many of these by tool; ``used``: sums of what outcomes used, by unit;
    ``own_at``: the time of the newest event that the run itself recorded; ``alarms``: scores of
    anomalies that no person called normal, by position.
    """

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.input: bytes = b"{}"
        self.ended: RunEnded | None = None
        self.ended_value: bytes | None = None
        self.steps: dict[str, Step] = {}
        self.order: list[Step] = []
        self.cursor = 0
        self.signals: list[Signal] = []
        self.consumed: set[int] = set()
        self._tokens: set[str] = set()
        self.pos = -1
        self.world = ""
        self.first = ""
        self.branches: dict[str, str] = {}
        self.bases: dict[str, str] = {}
        self.at = 0
        self.forked_at = 0
        self.edits: list[Edit] = []
        self.shared = 0
        self.shared_steps: set[str] = set()
        self.refusals: list[Step] = []
        self.begun: RunStarted | None = None
        self.outcomes: list[Step] = []
        self.landings: list[tuple[int, Event]] = []
        self.judged: dict[str, Step] = {}
        self.of_tool: dict[str, int] = {}
        self.used: dict[str, float] = {}
        self.own_at = 0
        self.alarms: dict[int, float] = {}

    def extend(self, events: Iterable[Event]) -> None:
        """Add events, oldest first."""
        for event in events:
            self.add(event, body_of(event))

    def add(self, event: Event, body: Any) -> None:
        """Add one event whose body is decoded already."""
        take = _TAKERS.get(event.kind)
        if take is not None:
            take(self, event, body)
        if event.pos > self.pos:
            self.pos = event.pos
            self.world = event.world

    def step(self, key: str) -> Step:
        """The record of step ``key``, made if new."""
        found = self.steps.get(key)
        if found is None:
            found = self.steps[key] = Step(key)
        return found

    def skeleton(self, key: str) -> bytes:
        """The whole argument skeleton of a step (continuations of it are built on this)."""
        args = self.steps[key].args if key in self.steps else None
        if args is None:
            raise Corrupt(f"step {key}: later arguments continue its own, which are absent")
        return args

    @property
    def segment(self) -> int:
        """Which segment of the run this is, from 1."""
        return self.started.segment if self.started else 1

    @property
    def replaying(self) -> bool:
        """Whether recorded completions remain that the program has not been given."""
        return self.cursor < len(self.order)

    def pending_signals(self, name: str) -> list[Signal]:
        """Signals of that name that no step has consumed, oldest first."""
        return [one for one in self.signals if one.name == name and one.pos not in self.consumed]

    def take_started(self, event: Event, body: RunStarted) -> None:
        """Take in a RunStarted."""
        self.started = body
        if event.args is not None:
            self.input = event.args
        self.own_at = event.at
        if not body.fork_of:
            self.begun = body
            self.at, self.first = event.at, event.world
            self.edits = []
            return
        self.edits.extend(body.edits)
        # INVARIANT E9: what was open in the shared past is taken anew by the fork, as its own
        self.forked_at, self.shared = event.at, len(self.order)
        self.shared_steps = {key for key, one in self.steps.items() if one.settled is not None}
        for step in self.steps.values():
            if step.settled is None:
                step.charges, step.cleared = {}, ""
                step.planned = step.asked = step.given = step.edited = None
                self._unjudge(step.key)

    def take_planned(self, event: Event, body: StepPlanned) -> None:
        """Take in a StepPlanned."""
        step = self.step(body.key)
        step.plan = body.plan
        if body.verdict is not None or step.planned is None:
            step.planned_pos, step.verdict = event.pos, body.verdict
        step.planned = body
        if body.charges:
            # with those that reserved nothing: what was used is charged there too
            reserved = {name: n for name, n in body.charges.items() if name.startswith(BUDGET)}
            step.charges = {
                name: step.charges.get(name, 0) + reserved.get(name, 0)
                for name in {**step.charges, **reserved}
            }
        _keep_edit(step)
        if step.asked is not None and step.asked.about in ("unknown", "budget"):
            step.asked = step.given = None  # that answer is used up: this attempt followed from it
        self._keep_args(step, event)
        self.own_at = event.at
        if body.verdict is not None:
            self._judge(step, event.at)

    def take_settled(self, event: Event, body: StepSettled) -> None:
        """Take in a StepSettled."""
        step = self.step(body.key)
        if step.settled is not None:  # INVARIANT J5: a step has at most one outcome
            raise Corrupt(f"event {event.run}#{event.pos}: step {body.key} has two outcomes")
        step.settled = body
        step.settled_at = event.at
        step.value = event.value
        step.world_before = self.root_of(body.branch)
        if body.branch and body.root:
            self.branches[body.branch] = body.root
            if body.plan is not None and body.plan.kind == "fork":
                self.bases[body.branch] = step.world_before = body.root
        step.world_after = self.branches[body.branch] if body.branch else event.world
        if body.plan is not None:
            step.plan = body.plan
        self._keep_args(step, event)
        self.outcomes.append(step)
        self.own_at = event.at
        if body.verdict is not None and body.key not in self.judged:
            self._judge(step, event.at)
        if body.usage:
            for unit, much in body.usage.items():
                self.used[unit] = self.used.get(unit, 0) + much
        if body.cause:
            self.consumed.add(body.cause)
        if body.status == "refused" and body.origin == "person" and _about_action(step):
            self.refusals.append(step)
        if not body.inline:
            self.order.append(step)

    def root_of(self, branch: str) -> str:
        """The root of a branch, "" being the run's own world, after everything recorded."""
        return self.branches.get(branch, "") if branch else self.world

    def take_merged(self, event: Event, body: BranchMerged) -> None:
        """Take in a BranchMerged: a branch and what is around it have met there."""
        if event.value is not None and not body.conflicts:  # a merge of the run's own has a step
            self.landings.append((len(self.outcomes), event))
        if body.source.startswith("@") and not body.conflicts:
            pair = (body.into, body.source[1:])
            inner = next(key for key in reversed(self.branches) if key in pair)
            self.bases[inner] = body.theirs

    def take_asked(self, event: Event, body: ApprovalAsked) -> None:
        """Take in an ApprovalAsked."""
        step = self.step(body.key)
        if body.about == "action":
            step.edited, step.cleared = event.value, ""
        else:
            _keep_edit(step)
            if body.about == "budget" and _about_action(step):
                step.cleared = step.asked.digest if step.asked is not None else ""
        step.asked = body
        step.given = None
        step.approved = body.approved
        if body.plan is not None:
            step.plan = body.plan
        self._keep_args(step, event)
        self.own_at = event.at
        if body.verdict is not None:
            self._judge(step, event.at)

    def take_given(self, event: Event, body: ApprovalGiven) -> None:
        """Take in an ApprovalGiven."""
        step = self.step(body.key)
        asked = step.asked
        # INVARIANT E5: an answer counts once, and only for exactly what was asked
        if asked is None or asked.digest != body.digest or step.given is not None:
            return
        approved = hear(msgspec.structs.replace(asked, approved=step.approved), body, event.at)
        if approved is None:
            return
        step.approved = approved
        if body.decision != "approve" or met(asked.panels, approved):
            step.given, step.given_value = body, event.value

    def take_signal(self, event: Event, body: SignalReceived) -> None:
        """Take in a SignalReceived."""
        if body.token:
            if body.token in self._tokens:
                return  # delivered twice
            self._tokens.add(body.token)
        self.signals.append(Signal(event.pos, body.name, event.value, body.by))

    def take_ended(self, event: Event, body: RunEnded) -> None:
        """Take in a RunEnded."""
        self.ended, self.ended_value = body, event.value

    def _judge(self, step: Step, at: int) -> None:
        """Count a verdict, once for each step."""
        if step.key not in self.judged and step.plan is not None:
            # nothing that Python's collector counts: else every step kept makes the next one dearer
            self.judged[step.key], step.judged_at = step, at
            self.of_tool[step.plan.name] = self.of_tool.get(step.plan.name, 0) + 1

    def _unjudge(self, key: str) -> None:
        found = self.judged.pop(key, None)
        if found is not None and found.plan is not None:
            self.of_tool[found.plan.name] -= 1

    def _keep_args(self, step: Step, event: Event) -> None:
        if event.args is not None:
            args = event.args
            step.args = restore(args, self.skeleton) if is_short(args) else args


def _take_found(history: History, event: Event, body: FindingAdded) -> None:
    """Take in a FindingAdded: an anomaly, or what a person said of one."""
    if body.type == ANOMALY:
        # INVARIANT X65: an alarm whose content is erased or odd counts as the worst there is
        score: Any = _plain(event.value).get("score")
        known = isinstance(score, int | float) and 0 <= score <= 1
        history.alarms[body.about] = float(score) if known else 1.0
    elif body.type == ANOMALY_JUDGED and _plain(event.value).get("verdict") == "normal":
        history.alarms.pop(body.about, None)


_TAKERS: dict[str, Callable[[History, Event, Any], None]] = {
    "run.started": History.take_started,
    "step.planned": History.take_planned,
    "step.settled": History.take_settled,
    "approval.asked": History.take_asked,
    "approval.given": History.take_given,
    "signal.received": History.take_signal,
    "branch.merged": History.take_merged,
    "finding.added": _take_found,
    "run.ended": History.take_ended,
}


def _plain(value: bytes | None) -> dict[str, Any]:
    """A finding's value without what is stored apart."""
    found = decode(value) if value is not None and not is_erased(value) else None
    return found if isinstance(found, dict) else {}


def _keep_edit(step: Step) -> None:
    """Arguments that a person gave an action stay its arguments, whatever is asked next."""
    if step.given is not None and step.given.decision == "edit":
        step.edited = step.given_value


def acted_with(step: Step) -> bytes | None:
    """The arguments that a step is taken with: those that a person gave it, else the program's."""
    if step.given is not None and step.given.decision == "edit":
        return step.given_value
    return step.args if step.edited is None else step.edited


def _about_action(step: Step) -> bool:
    """Whether a person was asked if it may happen, not a question of the agent's own."""
    return step.given is not None and step.asked is not None and step.asked.about == "action"


def changed(plain: Any, path: str, value: Any) -> Any:
    """A copy of plain data with ``value`` at dotted ``path`` ("" is the whole); `Misuse` if the
    path leads nowhere."""
    if not path:
        return value
    name, _, rest = path.partition(".")
    if isinstance(plain, dict) and (name in plain or not rest):
        return {**plain, name: changed(plain.get(name), rest, value)}
    if isinstance(plain, list) and name.isdigit() and int(name) < len(plain):
        return [changed(item, rest, value) if i == int(name) else item
                for i, item in enumerate(plain)]  # fmt: skip
    raise Misuse(f"--set: there is no {name!r} in {repr(plain)[:120]}")


class Heard:
    """Which events of a run are known: ``base`` is the position of the first one that is not.

    Own events are known as soon as they are committed. What others append is taken in only when all
    before it is known: an answer must not be heard before its question.
    """

    def __init__(self, history: History, run: str) -> None:
        self._history = history
        self._run = run
        self.base = history.pos + 1
        self._ahead: set[int] = set()
        self._held: dict[int, Event] = {}

    def own(self, events: Sequence[Event], drafts: Sequence[Draft]) -> bool:
        """What was just committed; its bodies need not be decoded. True if that made something
        known that others had appended."""
        for event, draft in zip(events, drafts, strict=False):
            self._history.add(event, draft.body)
            if event.pos == self.base:
                self.base += 1
            else:
                self._ahead.add(event.pos)
        return bool(self._ahead or self._held) and self._close_gap()

    def others(self, events: Sequence[Event]) -> None:
        """Events that may be known already, of any run."""
        for event in events:
            if event.run == self._run and event.pos >= self.base and event.pos not in self._ahead:
                self._held[event.pos] = event
        self._close_gap()

    def _close_gap(self) -> bool:
        taken = False
        while self.base in self._ahead or self.base in self._held:
            held = self._held.pop(self.base, None)
            if held is not None:
                self._history.extend((held,))
                taken = True
            self._ahead.discard(self.base)
            self.base += 1
        return taken


def compare(step: Step, plan: Plan, args: bytes, where: str) -> None:
    """INVARIANT E3: what a replayed program asks for is what was recorded, arguments included.

    Raises `Diverged` with a readable difference.
    """
    recorded = step.plan
    if recorded is not None and recorded.kind == plan.kind and recorded.name == plan.name:
        old = step.args
        if old is None or old == args or payload_hash(old) == payload_hash(args):
            return
    diff = difference(recorded, step.args, plan, args)
    raise Diverged(
        f"{where}: step {step.key} was {title(recorded)}, the program now asks for "
        f"{title(plan)}{_what_differs(step, plan)}; go on with today's code in a fork: "
        f"`holdfast fork {where}@{step.key}`",
        key=step.key,
        diff=diff,
    )


def title(plan: Plan | None) -> str:
    """Kind and name of an action, for people."""
    return "nothing" if plan is None else f"{plan.kind} {plan.name}"


def _what_differs(step: Step, plan: Plan) -> str:
    same = step.plan is not None and title(step.plan) == title(plan)
    return " with other arguments" if same else ""


def difference(old: Plan | None, old_args: bytes | None, new: Plan, new_args: bytes) -> str:
    """A line-based difference of two actions, "-" recorded, "+" asked for now."""
    before = _lines(old, old_args) if old is not None else []
    after = _lines(new, new_args)
    return "\n".join(line for line in difflib.ndiff(before, after) if not line.startswith("?"))


def _lines(plan: Plan, args: bytes | None) -> list[str]:
    lines = [f"{plan.kind}: {plan.name}"]
    content = decode(args) if args else {}
    if isinstance(content, dict):
        lines += [f"  {name} = {_short(value)}" for name, value in content.items()]
    else:
        lines.append(f"  {_short(content)}")
    return lines


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def value_of(step: Step, fetch: Callable[[str], bytes]) -> Any:
    """The recorded result of a settled step, in plain form."""
    return None if step.value is None else unpack(step.value, fetch)
