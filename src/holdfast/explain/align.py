"""Which steps of two runs stand for each other: those that ask for the same, in the order of each
task, wherever the runs put them; then, between those, those of the same action.

Steps shift when one is put in: a key alone says little. So fingerprints are aligned, task by task,
from what is unique in both inwards; that is bounded whatever the runs are.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from holdfast.values import limits

_DEPTH = 8
"""How often a stretch is searched again for what is unique in it."""


class Mark(NamedTuple):
    """What a step is told by: its task, the action it asks for, and that with its arguments."""

    task: tuple[int, str]
    action: str
    whole: str


class Match(NamedTuple):
    """Places of two steps that stand for each other; None: there is none in that run. ``strayed``:
    they are not in the order that the tasks have in common."""

    a: int | None
    b: int | None
    strayed: bool = False


def align(a: Sequence[Mark], b: Sequence[Mark]) -> list[Match]:
    """Every step of both, once: in the order of A, those of B alone where B took them.

    INVARIANT X21: which steps stand for each other does not depend on which run is called A.
    INVARIANT X22: steps that ask for the same stand for each other as far as there are as many.
    """
    turned = list(b) < list(a)
    found, strayed = _matched(b, a) if turned else _matched(a, b)
    if turned:
        strayed = {found[i] for i in strayed}
        found = {j: i for i, j in found.items()}
    return list(_in_order(len(a), len(b), found, strayed))


def _in_order(a: int, b: int, found: dict[int, int], strayed: set[int]) -> Iterator[Match]:
    taken = set(found.values())
    next_b = 0
    for i in range(a):
        j = found.get(i)
        if j is not None and j >= next_b:
            yield from (Match(None, other) for other in range(next_b, j) if other not in taken)
            next_b = j + 1
        yield Match(i, j, i in strayed)
    yield from (Match(None, other) for other in range(next_b, b) if other not in taken)


def _matched(a: Sequence[Mark], b: Sequence[Mark]) -> tuple[dict[int, int], set[int]]:
    """Places in B by places in A, and those in A that are out of order."""
    found: dict[int, int] = {}
    tasks_a, tasks_b = _by_task(a), _by_task(b)
    gaps: list[tuple[list[int], list[int]]] = []
    for task, mine in tasks_a.items():
        theirs = tasks_b.get(task, [])
        anchors = _sequence([a[i].whole for i in mine], [b[j].whole for j in theirs])
        found.update((mine[x], theirs[y]) for x, y in anchors)
        gaps += _between(mine, theirs, anchors)
    ordered = set(found)
    _match_anywhere(a, b, found)
    strayed = set(found) - ordered
    taken = set(found.values())
    for mine, theirs in gaps:
        left = [i for i in mine if i not in found]
        other = [j for j in theirs if j not in taken]
        pairs = _sequence([a[i].action for i in left], [b[j].action for j in other])
        found.update((left[x], other[y]) for x, y in pairs)
    return found, strayed


def _by_task(marks: Sequence[Mark]) -> dict[tuple[int, str], list[int]]:
    found: dict[tuple[int, str], list[int]] = defaultdict(list)
    for place, mark in enumerate(marks):
        found[mark.task].append(place)
    return found


def _between(
    mine: list[int], theirs: list[int], anchors: Iterable[tuple[int, int]]
) -> Iterator[tuple[list[int], list[int]]]:
    """What lies between anchors, where something does in both."""
    x = y = 0
    for next_x, next_y in (*anchors, (len(mine), len(theirs))):
        if next_x > x and next_y > y:
            yield mine[x:next_x], theirs[y:next_y]
        x, y = next_x + 1, next_y + 1


def _match_anywhere(a: Sequence[Mark], b: Sequence[Mark], found: dict[int, int]) -> None:
    """Match what is left and asks for the same, oldest first, in whatever task."""
    taken = set(found.values())
    left: dict[str, deque[int]] = defaultdict(deque)
    for j, mark in enumerate(b):
        if j not in taken:
            left[mark.whole].append(j)
    for i, mark in enumerate(a):
        if i not in found and left.get(mark.whole):
            found[i] = left[mark.whole].popleft()


# Two sequences ---------------------------------------------------------------------------------


def _sequence(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Places of equal items, growing in both."""
    found: list[tuple[int, int]] = []
    todo = [(0, len(a), 0, len(b), 0)]
    while todo:
        low, high, start, stop, depth = todo.pop()
        while low < high and start < stop and a[low] == b[start]:
            found.append((low, start))
            low, start = low + 1, start + 1
        while low < high and start < stop and a[high - 1] == b[stop - 1]:
            high, stop = high - 1, stop - 1
            found.append((high, stop))
        if low == high or start == stop:
            continue
        anchors = _unique(a, b, (low, high), (start, stop)) if depth < _DEPTH else []
        if not anchors:
            found += _plainly(a[low:high], b[start:stop], low, start)
            continue
        found += anchors
        for x, y in (*anchors, (high, stop)):
            todo.append((low, x, start, y, depth + 1))
            low, start = x + 1, y + 1
    return sorted(found)


def _unique(
    a: Sequence[str], b: Sequence[str], mine: tuple[int, int], theirs: tuple[int, int]
) -> list[tuple[int, int]]:
    """The longest growing run of items that occur once in both stretches."""
    once_a, once_b = _once(a, *mine), _once(b, *theirs)
    pairs = [(x, once_b[item]) for item, x in once_a.items() if item in once_b]
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for number, (_, y) in enumerate(pairs):
        place = bisect_left(ends, y)
        before.append(last[place - 1] if place else -1)
        if place == len(ends):
            ends.append(y)
            last.append(number)
        else:
            ends[place], last[place] = y, number
    found: list[tuple[int, int]] = []
    at = last[-1] if last else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]


def _once(items: Sequence[str], start: int, stop: int) -> dict[str, int]:
    """Places of the items that occur once, in order."""
    places: dict[str, int] = {}
    twice: set[str] = set()
    for place in range(start, stop):
        if items[place] in places:
            twice.add(items[place])
        places.setdefault(items[place], place)
    return {item: place for item, place in places.items() if item not in twice}


def _plainly(a: Sequence[str], b: Sequence[str], x: int, y: int) -> list[tuple[int, int]]:
    """A stretch in which nothing is unique: aligned one by one if it is small, else by place."""
    if len(a) * len(b) > limits.COMPARE_ALIGNED_ITEMS:
        both = enumerate(zip(a, b, strict=False))
        return [(x + at, y + at) for at, (one, other) in both if one == other]
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [(x + i + n, y + j + n) for i, j, size in blocks for n in range(size)]
