"""What persons always answer alike: rules that would spare them the question, back-tested first.

A suggestion is a text for review. It is made from answers only: the same agent, tool and deciding
values, approved again and again and never refused (or the other way round).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.gate.decisions import Decided
from holdfast.gate.verdict import OTHERWISE, RISKY
from holdfast.journal.like import is_short
from holdfast.values.canon import unpack
from holdfast.values.errors import Corrupt

LEAST: Final = 5
"""Answers alike before anything is suggested."""
FEW: Final = 5
"""Different values of an argument that are listed one by one."""


class Suggestion(msgspec.Struct, frozen=True, gc=False):
    """``answer``: approve or deny, as ``count`` times before; ``asked``: the rules that asked;
    ``agent``, ``tool``; ``condition``: CEL over their deciding values; ``runs``: some of them."""

    answer: str
    count: int
    asked: tuple[str, ...]
    agent: str
    tool: str
    condition: str
    runs: tuple[str, ...]


def suggest(
    past: Iterable[Decided], fetch: Callable[[str], bytes], least: int = LEAST
) -> list[Suggestion]:
    """Suggestions from ``past``, most answers first; ``fetch`` reads content of arguments."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[tuple[Decided, dict[str, Any]]]] = {}
    for one in past:
        asked = tuple(rule for rule in one.verdict.rules if rule not in (OTHERWISE, RISKY))
        args = _deciding(one, fetch)
        if one.answer and one.verdict.decision == "escalate" and asked and args is not None:
            groups.setdefault((one.agent, one.plan.name, asked[:1]), []).append((one, args))
    found: list[Suggestion] = []
    for (agent, tool, asked), answered in groups.items():
        for answer in ("approve", "deny"):
            alike = [each for each in answered if each[0].answer == answer]
            against = [args for one, args in answered if one.answer != answer]
            terms = _terms([args for _, args in alike]) if len(alike) >= least else []
            # INVARIANT G35: nothing is suggested that goes against a single answer of a person
            if terms and not any(_meets(args, terms) for args in against):
                condition = " && ".join(text for text, _ in terms)
                runs = tuple(f"{one.run}@{one.key}" for one, _ in alike[:3])
                found.append(Suggestion(answer, len(alike), asked, agent, tool, condition, runs))
    return sorted(found, key=lambda one: -one.count)


def _deciding(one: Decided, fetch: Callable[[str], bytes]) -> dict[str, Any] | None:
    """The deciding arguments of a decision; None if they are not known or not there any more."""
    names = one.verdict.facts.get("origin")
    if not isinstance(names, Mapping) or not names or one.args is None or is_short(one.args):
        return None
    try:
        args = unpack(one.args, fetch)
    except Corrupt:
        return None
    if not isinstance(args, dict) or any(name not in args for name in names):
        return None
    return {name: args[name] for name in names}


Term = tuple[str, Callable[[Mapping[str, Any]], bool]]


def _terms(seen: Sequence[dict[str, Any]]) -> list[Term]:
    """What all of ``seen`` have in common, one condition an argument; nothing if one of them has no
    narrow condition: a rule that leaves an argument open allows more than was approved."""
    terms: list[Term] = []
    for name in sorted(set().union(*seen)):
        values = [args.get(name) for args in seen]
        term = _term(name, values)
        if term is None:
            return []
        terms.append(term)
    return terms


def _term(name: str, values: list[Any]) -> Term | None:
    if not name.isidentifier() or not name.isascii():
        return None
    place = f"args.{name}"
    if all(type(value) in (int, float) for value in values):
        low, high = min(values), max(values)
        if not (abs(low) < 1e15 and abs(high) < 1e15):
            return None
        text = f"{place} >= {_literal(low)} && {place} <= {_literal(high)}"
        return text, lambda args: type(args.get(name)) in (int, float) and low <= args[name] <= high
    if not all(type(value) in (str, bool) for value in values):
        return None
    different = list(dict.fromkeys(values))
    if len(different) > FEW or any(len(str(value)) > 200 for value in different):
        return None
    literals = ", ".join(map(_literal, different))
    text = f"{place} == {literals}" if len(different) == 1 else f"{place} in [{literals}]"
    return text, lambda args: args.get(name) in different


def _literal(value: str | bool | float) -> str:
    if isinstance(value, str):
        letters = (char if " " <= char <= "~" and char not in '"\\' else _escape(char)
                   for char in value)  # fmt: skip
        return f'"{"".join(letters)}"'
    return msgspec.json.encode(value).decode()


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _meets(args: Mapping[str, Any], terms: Sequence[Term]) -> bool:
    return all(test(args) for _, test in terms)


def rule_text(one: Suggestion) -> str:
    """The lines that a policy would have to get, for review."""
    same = f"agent == {_literal(one.agent)} && tool == {_literal(one.tool)} && {one.condition}"
    quoted = msgspec.json.encode
    if one.answer == "deny":
        return (
            f"+ - id: refuse-{one.tool[:40]}\n+   when: {{agent: {_literal(one.agent)}, "
            f"tool: {_literal(one.tool)}}}\n+   if: {quoted(one.condition).decode()}\n"
            f"+   then: deny\n+   reason: persons refused this {one.count} times of {one.count}\n"
        )
    lines = [
        f"+ - id: allow-{one.tool[:40]}",
        f"+   when: {{agent: {_literal(one.agent)}, tool: {_literal(one.tool)}}}",
        f"+   if: {quoted(one.condition).decode()}",
        "+   then: allow",
        f"+   reason: persons approved this {one.count} times of {one.count}",
        "# and the strictest rule wins, so what asks must leave it out (with && if it has an `if`):",
    ]
    for rule in one.asked:
        lines += [f"  - id: {rule}", f"+   if: {quoted(f'!({same})').decode()}"]
    return "\n".join(lines) + "\n"
