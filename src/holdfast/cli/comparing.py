"""A comparison of two runs, printed: what `diff` and `what-if` show."""

from __future__ import annotations

from holdfast.cli.screen import Screen
from holdfast.explain.comparison import Comparison, Divergence, Facet, Item, Pair, Side, Worlds
from holdfast.explain.outcome import short
from holdfast.explain.telling import STYLES, took
from holdfast.explain.text import Part, clean, cut, one_line

_ROWS = 100
_WORDS = {
    "arguments": "other arguments", "outcome": "another outcome", "verdict": "another verdict",
    "only_a": "only in A", "only_b": "only in B", "moved": "moved", "same": "the same",
}  # fmt: skip
_UNITS = ("money", "tokens")


def tell(screen: Screen, found: Comparison) -> None:
    """Print a comparison: who, where they first differ and from what, every difference, sums."""
    _head(screen, "A", found.a)
    _head(screen, "B", found.b)
    agree = f"{found.same + found.moved} steps agree"
    moved = f" ({found.moved} at another place)" if found.moved else ""
    shared = f"; they share their first {found.shared} events" if found.shared else ""
    screen.say(f"{agree}{moved}, {found.differ} differ{shared}")
    if found.first is not None:
        screen.say()
        _first(screen, found.first, found.pairs)
        screen.say()
        _differences(screen, found)
    screen.say()
    _sums(screen, found)


def _head(screen: Screen, name: str, side: Side) -> None:
    fork = f"  fork of {side.fork_of} after #{side.fork_pos}" if side.fork_of else ""
    what: list[Part] = [(f"{name} {side.run}", "bold"), f"  {one_line(side.agent)}  "]
    what.append((side.status, STYLES.get(side.status, "")))
    if side.status != "open":
        what.append(f"  {short(side.value, 60)}")
    if side.score is not None:
        what.append((f"  {score_text(side)}", "cyan"))
    screen.say(*what, (fork, "dim"))


def score_text(side: Side) -> str:
    """What somebody thinks of it."""
    score = side.score
    if score is None:
        return ""
    said = [] if score.good is None else ["good" if score.good else "bad"]
    said += [] if score.score is None else [f"{score.score:g}"]
    by = f" ({one_line(score.by)})" if score.by else ""
    return " ".join(said) + by


def _place(pair: Pair, side: str) -> str:
    place = pair.a if side == "a" else pair.b
    if place is None:
        return ""
    return f"@{place.key}" if place.segment == 1 else f"@{place.key} (segment {place.segment})"


def _first(screen: Screen, first: Divergence, pairs: tuple[Pair, ...]) -> None:
    a = f"@{first.a.key}" if first.a else "the end"
    b = f"@{first.b.key}" if first.b else "the end"
    pair = pairs[first.pair]
    where = f"A {a}" if a == b else f"A {a}, B {b}"
    screen.say(("First difference  ", "yellow"), (where, "bold"), f"  {pair.action}  ",
               (_WORDS[pair.what], "yellow"))  # fmt: skip
    screen.say(f"  {one_line(first.reason)}")
    for sign, name, items in (("-", "A", first.only_a), ("+", "B", first.only_b)):
        for item in items[:5]:
            screen.say((f"  {sign} {name} {_item(first, item)}", "red" if sign == "-" else "green"))
        if len(items) > 5:
            screen.say((f"    … and {len(items) - 5} more", "dim"))
    if any(len(item.text) > 150 for item in (*first.only_a[:1], *first.only_b[:1])):
        _patch(screen, first.lines)
    for facet in first.facets:
        _facet(screen, facet)


def _item(first: Divergence, item: Item) -> str:
    if first.kind == "model":
        return cut(f"message {item.place} ({item.what}): {one_line(item.text)}", 200)
    return cut(f"@{item.place} {item.what} → {one_line(item.text)}", 200)


def _facet(screen: Screen, facet: Facet) -> None:
    a, b = one_line(facet.a), one_line(facet.b)
    if len(a) + len(b) <= 60 and len(facet.lines) <= 2:
        screen.say(f"  {facet.name}: ", (a or "none", "red"), " → ", (b or "none", "green"))
        return
    screen.say(f"  {facet.name}:")
    _patch(screen, facet.lines)


def _patch(screen: Screen, lines: tuple[str, ...]) -> None:
    for line in lines[:40]:
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        screen.say((f"    {clean(line)}", style))
    if len(lines) > 40:
        screen.say((f"    … {len(lines) - 40} more lines, with --json", "dim"))


def _differences(screen: Screen, found: Comparison) -> None:
    rows = [pair for pair in found.pairs if pair.differs]
    screen.table(
        ["A", "B", "WHAT", "ACTION"],
        [
            [(_place(pair, "a"), "bold"), (_place(pair, "b"), "bold"),
             (_WORDS[pair.what], "yellow"), one_line(pair.action)]
            for pair in rows[:_ROWS]
        ],
    )  # fmt: skip
    if len(rows) > _ROWS:
        screen.say((f"… and {len(rows) - _ROWS} more, with --json", "dim"))


def _sums(screen: Screen, found: Comparison) -> None:
    a, b = found.a, found.b
    rows: list[list[Part]] = [
        [unit, f"{a.used.get(unit, 0):.6g}", f"{b.used.get(unit, 0):.6g}",
         f"{b.used.get(unit, 0) - a.used.get(unit, 0):+.6g}"]
        for unit in sorted({*a.used, *b.used}, key=lambda unit: (unit not in _UNITS, unit))
    ]  # fmt: skip
    for name, mine, theirs in (
        ("work", a.work_us, b.work_us),
        ("waited", a.waited_ms * 1000, b.waited_ms * 1000),
        ("in all", a.span_ms * 1000, b.span_ms * 1000),
    ):
        sign = "+" if theirs >= mine else "-"
        rows.append([name, took(mine), took(theirs), f"{sign}{took(abs(theirs - mine))}"])
    screen.table(["", "A", "B", "B - A"], rows)
    _world(screen, "worlds now", found.now)
    if found.then is not None:
        _world(screen, "worlds when they first differed", found.then)
    said = {True: "they ended otherwise", False: "they ended alike",
            None: "whether they end alike cannot be told yet"}  # fmt: skip
    screen.say("outcome: ", (said[found.outcome], "yellow" if found.outcome else ""))


def _world(screen: Screen, name: str, worlds: Worlds) -> None:
    if worlds.missing:
        screen.say(f"{name}: ", (one_line(worlds.missing), "red"))
        return
    screen.say(f"{name}: {worlds.count} paths differ" if worlds.count else f"{name}: the same")
    signs = {"added": ("+", "green"), "removed": ("-", "red")}
    for change in worlds.paths[:10]:
        sign, style = signs.get(change.kind, ("~", "yellow"))
        screen.say((f"  {sign} {one_line(change.path)}", style))
    if worlds.count > 10:
        screen.say((f"  … and {worlds.count - 10} more", "dim"))
