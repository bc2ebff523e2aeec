"""Tools that only look: at runs, their steps, their worlds, and why a step was let happen."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec

from holdfast.cli.serving.shape import (
    Asked,
    Cursor,
    Given,
    Next,
    Page,
    Ref,
    Rows,
    Run,
    Step,
    brief,
    page,
    place,
    whole,
)
from holdfast.cli.worlds import beginning, find_version
from holdfast.explain import lines, telling
from holdfast.explain.past import Moment, chain, find_step, moments
from holdfast.journal.events import ApprovalAsked, ApprovalGiven, Verdict
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import Stage, check_path, diff, entry, list_dir, read_file, unified

Status = Literal["", "running", "waiting", "done", "failed", "cancelled", "branch"]


class RunLine(Given):
    """A run as a list shows it; times in milliseconds since 1970."""

    run: str
    agent: str
    status: str
    started: int
    changed: int
    steps: int
    parent: str = ""
    fork_of: str = ""
    holds: bool = False
    error: str = ""
    waits: tuple[str, ...] = ()


class ListRuns(Asked):
    """Which runs to list, newest first."""

    status: Status = ""
    agent: Annotated[str, msgspec.Meta(description="Only runs of this agent")] = ""
    limit: Rows = 20
    cursor: Cursor = ""


class Runs(Given):
    """A page of runs."""

    runs: list[RunLine]
    next: Next = ""


def run_line(row: RunRow) -> RunLine:
    """A run's row as it is given."""
    error = f"{row.error.type}: {row.error.text}" if row.error is not None else ""
    waits = [brief(telling.wait_text(wait, row.run)) for wait in row.waits if not wait.ready]
    return RunLine(
        run=row.run, agent=brief(row.agent), status=row.status, started=row.started,
        changed=row.changed, steps=row.steps, parent=row.parent, fork_of=row.fork_of,
        holds=row.holds, error=brief(error), waits=tuple(waits[:10]),
    )  # fmt: skip


async def list_runs(store: Store, asked: ListRuns) -> Runs:
    """The runs of the store, newest first."""
    query = RunQuery(asked.limit + 1, place(asked.cursor), asked.status, asked.agent)
    rows = await store.runs(query)
    more = str(rows[asked.limit - 1].number) if len(rows) > asked.limit else ""
    return Runs(runs=[run_line(row) for row in rows[: asked.limit]], next=more)


class ShowRun(Asked):
    """Which run, and from where on."""

    run: Run
    limit: Rows = limits.SERVE_ROWS
    cursor: Cursor = ""


class EventLine(Given):
    """One event of a run: ``what`` was done or asked with which arguments, and how it ended, each
    on one short line; ``changed``: it changed the world."""

    event: int
    step: str
    kind: str
    what: str
    outcome: str
    verdict: str = ""
    changed: bool = False


class Shown(Given):
    """A run and a page of its events, oldest first."""

    run: RunLine
    events: list[EventLine]
    total: int
    next: Next = ""


async def show_run(store: Store, asked: ShowRun) -> Shown:
    """What a run did, event by event."""
    row = await find_run(store, asked.run)
    start = place(asked.cursor)
    found = list(moments(await chain(store, row.run)))
    taken = found[start : start + asked.limit]
    end = start + len(taken)
    return Shown(
        run=run_line(row), events=[_event_line(one, store) for one in taken], total=len(found),
        next=str(end) if end < len(found) else "",
    )  # fmt: skip


def _event_line(moment: Moment, store: Store) -> EventLine:
    event, body, room = moment.event, moment.body, limits.SERVE_BRIEF_CHARS
    about = lines.subject(event, body, moment.args, store.get, room)
    if event.kind == "step.settled" and body.plan is None and moment.step is not None:
        about = telling.action(moment.step.plan)
    ended = lines.outcome(event, body, store.get, room)
    key = "" if event.kind == "checkpoint.signed" else getattr(body, "key", "")
    return EventLine(
        event=event.pos, step=key, kind=event.kind, what=brief(about),
        outcome=brief(ended if isinstance(ended, str) else ended[0]),
        verdict=brief(telling.verdict_text(getattr(body, "verdict", None))), changed=moment.moved,
    )  # fmt: skip


class ReadStep(Asked):
    """Which part of which step to read whole."""

    run: Run
    step: Step
    part: Literal["args", "value", "facts"] = "value"
    cursor: Cursor = ""


async def read_step(store: Store, asked: ReadStep) -> Page:
    """What a step was called with, gave, or was judged by, whole, as JSON, in pages."""
    row = await find_run(store, asked.run)
    step, about = await find_step(store, row.run, asked.step)
    found: Any
    if asked.part == "facts":
        verdict = _verdict(about)
        found = verdict.facts if verdict is not None else {}
    else:
        found = telling.plain(step.args if asked.part == "args" else step.value, store.get)
    return page(whole(_json(found)), asked.cursor)


def _json(value: Any) -> str:
    plain = msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=True)
    return json.dumps(plain, ensure_ascii=False, indent=1, default=_bytes)


def _bytes(value: Any) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else repr(value)


# Why ----------------------------------------------------------------------------------------------
class Why(Asked):
    """Which step."""

    run: Run
    step: Step


class Answered(Given):
    """What a person said about it."""

    by: str
    decision: str
    note: str = ""


class Reasons(Given):
    """What is known of why a step went as it did. ``rules``: all that matched, the deciding one
    first; ``risk``: the probability that a careful reviewer would refuse, and what each fact added;
    ``origin``: where each argument's value came from; ``facts``: what the policy could look at
    (`read_step` gives them whole if ``facts_cut``)."""

    run: str
    step: str
    action: str
    effect: str
    status: str
    error: str = ""
    decision: str = ""
    observed: str = ""
    rules: tuple[str, ...] = ()
    reason: str = ""
    way: str = ""
    policy: str = ""
    risk: float = 0.0
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    origin: dict[str, Any] = msgspec.field(default_factory=dict)
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    facts_cut: bool = False
    checks: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    answers: tuple[Answered, ...] = ()
    label: str = ""


def _verdict(about: list[Moment]) -> Verdict | None:
    """The verdict that a step went by: the last one."""
    found = [moment.body.verdict for moment in about if getattr(moment.body, "verdict", None)]
    return found[-1] if found else None


async def why(store: Store, asked: Why) -> Reasons:
    """Everything recorded of why a step was let happen, or was not."""
    row = await find_run(store, asked.run)
    step, about = await find_step(store, row.run, asked.step)
    verdict = _verdict(about) or Verdict("allow")
    judged = _verdict(about) is not None
    facts = verdict.facts
    small = len(_json(facts)) <= limits.SERVE_PAGE_CHARS // 2
    origin = facts.get("origin", {})
    settled = step.settled
    error = settled.error if settled is not None else None
    bodies = [moment.body for moment in about]
    return Reasons(
        run=row.run, step=step.key, action=telling.action(step.plan),
        effect=step.plan.effect if step.plan is not None else "",
        status=settled.status if settled is not None else "open",
        error=brief(f"{error.type}: {error.text}") if error is not None else "",
        decision=verdict.decision if judged else "", observed=verdict.observed,
        rules=verdict.rules, reason=brief(verdict.reason, 500), way=brief(verdict.way, 500),
        policy=verdict.policy, risk=verdict.risk, parts=dict(verdict.parts),
        origin=dict(origin) if small and isinstance(origin, dict) else {},
        facts=dict(facts) if small else {}, facts_cut=not small,
        checks=tuple(brief(f"{one.name}: {'passed' if one.passed else 'did not pass'} {one.text}")
                     for one in verdict.checked),
        asked=tuple(brief(one.text, 500) for one in bodies if isinstance(one, ApprovalAsked)),
        answers=tuple(Answered(by=brief(one.by), decision=one.decision, note=brief(one.note, 500))
                      for one in bodies if isinstance(one, ApprovalGiven)),
        label=settled.label if settled is not None else "",
    )  # fmt: skip


# Worlds -------------------------------------------------------------------------------------------
class WorldDiff(Asked):
    """Which versions; without ``other``: what the first has changed since it began."""

    ref: Ref
    other: Ref = ""
    cursor: Cursor = ""


class Difference(Given):
    """Which paths differ (at most ``listed`` of ``changed``), and a page of the patch."""

    changes: list[str]
    listed: int
    changed: int
    patch: Page


async def world_diff(store: Store, asked: WorldDiff) -> Difference:
    """How two versions of worlds differ."""
    a = await find_version(store, asked.ref)
    before, after = a.root, a.root
    if asked.other:
        after = (await find_version(store, asked.other)).root
    else:
        before = await beginning(store, a.row)
    stage = Stage(store.get)
    changes = diff(stage, before, after)
    named = [brief(f"{one.kind} {one.path}", 300) for one in changes[: limits.SERVE_ROWS]]
    patch = page(_clean(unified(stage, changes)), asked.cursor)
    return Difference(changes=named, listed=len(named), changed=len(changes), patch=patch)


def _clean(text: str) -> str:
    # content of files is given as it is, but for what commands a terminal: masked, a patch or a
    # file would be another one
    from holdfast.explain.text import clean

    return clean(text)


class WorldRead(Asked):
    """Which file or directory of which version."""

    ref: Ref
    path: Annotated[str, msgspec.Meta(description="Empty: the top directory")] = ""
    cursor: Cursor = ""


async def world_read(store: Store, asked: WorldRead) -> Page:
    """The text of a file as it was, or the names in a directory, a line each."""
    version = await find_version(store, asked.ref)
    stage = Stage(store.get)
    path = check_path(asked.path.strip("/")) if asked.path.strip("/") else ""
    found = entry(stage, version.root, path) if path else None
    if not path or (found is not None and found.is_dir):
        names = [f"{name}/" if one.is_dir else name
                 for name, one in list_dir(stage, version.root, path)]  # fmt: skip
        return page("".join(f"{_clean(name)}\n" for name in names), asked.cursor)
    content = read_file(stage, version.root, path)
    try:
        return page(_clean(content.decode()), asked.cursor)
    except UnicodeDecodeError:
        raise Misuse(f"{path}: is not UTF-8 text ({len(content):,} bytes)") from None
