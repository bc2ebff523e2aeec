"""From an action that should not have happened to a rule that stops the next one like it.

Conditions are made of what the policy saw when it judged the action, and each is tried on what
happened: it must stop this action, and as few as possible of those that were right. Where nothing
tells it from them, that is the answer. A rule is a text for review; nothing here changes a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import msgspec

from holdfast.gate.backtest import Backtest, again, backtest
from holdfast.gate.decisions import Decided
from holdfast.gate.facts import Facts
from holdfast.gate.parse import parse_policy
from holdfast.gate.policy import Policy
from holdfast.gate.proposing import literal, place, text_of
from holdfast.gate.verdict import STRICTNESS
from holdfast.journal.events import is_erased
from holdfast.journal.like import is_short
from holdfast.values import limits
from holdfast.values.canon import encode, unpack
from holdfast.values.errors import Corrupt, Misuse, NotFound

Fetch = Callable[[str], bytes]

TOLERATED: Final = 0.1
"""Share of right actions that a rule may stop and still be offered: people are then asked."""
SUSPECT: Final = ("untrusted", "nowhere", "referred")
"""Origins of a deciding argument that a rule may be about."""
NARROW: Final = 9
"""Rank of a condition on the very values: it stops this action, and not the next one like it."""
_FLAGS: Final = (
    ("flow", "leaks", "leaks", 2), ("flow", "unasked", "unasked", 2),
    ("flow", "new_links", "new_links > 0", 2), ("flow", "secrets", "secrets > 0", 2),
    ("past", "schema_changed", "schema_changed", 3), ("past", "new_target", "new_target", 3),
    ("run", "denials", "denials > 0", 4),
)  # fmt: skip
"""Facts that speak against an action where they hold: group, name, condition, rank."""


class Candidate(msgspec.Struct, frozen=True):
    """A condition that holds for the action. ``rank``: 0 where it is about the origin of an
    argument, larger where it says less of why; ``stops``: places of right actions that it would
    have stopped, of ``of``; ``unknown``: right actions of which it cannot be told."""

    condition: str
    rank: int
    stops: tuple[str, ...]
    of: int
    unknown: int

    @property
    def share(self) -> float:
        """The share of right actions that it stops."""
        return len(self.stops) / self.of if self.of else 0.0


def honest(bad: Decided, past: Sequence[Decided]) -> list[Decided]:
    """The actions of ``past`` by the same agent with the same tool that were let happen, and that
    nobody called wrong: what a rule about ``bad`` should not stop."""
    return [
        one for one in past
        if (one.run, one.key) != (bad.run, bad.key)
        and (one.agent, one.plan.name) == (bad.agent, bad.plan.name)
        and one.stood in ("allow", "verify") and one.answer not in ("deny", "edit")
        and one.reviewed != "wrong"
    ]  # fmt: skip


def candidates(
    bad: Decided, args: Mapping[str, Any], right: Sequence[Decided], fetch: Fetch
) -> list[Candidate]:
    """Conditions that hold for ``bad`` (its arguments: ``args``), those that stop the fewest of
    ``right`` first, of equals those that say most of why."""
    values = [_args(one, fetch) for one in right]
    every = [*_conditions(bad, right), *_beyond_values(args, values)]
    if exact := _exact(bad.facts, args):
        every.append((exact, NARROW))
    tried = [_tried(text, rank, bad, right, fetch) for text, rank in every]
    found = [one for one in tried if one is not None]
    general = [one for one in found if one.rank < NARROW]
    if not any(not one.stops for one in general):
        for one, other in combinations(general, 2):
            text, rank = f"{one.condition} && {other.condition}", max(one.rank, other.rank) + 1
            both = _tried(text, rank, bad, right, fetch)
            if both is not None and both.share < min(one.share, other.share):
                found.append(both)
    return sorted(found, key=lambda one: (len(one.stops), one.rank, len(one.condition)))


def offered(found: Sequence[Candidate]) -> list[Candidate]:
    """Of the candidates, those that tell the action from the right ones well enough."""
    return [one for one in found if one.share <= TOLERATED]


def _tried(
    text: str, rank: int, bad: Decided, right: Sequence[Decided], fetch: Fetch
) -> Candidate | None:
    """A condition with what it would have done; None if it does not fit, or not this action."""
    rule = {
        "id": "tried", "if": text, "then": "deny",
        "when": {"agent": bad.agent, "tool": bad.plan.name},
    }  # fmt: skip
    document = {"version": 1, "otherwise": "allow", "rules": [rule]}
    try:
        policy = parse_policy(encode(document).decode(), "candidate")
    except Misuse:
        return None
    if not _stops(again(bad, policy, fetch)):
        return None
    said = [(one, again(one, policy, fetch)) for one in right]
    stops = tuple(f"{one.run}@{one.key}" for one, verdict in said if _stops(verdict))
    return Candidate(
        text, rank, stops, len(right), sum(isinstance(verdict, str) for _, verdict in said)
    )


def _stops(verdict: Any) -> bool:
    return not isinstance(verdict, str) and verdict.decision == "deny"


def _conditions(bad: Decided, right: Sequence[Decided]) -> Iterator[tuple[str, int]]:
    """Conditions on facts that could hold for the action, with their ranks."""
    facts = bad.facts
    if "flow" in facts.groups:
        for name, origin in facts.origin.items():
            if origin in SUSPECT:
                held = place(name, "origin")
                yield f"{text_of(name)} in origin && {held} == {text_of(origin)}", 0
        if facts.worst in SUSPECT:
            yield f"worst == {text_of(facts.worst)}", 1
        if facts.integrity == "untrusted":
            yield 'integrity == "untrusted"', 2
        if facts.confidentiality != "public":
            yield f"confidentiality == {text_of(facts.confidentiality)}", 3
    for group, name, text, rank in _FLAGS:
        if group in facts.groups and getattr(facts, name):
            yield text, rank
    if "past" in facts.groups and facts.amount:
        most = max((one.facts.amount for one in right), default=0.0)
        if right and facts.amount > most >= 0:
            yield f"amount > {most!r}", 4


def _beyond_values(
    args: Mapping[str, Any], values: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, int]]:
    """Conditions on numbers that are larger, or smaller, than in everything that was right."""
    for name, value in args.items():
        where = place(name)
        known = [one[name] for one in values if _number(one.get(name))]
        if not (known and _number(value) and where.startswith("args.")):
            continue
        for sign, bound, beyond in (
            (">", max(known), value > max(known)), ("<", min(known), value < min(known)),
        ):  # fmt: skip
            if beyond:
                yield f"has({where}) && {where} {sign} {encode(bound).decode()}", 5


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < limits.PREVENT_BOUND_UNITS


def _args(one: Decided, fetch: Fetch) -> Mapping[str, Any]:
    """The arguments of a decision, empty if they are not there (any more)."""
    if one.args is None or is_short(one.args) or is_erased(one.args):
        return {}
    try:
        args = unpack(one.args, fetch)
    except (Corrupt, NotFound):
        return {}
    return args if isinstance(args, dict) else {}


def _exact(facts: Facts, args: Mapping[str, Any]) -> str:
    """A condition on the deciding values (all, if none is known to decide), "" if one has none."""
    names = sorted(facts.origin) or sorted(args)
    terms: list[str] = []
    for name in names:
        where = place(name)
        try:
            said = literal(name, args.get(name))
        except Misuse:
            return ""
        guard = f"has({where}) && " if where.startswith("args.") else ""
        terms.append(f"{guard}{where} == {said}")
    return " && ".join(terms)


# What it does to the past -------------------------------------------------------------------------


def effect_of(past: Sequence[Decided], old: Policy, new: Policy, fetch: Fetch) -> Backtest:
    """What ``new`` changes of the past beside ``old``, the policy as it is: decisions are taken as
    ``old`` makes them today, so that only the difference of the two is told."""
    # INVARIANT X50: what is told of a rule is the difference that it makes, to decisions as the
    # policy that it is added to makes them
    told: list[Decided] = []
    for one in past:
        verdict = again(one, old, fetch)
        if isinstance(verdict, str):
            told.append(one)
            continue
        kept = msgspec.structs.replace(verdict, facts=one.verdict.facts)
        told.append(msgspec.structs.replace(one, verdict=kept))
    return backtest(told, new, fetch)


def stricter(bad: Decided, old: Policy, fetch: Fetch, share: float) -> str:
    """What the rule must say: deny where it stops no right action or the policy asks already, else
    escalate. `Misuse` if the policy denies the action as it is, or cannot judge it."""
    now = again(bad, old, fetch)
    where = f"{bad.run}@{bad.key}"
    if isinstance(now, str):
        raise Misuse(f"{where} cannot be judged again: {now}")
    if now.decision == "deny":
        raise Misuse(f"{where}: the policy denies it already, by {now.rules[0]}: nothing to add")
    asks = STRICTNESS[now.decision] >= STRICTNESS["escalate"]
    return "deny" if asks or not share else "escalate"


# A case -------------------------------------------------------------------------------------------


def case_text(
    bad: Decided, args: Mapping[str, Any], *, decision: str, rule: str, why: str,
    optional: Sequence[str] = (),
) -> str:  # fmt: skip
    """A file of cases with one: this action, on the facts that it was judged on, must come out as
    ``decision``, by ``rule`` ("": any). ``optional``: see `Case`."""
    proposal = bad.proposal(dict(args))
    facts = {name: value for name, value in bad.verdict.facts.items()
             if name not in ("groups", "via")}  # fmt: skip
    parts: list[tuple[str, Any]] = [
        ("name", f"{bad.run}@{bad.key} must not happen again"),
        ("agent", proposal.agent), ("role", proposal.role), ("kind", proposal.kind),
        ("tool", proposal.tool), ("effect", proposal.effect), ("args", dict(args)),
        ("facts", facts), ("decision", decision), ("rule", rule),
        ("bad", " ".join(why.split())[: limits.POLICY_TEXT_CHARS]),
        ("optional", list(optional)),
    ]  # fmt: skip
    lines = [f"{name}: {encode(value).decode()}" for name, value in parts if value]
    return "\n".join([
        f"# From {bad.run}@{bad.key}. `holdfast policy test FOLDER` runs it; a fork of the run",
        f"# that must not do it again: `holdfast prevent {bad.run}@{bad.key} --again 1`.",
        "cases:", f"  - {lines[0]}", *(f"    {line}" for line in lines[1:]), "",
    ])  # fmt: skip
