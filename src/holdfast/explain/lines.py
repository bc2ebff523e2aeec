"""One event, one line: what `show`, `log` and the progress of `run` print."""

from __future__ import annotations

from typing import Any

from holdfast.explain import telling
from holdfast.explain.text import Part, cut, one_line
from holdfast.journal.events import Event, body_of
from holdfast.journal.views import CLIENT


def subject(event: Event, body: Any, args: bytes | None, fetch: telling.Fetch, room: int) -> str:
    """What an event is about: an action with its arguments, a question, a signal."""
    match event.kind:
        case "run.started":
            what = f"run {body.agent}" if body.segment == 1 else f"segment {body.segment}"
            if body.fork_of:
                what = f"forked from {body.fork_of} after #{body.fork_pos}"
                if args is None:
                    return cut(what, room)
                what += ", with "
            return cut(f"{what}({telling.brief_args(args, fetch, room)})", room)
        case "step.planned" | "step.settled":
            name = telling.action(body.plan) if body.plan is not None else ""
            if body.plan is not None and body.plan.kind == "signal":
                return name  # its only argument is that name
            shown = telling.brief_args(args, fetch, max(8, room - len(name) - 2))
            return one_line(f"{name}({shown})" if name and shown else name)
        case "approval.asked":
            return cut(f"asks: {one_line(body.text)}", room)
        case "approval.given":
            note = f" ({one_line(body.note)})" if body.note else ""
            return cut(f"{one_line(body.by)}: {body.decision}{note}", room)
        case "signal.received":
            by = f" from {one_line(body.by)}" if body.by else ""
            return cut(f"{telling.signal_text(body.name)}{by}", room)
        case "branch.merged":
            return cut(f"merge of {body.source}", room)
        case "checkpoint.signed":
            return f"root of {body.size} events by key {body.key[:8]}…"
        case "finding.added":
            return cut(f"finding {one_line(body.type)} about #{body.about}", room)
        case _:
            return ""


def outcome(event: Event, body: Any, fetch: telling.Fetch, room: int) -> Part:
    """How it ended: the value, the error, what is waited for."""
    match event.kind:
        case "step.settled":
            if body.status == "held":
                return ("held", telling.STYLES["held"])
            if body.status == "value":
                return cut(f"→ {telling.brief(event.value, fetch, room)}", room)
            text = f"{body.error.type}: {body.error.text}" if body.error else ""
            return (cut(f"{body.status} {one_line(text)}", room), telling.STYLES[body.status])
        case "step.planned":
            if body.failed is not None:
                text = one_line(f"{body.failed.type}: {body.failed.text}")
                return (cut(f"attempt {body.attempt} after {text}", room), "yellow")
            if body.held:
                return ("held, waits to be published", telling.STYLES["held"])
            if body.due:
                return f"until {telling.clock(body.due)}"
            return "waits" if body.plan.kind == "signal" else "planned"
        case "run.ended":
            text = f"{body.error.type}: {body.error.text}" if body.error else ""
            text = one_line(text) if text else f"→ {telling.brief(event.value, fetch, room)}"
            return (cut(f"{body.status} {text}", room), telling.STYLES.get(body.status, ""))
        case "approval.given" | "signal.received" if event.value is not None:
            return cut(telling.brief(event.value, fetch, room), room)
        case "finding.added" if body.type == CLIENT and event.value is not None:
            return cut(telling.brief(event.value, fetch, room), room)
        case "branch.merged":
            return f"{body.conflicts} conflicts" if body.conflicts else "merged"
        case _:
            return ""


def line(event: Event, args: bytes | None, fetch: telling.Fetch, room: int) -> list[Part]:
    """A whole line: when, which run, which step, what, how it ended."""
    body = body_of(event)
    key = "" if event.kind == "checkpoint.signed" else getattr(body, "key", "")  # a public one
    place = f"{event.run}@{key}" if key else event.run
    half = max(20, room // 2)
    about = subject(event, body, args, fetch, half)
    ended = outcome(event, body, fetch, half)
    parts: list[Part] = [(telling.time_of_day(event.at), "dim"), f"  {place}  "]
    parts.append((event.kind, "dim"))
    if about:
        parts.append(f"  {about}")
    if ended:
        parts += ["  ", ended]
    verdict = telling.verdict_text(getattr(body, "verdict", None))
    if verdict and verdict != "allow":
        parts.append((f"  {verdict}", telling.STYLES.get(verdict.split()[0], "")))
    spent = getattr(body, "took", 0)
    if spent:
        parts.append((f"  {telling.took(spent)}", "dim"))
    return parts
