"""What persons always answer alike: rules that would spare them the question, back-tested first.

A suggestion is a text for review. It is made from answers only: the same agent, tool and deciding
values, approved again and again and never refused (or the other way round).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.gate.decisions import Decided
from holdfast.gate.proposing import place, text_of
from holdfast.gate.verdict import RISKY, Verdict
from holdfast.journal.like import is_short
from holdfast.values.canon import unpack
from holdfast.values.errors import Corrupt, NotFound

LEAST: Final = 5
"""Answers alike before anything is suggested."""
FEW: Final = 5
"""Different values of an argument that are listed one by one."""


class Suggestion(msgspec.Struct, frozen=True, gc=False):
    """``answer``: approve or deny, as ``count`` times before; ``verdict``: the newest that asked;
    ``agent``, ``tool``; ``condition``: CEL over their deciding values; ``places``: some of them."""

    answer: str
    count: int
    verdict: Verdict
    agent: str
    tool: str
    condition: str
    places: tuple[str, ...]


def suggest(
    past: Iterable[Decided], fetch: Callable[[str], bytes], least: int = LEAST
) -> list[Suggestion]:
    """Suggestions from ``past``, most answers first; ``fetch`` reads content of arguments."""
    groups: dict[tuple[str, str, str], list[tuple[Decided, dict[str, Any]]]] = {}
    for one in past:
        args = _deciding(one, fetch)
        asked = one.verdict.decision == "escalate" and RISKY not in one.verdict.rules
        if one.answer and asked and args is not None:
            group = (one.agent, one.plan.name, one.verdict.rules[0])
            groups.setdefault(group, []).append((one, args))
    found: list[Suggestion] = []
    for (agent, tool, _), answered in groups.items():
        for answer in ("approve", "deny"):
            alike = [each for each in answered if each[0].answer == answer]
            against = [args for one, args in answered if one.answer != answer]
            terms = _terms([args for _, args in alike]) if len(alike) >= least else []
            # INVARIANT G35: nothing is suggested that goes against a single answer of a person
            if terms and not any(_meets(args, terms) for args in against):
                condition = " && ".join(text for text, _ in terms)
                places = tuple(f"{one.run}@{one.key}" for one, _ in alike[-3:])
                found.append(
                    Suggestion(
                        answer, len(alike), alike[-1][0].verdict, agent, tool, condition, places
                    )
                )
    return sorted(found, key=lambda one: -one.count)


def _deciding(one: Decided, fetch: Callable[[str], bytes]) -> dict[str, Any] | None:
    """The deciding arguments of a decision; None if they are not known or not there any more."""
    names = one.verdict.facts.get("origin")
    if not isinstance(names, Mapping) or not names or one.args is None or is_short(one.args):
        return None
    try:
        args = unpack(one.args, fetch)
    except (Corrupt, NotFound):
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
    where = place(name)
    if all(type(value) in (int, float) for value in values):
        low, high = min(values), max(values)
        if not (abs(low) < 1e15 and abs(high) < 1e15):
            return None
        text = f"{where} >= {_plain(low)} && {where} <= {_plain(high)}"
        return text, lambda args: type(args.get(name)) in (int, float) and low <= args[name] <= high
    if not all(type(value) in (str, bool) for value in values):
        return None
    different = list(dict.fromkeys(values))
    if len(different) > FEW or any(len(str(value)) > 200 for value in different):
        return None
    listed = ", ".join(text_of(one) if type(one) is str else _plain(one) for one in different)
    text = f"{where} == {listed}" if len(different) == 1 else f"{where} in [{listed}]"
    return text, lambda args: args.get(name) in different


def _plain(value: float) -> str:
    return msgspec.json.encode(value).decode()


def _meets(args: Mapping[str, Any], terms: Sequence[Term]) -> bool:
    return all(test(args) for _, test in terms)
