"""Cases of a policy: actions with their facts, and the verdict that is expected of them.

They are YAML beside the policy, read as strictly as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from holdfast.gate.cel import FACTS, NAMES
from holdfast.gate.closed import strange_fact
from holdfast.gate.facts import Facts
from holdfast.gate.policy import DECISIONS
from holdfast.gate.proposal import EFFECTS, KINDS, Proposal
from holdfast.gate.reading import Item, clip, fields, read, suggest
from holdfast.gate.verdict import Decision, Verdict

_ACTION: Final = (*NAMES, "args", "facts")
_CASE: Final = (
    "name", *_ACTION, "without", "decision", "rule", "approvers", "checks", "optional", "bad",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One case. ``rule``: the one that decides, "" for any; ``approvers``, ``checks``: None for
    any. ``optional``: parts of the input that may be lost (``tool``, ``args.note``), because the
    verdict may rightly be milder without them. ``bad``: why a careful person would refuse it, ""
    unless it may be shown to reviewers as a seeded case."""

    name: str
    proposal: Proposal
    facts: Facts
    decision: Decision
    rule: str
    approvers: tuple[str, ...] | None
    checks: tuple[str, ...] | None
    optional: tuple[str, ...]
    place: str
    bad: str = ""

    def wrong(self, verdict: Verdict) -> str:
        """What of ``verdict`` is not as expected, in a few words, or nothing."""
        if verdict.decision != self.decision:
            told = f" ({verdict.reason})" if verdict.reason else ""
            return f"{verdict.decision} by {verdict.rules[0]}{told}, not {self.decision}"
        if self.rule and verdict.rules[0] != self.rule:
            return f"{verdict.decision} by {verdict.rules[0]}, not by {self.rule}"
        if self.approvers is not None and set(verdict.approvers) != set(self.approvers):
            return f"approvers {list(verdict.approvers)}, not {list(self.approvers)}"
        if self.checks is not None and set(verdict.checks) != set(self.checks):
            return f"checks {list(verdict.checks)}, not {list(self.checks)}"
        return ""


def parse_cases(text: str, source: str) -> tuple[Case, ...]:
    """The cases that ``text`` states: ``base``, an action that they start from, and ``cases``.

    Raises `Misuse`, in one line ``source:line: what is wrong``.
    """
    top = fields(read(text, source), ("base", "cases"), "a file of cases", ("cases",))
    base: Mapping[str, Item] = {}
    if "base" in top:
        base = fields(top["base"], (*_ACTION, "optional"), "'base'")
    found: dict[str, Case] = {}
    for item in top["cases"].items("cases"):
        case = _case(item, base)
        if case.name in found:
            item.refuse(f"the case {clip(case.name)} stands here twice")
        found[case.name] = case
    return tuple(found.values())


def _case(item: Item, base: Mapping[str, Item]) -> Case:
    own = fields(item, _CASE, "a case", ("name", "decision"))
    both = {**base, **own}
    names = {name: both[name].value if name in both else _DEFAULTS[name] for name in NAMES}
    for name, value in names.items():
        if not isinstance(value, str):
            both[name].refuse(f"{name} must be a string, not {both[name].describe()}")
    for name, known in (("kind", KINDS), ("effect", EFFECTS)):
        if name in both:
            both[name].word(name, known)
    args: dict[str, Any] = {**_mapping(base, "args"), **_mapping(own, "args")}
    for name in own["without"].texts("without") if "without" in own else ():
        if args.pop(name, None) is None:
            own["without"].refuse(f"without: there is no argument {clip(name)}")
    facts = {**_facts(base), **_facts(own)}
    agent, role, kind, tool, effect = (cast(str, names[name]) for name in NAMES)
    proposal = Proposal(agent, role, kind, tool, effect, args)
    try:
        known_facts = msgspec.convert(facts, Facts)
    except msgspec.ValidationError as error:
        both["facts"].refuse(f"facts: {error}")
    return Case(
        own["name"].text("name"), proposal, known_facts,
        cast(Decision, own["decision"].word("decision", DECISIONS)),
        own["rule"].text("rule") if "rule" in own else "",
        own["approvers"].texts("approvers") if "approvers" in own else None,
        own["checks"].texts("checks") if "checks" in own else None,
        both["optional"].texts("optional") if "optional" in both else (),
        f"{item.source}:{item.line}", _bad(own),
    )  # fmt: skip


def _bad(own: Mapping[str, Item]) -> str:
    if "bad" not in own:
        return ""
    if own["decision"].value not in ("escalate", "deny"):
        own["bad"].refuse_key("what is bad is escalated or denied, or its rules are not right")
    return own["bad"].sentence("bad")


_DEFAULTS: Final = {"agent": "agent", "role": "", "kind": "tool", "tool": "", "effect": "once"}


def _mapping(entries: Mapping[str, Item], name: str) -> dict[str, Any]:
    """The entries of a mapping, which may be empty."""
    if name not in entries or entries[name].value == {}:
        return {}
    entries[name].mapping(name)
    return entries[name].plain()


def _facts(entries: Mapping[str, Item]) -> dict[str, Any]:
    found = _mapping(entries, "facts")
    for name in found:
        if name not in FACTS:
            place = entries["facts"].mapping("facts")[name]
            place.refuse_key(f"unknown fact {clip(name)}: {suggest(name, FACTS)}")
    strange, wrong = strange_fact(found)
    if strange:
        entries["facts"].mapping("facts")[strange].refuse(f"facts: {wrong}")
    return found
