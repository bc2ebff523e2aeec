"""How runs, steps, times and values are put into words."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from holdfast.engine.history import title
from holdfast.explain.text import cut, one_line
from holdfast.journal.events import Plan, Verdict, is_erased
from holdfast.journal.views import CHILD, PUBLISH, PUBLISH_END, PUBLISHED, RunRow, Wait
from holdfast.values.canon import unpack
from holdfast.values.errors import Corrupt

Fetch = Callable[[str], bytes]

STYLES = {
    "running": "cyan", "waiting": "yellow", "done": "green", "failed": "red", "cancelled": "dim",
    "value": "green", "error": "red", "refused": "red", "unknown": "yellow", "held": "yellow",
    "expired": "yellow",
    "branch": "magenta",
    "allow": "", "verify": "yellow", "escalate": "yellow", "deny": "red",
}  # fmt: skip
"""A style for each word that has one."""


def age(ms: int, now_ms: int) -> str:
    """How long ago, roughly."""
    return _span(max(0, now_ms - ms) / 1000)


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length * 2:
            return f"{int(seconds / length)} {unit}"
    return f"{int(seconds)} s"


def took(us: int) -> str:
    """A duration in microseconds, to read."""
    if us < 1000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us / 1000:.3g} ms" if us < 100_000 else f"{us // 1000} ms"
    if us < 120_000_000:
        return f"{us / 1_000_000:.3g} s"
    return _span(us / 1_000_000)


def clock(ms: int) -> str:
    """A moment in local time."""
    return _local(ms).strftime("%Y-%m-%d %H:%M:%S")


def time_of_day(ms: int) -> str:
    """The time of day of a moment, with milliseconds."""
    return f"{_local(ms):%H:%M:%S}.{ms % 1000:03d}"


def _local(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).astimezone()


# Values ----------------------------------------------------------------------------------------


def plain(skeleton: bytes | None, fetch: Fetch) -> Any:
    """The whole value of a skeleton; content that is gone is said to be gone."""
    if skeleton is None:
        return None
    if is_erased(skeleton):
        return {"erased": True}
    try:
        return unpack(skeleton, fetch)
    except Corrupt as error:
        return {"unreadable": str(error)}


def brief(skeleton: bytes | None, fetch: Fetch, room: int = 80) -> str:
    """A value on one line of at most ``room`` characters; reads no more content than is shown."""
    if skeleton is None:
        return ""
    return _gather(_pieces(msgspec.json.decode(skeleton), fetch), room)


def brief_args(skeleton: bytes | None, fetch: Fetch, room: int = 80) -> str:
    """Arguments as a call shows them, on one line."""
    if skeleton is None:
        return ""
    args = msgspec.json.decode(skeleton)
    if not isinstance(args, dict) or is_erased(skeleton):
        return brief(skeleton, fetch, room)
    return _gather(_call_pieces(args, fetch), room)


def _call_pieces(args: dict[str, Any], fetch: Fetch) -> Iterator[str]:
    for place, (name, value) in enumerate(args.items()):
        yield f"{', ' if place else ''}{name}="
        yield from _pieces(value, fetch)


def _gather(pieces: Iterator[str], room: int) -> str:
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > room:
            break
    return cut(one_line(text), room)


def _pieces(value: Any, fetch: Fetch) -> Iterator[str]:
    if isinstance(value, dict):
        if len(value) == 1:
            ((tag, content),) = value.items()
            known = _tagged(tag, content, fetch)
            if known is not None:
                yield from known
                return
        yield "{"
        for place, (key, item) in enumerate(value.items()):
            yield f"{', ' if place else ''}{key}: "
            yield from _pieces(item, fetch)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _pieces(item, fetch)
        yield "]"
    else:
        yield msgspec.json.encode(value).decode()


def _tagged(tag: str, content: Any, fetch: Fetch) -> Iterator[str] | None:
    match tag:
        case "$blob":
            try:
                return _pieces(msgspec.json.decode(fetch(content)), fetch)
            except Corrupt:
                return iter(("(content is gone)",))
        case "$raw":
            return iter((f"<bytes {content[:12]}>",))
        case "$bytes":
            return iter((f"<{len(base64.b64decode(content))} bytes>",))
        case "$float":
            return iter((content,))
        case "$erased":
            return iter(("(erased)",))
        case _:
            return None


# Runs ------------------------------------------------------------------------------------------


def asked(row: RunRow) -> list[Wait]:
    """What a run asks people and nobody has answered."""
    return [wait for wait in row.waits if wait.kind == "person" and not wait.ready]


def wait_text(wait: Wait, run: str) -> str:
    """What a run waits for, on one line."""
    if wait.kind == "person":
        if wait.ready:
            return f"@{wait.key} answered"
        whom = f" {one_line(', '.join(wait.approvers))}" if wait.approvers else ""
        return f"@{wait.key} asks{whom}: {one_line(wait.text)}"
    if wait.kind == "timer":
        return f"@{wait.key} until {clock(wait.due)}"
    if wait.name.startswith(PUBLISHED):
        return f"@{wait.key} {one_line(wait.text)} waits to be published"
    if wait.name.startswith(CHILD):
        return f"@{wait.key} {signal_text(wait.name)}"
    return f"@{wait.key} signal {one_line(wait.name)}"


def signal_text(name: str) -> str:
    """A wait for a signal; news of a child is a wait for that run."""
    if name.startswith(PUBLISHED):
        return f"published @{one_line(name.removeprefix(PUBLISHED))}"
    if name in (PUBLISH, PUBLISH_END):
        return "publishing begins" if name == PUBLISH else "publishing ends"
    if name.startswith(CHILD):
        return f"waits for run {one_line(name.removeprefix(CHILD))}"
    return f"signal {one_line(name)}"


def action(plan: Plan | None) -> str:
    """What an action is called, for people."""
    return signal_text(plan.name) if plan is not None and plan.kind == "signal" else title(plan)


def who_may_answer(row: RunRow) -> list[str]:
    """A line for each open question that not everybody may answer."""
    return [
        f"@{wait.key} may be answered by {one_line(', '.join(wait.approvers))} only"
        for wait in asked(row)
        if wait.approvers
    ]


def how_to_answer(row: RunRow) -> list[str]:
    """The commands that would let a waiting run go on."""
    commands: list[str] = []
    open_now = asked(row)
    for wait in open_now:
        place = row.run if len(open_now) == 1 else f"{row.run}@{wait.key}"
        commands += {
            "question": [f"holdfast answer {place} VALUE"],
            "unknown": [f"holdfast approve {place}", f"holdfast answer {place} VALUE"],
        }.get(wait.about, [f"holdfast approve {place}"])
        commands.append(f"holdfast deny {place}")
    for wait in row.waits:
        if wait.name.startswith(PUBLISHED) and not wait.ready:
            commands.append(f"holdfast publish {row.run}")
        if wait.kind == "signal" and not wait.ready and not wait.name.startswith("$"):
            commands.append(f"holdfast signal {row.run} {one_line(wait.name)}")
    return commands


def verdict_text(verdict: Verdict | None) -> str:
    """Decision and the rule that decided."""
    if verdict is None:
        return ""
    rule = f" {verdict.rules[0]}" if verdict.rules and verdict.decision != "allow" else ""
    return f"{verdict.decision}{rule}"


def struct(value: Any) -> Any:
    """A struct as JSON, with fields at their defaults too."""
    return None if value is None else msgspec.structs.asdict(value)


def row_document(row: RunRow) -> dict[str, Any]:
    """A run's row as JSON."""
    return {
        **msgspec.structs.asdict(row),
        "waits": [struct(wait) for wait in row.waits],
        "error": struct(row.error),
    }
