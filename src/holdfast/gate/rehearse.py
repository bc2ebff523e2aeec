"""Trying a policy without any run: why a verdict is what it is, what is odd about the rules, which
lost or misspelled part of the input would weaken a verdict, and what a change of policy changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from holdfast.gate.cases import Case
from holdfast.gate.cel import NAMES
from holdfast.gate.facts import NO_FACTS, Facts
from holdfast.gate.judge import judge, look, weigh
from holdfast.gate.parse import form_of
from holdfast.gate.pattern import names_of
from holdfast.gate.policy import Policy, Rule
from holdfast.gate.proposal import EFFECTS, Proposal
from holdfast.gate.risk import assess
from holdfast.gate.verdict import STRICTNESS, Verdict

# Why -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """How one rule reads an action: whether it matched (None: that cannot be told), and why."""

    rule: Rule
    matched: bool | None
    why: str


def explain(proposal: Proposal, policy: Policy, facts: Facts = NO_FACTS) -> list[Reading]:
    """Every rule of ``policy``, in its order, and how it reads the action."""
    plan = policy.plan(proposal)
    if plan.problem:
        return []
    seen = {
        "agent": proposal.agent, "role": plan.role, "kind": proposal.kind, "tool": proposal.tool,
        "effect": plan.effect,
    }  # fmt: skip
    p = assess(facts, proposal, policy.risk).p if policy.risk else 0.0
    held = {rule.id: holds for rule, holds in look(plan, proposal, facts, p)}
    return [_reading(rule, seen, held.get(rule.id)) for rule in policy.rules]


def _reading(rule: Rule, seen: dict[str, str], holds: bool | str | None) -> Reading:
    if holds is None:
        name = next(name for name, test in rule.names if not test.match(seen[name]))
        return Reading(rule, False, f"{name} is {seen[name]!r}")
    if isinstance(holds, str):
        return Reading(rule, None, holds)
    return Reading(rule, holds, "" if rule.condition is None else f"if is {str(holds).lower()}")


# What is odd -----------------------------------------------------------------------------------


def lint(policy: Policy) -> list[str]:
    """What certainly has no effect in ``policy``, each in a sentence that begins with its place."""
    return [*_rules_without_effect(policy), *_entries_without_effect(policy)]


def _rules_without_effect(policy: Policy) -> Iterator[str]:
    for rule in policy.rules:
        place = f"{rule.source}:{rule.line}: rule {rule.id!r}"
        constant = _constant(rule)
        if constant is not None:
            yield f"{place}: its 'if' is always {str(constant).lower()}"
        named = rule.when.get("tool", ())
        if named and "effect" in rule.when and not any("*" in n or "?" in n for n in named):
            said = [policy.tool(name).effect or "read" for name in named]
            asked = max(map(EFFECTS.index, rule.when["effect"]))
            if all(EFFECTS.index(effect) > asked for effect in said):
                yield f"{place} never matches: section 'tools' gives its tools a stricter effect"
        for other in policy.rules:
            stricter = STRICTNESS[other.then] > STRICTNESS[rule.then]
            if stricter and other.condition is None and _covers(other, rule):
                yield (
                    f"{place} never decides: whatever it matches, rule {other.id!r} "
                    f"({other.then}) matches too"
                )
                break


def _constant(rule: Rule) -> bool | None:
    condition = rule.condition
    if condition is None or condition.uses or condition.args != frozenset():
        return None
    try:
        from_nothing = condition.program.eval(data={}).plain_value()
    except RuntimeError:
        return None
    return from_nothing if isinstance(from_nothing, bool) else None


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether ``wide`` matches by its names whatever ``narrow`` does; False if that is not sure."""
    for name, test in wide.names:
        if wide.when[name] == ("*",):
            continue
        texts = narrow.when.get(name)
        if texts is None:
            return False
        for text in texts:
            special = "*" in text or "?" in text
            if text not in wide.when[name] and (special or not test.match(text)):
                return False
    return True


def _entries_without_effect(policy: Policy) -> Iterator[str]:
    for section, entries, key in (
        ("tools", policy.tools, "tool"),
        ("agents", policy.agents, "agent"),
    ):
        earlier: list[str] = []
        for entry in entries:
            texts: tuple[str, ...] = getattr(entry, key)
            test = names_of(tuple(earlier)) if earlier else None
            for text in texts:
                special = "*" in text or "?" in text
                if text in earlier or "*" in earlier or (test and not special and test.match(text)):
                    yield f"{policy.source}: {section}: {text!r} is covered by an earlier entry"
            earlier += texts
    used = {name for rule in policy.rules for name in rule.checks}
    for name in policy.checks:
        if name not in used:
            yield f"{policy.source}: checks: no rule asks for {name!r}"


# What a lost part would do ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weaker:
    """A part of a case's input whose loss would weaken the verdict."""

    case: Case
    part: str
    how: str
    before: Verdict
    after: Verdict


def mutate(case: Case, policy: Policy) -> Iterator[Weaker]:
    """Drop and misspell every part of the input of ``case``; yield what weakens its verdict.

    A fact that is dropped is unknown, not at its default; so is one whose name or word is
    misspelled, for whatever reads facts refuses those it does not know (G86).
    """
    # INVARIANT G15: a fact that is lost never weakens a verdict
    before = judge(case.proposal, policy, case.facts)
    for part, how, proposal, facts, lost in _losses(case):
        after = _judge_without(proposal, policy, facts, lost)
        weaker = STRICTNESS[after.decision] < STRICTNESS[before.decision]
        if weaker and not _may_go(part, case.optional):
            yield Weaker(case, part, how, before, after)


Loss = tuple[str, str, Proposal, Facts, str]
"""Part, how it was lost, and what is left; at the end a fact that is unknown, or nothing."""


def _losses(case: Case) -> Iterator[Loss]:
    proposal, facts = case.proposal, case.facts
    for name in NAMES:
        value: str = getattr(proposal, name)
        for how, other in (("dropped", ""), ("misspelled", _misspelled(value))):
            if other != value:
                changed = msgspec.structs.replace(proposal, **{name: other})
                yield name, how, changed, facts, ""
    for part, how, args in _thinner(dict(proposal.args), "args"):
        yield part, how, msgspec.structs.replace(proposal, args=args), facts, ""
    for name in facts.__struct_fields__:
        yield f"facts.{name}", "dropped", proposal, facts, name
        found: Any = getattr(facts, name)
        keyed: dict[str, str] = dict(found) if isinstance(found, dict) else {}
        for part, how, fewer in _thinner(keyed, f"facts.{name}"):
            less = msgspec.structs.replace(facts, **{name: fewer})
            yield part, how, proposal, less, ""


def _thinner(entries: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The entries without one, or with one misspelled, at any depth; and which it was, and how."""
    for name, value in entries.items():
        rest = {key: each for key, each in entries.items() if key != name}
        yield f"{path}.{name}", "dropped", rest
        yield f"{path}.{name}", "misspelled", {**rest, _misspelled(name): value}
        inner = value if isinstance(value, list | tuple) else [value]
        for place, each in enumerate(inner):
            if isinstance(each, Mapping):
                for part, how, less in _thinner(each, f"{path}.{name}"):
                    within = [*inner[:place], less, *inner[place + 1 :]]
                    whole = less if isinstance(value, Mapping) else within
                    yield part, how, {**entries, name: whole}


def _may_go(part: str, optional: tuple[str, ...]) -> bool:
    """Whether a part, or what it is in, may be lost."""
    return any(part == one or part.startswith(f"{one}.") for one in optional)


def _misspelled(text: str) -> str:
    """``text`` with two letters swapped, or one more."""
    return text[1] + text[0] + text[2:] if text[1:] and text[0] != text[1] else text + "x"


def _judge_without(proposal: Proposal, policy: Policy, facts: Facts, lost: str) -> Verdict:
    plan = policy.plan(proposal)
    if not lost or plan.problem:
        return judge(proposal, policy, facts)
    return weigh(plan, look(plan, proposal, facts, lost=lost), policy)


# What a change changes -------------------------------------------------------------------------

Action = tuple[str, Proposal, Facts]
"""A name for people, and what is judged."""


@dataclass(frozen=True, slots=True)
class Changed:
    """An action with another verdict."""

    name: str
    before: Verdict
    after: Verdict


def compare(old: Policy, new: Policy) -> dict[str, list[str]]:
    """Ids of rules that were added, removed and changed, and the sections that changed."""
    before = {rule.id: form_of(rule) for rule in old.rules}
    after = {rule.id: form_of(rule) for rule in new.rules}
    return {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "changed": [name for name in after if name in before and before[name] != after[name]],
        "sections": [each for each in _SECTIONS if getattr(old, each) != getattr(new, each)],
    }


_SECTIONS: Final = (
    "otherwise", "tools", "agents", "routes", "risk", "budgets", "checks", "engine", "review",
    "anomalies",
)  # fmt: skip


def changes(old: Policy, new: Policy, actions: Iterable[Action]) -> list[Changed]:
    """The ``actions`` whose verdict is another one, those that became milder first."""
    found: list[Changed] = []
    for name, proposal, facts in actions:
        before, after = judge(proposal, old, facts), judge(proposal, new, facts)
        if _said(before) != _said(after):
            found.append(Changed(name, before, after))
    found.sort(key=_milder)
    return found


def _said(verdict: Verdict) -> tuple[Any, ...]:
    return (verdict.decision, set(verdict.rules), set(verdict.approvers), set(verdict.checks))


def _milder(change: Changed) -> int:
    return STRICTNESS[change.after.decision] - STRICTNESS[change.before.decision]
