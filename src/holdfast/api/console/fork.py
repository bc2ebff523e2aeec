"""Forking a run before a step, with one thing changed: a message, an outcome, an argument."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import need
from holdfast.api.console.inbox import json_of
from holdfast.api.console.render import form_of, page, path_part, seen
from holdfast.api.console.used import used_text
from holdfast.api.site import Site, site_of
from holdfast.engine.fork import START, find_cut, fork
from holdfast.engine.held import LEAVES
from holdfast.explain import telling
from holdfast.explain.conversation import asked, speaker, with_words, words
from holdfast.explain.past import chain, find_step
from holdfast.explain.text import one_line, pretty
from holdfast.journal.events import Event, body_of
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime.refs import find_run
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Misuse
from holdfast.values.ids import new_id


class Message(msgspec.Struct, frozen=True):
    """A message of a model's request. ``path``: of the edit that changes it; ``text``: its words,
    as far as it is words."""

    path: str
    role: str
    text: str
    value: Any


class Rest(msgspec.Struct, frozen=True):
    """What came behind the place of a fork: how many steps, what they used, and how many of them
    left the world."""

    steps: int
    used: str
    leaves: int


class Cutting(msgspec.Struct, frozen=True):
    """Where a fork begins and what may be changed there."""

    key: str
    name: str
    messages: list[Message]
    result: str | None
    args: str | None
    input: str | None
    rest: Rest


async def show(request: Request) -> Response:
    """The form."""
    need(request, "admin")
    site = site_of(request)
    row = await find_run(site.store, request.path_params["run"])
    key = request.query_params.get("step", "") or START
    cutting = await cutting_of(site.store, row, key)
    return page(request, "fork.html", row=row, cutting=cutting, trouble="", form={})


async def make(request: Request) -> Response:
    """Make the fork and go on with it; then compare the two."""
    person, site = need(request, "admin"), site_of(request)
    row, form = await find_run(site.store, request.path_params["run"]), await form_of(request)
    key = form.get("step", "") or START
    cutting = await cutting_of(site.store, row, key)
    try:
        made = await _fork(site, row, cutting, form, person.name)
    except HoldfastError as error:
        return page(request, "fork.html", status=409, row=row, cutting=cutting, form=form,
                    trouble=one_line(str(error)))  # fmt: skip
    return seen(request, f"/compare?a={path_part(row.run)}&b={path_part(made)}")


async def _fork(site: Site, row: RunRow, cutting: Cutting, form: dict[str, str], by: str) -> str:
    # INVARIANT X134: a fork that the console makes holds what leaves the world, whatever its form
    # says: nothing happens before somebody publishes it
    if site.goes_on:
        await site.need_terms(row.run, cutting.key)
    made = await fork(
        site.store, row.run, cutting.key, name=new_id(site.dice), now_ms=site.clock.now_ms(),
        edits=edits_of(cutting, form), reuse=False if form.get("fresh") else None, live=False,
        by=by,
    )  # fmt: skip
    if site.goes_on and not row.door:
        await site.runtime.resume(made)
    return made


def edits_of(cutting: Cutting, form: dict[str, str]) -> dict[str, Any]:
    """What was changed in the form, by path; what is as it was changes nothing."""
    edits: dict[str, Any] = {}
    for name, was in (("result", cutting.result), ("args", cutting.args), ("input", cutting.input)):
        text = form.get(name)
        if was is None or text is None or _same(text, was):
            continue
        edits |= _changed(name, json_of(was, name), json_of(text, name))
    for number, one in enumerate(cutting.messages):
        text = form.get(f"message{number}")
        if text is not None and not _same(text, one.text):
            edits[one.path] = with_words(one.value, text.replace("\r\n", "\n"))
    if any(path.startswith("args.request.") for path in edits) and "args" in edits:
        raise Misuse("change messages or the arguments, not both")
    return edits


def _same(typed: str, was: str) -> bool:
    return typed.replace("\r\n", "\n").strip() == was.strip()


def _changed(name: str, was: Any, now: Any) -> dict[str, Any]:
    """The narrowest edits that make one value of another: by field where both have the same."""
    if isinstance(was, dict) and isinstance(now, dict) and was.keys() == now.keys() and was:
        return {f"{name}.{key}": now[key] for key in now if now[key] != was[key]}
    if name == "input":
        raise Misuse("input: a program's arguments keep their names")
    return {name: now} if was != now else {}


async def cutting_of(store: Store, row: RunRow, key: str) -> Cutting:
    """What a fork before a step may change; `NotFound` for a step that is not there."""
    cut = await find_cut(store, row.run, key)
    events = await chain(store, row.run)
    rest = rest_of(events[cut.pos + 1 :])
    if cut.step is None:
        given = telling.plain(cut.started.args, store.get)
        return Cutting(START, "its beginning", [], None, None, pretty(given), rest)
    step, _ = await find_step(store, row.run, key)
    plan, args = step.plan, telling.plain(step.args, store.get)
    settled = step.settled is not None
    result = pretty(telling.plain(step.value, store.get)) if settled else None
    takes = plan is not None and plan.kind == "tool"
    return Cutting(
        key, telling.action(plan), _messages(args) if plan and plan.kind == "model" else [],
        result, pretty(args) if takes else None, None, rest,
    )  # fmt: skip


def _messages(args: Any) -> list[Message]:
    """Those of a request that have words, the newest of them last."""
    talk = asked(args)
    found: list[Message] = []
    if talk.system is not None:
        path, value = f"args.request.{talk.system[0]}", talk.system[1]
        found.append(Message(path, "system", words(value), value))
    for place, one in enumerate(talk.messages):
        path = f"args.request.{talk.place}{'' if isinstance(one, str) else f'.{place}'}"
        found.append(Message(path, speaker(one), words(one), one))
    return found[-limits.CONSOLE_MESSAGES_ITEMS :]


def rest_of(events: list[Event]) -> Rest:
    """What the events behind a cut came to."""
    used: dict[str, float] = {}
    steps = leaves = 0
    for event in events:
        if event.kind == "step.settled":
            body, steps = body_of(event), steps + 1
            leaves += body.plan is not None and body.plan.effect in LEAVES
            for unit, much in body.usage.items():
                used[unit] = used.get(unit, 0) + much
        elif event.kind == "step.planned":
            leaves += body_of(event).plan.effect in LEAVES
    return Rest(steps, used_text(used), leaves)
