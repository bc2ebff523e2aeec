"""The inbox: what runs ask people, reviewed as a change is, and answered with the keyboard alone.

Whoever answers is the person who signed in; the answer is bound to the action that the page showed.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.access import Person, need
from holdfast.api.console.diffs import Row, value_rows, world_rows
from holdfast.api.console.render import form_of, page, path_part, seen
from holdfast.api.console.step import Judged, judged_of
from holdfast.api.site import Site, site_of
from holdfast.engine.inbox import Open, Question, open_questions, question_of
from holdfast.engine.seeding import Seeded
from holdfast.explain import telling
from holdfast.explain.text import one_line, pretty
from holdfast.gate.decisions import TOLD, Decided, decisions
from holdfast.journal.quorum import missing
from holdfast.journal.store import Store
from holdfast.values import limits
from holdfast.values.errors import Conflict, HoldfastError, Misuse, NotFound

VERBS = {
    "action": ("approve", "deny", "edit"),
    "budget": ("approve", "deny"),
    "unknown": ("approve", "answer", "deny"),
    "question": ("answer", "deny"),
}
"""What may be answered, by what is asked about."""


class Asked(msgspec.Struct, frozen=True):
    """A question, to review. ``mine``: this person may answer it; ``patch``: what it would change
    in a world; ``changed``: what a person made of its arguments; ``edit``: these as text."""

    found: Open
    question: Question
    judged: Judged | None
    verbs: tuple[str, ...]
    mine: bool
    lacks: str
    patch: list[Row]
    changed: list[Row]
    args: list[tuple[str, str, str, str]]
    edit: str
    name: str


async def inbox(request: Request) -> Response:
    """The first question that this person may answer, or that there is none."""
    person = need(request, "viewer")
    store = site_of(request).store
    queue = await open_questions(store)
    if request.query_params.get("part") == "count":
        return page(request, "inbox_count.html", count=len(queue))
    wanted = request.path_params.get("run", "")
    queue_of = [one for one in queue if not wanted or one.row.run == wanted]
    first = next((one for one in queue_of if _may(one, person)), next(iter(queue_of), None))
    return await _page(request, store, queue, first, wanted=wanted)


async def question(request: Request) -> Response:
    """One question, by its address."""
    need(request, "viewer")
    store = site_of(request).store
    queue = await open_questions(store)
    run, key = request.path_params["run"], request.path_params["key"]
    found = next((one for one in queue if (one.row.run, one.wait.key) == (run, key)), None)
    return await _page(request, store, queue, found, wanted=run)


async def decide(request: Request) -> Response:
    """Take an answer and go on to the next question; what stands in the way is said there."""
    person = need(request, "approver")
    site, form = site_of(request), await form_of(request)
    run, key = request.path_params["run"], request.path_params["key"]
    queue = await open_questions(site.store, person.name)
    places = [(one.row.run, one.wait.key) for one in queue]
    try:
        await _answer(site, person, (run, key), form)
        said, trouble = f"{_PAST.get(form.get('decision', ''), 'answered')} {run}@{key}", ""
    except Seeded as error:
        said, trouble = str(error), "" if error.right else "seeded"
    except HoldfastError as error:
        queue = await open_questions(site.store)
        found = next((one for one in queue if (one.row.run, one.wait.key) == (run, key)), None)
        return await _page(
            request, site.store, queue, found, wanted=run, trouble=one_line(str(error)), status=409
        )
    at = places.index((run, key)) if (run, key) in places else -1
    rest = places[at + 1 :] + places[: max(at, 0)]
    flash = f"?said={path_part(said)}{'&trouble=1' if trouble else ''}"
    if not rest:
        return seen(request, f"/inbox{flash}")
    return seen(request, f"/inbox/{path_part(rest[0][0])}/{path_part(rest[0][1])}{flash}")


_PAST = {"approve": "approved", "deny": "denied", "answer": "answered", "edit": "changed"}


async def _answer(site: Site, person: Person, place: tuple[str, str], form: dict[str, str]) -> None:
    decision, digest = form.get("decision", ""), form.get("digest", "")
    if not digest:
        raise Misuse("this form names no action: load the page again")
    value: Any = None
    if decision == "edit":
        value = json_of(form.get("args", ""), "the changed arguments")
    elif decision == "answer":
        value = form["choice"] if form.get("choice") else value_of(form.get("value", ""))
    # INVARIANT X132: an answer is bound to the very action that its page showed, and is given by
    # whoever signed in, whatever the form says
    await site.runtime.answer(
        place[0], decision, value, step=place[1], note=form.get("note", ""), by=person.name,
        digest=digest,
    )  # fmt: skip


def json_of(text: str, what: str) -> Any:
    """A value that was typed as JSON; `Misuse` says where it is not."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Misuse(f"{what}: this is no JSON: {one_line(str(error))}") from None


def value_of(text: str) -> Any:
    """A value as people type it: JSON if it is that, else the text itself."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(text)
    return text


def _may(found: Open, person: Person) -> bool:
    wait = found.wait
    named = not wait.approvers or person.name in wait.approvers
    fresh = person.name not in wait.barred and person.name not in wait.approved
    return named and fresh and person.may("approver")


async def _page(
    request: Request, store: Store, queue: list[Open], found: Open | None, *, wanted: str,
    trouble: str = "", status: int = 200,
) -> Response:  # fmt: skip
    person, site = need(request, "viewer"), site_of(request)
    asked: Asked | None = None
    if found is not None:
        with contextlib.suppress(Conflict, NotFound):  # it was answered while this was read
            asked = await _asked(site, person, found)
    params = request.query_params
    shown = queue[: limits.CONSOLE_ROWS_MAX]
    return page(
        request, "inbox.html", status=status, queue=shown, count=len(queue), asked=asked,
        wanted=wanted, trouble=trouble, said=params.get("said", "")[:300],
        wrong=bool(params.get("trouble")), seq=await store.last_seq(),
    )  # fmt: skip


async def _asked(site: Site, person: Person, found: Open) -> Asked:
    question = await question_of(site.store, found)
    body, wait = question.asked, found.wait
    now = question.edited if question.edited is not None else question.args
    plan, patch = body.plan, list[Row]()
    if plan is not None and plan.kind == "merge" and isinstance(now, dict):
        patch = world_rows(site.store, str(now.get("base", "")), str(now.get("theirs", "")))
    verdict = body.verdict
    origin = verdict.facts.get("origin", {}) if verdict else {}
    via = verdict.facts.get("via", {}) if verdict else {}
    return Asked(
        found,
        question,
        judged_of(verdict, site.runtime.policy) if verdict else None,
        VERBS.get(wait.about, ("approve", "deny")),
        _may(found, person),
        missing(wait.panels, wait.approved),
        patch,
        value_rows(question.args, question.edited) if question.edited is not None else [],
        [(name, pretty(value) if not isinstance(value, str) else value,
          str(origin.get(name, "")), str(via.get(name, "")))
         for name, value in (now.items() if isinstance(now, dict) else ())],
        pretty(now),
        telling.action(plan),
    )  # fmt: skip


# What was decided before --------------------------------------------------------------------------


async def similar(request: Request) -> Response:
    """What persons answered lately about the same tool."""
    need(request, "viewer")
    store = site_of(request).store
    queue = await open_questions(store)
    run, key = request.path_params["run"], request.path_params["key"]
    found = next((one for one in queue if (one.row.run, one.wait.key) == (run, key)), None)
    if found is None:
        raise NotFound(f"run {run}@{key} asks nothing now")
    plan = (await question_of(store, found)).asked.plan
    past = await _answered(store, plan.name if plan else "")
    lines = [(one, telling.brief_args(one.args, store.get, 160)) for one in past]
    return page(request, "similar.html", past=lines, name=telling.action(plan))


async def _answered(store: Store, tool: str) -> list[Decided]:
    last = await store.last_seq()
    after = max(0, last - limits.NAMES_SEEN_EVENTS)
    told: list[Any] = []
    while after < last and (events := await store.tail(after, limits.READ_PAGE_EVENTS)):
        after = events[-1].seq
        told += [event for event in events if event.kind in TOLD]
    found = [one for one in decisions(told, store.get) if one.answer and one.plan.name == tool]
    return found[: -limits.CONSOLE_SIMILAR_ROWS - 1 : -1]
