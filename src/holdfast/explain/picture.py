"""A run as one HTML page that can be mailed: it loads nothing and runs no script.

Rows fold open with ``<details>``. Times are UTC. What is left out of a long run is said.

INVARIANT X166: every text of the record is cleaned and escaped where it enters the page; its
policy allows one style sheet, by hash, and nothing else.
INVARIANT X167: a page is bounded: events, characters of each value, and characters of all.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

import msgspec

from holdfast.explain import lines, telling
from holdfast.explain.past import Moment
from holdfast.explain.sheet import STYLE
from holdfast.explain.telling import Fetch, plain
from holdfast.explain.text import clean, cut, pretty
from holdfast.journal.events import Verdict
from holdfast.journal.views import RunRow
from holdfast.values import limits
from holdfast.values.errors import HoldfastError
from holdfast.world import Stage, diff, unified

_IDLE = 30_000
"""A pause of so many ms is shown as one, and takes no more room than this in the bars."""
_WIDTH = 1000


class _Entry(msgspec.Struct):
    """A row of the timeline: a step with all its events, or one event of another kind."""

    key: str
    first: Moment
    moments: list[Moment]

    @property
    def begun(self) -> int:
        """When, ms since 1970."""
        event, body = self.first.event, self.first.body
        return event.at - (body.took // 1000 if event.kind == "step.settled" else 0)

    @property
    def ended(self) -> int:
        """When, ms since 1970."""
        return self.moments[-1].event.at


class _Room:
    """How many characters of payloads the page still takes."""

    def __init__(self) -> None:
        self.left = limits.PICTURE_MAX_CHARS

    def take(self, text: str) -> str:
        """As much of a text as fits."""
        if self.left <= 0:
            return "(left out: the page is full)"
        shown = cut(text, min(limits.PICTURE_VALUE_CHARS, self.left))
        self.left -= len(shown)
        return shown


def picture(
    row: RunRow, found: Sequence[Moment], kin: Sequence[RunRow], fetch: Fetch, made: int
) -> str:
    """The page of a run. ``found``: its whole chain; ``kin``: the runs of its tree, itself
    included, those that others come from before them; ``made``: now, ms since 1970."""
    entries = _entries(found)
    most = limits.PICTURE_EVENTS
    head, tail = entries[: most // 4], entries[max(most // 4, len(entries) - most * 3 // 4) :]
    axis = _Axis([*head, *tail])
    room = _Room()
    body = [_entry(one, axis, fetch, room) for one in axis.gaps(head)]
    if left := len(entries) - len(head) - len(tail):
        body.append(f"<p class=gap>{left:,} rows left out here: holdfast show {_t(row.run)}</p>")
    body += [_entry(one, axis, fetch, room) for one in axis.gaps(tail, head[-1:])]
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    top = (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; "
        f"style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">"
        f"<title>{_t(row.agent)} {_t(row.run)}</title><style>{STYLE}</style><main>"
    )
    return "".join([
        top,
        _header(row, found, made),
        _tree(row, kin),
        _cost(found),
        "<section><h2>Timeline</h2>",
        *body,
        "</section></main>\n</html>\n",
    ])  # fmt: skip


def _t(text: str) -> str:
    return escape(clean(str(text)))


def _when(ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(ms / 1000, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _clock(ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(ms / 1000, dt.UTC):%H:%M:%S}.{ms % 1000:03d}"


# The head of the page -------------------------------------------------------------------------


def _header(row: RunRow, found: Sequence[Moment], made: int) -> str:
    last = found[-1].event.at if found else row.changed
    started = next((one.body for one in found if one.event.run == row.run
                    and one.event.kind == "run.started"), None)  # fmt: skip
    told = [
        ("Started", _when(row.started)), ("Last event", _when(last)),
        ("Lasted", telling.took(max(0, last - row.started) * 1000)),
        ("Steps", f"{sum(one.event.kind == 'step.settled' for one in found):,}"),
        ("Events", f"{len(found):,}"),
        ("Started by", started.by if started else ""),
        ("Policy", started.policy[:12] if started else ""),
        ("Fork of", f"{row.fork_of} after #{row.fork_pos}" if row.fork_of else ""),
        ("Spawned by", f"{row.parent}@{row.parent_key}" if row.parent else ""),
        ("Program", row.ref), ("Page made", _when(made)),
    ]  # fmt: skip
    items = "".join(f"<div><dt>{name}<dd>{_t(value)}</div>" for name, value in told if value)
    asks = "".join(f"<p class=warn>{_t(telling.wait_text(wait, row.run))}</p>"
                   for wait in row.waits)  # fmt: skip
    failed = f"<p class=bad>{_t(f'{row.error.type}: {row.error.text}')}</p>" if row.error else ""
    return (
        f"<header><h1>{_t(row.agent)} <code>{_t(row.run)}</code> "
        f"<b class='tag {_word(row.status)}'>{_t(row.status)}</b></h1>"
        f"{failed}{asks}<dl class=facts>{items}</dl></header>"
    )


def _word(status: str) -> str:
    """The class of a word: of its colour."""
    colour = telling.STYLES.get(status, "")
    return {"green": "good", "red": "bad", "yellow": "warn", "cyan": "warn"}.get(colour, "plain")


def _tree(row: RunRow, kin: Sequence[RunRow]) -> str:
    if len(kin) < 2:
        return ""
    depth: dict[str, int] = {}
    place: dict[str, int] = {}
    shown = _ordered(kin)[: limits.LIST_ROWS]
    parts: list[str] = []
    for at, one in enumerate(shown):
        origin = one.fork_of or one.parent
        depth[one.run] = depth.get(origin, -1) + 1
        place[one.run] = at
        x, y = 14 + 22 * depth[one.run], 16 + 26 * at
        if origin in place:
            top, left = 16 + 26 * place[origin], 14 + 22 * depth[origin]
            dashed = "" if one.fork_of else " stroke-dasharray='3 3'"
            parts.append(f"<path class=edge d='M{left} {top}V{y}H{x}'{dashed} />")
        how = f"fork after #{one.fork_pos}" if one.fork_of else (
            f"spawned at {one.parent_key}" if one.parent else "")  # fmt: skip
        mine = " font-weight='700'" if one.run == row.run else ""
        parts.append(
            f"<circle class='dot {_word(one.status)}' cx='{x}' cy='{y}' r='5' />"
            f"<text x='{x + 12}' y='{y + 4}'{mine}>{_t(one.run)} {_t(cut(one.agent, 30))} "
            f"<tspan class=soft>{_t(one.status)} {_t(how)}</tspan></text>"
        )
    width, height = 460 + 22 * max(depth.values()), 26 * len(shown) + 8
    more = f"<p class=soft>{len(kin) - len(shown)} more</p>" if len(kin) > len(shown) else ""
    return (
        "<section><h2>Runs</h2><div class=scroll tabindex=0 role=img aria-label='Tree of runs'>"
        f"<svg width='{width}' height='{height}' viewBox='0 0 {width} {height}'>"
        f"{''.join(parts)}</svg></div>{more}<p class=soft>Solid: forks. Dashed: spawned.</p>"
        "</section>"
    )


def _ordered(kin: Sequence[RunRow]) -> list[RunRow]:
    """Runs, each after the one it comes from and before that one's next."""
    children: dict[str, list[RunRow]] = {}
    known = {one.run for one in kin}
    for one in kin:
        origin = one.fork_of or one.parent
        children.setdefault(origin if origin in known else "", []).append(one)
    found: list[RunRow] = []
    left = children.get("", [])[::-1]
    while left:
        one = left.pop()
        found.append(one)
        left += children.get(one.run, [])[::-1]
    return found


def _cost(found: Iterable[Moment]) -> str:
    used: dict[str, list[float]] = {}
    for one in found:
        if one.event.kind == "step.settled" and one.body.usage:
            plan = one.step.plan if one.step else None
            sums = used.setdefault(plan.name if plan else "", [0, 0.0, 0.0])
            sums[0] += 1
            sums[1] += one.body.usage.get("tokens", 0)
            sums[2] += one.body.usage.get("money", 0)
    if not used:
        return ""
    total = [sum(sums[at] for sums in used.values()) for at in range(3)]
    rows = [*sorted(used.items(), key=lambda one: (-one[1][2], -one[1][1])), ("all", total)]
    cells = "".join(
        f"<tr><td>{_t(name)}<td>{sums[0]:,.0f}<td>{sums[1]:,.0f}<td>{sums[2]:,.4f}"
        for name, sums in rows
    )
    return (
        "<section><h2>Cost</h2><table><thead><tr><th>What<th>Steps<th>Tokens<th>Money</thead>"
        f"{cells}</table></section>"
    )


# The timeline ---------------------------------------------------------------------------------


def _entries(found: Sequence[Moment]) -> list[_Entry]:
    entries: list[_Entry] = []
    steps: dict[tuple[int, str], _Entry] = {}
    for one in found:
        key = one.step.key if one.step is not None else ""
        known = steps.get((one.segment, key)) if key else None
        if known is not None:
            known.moments.append(one)
            continue
        entry = _Entry(key, one, [one])
        entries.append(entry)
        if key:
            steps[one.segment, key] = entry
    return entries


class _Axis:
    """Time as the bars show it: idle time is folded."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        moments = sorted({at for one in entries for at in (one.begun, one.ended)})
        self._at: dict[int, int] = {}
        total, before = 0, moments[0] if moments else 0
        for at in moments:
            total += min(at - before, _IDLE)
            self._at[at] = total
            before = at
        self._total = max(1, total)

    def bar(self, entry: _Entry) -> tuple[float, float]:
        """Beginning and width, of `_WIDTH`."""
        begun = self._at[entry.begun] * _WIDTH / self._total
        ended = self._at[entry.ended] * _WIDTH / self._total
        return min(begun, _WIDTH - 6), max(6.0, ended - begun)

    @staticmethod
    def gaps(entries: Sequence[_Entry], before: Sequence[_Entry] = ()) -> Iterable[_Entry | int]:
        """Entries, with the ms of the pauses between them."""
        last = max((one.ended for one in before), default=0)
        for one in entries:
            if last and one.begun - last >= _IDLE:
                yield one.begun - last
            last = max(last, one.ended)
            yield one


def _entry(entry: _Entry | int, axis: _Axis, fetch: Fetch, room: _Room) -> str:
    if isinstance(entry, int):
        return f"<p class=gap>{telling.took(entry * 1000)} idle</p>"
    step, event, body = entry.first.step, entry.first.event, entry.first.body
    settled = step.settled if step is not None else None
    verdicts = [getattr(one.body, "verdict", None) for one in entry.moments]
    verdict = next((one for one in reversed(verdicts) if one is not None), None)
    if step is not None and step.plan is not None:
        name = telling.action(step.plan)
        args = "" if step.plan.kind == "signal" else telling.brief_args(step.args, fetch, 110)
        what = f"<b>{_t(name)}</b>" + (f" <span class=soft>{_t(args)}</span>" if args else "")
        status = settled.status if settled else "open"
    else:
        about = lines.subject(event, body, entry.first.args, fetch, 110)
        what = f"<b>{_t(event.kind)}</b> {_t(about)}"
        status = body.status if event.kind == "run.ended" else ""
    tags = f"<b class='tag {_word(status)}'>{_t(status)}</b>" if status else ""
    if verdict is not None and verdict.decision != "allow":
        said = cut(telling.verdict_text(verdict), 60)
        tags += f"<b class='tag {_word(verdict.decision)}'>{_t(said)}</b>"
    if any(one.moved for one in entry.moments):
        tags += "<b class='tag moved'>world</b>"
    waited = entry.ended - entry.begun - (settled.took // 1000 if settled else 0)
    if waited >= _IDLE:
        tags += f"<i>{telling.took(waited * 1000)} waiting</i>"
    begun, width = axis.bar(entry)
    took = telling.took(settled.took) if settled and settled.took else ""
    summary = (
        f"<time>{_clock(entry.begun)}</time><code class=key>{_t(entry.key)}</code>"
        f"<span class=what>{what}</span><span class=tags>{tags}<i>{took}</i></span>"
        f"<svg class=bar viewBox='0 0 {_WIDTH} 4' preserveAspectRatio=none aria-hidden=true>"
        f"<rect class=rail width='{_WIDTH}' height='4' />"
        f"<rect class='{_word(status)}' x='{begun:.1f}' width='{width:.1f}' height='4' /></svg>"
    )
    inside = _inside(entry, verdict, fetch, room)
    return f"<details><summary>{summary}</summary><div class=inside>{inside}</div></details>"


def _inside(entry: _Entry, verdict: Verdict | None, fetch: Fetch, room: _Room) -> str:
    step = entry.first.step
    parts: list[str] = []
    if verdict is not None:
        parts.append(_verdict(verdict))
    parts += [_said(one, room) for one in entry.moments
              if one.event.kind in ("approval.asked", "approval.given")
              or getattr(one.body, "failed", None)]  # fmt: skip
    if step is not None and step.settled is not None and step.settled.error is not None:
        error = step.settled.error
        parts.append(f"<p class=bad>{_t(room.take(f'{error.type}: {error.text}'))}</p>")
    if step is None or step.plan is None:
        found = [("given", entry.first.args), ("value", entry.first.event.value)]
    else:
        found = [("arguments", step.args), ("changed to", step.edited), ("result", step.value)]
    for name, skeleton in found:
        if skeleton is not None:
            text = room.take(pretty(plain(skeleton, fetch)))
            parts.append(f"<h3>{name}</h3><pre>{_t(text)}</pre>")
    if step is not None and any(one.moved for one in entry.moments):
        parts.append(_world(step.world_before, step.world_after, fetch, room))
    events = ", ".join(f"#{one.event.pos} {one.event.kind}" for one in entry.moments[:20])
    parts.append(f"<p class=soft>{_t(events)} <code>{entry.first.event.id[:16]}</code></p>")
    return "".join(parts)


def _verdict(verdict: Verdict) -> str:
    told = [("Decision", verdict.decision), ("Only observed", verdict.observed),
            ("Rules", ", ".join(verdict.rules)), ("Reason", verdict.reason),
            ("Allowed instead", verdict.way), ("Policy", verdict.policy),
            ("May answer", ", ".join(verdict.approvers)),
            ("Risk", f"{verdict.risk:.1%}" if verdict.risk else "")]  # fmt: skip
    told += [(f"Check {one.name}", f"{'passed' if one.passed else 'failed'} {one.text}")
             for one in verdict.checked]  # fmt: skip
    items = "".join(f"<div><dt>{_t(name)}<dd>{_t(value)}</div>" for name, value in told if value)
    parts = sorted(verdict.parts.items(), key=lambda one: -abs(one[1]))[:20]
    rows = "".join(f"<tr><td>{_t(name)}<td>{points:+.2f}" for name, points in parts)
    table = f"<table><thead><tr><th>Part of the risk<th>Points</thead>{rows}</table>" * bool(rows)
    return f"<h3>verdict</h3><dl class=facts>{items}</dl>{table}"


def _said(one: Moment, room: _Room) -> str:
    event, body = one.event, one.body
    if event.kind == "approval.asked":
        text = f"asked: {body.text}"
    elif event.kind == "approval.given":
        text = f"{body.by}: {body.decision}{f' ({body.note})' if body.note else ''}"
    else:
        text = f"attempt {body.attempt} after {body.failed.type}: {body.failed.text}"
    return f"<p><time>{_clock(event.at)}</time> {_t(room.take(text))}</p>"


def _world(before: str, after: str, fetch: Fetch, room: _Room) -> str:
    if before == after or not after:
        return ""
    try:
        stage = Stage(fetch)
        patch = unified(stage, diff(stage, before, after)) if before else ""
    except HoldfastError as error:
        return f"<p class=soft>its world cannot be shown: {_t(str(error))}</p>"
    if not patch:
        return ""
    marks = {"+": "add", "-": "del", "@": "soft", "d": "soft"}
    shown = "\n".join(
        f"<span class={marks[one[0]]}>{_t(one)}</span>" if one[:1] in marks else _t(one)
        for one in room.take(patch).split("\n")
    )
    return f"<h3>world</h3><pre>{shown}</pre>"
