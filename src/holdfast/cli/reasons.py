"""How `holdfast why` prints an answer: sentences, and a tree of edges with their grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.cli.desk import Desk
from holdfast.explain import telling
from holdfast.explain.because import Edge, Initiator, Why
from holdfast.explain.text import Part, cut, json_text, one_line

_EDGES = 3
"""Sources that are printed for one value."""
_LINES = 12
"""Lines of a part that may be long."""
_LEAST = 0.25
"""Sources further behind the best one are left to --json."""
_STYLES = {"carried": "green", "saw": "yellow", "caused": "magenta", "nowhere": "red"}
_WORDS = {
    "exact": "as it stands", "normalised": "in another spelling", "encoded": "inside an encoding",
    "partial": "in part", "words": "single words",
}  # fmt: skip


def show_why(desk: Desk, found: Why, *, only_arguments: bool) -> None:
    """Print an answer."""
    _what(desk, found)
    if not only_arguments:
        _who(desk, found.initiators)
    _arguments(desk, found)
    if not only_arguments:
        _led(desk, found)
        _decided(desk, found)
        _possible(desk, found)
        _world(desk, found)
        _cost(desk, found)
        _said(desk, found)
    _untraced(desk, found)


def _head(desk: Desk, text: str) -> None:
    desk.screen.say((text, "bold"))


def _what(desk: Desk, found: Why) -> None:
    action, screen = found.action, desk.screen
    style = telling.STYLES.get(action.status, "")
    name = "the end of" if action.kind == "ending" else action.kind
    parts: list[Part] = [(action.place, "bold"), f"  {name} {one_line(action.name)}  "]
    at = action.ended if action.kind == "ending" else action.at
    parts += [(action.status, style), (f"  {telling.clock(at)}", "dim")]
    if action.took:
        parts.append((f"  took {telling.took(action.took)}", "dim"))
    screen.say(*parts)
    place = ", ".join(f"#{pos}" for pos in action.positions[:6])
    effect = f"effect {action.effect}, " if action.effect else ""
    screen.say((f"  {effect}event {place} {action.events[0][:12]}…", "dim"))
    if action.origin:
        screen.say(f"  its outcome was not performed here: {action.origin} {action.of}".rstrip())
    if action.error:
        screen.say("  error   ", (cut(one_line(action.error), 160), "red"))
    elif action.result is not None and action.kind != "ending":
        screen.say(f"  result  {cut(one_line(json_text(action.result)), 160)}")
    if action.asked is not None:
        screen.say(f"  asked   {cut(one_line(json_text(action.asked)), 160)}")


def _who(desk: Desk, every: Sequence[Initiator]) -> None:
    _head(desk, "who asked for it")
    for one in every:
        how = {"spawned": f"spawned by {one.parent}", "forked": f"a fork of {one.fork_of}"}
        by = f" by {one_line(one.by)}" if one.by else ""
        label = f", input {one.label}" if one.label else ""
        said = how.get(one.how, "started")
        desk.screen.say(f"  run {one.run} of {one_line(one.agent)}, {said}{by}{label}")
        if one.edits:
            desk.screen.say(f"    changed in the fork: {', '.join(one.edits)}")
        for words in one.words[:4]:
            desk.screen.say(f"    “{cut(one_line(words), 140)}”")


# ---- edges -----------------------------------------------------------------------------------


def _arguments(desk: Desk, found: Why) -> None:
    if not found.arguments:
        return
    ending = found.action.kind == "ending"
    _head(desk, "what it ended with" if ending else "where its arguments come from")
    for one in found.arguments:
        value = cut(one_line(one.value), 70)
        fact = f"  (policy: {one.origin})" if one.origin else ""
        desk.screen.say(f"  {one.path} = {value}", (fact, "dim"))
        shown = [edge for edge in one.edges if edge.score >= _LEAST][:_EDGES]
        for place, edge in enumerate(shown):
            _edge(desk, edge, last=place == len(shown) - 1)
        if one.found == "nowhere":
            text = "nothing that was seen holds it" if not shown else "before that, nowhere"
            desk.screen.say("    └ ", ("nowhere", "red"), f"  {text}")


def _edge(desk: Desk, edge: Edge, *, last: bool, led: bool = False) -> None:
    source = edge.source
    label = "/".join(filter(None, (source.integrity, source.confidentiality)))
    through = f"  through {', '.join(edge.through)}" if edge.through else ""
    path = f" {edge.path}" if edge.path else ""
    parts: list[Part] = [f"    {'└' if last else '├'} ", (edge.grade, _STYLES[edge.grade])]
    parts += ["  ", (source.place, "bold"), path]
    parts.append((f"  {one_line(source.title)}", "dim"))
    if label:
        parts.append((f"  [{label}]", "red" if source.integrity == "untrusted" else "dim"))
    desk.screen.say(*parts)
    bar = " " if last else "│"
    how = "what it says is alike" if edge.grade == "saw" else _WORDS.get(edge.how, edge.how)
    score = f"{edge.score:.2f}" + (
        "" if led or edge.share >= 0.995 else f", {edge.share:.0%} of it"
    )
    seen = ", not shown to the model" if edge.in_context is False else ""
    desk.screen.say(f"    {bar}   ", (f"{how}, {score}{seen}{through}", "dim"))
    if edge.excerpt:
        desk.screen.say(f"    {bar}   “{cut(one_line(edge.excerpt), 150)}”")


def _led(desk: Desk, found: Why) -> None:
    shown = [edge for edge in found.led if edge.score >= _LEAST][:_EDGES]
    if shown:
        _head(desk, "what led to it, as a whole")
    for place, edge in enumerate(shown):
        _edge(desk, edge, last=place == len(shown) - 1, led=True)
    saw = found.saw
    by = f"{saw.by} was shown" if saw.by else "the program had received"
    newest = ", ".join(dict.fromkeys(one.source.place for one in saw.glimpses[-6:]))
    if saw.total:
        desk.screen.say(("  saw", "yellow"), f"  {by} {saw.total:,} things, newest {newest}")
    for one in found.caused:
        # INVARIANT X47: what no fork ended otherwise for is never called a cause
        word: Part = ("  caused", "magenta") if one.flips else ("  no effect seen", "dim")
        desk.screen.say(word, f"  {one.place}: {one_line(one.intervention)}:"
                        f" {one.flips} of {one.of} forks ended otherwise"
                        f" ({one.low:.0%} to {one.high:.0%})")  # fmt: skip


# ---- the rest --------------------------------------------------------------------------------


def _decided(desk: Desk, found: Why) -> None:
    ruling, screen = found.ruling, desk.screen
    if not ruling.decision and not ruling.answers:
        return
    _head(desk, "who let it happen")
    if ruling.decision:
        rules = f" by {', '.join(ruling.rules)}" if ruling.rules else ""
        policy = f", policy {ruling.policy}" if ruling.policy else ""
        style = telling.STYLES.get(ruling.decision, "")
        screen.say("  ", (ruling.decision, style), f"{rules}{policy}")
    for text in filter(None, (ruling.reason, ruling.way)):
        screen.say(f"    {one_line(text)}")
    if ruling.observed:
        screen.say(f"    observed only: it would have been {ruling.observed}")
    if ruling.risk:
        parts = ", ".join(f"{name} {part:+.2f}" for name, part in ruling.parts.items())
        screen.say(f"    risk {ruling.risk:.2f}" + (f": {parts}" if parts else ""))
    if ruling.facts:
        screen.say(("    facts " + cut(one_line(json_text(ruling.facts)), 150), "dim"))
    for check in ruling.checks:
        word = "passed" if check.passed else "failed"
        screen.say(f"    check {check.name} {word} {one_line(check.text)}".rstrip())
    for one in ruling.answers:
        if not one.decision:
            who = f" ({', '.join(one.may_answer)} may)" if one.may_answer else ""
            screen.say(f"    asked “{cut(one_line(one.question), 100)}”; nobody has answered{who}")
            continue
        note = f": “{one_line(one.note)}”" if one.note else ""
        counted = "" if one.counted else " (it did not count)"
        waited = telling.took(one.waited * 1000)
        screen.say(f"    {one_line(one.by)}: {one.decision}{note}, after {waited}{counted}")
        for path, value in one.edits.items():
            screen.say(f"      {path} = {cut(one_line(value), 100)}")


def _possible(desk: Desk, found: Why) -> None:
    if not found.alternatives and not found.menu:
        return
    _head(desk, "what else was possible")
    for one in found.alternatives[:_LINES]:
        desk.screen.say(f"  {one.kind}  {one_line(one.text)}", (f"  {one_line(one.why)}", "dim"))
    if found.menu:
        names = cut(one_line(", ".join(found.menu)), 150)
        desk.screen.say(f"  menu of {len(found.menu)}: {names}")


def _world(desk: Desk, found: Why) -> None:
    world = found.world
    if world.before == world.after:
        return
    _head(desk, "what it changed")
    desk.screen.say(f"  {world.before[:12] or 'empty'} → {world.after[:12]}, {world.total:,} paths")
    for one in world.changes[:_LINES]:
        desk.screen.say(f"    {one.kind:<8} {one_line(one.path)}")
    if world.total > _LINES:
        desk.screen.say(f"    … {world.total - _LINES:,} more")


def _cost(desk: Desk, found: Why) -> None:
    cost = found.cost
    parts = [f"{name} {much:,.6g}" for name, much in cost.usage.items()]
    parts += [f"deciding: {name} {much:,.6g}" for name, much in cost.decision.items()]
    if cost.decided:
        parts.append(f"deciding took {telling.took(cost.decided)}")
    if cost.waited:
        parts.append(f"people were waited for {telling.took(cost.waited * 1000)}")
    if cost.unverified:
        parts.append("nobody told what it used, so what was reserved counts")
    if parts:
        _head(desk, "what it cost")
        desk.screen.say(f"  {'; '.join(parts)}")


def _said(desk: Desk, found: Why) -> None:
    if found.said:
        _head(desk, "what the model said (no evidence)")
    for one in found.said[:_LINES]:
        desk.screen.say(
            f"  {one.kind}  “{cut(one_line(one.text), 200)}”", (f"  {one.place}", "dim")
        )


def _untraced(desk: Desk, found: Why) -> None:
    if found.untraced:
        _head(desk, "what this does not know")
    for text in found.untraced:
        desk.screen.say(f"  {one_line(text)}")
    commands: list[Any] = [f"  {desk.command(f'holdfast why {place}')}" for place in found.asks[:3]]
    if commands:
        _head(desk, "ask further")
    for text in commands:
        desk.screen.say(text)
