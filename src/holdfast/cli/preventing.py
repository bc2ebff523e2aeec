"""What ``prevent`` does with a step that went wrong: finds the action, tries rules, writes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from holdfast.engine.history import Step
from holdfast.explain.bisected import steps_of
from holdfast.explain.judged import told_events
from holdfast.explain.past import chain, find_step
from holdfast.explain.telling import plain
from holdfast.gate import Policy, judge
from holdfast.gate.amending import File, amended
from holdfast.gate.backtest import Backtest
from holdfast.gate.cases import parse_cases
from holdfast.gate.decisions import TOLD, Decided, decisions
from holdfast.gate.files import files_of, read_text
from holdfast.gate.parse import parse_files
from holdfast.gate.prevent import (
    Candidate,
    candidates,
    case_text,
    effect_of,
    honest,
    offered,
    stricter,
)
from holdfast.gate.proposing import Rule, rule_of
from holdfast.gate.rehearse import mutate
from holdfast.journal.events import body_of
from holdfast.journal.store import Store
from holdfast.journal.views import CAUSED, RunRow
from holdfast.runtime import Runtime
from holdfast.runtime.amending import Change, against
from holdfast.runtime.counterfactual import Changes, fork_with
from holdfast.values.canon import pack
from holdfast.values.errors import Misuse, NotFound

DEFAULT = Path(__file__).parents[1] / "gate" / "default.yaml"
"""The policy of a project that has none."""


class Bad(msgspec.Struct, frozen=True):
    """The action that must not happen again. ``step``: the one that was named or found; ``decided``
    is the first action from there on that a policy can stop."""

    decided: Decided
    args: dict[str, Any]
    step: str
    why: str


class Proposal(msgspec.Struct, frozen=True):
    """What is proposed. ``rule`` with its ``change`` of the policy and the ``effect`` of that on
    the past; ``case``: text of a file of cases; ``found``: the condition, and ``others`` that would
    do; ``right``: how many right actions it was tried on."""

    rule: Rule
    change: Change
    effect: Backtest
    case: str
    found: Candidate
    others: tuple[Candidate, ...]
    right: int


async def past_of(store: Store) -> list[Decided]:
    """Every decision in the store but those in forks that hold: what happens there is a trial."""
    told = await told_events(store, TOLD)
    trials = {
        event.run for event in told
        if event.kind == "run.started" and (body := body_of(event)).fork_of and body.holds
    }  # fmt: skip
    return [one for one in decisions(told, store.get) if one.run not in trials]


async def bad_of(store: Store, row: RunRow, key: str, past: Sequence[Decided]) -> Bad:
    """The action to prevent: at step ``key``, or at the newest step that a finding says caused the
    outcome (""); else the first one behind it that a policy can stop. `Misuse`, `NotFound`."""
    why = "a person named it"
    if not key:
        key, why = await _caused(store, row)
    _, about = await find_step(store, row.run, key)
    start = about[0].event.pos
    mine = [one for one in past if one.run == row.run and one.pos >= start]
    found = next((one for one in mine if one.key == key and _can_stop(one)), None)
    found = found or next((one for one in mine if _can_stop(one)), None)
    if found is None:
        raise Misuse(
            f"{row.run}@{key}: neither it nor a step behind it is an action of a tool that a "
            "policy could stop (one that does more than read)"
        )
    step, _ = await find_step(store, row.run, found.key)
    args = plain(step.args, store.get)
    whole = msgspec.structs.replace(found, args=pack(args, {}))
    return Bad(whole, args if isinstance(args, dict) else {}, key, why)


def _can_stop(one: Decided) -> bool:
    return one.plan.kind == "tool" and one.plan.effect != "read" and one.verdict.decision != "deny"


async def _caused(store: Store, row: RunRow) -> tuple[str, str]:
    for event in reversed(await chain(store, row.run)):
        if event.kind == "finding.added" and body_of(event).type == CAUSED:
            value = plain(event.value, store.get)
            key, of = str(value["step"]), f"{value['flips']} of {value['of']}"
            return key, f"{of} forks that took step {key} anew ended otherwise"
    raise NotFound(
        f"run {row.run} has no step that is known to have caused its outcome: say RUN@STEP, or "
        f"find it with `holdfast bisect {row.run}`"
    )


def propose(bad: Bad, past: Sequence[Decided], policy: Policy, path: str, fetch: Any) -> Proposal:
    """A rule that stops ``bad``, a case, and what the rule does to the past. `Misuse` if nothing
    that the policy can see tells it from what was right."""
    one = bad.decided
    right = honest(one, past)
    every = candidates(one, bad.args, right, fetch)
    good = offered(every)
    then = stricter(one, policy, fetch, good[0].share if good else 0.0)
    where = f"{one.run}@{one.key}"
    if not good:
        known = ", ".join(one.facts.groups) or "none"
        raise Misuse(
            f"{where}: nothing that the policy can see tells it from {len(right)} honest steps "
            f"(facts that were kept: {known}; `facts: all` keeps every one, and a label or a "
            "deciding argument of the tool shows more)"
        )
    why = f"{where} must not happen again: {bad.why}"
    files = _files(path)
    found = good[0]
    rule = rule_of(one.agent, one.plan.name, found.condition, one.verdict, then, why)
    rule = msgspec.structs.replace(rule, asked=(), policy=policy.hash[:12])
    new_files = tuple(amended(files, rule))
    new = parse_files(list(new_files), path or DEFAULT.name)
    # INVARIANT X51: a rule is only offered if the policy with it stops the very step
    name = dict(rule.lines())["id"]
    facts, proposal = one.facts, one.proposal(bad.args)
    verdict = judge(proposal, new, facts)
    if verdict.decision != then or name not in verdict.rules:
        raise Misuse(f"{where}: with the rule it would still be {verdict.decision}")
    text = case_text(one, bad.args, decision=then, rule=name, why=why)
    (case,) = parse_cases(text, "case")
    optional = list(dict.fromkeys(each.part for each in mutate(case, new)))
    case = case_text(one, bad.args, decision=then, rule=name, why=why, optional=optional)
    failed = tuple(against(path, policy, new)) if path else ()
    return Proposal(
        rule, Change(path or DEFAULT.name, files, new_files, failed),
        effect_of(past, policy, new, fetch), case, found, tuple(good[1:4]), len(right),
    )  # fmt: skip


def _files(path: str) -> tuple[File, ...]:
    if not path:
        return ((read_text(DEFAULT), DEFAULT.name),)
    return tuple((read_text(file), os.fspath(file)) for file in files_of(path))


# A fork that must not do it again -----------------------------------------------------------------


async def does_it_again(runtime: Runtime, bad: Bad, tries: int) -> list[tuple[str, str]]:
    """Fork the run before the step so many times, and execute the forks, which hold: in which of
    them the action was taken again (at which step), or would have been."""
    one, store = bad.decided, runtime.store
    deciding = sorted(one.facts.origin) or sorted(bad.args)
    before = await chain(store, one.run)
    again: list[tuple[str, str]] = []
    number = 0
    for _ in range(tries):
        name = ""
        while not name or await _taken(store, name):
            number += 1
            name = f"{one.run}.prevent-{number}"
        await fork_with(runtime, one.run, bad.step, Changes(fresh=True), name=name)
        shared = (await store.run(name)).fork_pos
        kept = {body_of(event).key for event in before
                if event.pos <= shared and event.kind == "step.settled"}  # fmt: skip
        for (_, key), step in steps_of(await chain(store, name)).items():
            same = key not in kept and _same(step, one, bad.args, deciding, store)
            if same and _happened(step):
                again.append((name, key))
    return again


async def _taken(store: Store, name: str) -> bool:
    try:
        await store.run(name)
    except NotFound:
        return False
    return True


def _same(
    step: Step, one: Decided, args: Mapping[str, Any], deciding: Sequence[str], store: Store
) -> bool:
    if step.plan is None or step.plan.name != one.plan.name:
        return False
    asked = plain(step.args, store.get)
    return isinstance(asked, dict) and all(asked.get(x) == args.get(x) for x in deciding)


def _happened(step: Step) -> bool:
    """Whether it was performed, or would have been if the fork did not hold."""
    status = step.settled.status if step.settled is not None else "open"
    held = step.planned is not None and step.planned.held
    return status in ("value", "held", "unknown") or (held and status == "open")
