"""The slice: from each value of an action back to where it came from, ranked.

Evidence of values comes first. A source is the likelier the more of the value it holds, the rarer
that is, the more of the action's other values stand beside it, the earlier it came, and the more
it speaks of the action; it is unlikely if it was itself asked for with that value, for then it may
only repeat it. All parts of a score are shown.
"""

from __future__ import annotations

import base64
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from holdfast.explain.because import Argument, Edge
from holdfast.explain.dates import months
from holdfast.explain.leading import Action, Rarity, Sentence, likeness, stem
from holdfast.explain.matching import Body, Match, Value, locate
from holdfast.explain.sources import MOST, SIFTED, Heap, Source
from holdfast.gate.deciding import is_address, is_prose, name_words
from holdfast.gate.folding import plain, squeezed

EDGES: Final = 8
"""Sources that are named for one value, and for the action."""
PIECE: Final = 300
"""Characters of a piece or a value that are shown."""
AROUND: Final = 70
"""Characters of an excerpt on each side."""
_HITS: Final = 40
"""Sources that hold a word, beyond which the word tells nothing apart."""
_LEAST: Final = 0.12
"""A score below which a source is not said to have led to anything."""
_HOW: Final = {"exact": 1.0, "normalised": 0.97, "encoded": 0.93, "partial": 0.75, "words": 0.45}
_WHOLE: Final = ("exact", "normalised", "encoded")


class Hit(NamedTuple):
    """A value found in a source."""

    source: Source
    match: Match
    strength: float


class Slice(NamedTuple):
    """What was found: ``arguments`` with their sources, ``led``: sources of the action as a whole;
    ``looked``: how many sources were compared closely, of ``total``; ``cut``: sources that were too
    large to be looked at whole; ``skipped``: results whose long content was not read."""

    arguments: tuple[Argument, ...]
    led: tuple[Edge, ...]
    looked: int
    total: int
    cut: tuple[str, ...]
    skipped: int


def slice_of(name: str, values: Sequence[Value], every: list[Source], context: str | None) -> Slice:
    """Trace ``values`` of an action called ``name`` through sources, oldest first. ``context``:
    what the model was shown, packed; None if a program decided."""
    if len(every) <= MOST:
        return _compared(name, values, every, every, context)
    # INVARIANT X222: what is neither read nor compared here is counted, and told under `untraced`
    near, skipped = sift(name, values, every, whole=False)
    found = _compared(name, values, near, every, context)
    if skipped and any(map(_open, values, found.arguments)):
        near, skipped = sift(name, values, every, whole=True)
        found = _compared(name, values, near, every, context)
    return found._replace(skipped=skipped)


def _open(value: Value, argument: Argument) -> bool:
    """Whether a value that can be found whole was not, or only where it may be repeated."""
    if argument.found == "trivial" or value.long or value.tiny or is_prose(value.text):
        return False
    if all(map(str.isalpha, value.words)):  # words and names are found in many spellings
        return argument.found == "nowhere"
    return argument.found not in _WHOLE or "repeats" in argument.edges[0].parts


def _compared(
    name: str, values: Sequence[Value], near: Sequence[Source], every: Sequence[Source],
    context: str | None,
) -> Slice:  # fmt: skip
    # INVARIANT X5: what came after a step, or holds nothing of it, takes none of its sources away
    rarity = Rarity(near)
    action = Action(name, values, rarity)
    speaks = {source.pos: likeness(action, source.body) for source in near}
    hits = {at: list(_hits(value, near, rarity)) for at, value in enumerate(values)}
    beside = _Beside(values, hits)
    scored = {
        at: _ranked(value, at, hits[at], beside, speaks, context) for at, value in enumerate(values)
    }
    arguments = tuple(
        Argument(value.path, value.text[:PIECE], value.size, _found(value, scored[at]),
                 tuple(scored[at][:EDGES]))
        for at, value in enumerate(values)
    )  # fmt: skip
    led = _led(values, scored, near, speaks, rarity)
    cut = tuple(one.origin.place for one in near if not one.body.whole)
    return Slice(arguments, led, len(near), len(every), cut, 0)


def _found(value: Value, edges: list[Edge]) -> str:
    if value.trivial or (value.tiny and not edges):
        return "trivial"
    return edges[0].how if edges else "nowhere"


def _hits(value: Value, near: Sequence[Source], rarity: Rarity) -> Iterator[Hit]:
    found: list[tuple[Source, Match]] = []
    for source in near:
        match = locate(value, source.body)
        if match is not None:
            found.append((source, match))
    whole = any(match.how in _WHOLE for _, match in found)
    own = _own_rows(value, [source for source, _ in found]) if value.long else {}
    for source, match in found:
        strength = _strength(value, match, rarity)
        if own and match.how == "partial":
            strength = 0.5 * strength + 0.5 * _HOW["partial"] * own.get(source.pos, 0.0)
        if strength >= (0.35 if whole else 0.12):
            yield Hit(source, match, strength)


def _own_rows(value: Value, found: Sequence[Source]) -> dict[int, float]:
    """Of the rows of words that sources share with a long text, how many each has, by how few have
    them: what many say is no sign of any."""
    rows = {source.pos: value.rows & source.body.rows for source in found}
    count = Counter(row for common in rows.values() for row in common)
    total = len(count) or 1
    return {pos: sum(1 / count[row] for row in common) / total for pos, common in rows.items()}


def _strength(value: Value, match: Match, rarity: Rarity) -> float:
    """How much of the value a match gives; words count by how rare they are."""
    base = _HOW[match.how] * match.share
    if match.how in ("partial", "words") and match.words and value.words:
        weights = {word: rarity.of(stem(word)) * len(word) for word in value.words}
        total = sum(weights.values()) or 1.0
        given = sum(weights.get(word, 0.0) for word in set(match.words)) / total
        base = _HOW[match.how] * (given if value.long is False else (given + match.share) / 2)
        if match.how == "partial":
            base = max(base, 0.5 * match.share)
    return base


# ---- ranking ---------------------------------------------------------------------------------

Speaks = dict[int, tuple[float, Sentence | None]]


def _ranked(
    value: Value, at: int, found: list[Hit], beside: _Beside, speaks: Speaks, context: str | None
) -> list[Edge]:  # fmt: skip
    mine = sorted(found, key=lambda hit: hit.source.pos)
    if value.tiny and not any(hit.match.how in _WHOLE for hit in mine):
        return []
    firsts = 0
    scored: list[tuple[float, Hit, dict[str, float]]] = []
    for hit in mine:
        parts = {"match": hit.strength}
        again = _repeats(value, hit.source)
        parts["early"] = 0.0 if again else 0.15 * hit.strength / (1 + firsts)
        firsts += not again
        parts["repeats"] = -0.4 if again else 0.0
        parts["beside"] = 0.3 * beside.of(at, hit)
        parts["speaks"] = 0.25 * speaks[hit.source.pos][0]
        parts["field"] = 0.08 * _same_name(value, hit.match)
        if context is not None and not _stood(hit, context):
            parts["unseen"] = -0.35
        scored.append((sum(parts.values()), hit, parts))
    scored.sort(key=lambda one: (-one[0], one[1].source.pos))
    best = scored[0][0] if scored and scored[0][0] > 0 else 1.0
    return [
        _edge(hit, max(0.0, score / best), parts, context) for score, hit, parts in scored
    ]  # fmt: skip


def _repeats(value: Value, source: Source) -> bool:
    """Whether a source was itself asked for with this value."""
    if source.kind != "result" or value.tiny:
        return False
    match = locate(value, source.asked)
    return match is not None and match.how in _WHOLE


class _Beside:
    """How much of an action's values, by weight, stands in each source; what stands in nearly all
    sources says little."""

    def __init__(self, values: Sequence[Value], hits: dict[int, list[Hit]]) -> None:
        self._total = 0.0
        self._given: dict[int, float] = {}
        self._weights: dict[int, float] = {}
        for at, found in hits.items():
            if values[at].trivial or not found:
                continue
            weight = _weight(values[at]) / (1 + 0.5 * (len(found) - 1))
            self._weights[at] = weight
            self._total += weight
            for hit in found:
                pos = hit.source.pos
                self._given[pos] = self._given.get(pos, 0.0) + weight * hit.strength

    def of(self, at: int, hit: Hit) -> float:
        """Of all values but number ``at``, the share that stands in the source of ``hit``."""
        mine = self._weights.get(at, 0.0)
        total = self._total - mine
        given = self._given.get(hit.source.pos, 0.0) - mine * hit.strength
        return max(0.0, min(1.0, given / total)) if total > 1e-9 else 0.0


def _weight(value: Value) -> float:
    """How much a value says about where it is from."""
    if value.trivial:
        return 0.0
    if value.tiny:
        return 0.05
    if value.numbers:
        return min(1.0, 0.15 * len(value.packed))
    if is_address(value.folded) or any(map(str.isdigit, value.packed)):
        return 1.0
    if value.long:
        return 0.9
    if value.count > 1:
        return 0.7
    return 0.35 if value.text != value.folded else 0.08  # a name, or a choice of some list


def _same_name(value: Value, match: Match) -> float:
    names = name_words(value.path.rpartition(".")[2].partition("[")[0])
    field = name_words(match.path.rpartition(".")[2].partition("[")[0])
    return 1.0 if names & field else 0.0


def _stood(hit: Hit, context: str) -> bool:
    """Whether the piece stood in what the model was shown."""
    if hit.source.shown:
        return True
    text = _text_at(hit.source.body, hit.match.path)
    piece = text[hit.match.start : hit.match.end] or text[:PIECE]
    return squeezed(plain(piece).replace("\n", "")) in context


def _text_at(body: Body, path: str) -> str:
    for field in body.fields:
        if field.path == path:
            return field.text
    return ""


def _edge(hit: Hit, score: float, parts: dict[str, float], context: str | None) -> Edge:
    match, body = hit.match, hit.source.body
    text = _text_at(body, match.path)
    return Edge(
        "carried", match.how, hit.source.origin, match.path, match.start, match.end,
        text[match.start : match.end][:PIECE], match.matched[:PIECE],
        excerpt_of(text, match.start, match.end), round(match.share, 3), round(score, 4),
        {name: round(part, 4) for name, part in parts.items() if part},
        in_context=None if context is None else _stood(hit, context),
    )  # fmt: skip


def excerpt_of(text: str, start: int, end: int) -> str:
    """The text around a span; its beginning if there is none."""
    if end <= start:
        return text[: 2 * AROUND]
    first, last = max(0, start - AROUND), min(len(text), min(end, start + PIECE) + AROUND)
    return f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}"


# ---- the action as a whole -------------------------------------------------------------------


def _led(
    values: Sequence[Value],
    scored: dict[int, list[Edge]],
    near: Sequence[Source],
    speaks: Speaks,
    rarity: Rarity,
) -> tuple[Edge, ...]:
    """Which sources led to the action: those that gave its values, most of all those that were
    found nowhere else, and those that speak of doing it."""
    given: dict[int, float] = {}
    best: dict[int, Edge] = {}
    total = 0.0
    for at, value in enumerate(values):
        edges = scored[at]
        if not edges or value.trivial:
            continue
        weight = _weight(value) / (1 + 0.35 * (len(edges) - 1)) * _rare(value, rarity)
        total += weight
        for place, edge in enumerate(edges):
            pos = edge.source.pos
            much = weight * edge.parts.get("match", 0.0) * (1.0 if place == 0 else 0.6 * edge.score)
            if edge.parts.get("repeats"):
                much *= 0.3
            given[pos] = given.get(pos, 0.0) + much
            if pos not in best or much > best[pos].share * _weight(value):
                best[pos] = edge
    found: list[Edge] = []
    order = {source.pos: source for source in near}
    for pos, source in order.items():
        like, sentence = speaks[pos]
        # what is not worth much does not come to more for being all there is
        values_part = given.get(pos, 0.0) / max(total, 0.7)
        score = values_part + 0.45 * like
        if score < _LEAST:
            continue
        parts = {"values": round(values_part, 4), "speaks": round(0.45 * like, 4)}
        found.append(_led_edge(source, best.get(pos), sentence, score, parts))
    found.sort(key=lambda edge: (-edge.score, edge.source.pos))
    top = found[0].score if found else 1.0
    return tuple(_rescored(edge, edge.score / top) for edge in found[:EDGES])


def _rare(value: Value, rarity: Rarity) -> float:
    """How rare the words of a value are: one of names and numbers counts whole."""
    if not value.words or value.long or not all(map(str.isalpha, value.words)):
        return 1.0
    return sum(rarity.of(stem(word)) for word in value.words) / len(value.words)


def _led_edge(
    source: Source, edge: Edge | None, sentence: Sentence | None, score: float,
    parts: dict[str, float],
) -> Edge:  # fmt: skip
    if sentence is not None:
        text = _text_at(source.body, sentence.path)
        piece = text[sentence.start : sentence.end]
        excerpt = excerpt_of(text, sentence.start, sentence.end)
        if sentence.end == 0:
            excerpt = sentence.text[: 2 * AROUND]
    else:
        piece = edge.piece if edge is not None else ""
        excerpt = edge.excerpt if edge is not None else ""
    carried = edge is not None and edge.how != "words"
    path = sentence.path if sentence is not None else edge.path if edge is not None else ""
    start, end = (sentence.start, sentence.end) if sentence is not None else (0, 0)
    if sentence is None and edge is not None:
        start, end = edge.start, edge.end
    return Edge(
        "carried" if carried else "saw", edge.how if edge is not None else "words", source.origin,
        path, start, end, piece[:PIECE], edge.matched if edge is not None else "", excerpt,
        edge.share if edge is not None else 0.0, score, parts,
        in_context=edge.in_context if edge is not None else None,
    )  # fmt: skip


def _rescored(edge: Edge, score: float) -> Edge:
    return msgspec.structs.replace(edge, score=round(score, 4))


# ---- of many sources, those to compare -------------------------------------------------------


def sift(
    name: str, values: Sequence[Value], every: list[Source], *, whole: bool
) -> tuple[list[Source], int]:
    """Of many sources, those that hold most of what is looked for, oldest first, those of persons
    before others; and how many had long content that was not read, as it is without ``whole``."""
    # INVARIANT X6: a value that stands whole in few sources is compared with all of these
    heap = Heap(every[0].chain, every, whole=whole)
    scores: dict[int, float] = {}
    for needle, weight in _needles(name, values):
        held = heap.holding(needle, _HITS)
        for number in held:
            scores[number] = scores.get(number, 0.0) + weight / len(held)
    for number, source in enumerate(every):
        if source.kind != "result":
            scores[number] = scores.get(number, 0.0) + 1.0
    chosen = sorted(scores, key=lambda number: (-scores[number], number))[:SIFTED]
    return [every[number] for number in sorted(chosen)], heap.skipped


def _needles(name: str, values: Sequence[Value]) -> Iterable[tuple[str, float]]:
    """What a source must hold to be worth a closer look, and how much that says."""
    found: dict[str, float] = {}
    for word in (part for part in plain(name).replace(".", "_").split("_") if len(part) > 3):
        found[squeezed(word)] = 0.5
    for value in values:
        if value.trivial:
            continue
        if len(value.packed) > 1 and not value.long:
            found[value.packed] = 4.0
        for form in value.opened:
            found[squeezed(form)] = 3.0
        for number in value.numbers:
            found[number.replace(".", "")] = 2.0
        for day in value.days:
            found[f"{day.year}{day.month:02}{day.day:02}"] = 2.0
            found[f"{day.day:02}{day.month:02}"] = 1.0
            found |= {f"{day.day}{month}": 1.5 for month in months(day.month)}
            found |= {f"{month}{day.day}": 1.5 for month in months(day.month)}
        if 3 < len(value.text) <= 400:
            found |= dict.fromkeys(_spellings(value.text), 3.0)
        for word in value.words[:40]:
            if len(word) > 2:
                found.setdefault(word, 1.0)
        rows = sorted(value.rows) if value.long else ()
        for row in rows[:: max(1, len(rows) // 60)]:
            found["".join(row)] = 1.0
    return [(needle, weight) for needle, weight in found.items() if needle]


def _spellings(text: str) -> Iterator[str]:
    """A text as it stands inside encodings, packed."""
    raw = text.encode("utf-8", "replace")
    yield squeezed(urllib.parse.quote(text, safe="").lower())
    yield raw.hex()
    for skip in range(3):
        packed = base64.b64encode(b"\0" * skip + raw).decode().lower()
        inner = packed[(0, 2, 3)[skip] : len(packed) - 4]
        if len(inner) > 5:
            yield squeezed(inner.replace("+", "").replace("/", ""))
