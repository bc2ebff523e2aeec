"""Anomalies: a fold over a journal that learns what is usual for each agent and raises alarms.

It takes events in the order they were committed and nothing else: no clock, no chance, no other
event than those before. So the same journal gives the same alarms, whether it is followed live or
read at once, in pieces of any size, or from a state that was kept.

Each outcome of a step is looked at by these parts, whose names stand in `AlarmPart`:

- ``order``: how surprising it is after the two steps before (`holdfast.explain.surprise`);
- ``cost``, ``tokens``, ``latency`` of this tool, and ``.drift`` of each (`holdfast.explain.scale`);
- ``rate`` (steps in a minute), ``errors`` (share of the latest steps that failed), ``length`` and
  ``spent`` (steps and money of the run so far, beside what runs came to);
- ``loop``: the same calls with the same results in a row (`holdfast.explain.loops`);
- ``sink``, ``source``, ``tool``, ``origin``: a target written to, a source read, a tool used, or a
  deciding argument from an origin, for the first time (`holdfast.explain.novelty`);
- ``links``, ``secrets``, ``prefix``: links nobody named and credentials in content, and what a
  conversation that began in another way cost anew;
- ``leak``, ``burst``: rules that need no past.

Each gives a rank within that agent's own history, and these are fused (`holdfast.explain.ranks`).
How many alarms there may be a day decides how unusual is too unusual (`holdfast.explain.quota`). Of
an agent that is hardly known, only plain rules raise an alarm (loops, leaks, bursts, what a person
called bad), or what is unusual for others of its role.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from holdfast.explain import baseline, loops, quota, ranks, reason
from holdfast.explain.alarm import NORMAL, VERDICTS, Alarm, AlarmPart
from holdfast.explain.baseline import Baseline, Hint, Sight
from holdfast.explain.habits import Budget, Kept, Opened, Running, State, Watched, no_state
from holdfast.gate.deciding import target_of
from holdfast.gate.tools import UNKNOWN_TOOL
from holdfast.journal.events import (
    ApprovalAsked,
    Event,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
    Verdict,
    body_of,
)
from holdfast.journal.like import is_short
from holdfast.journal.record import OWN
from holdfast.journal.views import ANOMALY, ANOMALY_JUDGED, BRANCH, THREAD, place_of
from holdfast.values import limits
from holdfast.values.canon import digest

__all__ = ["PARTS", "Alarm", "AlarmPart", "Budget", "State", "fold", "no_state"]

PARTS = tuple(reason.SAYINGS)
"""The names of all parts."""
PLAIN = 1e-4
"""The rank of what needs no past, at most."""
_SHOWN = 0.05
"""A part with a rank above this is not why there is an alarm."""
_RARE = 0.005
"""A loop with a rank above this is the way of its agent, such as to ask until it is done."""
_MEMORY = 0.1
"""Of the newest step in the share of steps that failed: it remembers about twenty."""
_AT_ONCE = frozenset({"errors", "rate", "cost.drift", "tokens.drift", "latency.drift"})
"""Parts about an agent rather than about a run."""
_OF_RUN = _AT_ONCE | {"order", "length", "spent", "prefix", "burst"}
"""Parts that raise one alarm a run, whatever they are about."""
_FAILED = frozenset({"error", "refused", "unknown", "expired"})


class _Step(NamedTuple):
    """Where something was seen."""

    event: Event
    run: Running
    key: str


def fold(state: State, events: Iterable[Event]) -> list[Alarm]:
    """Take in the next events of a store, in commit order; the alarms that they raise."""
    # INVARIANT X61: alarms depend on the events before them only, not on how these were delivered
    found: list[Alarm] = []
    for event in events:
        kind = event.kind
        if kind == "step.settled":
            alarm = _settled(state, event)
            if alarm is not None:
                found.append(alarm)
        elif kind in ("step.planned", "approval.asked"):
            run = state.runs.get(event.run)
            if run is not None:
                _opened(run, event, body_of(event))
        elif kind == "run.started":
            _started(state, event, body_of(event))
        elif kind == "run.ended":
            alarm = _ended(state, event, body_of(event))
            if alarm is not None:
                found.append(alarm)
        elif kind == "finding.added":
            _found(state, event, body_of(event))
        state.seq, state.id = event.seq, event.id
    return found


# Runs ------------------------------------------------------------------------------------------


def _started(state: State, event: Event, body: RunStarted) -> None:
    agent = body.agent
    if event.run in OWN or agent in (BRANCH, THREAD) or body.holds:
        return  # what a run that holds does reaches nobody, and it is often done over and over
    run = state.runs.pop(event.run, None)
    if run is None:
        run = Running(agent, body.role, loops.no_loop(), {}, [])
    run.segment, run.opened = body.segment, {}
    state.runs[event.run] = run
    watched = state.agents.pop(agent, None)
    state.agents[agent] = watched or Watched(baseline.no_baseline(), {}, {}, {})
    for table, most in (
        (state.runs, limits.ANOMALY_OPEN_RUNS), (state.agents, limits.ANOMALY_AGENTS_ITEMS)
    ):  # fmt: skip
        if len(table) > most:
            del table[next(iter(table))]


def _opened(run: Running, event: Event, body: StepPlanned | ApprovalAsked) -> None:
    known = run.opened.get(body.key)
    if known is None:
        if body.plan is None:
            return
        if len(run.opened) >= limits.ANOMALY_OPEN_STEPS:
            del run.opened[next(iter(run.opened))]
        known = run.opened[body.key] = _open(body.plan, event.args)
    if body.verdict is not None:
        known.facts = _facts(body.verdict)


def _open(plan: Plan, args: bytes | None) -> Opened:
    things = [("tool", plan.name)]
    kind = "source" if plan.effect == "read" else "sink"
    # of what is only read, addresses count: paths and queries are new ones all the time
    if args is not None and (kind == "sink" or b"://" in args) and plan.kind == "tool":
        target = _target(args)
        if target:
            things.append((kind, f"{plan.name} {digest(target.encode())[:12]}"))
    return Opened(plan, loops.marked(args), things, {})


def _target(args: bytes) -> str:
    """Whom or what a call is for, as policies see it that say nothing of its tool."""
    if b'":"' not in args or is_short(args) or len(args) > limits.FLOW_VALUE_CHARS:
        return ""
    said = msgspec.json.decode(args)
    return target_of(said, UNKNOWN_TOOL) if isinstance(said, dict) else ""


def _facts(verdict: Verdict) -> dict[str, Any]:
    """The facts of a verdict that are looked at."""
    facts = verdict.facts
    return {name: facts[name] for name in _FACTS if name in facts}


_FACTS = ("leaks", "worst", "new_links", "secrets", "groups")


# Steps -----------------------------------------------------------------------------------------


def _settled(state: State, event: Event) -> Alarm | None:
    run = state.runs.get(event.run)
    if run is None:
        return None
    body: StepSettled = body_of(event)
    opened = run.opened.pop(body.key, None)
    if opened is None:
        if body.plan is None:
            return None
        opened = _open(body.plan, event.args)
    plan = opened.plan
    if plan.kind == "dice" or body.origin in ("fork", "edit"):
        return None  # chance says nothing of an agent, and what a fork reuses was seen before
    if body.verdict is not None:
        opened.facts = _facts(body.verdict)
    watched = state.agents.get(run.agent)
    if watched is None:
        return None
    sight = _sight(watched, run, opened, event, body)
    alarm = _look(state, _Step(event, run, body.key), watched, sight, opened.facts)
    run.before, run.last = run.last, sight.symbol
    return alarm


def _sight(
    watched: Watched, run: Running, opened: Opened, event: Event, body: StepSettled
) -> Sight:
    plan, things, usage = opened.plan, opened.things, body.usage
    amounts: dict[str, float] = {}
    if body.took and body.status == "value":
        amounts["latency"] = float(body.took)
    if "tokens" in usage:
        amounts["tokens"] = usage["tokens"]
    if "money" in usage:
        amounts["cost"] = usage["money"]
        run.money += usage["money"]
    run.steps += 1
    numbers: dict[str, float] = {}
    if plan.kind == "model":
        numbers["prefix"], run.broken = run.broken / 1e3, 0.0
    facts = opened.facts
    if "flow" in facts.get("groups", ()):
        numbers["links"] = float(facts.get("new_links", 0))
        numbers["secrets"] = float(facts.get("secrets", 0))
        if "worst" in facts:
            things.append(("origin", f"{plan.name} {facts['worst']}"))
    if body.label.startswith("untrusted"):
        things.append(("source", f"{plan.name} untrusted"))
    times, cycle = 1, 1
    if plan.kind == "tool":
        call = loops.fingerprint(opened.mark, plan.name, body.status, event.value)
        times, cycle = loops.repeats(run.loop, call)
    failed = 100.0 if body.status in _FAILED else 0.0
    watched.failing += _MEMORY * (failed - watched.failing)
    symbol = f"{plan.kind} {plan.name}"
    if body.status != "value":
        symbol = f"{symbol}: {body.status}"
    return Sight(
        symbol, run.last, run.before, plan.name, amounts, numbers, things, run.steps, run.money,
        times, cycle, watched.failing, _rate(watched, event.at),
    )  # fmt: skip


def _rate(watched: Watched, at: int) -> float:
    """Steps within the last minute: those of this one, and the share of the last one's that are
    not a minute old, taking these for evenly spread."""
    minute, rest = divmod(at, 60_000)
    if minute > watched.minute:
        watched.prior = watched.count if minute == watched.minute + 1 else 0
        watched.minute, watched.count = minute, 0
    watched.count += 1
    return watched.count + watched.prior * (60_000 - rest) / 60_000


def _ended(state: State, event: Event, body: RunEnded) -> Alarm | None:
    run = state.runs.pop(event.run, None)
    watched = state.agents.get(run.agent) if run is not None else None
    if run is None or watched is None:
        return None
    sight = Sight(
        f"end: {body.status}", run.last, run.before, "", {}, {}, [], run.steps, run.money, 1, 1,
        watched.failing, 0.0,
    )  # fmt: skip
    alarm = _look(state, _Step(event, run, ""), watched, sight, {})
    baseline.end(watched.base, run.steps, run.money)
    if run.role:
        baseline.end(_role(state, run.role), run.steps, run.money)
    return alarm


def _role(state: State, role: str) -> Baseline:
    found = state.roles.get(role)
    if found is None:
        found = state.roles[role] = baseline.no_baseline()
        if len(state.roles) > limits.ANOMALY_AGENTS_ITEMS:
            del state.roles[next(iter(state.roles))]
    return found


# Alarms ----------------------------------------------------------------------------------------


def _look(
    state: State, where: _Step, watched: Watched, sight: Sight, facts: dict[str, Any]
) -> Alarm | None:
    """What is unusual about a step, as an alarm if it is too unusual; then learn from it."""
    base, run = watched.base, where.run
    own = baseline.look(base, sight, state.tools, every=bool(watched.bad))
    looked, used = own, base
    if run.role:
        role = _role(state, run.role)
        of_role = baseline.look(role, sight, state.tools, every=False)
        if not base.warm and role.warm:
            looked, used = of_role, role
        baseline.learn(role, sight, of_role)
    plain: list[Hint] = []
    if facts or watched.bad or sight.times > 1 or sight.rate >= limits.ANOMALY_BURST_STEPS:
        plain = _plain(watched, used.warm, sight, looked.hints, facts)
    hints = looked.hints if used.warm else []
    if watched.normal:
        # INVARIANT X62: what persons called normal raises no alarm again, unless it is far more
        hints = [hint for hint in hints if not _called(watched.normal, hint, 2.0)]
    alarm = None
    if plain or any([hint.rank <= quota.FLOOR for hint in hints]):  # noqa: C419 - quicker so
        usual = looked.parts - len(looked.hints)
        alarm = _raise(state, where, watched, sight, (hints, plain, usual, used))
    baseline.learn(base, sight, own)
    for move in own.moves:
        if not move.often:
            baseline.measure(state.tools, move)
    if alarm is not None:
        baseline.doubt(base, own.hints)
    return alarm


def _plain(
    watched: Watched, warm: bool, sight: Sight, hints: list[Hint], facts: dict[str, Any]
) -> list[Hint]:
    """What raises an alarm whatever the past was."""
    found: list[Hint] = []
    if facts.get("leaks"):
        found.append(Hint("leak", sight.tool, 1.0, 0.0, PLAIN, -1))
    if sight.times >= limits.ANOMALY_LOOP_STEPS:
        value = float(sight.times)
        loop = [hint for hint in hints if hint.name == "loop"]
        if not warm or (loop and loop[0].rank <= _RARE):
            rank = min(PLAIN, loop[0].rank if loop else 1.0)
            found.append(Hint("loop", sight.tool, value, -1.0, rank, ranks.bin_of(value)))
    if not warm and sight.rate >= limits.ANOMALY_BURST_STEPS:
        found.append(Hint("burst", "", sight.rate, 0.0, PLAIN, -1))
    if watched.bad:
        found += [_plainly(hint) for hint in hints if _called(watched.bad, hint, 0.0, 0.9)]
    if watched.normal:
        found = [hint for hint in found if not _called(watched.normal, hint, 2.0)]
    return found


def _plainly(hint: Hint) -> Hint:
    return msgspec.structs.replace(hint, rank=min(PLAIN, hint.rank))


def _called(judged: dict[str, float], hint: Hint, most: float, least: float = 0.0) -> bool:
    """Whether a person judged the like of a hint: at most (0: any) or at least so many times its
    value."""
    value = judged.get(_signature(hint))
    if value is None:
        return False
    return (not most or hint.value <= most * value) and hint.value >= least * value


def _signature(hint: Hint) -> str:
    return f"{hint.name} {hint.about}"


def _raise(
    state: State, where: _Step, watched: Watched, sight: Sight,
    looked: tuple[list[Hint], list[Hint], int, Baseline],
) -> Alarm | None:  # fmt: skip
    hints, plain, usual, used = looked
    names = {hint.name for hint in plain}
    every = [*plain, *(hint for hint in hints if hint.name not in names)]
    rank = ranks.fused([hint.rank for hint in every] + [1.0] * usual)
    if plain:
        rank = min(rank, PLAIN)
    if rank > quota.FLOOR:
        return None
    shown = sorted((hint for hint in every if hint.rank <= _SHOWN), key=lambda hint: hint.rank)
    at, run = where.event.at, where.run
    if not _news(watched, run, shown[0], at):
        return None
    day = quota.day_of(at)
    if day > watched.day:
        watched.day, watched.today = day, 0
    budget = state.budget
    if watched.today >= budget.of_agent:
        state.quota.untold += 1
        return None
    if not quota.admits(state.quota, budget.alarms_a_day, rank, at, plain=bool(plain)):
        return None
    watched.today += 1
    shown = shown[: limits.ANOMALY_PARTS_ITEMS]
    parts = tuple(
        reason.part_of(hint, baseline.usual(used, hint), bad=_signature(hint) in watched.bad)
        for hint in shown
    )
    event = where.event
    key = place_of(run.segment, where.key) if where.key else ""
    alarm = Alarm(
        event.run, event.pos, key, run.agent, at, 1.0 - rank, parts,
        reason.summary(run.agent, parts),
    )  # fmt: skip
    state.alarms[f"{event.run}#{event.pos}"] = Kept(alarm, sight, shown)
    if len(state.alarms) > limits.ANOMALY_ALARMS_ITEMS:
        del state.alarms[next(iter(state.alarms))]
    return alarm


def _news(watched: Watched, run: Running, first: Hint, at: int) -> bool:
    """Whether an alarm about this has not been raised just before; from now on it has."""
    name = first.name if first.name in _OF_RUN else _signature(first)
    if first.name in _AT_ONCE:
        signature = _signature(first)
        if at - watched.told.get(signature, -limits.ANOMALY_AGAIN_MS) < limits.ANOMALY_AGAIN_MS:
            return False
        watched.told.pop(signature, None)
        watched.told[signature] = at
        if len(watched.told) > limits.ANOMALY_SYMBOLS_ITEMS:
            del watched.told[next(iter(watched.told))]
        return True
    if name in run.told:
        return False
    run.told.append(name)
    if len(run.told) > limits.ANOMALY_SYMBOLS_ITEMS:
        del run.told[0]
    return True


# What others found -----------------------------------------------------------------------------


def _found(state: State, event: Event, body: FindingAdded) -> None:
    if body.type == "model.prefix":
        run, value = state.runs.get(event.run), _value(event)
        if run is not None:
            lost = value.get("size", 0)
            run.broken += float(lost) if isinstance(lost, int | float) else 0.0
    elif body.type == ANOMALY:
        kept = state.alarms.get(f"{event.run}#{body.about}")
        if kept is not None:
            kept.told = True
    elif body.type == ANOMALY_JUDGED:
        place = f"{event.run}#{body.about}"
        kept, value = state.alarms.get(place), _value(event)
        verdict = value.get("verdict")
        if kept is not None and verdict in VERDICTS:
            _judged(state, kept, str(verdict))
            note = value.get("note", "")
            kept.alarm = msgspec.structs.replace(
                kept.alarm, judged=verdict, by=body.by, note=note if isinstance(note, str) else ""
            )


def _value(event: Event) -> dict[str, Any]:
    """The value of a finding without what is stored apart; empty if it was erased."""
    found = msgspec.json.decode(event.value) if event.value else None
    return found if isinstance(found, dict) else {}


def _judged(state: State, kept: Kept, verdict: str) -> None:
    """Learn what a person said of an alarm."""
    watched = state.agents.get(kept.alarm.agent)
    if watched is None or kept.alarm.judged == verdict:
        return
    normal = verdict == NORMAL
    baseline.judge(watched.base, kept.sight, kept.hints, normal=normal)
    here, there = (watched.normal, watched.bad) if normal else (watched.bad, watched.normal)
    for hint in kept.hints:
        there.pop(_signature(hint), None)
        here.pop(_signature(hint), None)
        here[_signature(hint)] = hint.value
        if len(here) > limits.ANOMALY_SYMBOLS_ITEMS:
            del here[next(iter(here))]
