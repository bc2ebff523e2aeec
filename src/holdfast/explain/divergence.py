"""Where two runs first differ, and what stood before one and not before the other there."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

import msgspec

from holdfast.explain import conversation
from holdfast.explain.comparison import Divergence, Facet, Item, Pair
from holdfast.explain.outcome import short, verdict_of
from holdfast.explain.taken import Past, Taken
from holdfast.explain.telling import Fetch, action, plain, verdict_text
from holdfast.explain.text import cut, one_line, pretty
from holdfast.values import limits
from holdfast.values.canon import digest, encode

Couple = tuple[Taken | None, Taken | None]


class Sides(msgspec.Struct):
    """Both runs, their steps in pairs, the first that is out of order, and where content is
    read."""

    a: Past
    b: Past
    couples: Sequence[Couple]
    pairs: Sequence[Pair]
    strayed: int | None
    fetch: Fetch


def lines_of(a: Any, b: Any) -> tuple[str, ...]:
    """The difference of two values to read, "-" in A, "+" in B."""
    before, after = (
        cut(one if isinstance(one, str) else pretty(one), limits.COMPARE_TEXT_CHARS).split("\n")
        for one in (a, b)
    )
    lines = islice(difflib.unified_diff(before, after, n=0, lineterm=""), 2, None)  # after names
    found = [cut(line, limits.COMPARE_LINE_CHARS) for line in lines if not line.startswith("@@")]
    if len(found) > limits.COMPARE_LINES:
        left = len(found) - limits.COMPARE_LINES
        found = [*found[: limits.COMPARE_LINES], f"… {left} more lines"]
    return tuple(found)


def first_divergence(sides: Sides) -> tuple[Divergence, Couple] | None:
    """Where they first differ, with the steps that were taken there; None if nowhere.

    The clock and chance differ in all runs: they count only if nothing else differs. What followed
    from them shows them among the results that stood before it.
    """
    places = [n for n, pair in enumerate(sides.pairs) if pair.differs or n == sides.strayed]
    if not places:
        return None
    at = next((n for n in places if not _is_chance(sides.couples[n])), places[0])
    a, b = _there(sides, at)
    kind, same, only_a, only_b, lines = _context(sides, a, b)
    facets = tuple(_facets(sides, a, b, together=None not in sides.couples[at]))
    return Divergence(
        pair=at,
        a=a.place if a is not None else None,
        b=b.place if b is not None else None,
        kind=kind,
        same=same,
        only_a=tuple(only_a[: limits.COMPARE_ITEMS]),
        only_b=tuple(only_b[: limits.COMPARE_ITEMS]),
        lines=lines,
        facets=facets,
        reason=_reason(a, b, facets, (len(only_a), len(only_b)), kind)
        if sides.pairs[at].differs
        else "from here on they took the same steps in another order",
    ), (a, b)


def _is_chance(couple: Couple) -> bool:
    return all(taken is not None and taken.step.plan is not None and taken.step.plan.kind == "dice"
               for taken in couple)  # fmt: skip


def _there(sides: Sides, at: int) -> Couple:
    """The steps that both runs took at a pair: where it is of one run only, the next of the
    other."""
    a, b = sides.couples[at]
    after = sides.couples[at:]
    if a is None:
        a = next((one for one, _ in after if one is not None), None)
    if b is None:
        b = next((one for _, one in after if one is not None), None)
    return a, b


Found = tuple[Literal["model", "program"], int, list[Item], list[Item], tuple[str, ...]]


def _context(sides: Sides, a: Taken | None, b: Taken | None) -> Found:
    if _asks_model(a) and _asks_model(b):
        assert a is not None
        assert b is not None
        one, other = (conversation.asked(plain(x.step.args, sides.fetch)) for x in (a, b))
        mine, theirs = _messages(one), _messages(other)
        kind: Literal["model", "program"] = "model"
    else:
        mine, theirs = _received(sides, a, b)
        kind = "program"
    left_a, left_b = _but(mine, theirs), _but(theirs, mine)
    lines = lines_of(left_a[0][1] if left_a else "", left_b[0][1] if left_b else "")
    return kind, len(mine) - len(left_a), [i for i, _ in left_a], [i for i, _ in left_b], lines


Whole = tuple[Item, str]
"""An item, and all of its text."""


def _asks_model(taken: Taken | None) -> bool:
    return taken is not None and taken.step.plan is not None and taken.step.plan.kind == "model"


def _but(mine: list[Whole], theirs: list[Whole]) -> list[Whole]:
    """Those of ``mine`` that are not among ``theirs``, as often as they are there."""
    there = Counter((item.what, item.hash) for item, _ in theirs)
    found: list[Whole] = []
    for item, text in mine:
        if there[item.what, item.hash]:
            there[item.what, item.hash] -= 1
        else:
            found.append((item, text))
    return found


def _item(place: str, what: str, content: Any, text: str) -> Whole:
    shown = cut(one_line(text), limits.COMPARE_ITEM_CHARS)
    return Item(place, one_line(what), digest(encode(content)), shown), text


def _messages(talk: conversation.Conversation) -> list[Whole]:
    found: list[Whole] = []
    if talk.system is not None:
        name, value = talk.system
        found.append(_item("system", "system", [name, value], conversation.words(value)))
    for number, message in enumerate(talk.messages):
        what = conversation.speaker(message)
        found.append(_item(str(number), what, message, conversation.words(message)))
    return found


def _received(sides: Sides, a: Taken | None, b: Taken | None) -> tuple[list[Whole], list[Whole]]:
    """The results that each program had received when it took its step; a pair that agrees is told
    by its place, so that what stands in both need not be read."""
    found: tuple[list[Whole], list[Whole]] = ([], [])
    for number, couple in enumerate(sides.couples):
        agree = not sides.pairs[number].differs
        for mine, taken, here in zip(found, couple, (a, b), strict=True):
            if taken is None or not _before(taken, here):
                continue
            step = taken.step
            if agree:
                mine.append((Item(step.key, "", str(number), ""), ""))
                continue
            value = plain(step.value, sides.fetch)
            mine.append(
                _item(step.key, action(step.plan), value, short(value, limits.COMPARE_ITEM_CHARS))
            )
    return found


def _before(taken: Taken, here: Taken | None) -> bool:
    """Whether a step's outcome was known when another was begun."""
    return taken.settled >= 0 and (here is None or taken.settled < here.first)


# What else differs ------------------------------------------------------------------------------


def _facets(sides: Sides, a: Taken | None, b: Taken | None, *, together: bool) -> list[Facet]:
    """``together``: the steps stand for each other; else only what they are is compared."""
    found = [
        _facet("input", plain(sides.a.history.input, sides.fetch),
               plain(sides.b.history.input, sides.fetch)),
        _facet("code", sides.a.started.code[:12], sides.b.started.code[:12]),
    ]  # fmt: skip
    if a is not None and b is not None:
        found.append(_facet("action", action(a.step.plan), action(b.step.plan)))
        if together:
            found += _of_steps(sides, a, b)
        if _asks_model(a) and _asks_model(b):
            found += _of_models(sides.fetch, a, b)
    elif here := a or b:
        name, none = action(here.step.plan), "(no more steps)"
        found.append(_facet("action", name if a else none, name if b else none))
    return [facet for facet in found if facet is not None]


def _of_steps(sides: Sides, a: Taken, b: Taken) -> list[Facet | None]:
    fetch, one, other = sides.fetch, verdict_of(a.step), verdict_of(b.step)
    edits = _edited(sides.a, a), _edited(sides.b, b)
    found = [Facet("edit", *edits) if any(edits) else None]
    if one is not None and other is not None:  # what a fork takes from the record is not judged
        found += [
            _facet("policy", one.policy, other.policy),
            _facet("verdict", verdict_text(one), verdict_text(other)),
        ]
    if a.whole != b.whole and not _asks_model(a):
        found.append(_facet("arguments", plain(a.step.args, fetch), plain(b.step.args, fetch)))
    if sides.a.ended(a.step) != sides.b.ended(b.step):
        found.append(_facet("answer", _answer(a, fetch), _answer(b, fetch)))
    return found


def _of_models(fetch: Fetch, a: Taken, b: Taken) -> list[Facet | None]:
    mine, theirs = (conversation.asked(plain(one.step.args, fetch)) for one in (a, b))
    return [
        _facet("model", mine.model, theirs.model),
        _facet("parameters", mine.parameters, theirs.parameters),
        _facet("menu", mine.menu, theirs.menu),
    ]


def _answer(taken: Taken, fetch: Fetch) -> Any:
    """How a step ended, to read; of a model, what it said."""
    whole = ending(taken, fetch)
    return (conversation.answered(whole) or whole) if _asks_model(taken) else whole


def _facet(name: str, a: Any, b: Any) -> Facet | None:
    """What differs under a name; None if nothing does."""
    if encode(a) == encode(b):
        return None
    return Facet(name, short(a), short(b), lines_of(a, b))


def _edited(past: Past, taken: Taken) -> str:
    if taken.step.settled is not None and taken.step.settled.origin == "edit":
        return "its outcome"
    return "its arguments" if any(e.key == taken.step.key for e in past.history.edits) else ""


def ending(taken: Taken, fetch: Fetch) -> Any:
    """How a step ended, to read."""
    settled = taken.step.settled
    if settled is None:
        return {"status": "open"}
    if settled.status == "value":
        return plain(taken.step.value, fetch)
    return {"status": settled.status, "error": msgspec.to_builtins(settled.error)}


def _reason(
    a: Taken | None,
    b: Taken | None,
    facets: Sequence[Facet],
    only: tuple[int, int],
    kind: str,
) -> str:
    """What the difference follows from, as far as that is recorded: the first that holds."""
    by = {facet.name: facet for facet in facets}
    things = "messages" if kind == "model" else "results"
    if edit := by.get("edit"):
        told = [f"{what} in {run}" for run, what in (("A", edit.a), ("B", edit.b)) if what]
        return f"the step was changed by whoever made the fork: {', '.join(told)}"
    if "input" in by:
        return "the runs were given other arguments"
    if any(only):
        return (f"they were decided from other {things}: {only[0]} stood before A only, "
                f"{only[1]} before B only")  # fmt: skip
    if changed := [name for name in ("model", "parameters", "menu") if name in by]:
        return f"the model was asked otherwise: {', '.join(changed)}"
    if "verdict" in by:
        return f"the gate said {by['verdict'].a} in A and {by['verdict'].b} in B"
    if "code" in by:
        return "the code of the program is another"
    if a is None or b is None or "action" in by or "arguments" in by:
        return (f"all {things} before it are the same: nothing that is recorded explains it "
                "(code that does not keep its promises, or changed meanwhile)")  # fmt: skip
    if kind == "model":
        return "the same was asked: the model answered otherwise"
    return "the same was asked: the answer was another"
