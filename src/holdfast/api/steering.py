"""Acting on runs: answers, signals, stops, forks; and what is stopped everywhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.api.runs import Limit
from holdfast.api.ways import Ask, Way
from holdfast.engine.answers import cancel, open_question
from holdfast.engine.fork import fork
from holdfast.engine.inbox import Open, open_questions, question_of, sow
from holdfast.engine.seeding import Seeded, Sowing, planted
from holdfast.engine.switching import hear_switches, throw
from holdfast.explain.queue import question_document
from holdfast.gate.files import known_bad
from holdfast.gate.switches import Switch, Switchboard
from holdfast.journal.quorum import missing
from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.values.ids import check_name, new_id

Text = Annotated[str, Meta(max_length=limits.API_TEXT_CHARS)]
Note = Annotated[str, Meta(max_length=2_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^$\x00-\x20][^\x00-\x1f]*$")]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What bodies of requests have in common: nothing that is not named is taken."""


class ForkBody(Body, frozen=True):
    """Where and how to fork. ``step``: before it, "" for the beginning; ``edits``: new values by
    path (``result.x``, ``args.x``, ``input.x``); ``name``: of the fork, "" for a new one;
    ``fresh``: run later steps again even if unchanged; ``live``: perform what leaves the world
    instead of holding it; ``run``: go on with it here."""

    step: Annotated[str, Meta(max_length=600)] = ""
    edits: dict[Annotated[str, Meta(max_length=600)], Any] = {}
    name: Annotated[str, Meta(max_length=80)] = ""
    fresh: bool = False
    live: bool = False
    run: bool = True


class Went(msgspec.Struct, frozen=True):
    """What was done. ``run``: about which run; ``did``: in a word; ``here``: this server goes on
    with the run."""

    run: str
    did: str
    here: bool


class SignalBody(Body, frozen=True):
    """A signal. The same ``token`` twice is one signal, "" for a new one."""

    name: Name
    value: Any = None
    token: Annotated[str, Meta(max_length=200)] = ""


class AnswerBody(Body, frozen=True):
    """An answer. ``step``: of the question, "" if the run asks only one; ``value``: the answer, or
    for ``edit`` the arguments that the action may happen with; ``digest``: the beginning of that of
    the action that is meant, "" for whatever is asked now. Who answers is whoever signed in."""

    decision: Literal["approve", "deny", "answer", "edit"]
    step: Annotated[str, Meta(max_length=600)] = ""
    value: Any = None
    note: Note = ""
    digest: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{0,64}$")] = ""


class Answered(msgspec.Struct, frozen=True):
    """An answer that counts. ``missing``: what it still takes, "" if nothing; ``seeded``: it was a
    case that only measures reviewers, and ``right``: whether it was decided well."""

    run: str
    step: str
    decision: str
    by: str
    missing: str
    seeded: bool = False
    right: bool | None = None
    text: str = ""


class InboxQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which questions: ``mine``: only those that I may answer; behind ``after``, a cursor."""

    mine: bool = False
    after: Annotated[str, Meta(max_length=800)] = ""
    limit: Limit = 50


class Asked(msgspec.Struct, frozen=True):
    """A question, with all that a person needs to answer it. ``origin``: where the value of each
    argument came from; ``parts``: of the risk; ``missing``: whose approval it still takes."""

    run: str
    step: str
    agent: str
    about: str
    text: str
    action: dict[str, Any] | None
    args: Any
    edited: Any
    edited_by: str
    digest: str
    since: int
    expires: int
    needs: int
    approved: list[str]
    approvers: list[str]
    missing: str
    choices: list[str]
    rules: list[str]
    policy: str
    reason: str
    way: str
    risk: float
    parts: dict[str, float]
    origin: dict[str, Any]
    via: dict[str, Any]
    facts: dict[str, Any]
    checks: list[dict[str, Any]]


class Inbox(msgspec.Struct, frozen=True):
    """A page of questions, the longest waiting first. ``next``: what to give as ``after``."""

    questions: list[Asked]
    next: str | None


class SwitchBody(Body, frozen=True):
    """What to stop everywhere: an agent, a tool or a rule; globs for agents and tools."""

    what: Literal["agent", "tool", "rule"]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    reason: Annotated[str, Meta(max_length=limits.POLICY_TEXT_CHARS)] = ""
    lift: bool = False


class Switches(msgspec.Struct, frozen=True):
    """What is stopped now."""

    stopped: list[Switch]


async def _fork(ask: Ask) -> Any:
    site, body = ask.site, ask.body
    name = check_name(body.name, "run") if body.name else new_id(site.dice)
    if body.run:
        site.need_runs("run: true")
        await site.need_terms(ask.path["run"], body.step)
    made = await fork(
        site.store, ask.path["run"], body.step, name=name, now_ms=site.clock.now_ms(),
        edits=body.edits, reuse=False if body.fresh else None, live=body.live, by=ask.person.name,
    )  # fmt: skip
    here = body.run and not (await site.store.run(made)).door
    if here:
        await site.runtime.resume(made)
    return Went(made, "forked", here)


async def _resume(ask: Ask) -> Any:
    site, run = ask.site, ask.path["run"]
    row = await site.store.run(run)
    site.need_runs(f"run {run}")
    if row.ended or row.status == "branch":
        raise Misuse(f"run {run} is {row.status}: there is nothing to go on with")
    await site.runtime.resume(run)
    return Went(run, "resumed", here=True)


async def _cancel(ask: Ask) -> Any:
    site, run = ask.site, ask.path["run"]
    if (await site.store.run(run)).status == "branch":
        raise Misuse(f"run {run}: has no program to stop; holdfast world discard {run}")
    await cancel(site.store, run, by=ask.person.name, now_ms=site.clock.now_ms())
    site.runtime.host.ring()
    return Went(run, "asked to stop", site.goes_on)


async def _signal(ask: Ask) -> Any:
    site, run, body = ask.site, ask.path["run"], ask.body
    await site.runtime.signal(run, body.name, body.value, token=body.token, by=ask.person.name)
    return Went(run, "signalled", site.goes_on)


async def _answer(ask: Ask) -> Any:
    """INVARIANT X112: whoever answers is who signed in; nothing in a request says so."""
    site, run, body, by = ask.site, ask.path["run"], ask.body, ask.person.name
    step, digest = body.step, body.digest
    if any(one.seed.run == run and step in ("", one.wait.key) for one in await planted(site.store)):
        wait = None
    else:
        wait = open_question(await site.store.run(run), step)
        step, digest = wait.key, digest or wait.digest
    try:
        await site.runtime.answer(
            run, body.decision, body.value, step=step, note=body.note, by=by, digest=digest
        )
    except Seeded as error:
        return Answered(run, step, body.decision, by, "", seeded=True, right=error.right,
                        text=str(error))  # fmt: skip
    lacks = missing(wait.panels, (*wait.approved, by)) if wait is not None else ""
    return Answered(run, step, body.decision, by, lacks if body.decision == "approve" else "")


async def _inbox(ask: Ask) -> Any:
    site, query = ask.site, ask.query
    policy = site.runtime.policy
    if policy.review.seeded and site.settings.policy:
        sowing = Sowing(policy, known_bad(site.settings.policy))
        await sow(site.store, sowing, now_ms=site.clock.now_ms(), dice=site.dice)
    found = await open_questions(site.store, ask.person.name if query.mine else "")
    found = _behind(found, query.after)
    page = found[: query.limit]
    shown = [question_document(one, await question_of(site.store, one)) for one in page]
    return Inbox([msgspec.convert(one, Asked) for one in shown],
                 _cursor(page[-1]) if len(found) > len(page) else None)  # fmt: skip


def _cursor(one: Open) -> str:
    return f"{one.wait.since}.{one.place}"


def _behind(found: list[Open], after: str) -> list[Open]:
    """Questions behind a cursor, whether what it names is still asked or not."""
    if not after:
        return found
    places = [_cursor(one) for one in found]
    if after in places:
        return found[places.index(after) + 1 :]
    since = after.partition(".")[0]
    return [one for one in found if since.isdecimal() and one.wait.since > int(since[:20])]


async def _switches(ask: Ask) -> Any:
    return Switches(list((await hear_switches(ask.site.store, Switchboard())).switches.values()))


async def _throw(ask: Ask) -> Any:
    site, body = ask.site, ask.body
    await throw(
        site.store, body.what, body.name, by=ask.person.name, now_ms=site.clock.now_ms(),
        token=new_id(site.dice, chars=26), reason=body.reason, lift=body.lift,
    )  # fmt: skip
    site.runtime.host.ring()
    return await _switches(ask)


WAYS = [
    Way("POST", "/runs/{run}/fork", "admin", _fork, "Fork a run; what leaves the world is held.",
        Went, body=ForkBody),
    Way("POST", "/runs/{run}/resume", "admin", _resume, "Go on with a run here.", Went),
    Way("POST", "/runs/{run}/cancel", "admin", _cancel, "Ask a run to stop.", Went),
    Way("POST", "/runs/{run}/signal", "admin", _signal, "Send a signal.", Went, body=SignalBody),
    Way("POST", "/runs/{run}/answer", "approver", _answer, "Answer what a run asks.", Answered,
        body=AnswerBody),
    Way("GET", "/inbox", "viewer", _inbox, "What runs ask people.", Inbox, InboxQuery),
    Way("GET", "/switches", "viewer", _switches, "What is stopped everywhere.", Switches),
    Way("POST", "/switches", "admin", _throw, "Stop an agent, tool or rule everywhere, or lift it.",
        Switches, body=SwitchBody),
]  # fmt: skip
