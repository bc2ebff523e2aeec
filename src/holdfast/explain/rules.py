"""Rules that decide as was decided before: look-up tables and decision lists, learned from
examples, as data and as code to read.

Nothing here runs code that was made from a journal: `decide` applies the data.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from holdfast.explain.decisions import Fields
from holdfast.values import limits

FORMS: Final = ("decision list", "look-up")
Example = tuple[Fields, str]
"""An input and what was decided."""

_WORD = re.compile(r"\w{2,40}")
_DIGITS = re.compile(r"\d+")
_ORDER = ("equals", "at least", "below", "starts", "contains", "matches")


class Condition(msgspec.Struct, frozen=True):
    """A test of one field. ``does``: "equals" (text), "starts", "contains" (a word), "matches" (a
    regular expression, all of it), "at least", "below" (a number)."""

    field: str
    does: str
    value: str | float

    def holds(self, given: Fields) -> bool:
        """Whether an input has the field, and it fits."""
        found = given.get(self.field)
        if not isinstance(self.value, str):
            if found is None or isinstance(found, str):
                return False
            return found >= self.value if self.does == "at least" else found < self.value
        if not isinstance(found, str):
            return False
        match self.does:
            case "equals":
                return found == self.value
            case "starts":
                return found.startswith(self.value)
            case "contains":
                return _word(self.value).search(found) is not None
            case _:
                return _whole(self.value).fullmatch(found) is not None


class Rule(msgspec.Struct, frozen=True):
    """A rule. Of a look-up: ``field``, whether digits count (``masked``: each run of them is "0"),
    and the ``table``. Of a decision list: ``cases``, the first that holds decides, and ``rest``,
    what is decided else (None: nothing)."""

    form: str
    field: str = ""
    masked: bool = False
    table: dict[str, str] = {}
    cases: tuple[tuple[Condition, str], ...] = ()
    rest: str | None = None

    def decide(self, given: Fields) -> str | None:
        """What it decides; None: nothing, ask as before."""
        if self.form == "look-up":
            key = _key(given, self.field, masked=self.masked)
            return None if key is None else self.table.get(key)
        found = (then for condition, then in self.cases if condition.holds(given))
        return next(found, self.rest)

    def told(self) -> dict[str, Any]:
        """It as data, to be written as JSON or YAML."""
        if self.form == "look-up":
            digits = "masked" if self.masked else "kept"
            return {"form": self.form, "field": self.field, "digits": digits, "table": self.table}
        cases = [
            {"if": {"field": one.field, one.does: one.value}, "then": then}
            for one, then in self.cases
        ]
        return {"form": self.form, "cases": cases, "else": self.rest}


@lru_cache(maxsize=4096)
def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(word)}\b")


@lru_cache(maxsize=4096)
def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _key(given: Fields, field: str, *, masked: bool) -> str | None:
    value = given.get(field)
    if value is not None and not isinstance(value, str):
        value = repr(value)
    return _DIGITS.sub("0", value) if masked and value is not None else value


# Learning -------------------------------------------------------------------------------------


def learn(examples: Sequence[Example]) -> list[Rule]:
    """Rules that decide as the examples were decided, where they say anything; best first."""
    found = [rule for rule in (_decision_list(examples), _look_up(examples)) if rule is not None]
    # what decides more; and of equals what is shorter to read
    return sorted(found, key=lambda rule: (-_decided(rule, examples), FORMS.index(rule.form)))


def _decided(rule: Rule, examples: Sequence[Example]) -> int:
    return sum(rule.decide(given) == then for given, then in examples)


def _look_up(examples: Sequence[Example]) -> Rule | None:
    """The table by one field that decides most; only of inputs that came up more than once, always
    with the same answer."""
    best: Rule | None = None
    most = 0
    names = Counter(name for given, _ in examples for name in given)
    for name in names:
        for masked in (False, True):
            answers: dict[str, Counter[str]] = {}
            for given, then in examples:
                key = _key(given, name, masked=masked)
                if key is not None:
                    answers.setdefault(key, Counter())[then] += 1
            sure = {
                key: next(iter(each)) for key, each in answers.items()
                if len(each) == 1 and each.total() > 1
            }  # fmt: skip
            covered = sum(answers[key].total() for key in sure)
            if covered > most and len(sure) <= limits.ECONOMIZE_ENTRIES:
                best, most = Rule("look-up", name, masked, dict(sorted(sure.items()))), covered
    return best


def _decision_list(examples: Sequence[Example]) -> Rule | None:
    """Greedily: the condition that fits most of what is left and has but one answer, and so on.
    Sets of examples are bits of whole numbers."""
    left = (1 << len(examples)) - 1
    by_answer: dict[str, int] = {}
    for place, (_, then) in enumerate(examples):
        by_answer[then] = by_answer.get(then, 0) | 1 << place
    tried = _conditions(examples)
    cases: list[tuple[Condition, str]] = []
    while left and len(cases) < limits.ECONOMIZE_RULES_ITEMS:
        pure = next((then for then, fits in by_answer.items() if not left & ~fits), None)
        if pure is not None and left.bit_count() >= limits.ECONOMIZE_SUPPORT_ITEMS:
            return Rule("decision list", cases=tuple(cases), rest=pure)
        best: tuple[Condition, int] | None = None
        for condition, fits in tried:
            now = fits & left
            if best is not None and now.bit_count() <= best[1].bit_count():
                continue
            if now and not now & ~by_answer[_first(examples, now)]:
                best = condition, now
        if best is None or best[1].bit_count() < limits.ECONOMIZE_SUPPORT_ITEMS:
            break
        # it may hold for more than the examples that it was made of
        exact = left & _held(best[0], examples)
        tried = [one for one in tried if one[0] != best[0]]
        if exact and not exact & ~by_answer[_first(examples, exact)]:
            cases.append((best[0], _first(examples, exact)))
            left &= ~exact
    return Rule("decision list", cases=tuple(cases)) if cases else None


def _first(examples: Sequence[Example], fits: int) -> str:
    """What was decided of the first of some examples."""
    return examples[(fits & -fits).bit_length() - 1][1]


def _held(condition: Condition, examples: Sequence[Example]) -> int:
    return sum(1 << at for at, (given, _) in enumerate(examples) if condition.holds(given))


def _conditions(examples: Sequence[Example]) -> list[tuple[Condition, int]]:
    """Conditions worth trying, each with the examples that it fits; the plainest first."""
    fits: dict[Condition, int] = {}
    for place, (given, _) in enumerate(examples):
        for condition in set(_of(given)):
            fits[condition] = fits.get(condition, 0) | 1 << place
    often = [
        one for one in fits.items() if one[1].bit_count() >= limits.ECONOMIZE_SUPPORT_ITEMS
    ]  # fmt: skip
    often.sort(key=lambda one: -one[1].bit_count())
    often = often[: limits.ECONOMIZE_CONDITIONS_ITEMS]
    for condition in _thresholds(examples):
        often.append((condition, _held(condition, examples)))
    return sorted(often, key=lambda one: (_ORDER.index(one[0].does), str(one[0].value)))


def _of(given: Fields) -> Iterator[Condition]:
    """The conditions on texts that an input fits."""
    for name, value in given.items():
        if not isinstance(value, str):
            continue
        if len(value) <= 80:
            yield Condition(name, "equals", value)
            yield Condition(name, "matches", _shape(value))
        words = _WORD.findall(value)
        for word in words:
            yield Condition(name, "contains", word)
        for count in (1, 2, 3):
            start = " ".join(value.split(" ")[:count])
            if start:
                yield Condition(name, "starts", start)


def _shape(value: str) -> str:
    """A regular expression for all texts of the same shape: digits and letters in runs."""
    pieces = re.findall(r"\d+|[^\W\d_]+|.", value, re.DOTALL)
    return "".join(
        r"\d+" if piece.isdigit() else r"[^\W\d_]+" if piece.isalpha() else re.escape(piece)
        for piece in pieces
    )


def _thresholds(examples: Sequence[Example]) -> Iterator[Condition]:
    """Limits on numbers: between neighbours that were decided otherwise."""
    names = dict.fromkeys(
        name for given, _ in examples for name, value in given.items() if isinstance(value, float)
    )
    for name in names:
        known: list[tuple[float, str]] = []
        for given, then in examples:
            value = given.get(name)
            if isinstance(value, float):
                known.append((value, then))
        known.sort()
        cuts = [
            one[0] / 2 + other[0] / 2
            for one, other in itertools.pairwise(known)
            if one[1] != other[1] and one[0] < other[0]
        ]
        for cut in dict.fromkeys(cuts[:: max(1, len(cuts) // 64)]):
            yield Condition(name, "at least", cut)
            yield Condition(name, "below", cut)


# Code to read ---------------------------------------------------------------------------------


def code(rule: Rule, what: str) -> str:
    """A rule as a Python function, to be read, and taken over by who wants it. Everything from the
    journal stands in it as a literal of plain ASCII.

    INVARIANT X89: whatever a journal holds, it enters the code as literals only, and the code
    decides as the rule does.
    """
    lines = ["import re", "", "", "def decide(fields):",
             f"    # {ascii(what)[1:-1]}; None: ask as before"]  # fmt: skip
    lines += list(_table(rule) if rule.form == "look-up" else _cases(rule))
    return "\n".join(lines) + "\n"


def _table(rule: Rule) -> Iterable[str]:
    yield "    table = {"
    for key, then in rule.table.items():
        yield f"        {key!a}: {then!a},"
    yield "    }"
    yield f"    value = fields.get({rule.field!a})"
    yield "    if value is None:"
    yield "        return None"
    yield "    key = value if isinstance(value, str) else repr(value)"
    if rule.masked:
        yield "    key = re.sub('\\\\d+', '0', key)"
    yield "    return table.get(key)"


def _cases(rule: Rule) -> Iterable[str]:
    for one, then in rule.cases:
        yield f"    value = fields.get({one.field!a})"
        if isinstance(one.value, float):
            sign = ">=" if one.does == "at least" else "<"
            yield f"    if isinstance(value, float) and value {sign} {one.value!r}:"
        else:
            test = {
                "equals": f"value == {one.value!a}",
                "starts": f"value.startswith({one.value!a})",
                "contains": f"re.search({_word(one.value).pattern!a}, value)",
                "matches": f"re.fullmatch({one.value!a}, value)",
            }[one.does]
            yield f"    if isinstance(value, str) and {test}:"
        yield f"        return {then!a}"
    yield f"    return {rule.rest!a}"
