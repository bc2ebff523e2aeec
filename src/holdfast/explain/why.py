"""Why a step was taken: the reading behind `holdfast why`, the console and the interface."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from holdfast.explain import decided, proposals
from holdfast.explain.because import (
    Action,
    Alternative,
    Answer,
    Argument,
    Caused,
    Changed,
    Check,
    Context,
    Cost,
    Edge,
    Glimpse,
    Initiator,
    Origin,
    Ruling,
    Said,
    Why,
    World,
)
from holdfast.explain.begun import TEXT, initiators
from holdfast.explain.chain import Chain, Fetch, Found, Lost
from holdfast.explain.gaps import Gaps, gaps
from holdfast.explain.matching import Value, leaves
from holdfast.explain.past import chain as read_chain
from holdfast.explain.proposals import Turn
from holdfast.explain.slice import Slice, excerpt_of, slice_of
from holdfast.explain.sources import Source, Stood, sources
from holdfast.explain.text import cut
from holdfast.gate.folding import plain, squeezed
from holdfast.journal.events import Event, RunEnded, RunStarted, body_of
from holdfast.journal.store import Store
from holdfast.journal.views import CHILD, place_of
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound

__all__ = [
    "Action", "Alternative", "Answer", "Argument", "Caused", "Changed", "Check", "Context", "Cost",
    "Edge", "Glimpse", "Initiator", "Origin", "Ruling", "Said", "Why", "World", "read_why", "why",
]  # fmt: skip


async def why(store: Store, run: str, key: str = "", arg: str = "") -> Why:
    """Why step ``key`` of a run was taken; without a key why it ended as it did. ``arg``: only what
    is at or below this path of the arguments. A key may be followed by ``.`` and such a path.

    Raises `NotFound` for an unknown run, step or argument, naming those there are, and `Misuse` for
    a run that has not ended.
    """
    events = await read_chain(store, run)
    return read_why(events, store.get, key, arg, await _above(store, events[-1].run, events))


async def _above(store: Store, run: str, events: Sequence[Event]) -> list[tuple[Event, Any]]:
    """The first event of each run that spawned one of the chain, nearest first, with its input."""
    found: list[tuple[Event, Any]] = []
    known = {run}
    first = events[0]
    while len(found) < limits.WHY_ABOVE_RUNS:
        body: RunStarted = body_of(first)
        if not body.parent or body.parent in known:
            break
        known.add(body.parent)
        try:
            (first,) = await store.read(body.parent, 0, 1)
        except (NotFound, ValueError):
            break
        found.append((first, Chain([first], store.get).plain(first.args)))
    return found


def read_why(
    events: Sequence[Event], fetch: Fetch, key: str = "", arg: str = "",
    above: Sequence[tuple[Event, Any]] = (),
) -> Why:  # fmt: skip
    """`why` from the events of a run's chain and of ``above``: first events of the runs that
    spawned it, nearest first, each with its input."""
    chain = Chain(events, fetch)
    if not key:
        return _of_ending(chain, arg, above)
    step, arg = _step(chain, key, arg)
    asked = chain.args(step)
    given, by, edit = decided.edited_by(chain, step)
    args = asked if edit is None else given
    name = step.plan.name if step.plan is not None else ""
    kind = step.plan.kind if step.plan is not None else ""
    if kind == "model":
        turn: Turn | None = proposals.own_turn(chain, step)
        near: list[Turn] = []
    else:
        turn, near = proposals.turn_of(chain, name, asked, step.begun)
    values, total = ([], 0) if kind == "model" else _values(args, arg)
    every = _sources(chain, step.begun, turn)
    found = slice_of(name, values, every, None if turn is None or kind == "model"
                     else proposals.packed(turn))  # fmt: skip
    arguments = tuple(_passed(found.arguments, near, turn))
    if edit is not None:
        arguments = tuple(_edited(arguments, asked, by, edit, chain))
    ruling = decided.ruling_of(chain, step)
    arguments = tuple(_judged(arguments, ruling))
    before, after = decided.world_of(chain, step)
    world, unseen = decided.compared(before, after, fetch)
    model = turn.step if turn is not None else None
    since = model.begun if model is not None else -1
    alternatives = (
        *_before_edit(step, asked, edit, by), *decided.refused(chain, step, since),
        *(proposals.others(turn) if turn is not None and kind != "model" else ()),
    )  # fmt: skip
    positions = _positions(step, found, model)
    return Why(
        _action(chain, step, asked, args if edit is not None else None),
        initiators(chain, step.begun, above),
        arguments,
        found.led,
        _context(chain, every, turn, step),
        tuple(decided.caused_of(chain, positions)),
        ruling,
        tuple(alternatives),
        turn.menu if turn is not None else (),
        world,
        decided.cost_of(step, model, ruling.answers),
        tuple(proposals.said(turn)) if turn is not None else (),
        gaps(Gaps(chain, step, asked, arguments, found, every, turn, near, unseen, total)),
        _asks(chain, step, found.led, arguments, model),
    )


# ---- what is asked about ---------------------------------------------------------------------


def _step(chain: Chain, key: str, arg: str) -> tuple[Found, str]:
    """The step, and the path of an argument that followed its key."""
    parts = key.split(".")
    for size in range(len(parts), 0, -1):
        step = chain.step(".".join(parts[:size]))
        if step is not None:
            rest = ".".join(parts[size:])
            return step, ".".join(filter(None, (rest, arg)))
    run = chain.events[-1].run
    newest = chain.keys(limits.WHY_NAMED_ITEMS)
    named = f"; its newest are {', '.join(newest)}" if newest else ""
    raise NotFound(f"run {run} has no step {key!r}{named}: `holdfast show {run}` lists them")


def _values(args: Any, arg: str) -> tuple[list[Value], int]:
    """The values to trace, and how many there are in all."""
    if args is None or isinstance(args, Lost):
        return [], 0
    paired = list(leaves("", args))
    if arg:
        chosen = [one for one in paired if _below(one[0], arg)]
        if not chosen:
            names = ", ".join(dict.fromkeys(path for path, _ in paired)) or "none"
            raise NotFound(f"there is no argument {arg!r}; there are {cut(names, 300)}")
        paired = chosen
    typed = dict(_typed("", args))
    return [Value(path, typed.get(path, text)) for path, text in _fairly(paired)], len(paired)


def _fairly(paired: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first values of each argument, where there are too many to trace all."""
    if len(paired) <= limits.WHY_ARGUMENTS_ITEMS:
        return paired
    count: dict[str, int] = {}
    kept: list[tuple[int, int]] = []
    for at, (path, _) in enumerate(paired):
        name = path.partition(".")[0].partition("[")[0]
        count[name] = count.get(name, 0) + 1
        kept.append((count[name], at))
    return [paired[at] for at in sorted(at for _, at in sorted(kept)[: limits.WHY_ARGUMENTS_ITEMS])]


def _below(path: str, arg: str) -> bool:
    return path == arg or path.startswith((arg + ".", arg + "["))


def _typed(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Truth values by path: as text they could be words."""
    if isinstance(value, bool):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            if str(name).isidentifier():
                yield from _typed(f"{path}.{name}" if path else str(name), item)
    elif isinstance(value, list):
        for at, item in enumerate(value[: limits.WHY_SHOWN_ITEMS]):
            yield from _typed(f"{path}[{at}]", item)


def _of_ending(chain: Chain, arg: str, above: Sequence[tuple[Event, Any]]) -> Why:
    """Why a run ended as it did: its result, or its error, traced like an action's arguments."""
    event = next((one for one in reversed(chain.events) if one.kind == "run.ended"), None)
    run = chain.events[-1].run
    if event is None or event.run != run:
        newest = ", ".join(f"{run}@{key}" for key in chain.keys(3)) or "no step yet"
        raise Misuse(f"run {run} has not ended; ask about a step, such as {newest}")
    body: RunEnded = chain.body(event.pos)
    value = chain.plain(event.value)
    agent = chain.body(chain.starts[0]).agent
    error = f"{body.error.type}: {body.error.text}" if body.error is not None else ""
    said: Any = {"error": body.error.text if body.error else ""} if error else {"result": value}
    if isinstance(value, Lost) and not error:
        said = value
    values, total = _values(said, arg)
    every = sources(chain, event.pos)
    found = slice_of("", values, every, None)
    step = Found("", chain.segment_at(event.pos), [event], [body], None, None)
    near = [proposals.own_turn(chain, one) for one in _first(chain.models_before(event.pos))]
    arguments = tuple(_passed(found.arguments, near, None))
    first, last = chain.events[0].world, event.world
    world, unseen = decided.compared(first, last, chain.fetch)
    spent: dict[str, float] = {}
    for one in chain.events:
        if one.kind == "step.settled" and b'"usage"' in one.body:
            for unit, much in chain.body(one.pos).usage.items():
                spent[unit] = spent.get(unit, 0.0) + much
    action = Action(
        f"{run}@end", run, "", "ending", agent, "", body.status, None, None, _bounded(said), error,
        chain.events[0].at, event.at, positions=(event.pos,), events=(event.id,),
    )  # fmt: skip
    return Why(
        action, initiators(chain, event.pos, above), arguments, found.led,
        _context(chain, every, None, step),
        tuple(decided.caused_of(chain, {event.pos, *(e.source.pos for e in found.led)})),
        Ruling(), tuple(decided.refused(chain, step, 0)), (), world,
        Cost(spent, money=spent.get("money", 0.0)),
        tuple(one for turn in near for one in proposals.said(turn)),
        gaps(Gaps(chain, step, said, arguments, found, every, None, near, unseen, total)),
        _asks(chain, step, found.led, arguments, None),
    )  # fmt: skip


def _first(every: Iterable[Found]) -> list[Found]:
    for one in every:
        return [one]
    return []


# ---- sources and context ---------------------------------------------------------------------


def _sources(chain: Chain, before: int, turn: Turn | None) -> list[Source]:
    """What could be known: all that came in, and what a model was shown besides."""
    every = sources(chain, before)
    if turn is None or not turn.shown:
        return every
    journal = squeezed(plain(" ".join(
        field.text for one in every[-limits.WHY_SHOWN_ITEMS * 4 :] for field in one.body.fields
    ).replace("\n", " ")))  # fmt: skip
    for piece in turn.shown:
        if piece.role != "assistant" and not _known(piece.text, journal):
            every.append(Stood(chain, turn.step, piece.text, piece.role, piece.at))
    return every


def _known(text: str, journal: str) -> bool:
    """Whether what stood in a request is in the journal as what a step brought in, or a person
    said."""
    parts = [one for _, one in leaves("", text)] or [text]
    needles = [squeezed(plain(one).replace("\n", ""))[:400] for one in parts[:20]]
    return all(needle in journal for needle in needles if len(needle) > 2)


def _context(chain: Chain, every: Sequence[Source], turn: Turn | None, step: Found) -> Context:
    if turn is None:
        newest = every[-limits.WHY_GLIMPSES_ITEMS :]
        glimpses = tuple(
            Glimpse(one.origin, excerpt_of(_first_text(one), 0, 0),
                    sum(len(field.text) for field in one.body.fields))
            for one in newest
        )  # fmt: skip
        return Context("", len(every), glimpses)
    by_text: dict[str, Source] = {}
    for one in every:
        for field in one.body.fields[:20]:
            by_text.setdefault(squeezed(field.folded)[:200], one)
    found: list[Glimpse] = []
    for piece in turn.shown[-limits.WHY_GLIMPSES_ITEMS :]:
        parts = [text for _, text in leaves("", piece.text)] or [piece.text]
        source = next(
            (
                hit
                for text in parts[:20]
                if (hit := by_text.get(squeezed(plain(text))[:200])) is not None
            ),
            None,
        )
        kind = "model" if piece.role == "assistant" else "context"
        event = turn.step.last
        origin = source.origin if source is not None and kind != "model" else Origin(
            turn.step.place, kind, piece.at, event.run, turn.step.key, event.pos, event.id, event.at
        )  # fmt: skip
        found.append(
            Glimpse(origin, excerpt_of(piece.text, 0, 0), len(piece.text), piece.role, piece.at)
        )
    label = turn.step.settled.label if turn.step.settled is not None else ""
    return Context(turn.step.place, len(turn.shown) + turn.lost, tuple(found), label)


def _first_text(source: Source) -> str:
    return " · ".join(field.text[:200] for field in source.body.fields[:4])


# ---- arguments -------------------------------------------------------------------------------


def _passed(
    arguments: Iterable[Argument], near: list[Turn], turn: Turn | None
) -> Iterator[Argument]:
    """Arguments with the model steps that their values passed; what only a model wrote has it for a
    source, and counts as found nowhere."""
    for one in arguments:
        place = turn.step.place if turn is not None else proposals.passed(near, one.value)
        if not place:
            yield one
            continue
        edges = tuple(msgspec.structs.replace(edge, through=(place,)) for edge in one.edges)
        if not edges and one.found == "nowhere":
            step = next((t.step for t in near if t.step.place == place), None)
            step = turn.step if turn is not None else step
            if step is not None:
                edges = (_written(step, one),)
        yield msgspec.structs.replace(one, edges=edges)


def _written(step: Found, one: Argument) -> Edge:
    event = step.last
    name = step.plan.name if step.plan is not None else "a model"
    origin = Origin(step.place, "model", f"the answer of {name}", event.run, step.key, event.pos,
                    event.id, event.at)  # fmt: skip
    return Edge("carried", "exact", origin, "response", matched=one.value, share=1.0, score=1.0)


def _edited(
    arguments: Iterable[Argument], asked: Any, by: str, edit: Event, chain: Chain
) -> Iterator[Argument]:
    """Arguments with those that a person gave marked as theirs."""
    before = {} if isinstance(asked, Lost) else dict(leaves("", asked))
    key = getattr(chain.body(edit.pos), "key", "")
    for one in arguments:
        old = before.get(one.path)
        if old is not None and old[: len(one.value)] == one.value and len(old) == one.size:
            yield one
            continue
        # INVARIANT X3: a value that a person gave is that person's, whatever else holds it
        origin = Origin(
            f"{edit.run}#{edit.pos}", "edit", f"{by} changed it", edit.run, key, edit.pos, edit.id,
            edit.at, "person", "", by,
        )  # fmt: skip
        edge = Edge("carried", "exact", origin, f"args.{one.path}", 0, one.size, one.value,
                    one.value, one.value, 1.0, 1.0)  # fmt: skip
        yield msgspec.structs.replace(one, found="exact", edges=(edge, *one.edges), edited=True)


def _judged(arguments: Iterable[Argument], ruling: Ruling) -> Iterator[Argument]:
    origins = ruling.facts.get("origin")
    for one in arguments:
        name = one.path.partition(".")[0].partition("[")[0]
        said = origins.get(name, "") if isinstance(origins, dict) else ""
        yield msgspec.structs.replace(one, origin=str(said)) if said else one


# ---- the rest --------------------------------------------------------------------------------


def _action(chain: Chain, step: Found, asked: Any, changed: Any) -> Action:
    plan, settled = step.plan, step.settled
    error = ""
    if settled is not None and settled.error is not None:
        error = f"{settled.error.type}: {settled.error.text}"
    result = chain.plain(step.last.value) if settled is not None else None
    child = ""
    if plan is not None and plan.kind == "spawn":
        child = _child(result)
    elif plan is not None and plan.name.startswith(CHILD):
        child = plan.name.removeprefix(CHILD)
    return Action(
        step.place, step.last.run, place_of(step.segment, step.key),
        plan.kind if plan else "", plan.name if plan else "", plan.effect if plan else "",
        settled.status if settled else "open",
        _bounded(asked if changed is None else changed),
        None if changed is None else _bounded(asked),
        _bounded(result), error, step.events[0].at, step.last.at if settled else 0,
        settled.took if settled else 0, settled.attempt if settled else 0,
        settled.origin if settled else "", settled.of if settled else "",
        settled.branch if settled else "", child,
        tuple(event.pos for event in step.events), tuple(event.id for event in step.events),
    )  # fmt: skip


def _child(result: Any) -> str:
    if isinstance(result, dict):
        result = result.get("run") or result.get("id")
    return result if isinstance(result, str) else ""


def _bounded(value: Any, depth: int = 0) -> Any:
    """A value with long texts cut and long lists ended, to show."""
    if isinstance(value, Lost):
        return f"({value.why})"
    if isinstance(value, str):
        return cut(value, TEXT)
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    if depth > 20:
        return "…"
    if isinstance(value, dict):
        items = list(value.items())[: limits.WHY_SHOWN_ITEMS]
        return {cut(str(name), TEXT): _bounded(item, depth + 1) for name, item in items}
    if isinstance(value, list):
        return [_bounded(item, depth + 1) for item in value[: limits.WHY_SHOWN_ITEMS]]
    return value


def _before_edit(step: Found, asked: Any, edit: Event | None, by: str) -> Iterator[Alternative]:
    if edit is not None and not isinstance(asked, Lost):
        name = step.plan.name if step.plan is not None else ""
        shown = ", ".join(f"{k}={v!r}" for k, v in asked.items()) if isinstance(asked, dict) else ""
        yield Alternative("edited", step.place, cut(f"{name}({shown})", 160), f"{by} changed it")


def _positions(step: Found, found: Slice, model: Found | None) -> set[int]:
    """Events of the steps that an answer names."""
    positions = {event.pos for event in step.events} | {edge.source.pos for edge in found.led}
    positions |= {edge.source.pos for one in found.arguments for edge in one.edges}
    return positions | ({event.pos for event in model.events} if model is not None else set())


def _asks(
    chain: Chain, step: Found, led: Sequence[Edge], arguments: Sequence[Argument],
    model: Found | None,
) -> tuple[str, ...]:  # fmt: skip
    """Places that are worth asking about next."""
    found: dict[str, None] = {}
    action = step.plan
    if action is not None and action.kind == "spawn":
        child = _child(chain.plain(step.last.value))
        if child:
            found[child] = None
    for one in arguments:
        for edge in one.edges[:1]:
            if edge.source.kind == "child":
                waited = chain.step_at(edge.source.pos).plan
                found[waited.name.removeprefix(CHILD) if waited else ""] = None
            if edge.source.kind in ("result", "child", "model", "answer"):
                found[edge.source.place] = None
    for edge in led[:2]:
        if edge.source.kind in ("result", "child"):
            found[edge.source.place] = None
    if model is not None:
        found[model.place] = None
    body: RunStarted = chain.body(chain.starts[0])
    if body.parent:
        found[f"{body.parent}@{body.parent_key}"] = None
    found.pop(step.place, None)
    found.pop("", None)
    return tuple(found)[:8]
