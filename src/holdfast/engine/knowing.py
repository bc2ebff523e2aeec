"""What a policy may look at of one action, gathered on its path: only what it needs, and only from
the journal: the run's own past, sums over others, what the run has seen.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from holdfast.engine.commands import Above, Command, Sums, call_of, merged_from, plain_args
from holdfast.engine.dealings import asked_for, harm, past
from holdfast.engine.held import LEAVES
from holdfast.engine.history import History
from holdfast.engine.run import Pending, Run
from holdfast.engine.seeing import groups, known_tool, seen
from holdfast.gate import Policy, Proposal
from holdfast.gate.context import flow
from holdfast.gate.facts import ORIGINS, Facts
from holdfast.gate.labels import join
from holdfast.values import limits
from holdfast.values.canon import unpack

Gathered = Generator[Command, Any, Facts]


def needs(proposal: Proposal, policy: Policy) -> frozenset[str]:
    """Groups of facts that have to be known to judge an action; an engine outside gets all."""
    return policy.needs(proposal) if policy.engine is None else groups(policy)


def know(
    run: Run, pending: Pending, proposal: Proposal, policy: Policy, need: frozenset[str]
) -> Gathered:
    """The facts of a step, of the groups that ``policy`` needs to judge it."""
    # INVARIANT E53: the same journal gives the same facts, live, resumed, replayed or in a fork
    found: dict[str, Any] = {}
    if "run" in need:
        if run.depth < 0:
            begun = run.history.begun
            run.depth = (yield Above(run.id)) if begun is not None and begun.parent else 0
        found.update(of_run(run.history, pending.key, pending.plan.name), depth=run.depth)
    if "past" in need:
        found.update((yield from _past(run, pending, policy)))
    if "flow" in need:
        # what another run asked for, and this one publishes, was made from what that one saw
        mind = run if pending.lender is None else pending.lender
        facts = known_tool(run, policy, proposal.tool)
        args = plain_args(run, pending)
        if pending.tool is not None:
            args = pending.tool.said(args)
        context = seen(mind, policy).context
        found.update(flow(context, args, facts, proposal.tool, proposal.effect, proposal.kind))
        # INVARIANT E99: a merge brings in all that the run it comes from has seen
        brought = yield from merged_from(run, pending, policy, anew=True)
        if brought is not None:
            label = join(context.label, brought)
            found.update(integrity=label.integrity, confidentiality=label.confidentiality)
        if pending.edited:
            found.update(_in_a_persons_words(run, pending, args, found))
    if "agent" in need:
        found.update(of_agent(policy, proposal.agent))
    return Facts(**found, groups=tuple(sorted(need)))


def _in_a_persons_words(
    run: Run, pending: Pending, args: dict[str, Any], found: dict[str, Any]
) -> dict[str, Any]:
    """Origins once a person changed arguments: what they gave is their word."""
    asked = run.history.step(pending.key).args
    before = {} if asked is None else unpack(asked, run.outer.fetch)
    changed = {name for name, value in args.items() if name not in before or before[name] != value}
    origin = {name: "person" if name in changed else word for name, word in found["origin"].items()}
    words = list(origin.values())
    trusted = sum(ORIGINS.index(word) <= ORIGINS.index("trusted") for word in words)
    return {
        "origin": origin,
        "via": {name: where for name, where in found["via"].items() if name not in changed},
        "worst": max(words, key=ORIGINS.index, default=""),
        "grounded": trusted / len(words) if words else 1.0,
    }


def of_run(history: History, key: str, name: str) -> dict[str, Any]:
    """The facts of the group ``run`` for step ``key``, but ``depth``: those of the segment."""
    mine = history.judged.get(key)
    same = mine is not None and mine.plan is not None and mine.plan.name == name
    recent = 0
    for one, step in reversed(history.judged.items()):
        if step.judged_at <= history.own_at - limits.RATE_WINDOW_MS:
            break
        recent += one != key
    return {
        "calls": len(history.judged) - (mine is not None),
        "calls_of_tool": history.of_tool.get(name, 0) - same,
        "calls_last_minute": recent,
        "denials": _denials(history),
        "spent": float(history.used.get("money", 0.0)),
        "tokens": int(history.used.get("tokens", 0)),
        "alarms": len(history.alarms),
        "alarm_score": max(history.alarms.values(), default=0.0),
    }


def _denials(history: History) -> int:
    """How many actions in a row were refused just before."""
    found = 0
    for step in reversed(history.outcomes):
        if step.settled is not None and step.settled.status == "refused":
            found += 1
        elif step.key in history.judged:
            break
    return found


def _past(run: Run, pending: Pending, policy: Policy) -> Generator[Command, Any, dict[str, Any]]:
    facts = known_tool(run, policy, pending.plan.name)
    one = call_of(run, pending, policy)
    found: dict[str, Any] = {"harm": harm(one.amount, facts)}
    if one.amount is not None:
        found["amount"] = one.amount
    if pending.plan.effect in LEAVES:
        sums: dict[str, int] = yield Sums(asked_for(one))
        found.update(past(one, sums, facts))
    elif facts.pin and one.definition:
        found["schema_changed"] = facts.pin != one.definition
    return found


def of_agent(policy: Policy, agent: str) -> dict[str, Any]:
    """The facts of the group ``agent``."""
    card = policy.agent(agent)
    if card is None:
        return {"registered": False, "pending": bool(policy.agents)}
    return {"registered": True, "autonomy": card.autonomy}
