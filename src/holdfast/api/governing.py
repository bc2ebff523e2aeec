"""Policy, budgets and agents."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.api.books import asked_of
from holdfast.api.runs import Limit
from holdfast.api.steering import Body
from holdfast.api.ways import Ask, Way
from holdfast.engine.switching import hear_switches
from holdfast.explain.economics import Economics
from holdfast.explain.judged import backtest_document, past_decisions, rule_document
from holdfast.explain.registry import Registered, registry
from holdfast.gate import Policy
from holdfast.gate.backtest import backtest
from holdfast.gate.files import files_of, read_text
from holdfast.gate.parse import parse_files
from holdfast.gate.rehearse import lint
from holdfast.gate.switches import Switchboard
from holdfast.journal.store import RunQuery
from holdfast.journal.views import RunRow
from holdfast.runtime.maintenance import budget_lines
from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import check_path


class File(Body, frozen=True):
    """A file of a policy: its name and its text, YAML."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    text: Annotated[str, Meta(max_length=limits.POLICY_MAX_CHARS)]


class PolicyNow(msgspec.Struct, frozen=True):
    """The policy that counts now. ``files``: those that state it, none for the default policy."""

    name: str
    hash: str
    otherwise: str
    rules: list[dict[str, Any]]
    files: list[File]


class Files(Body, frozen=True):
    """A policy to be looked at; nothing of it is kept."""

    files: Annotated[list[File], Meta(min_length=1, max_length=limits.POLICY_FILES)]


class Checked(msgspec.Struct, frozen=True):
    """Whether it is a policy. ``wrong``: what stands in the way, with its place, "" if nothing;
    ``odd``: what certainly has no effect."""

    wrong: str
    name: str = ""
    hash: str = ""
    rules: list[dict[str, Any]] = []
    odd: list[str] = []


class Tried(Files, frozen=True):
    """A policy to judge decisions of the past with: of the last ``days`` (null: all), of one agent
    ("" for all)."""

    days: Annotated[float, Meta(ge=0, le=36_500)] | None = None
    agent: Annotated[str, Meta(max_length=200)] = ""


class Cell(msgspec.Struct, frozen=True):
    """How many decisions were ``then`` and would be ``now``."""

    then: str
    now: str
    count: int


class Changed(msgspec.Struct, frozen=True):
    """A decision that would come out otherwise."""

    run: str
    step: str
    agent: str
    tool: str
    then: str
    now: str
    answer: str
    rules: list[str]
    reason: str


class Backtested(msgspec.Struct, frozen=True):
    """What came of a back-test (docs/policy.md). ``weaker``: how many that were stopped would be
    allowed; ``beyond``: behind a changed verdict of their run, so unknown; ``unjudged``: by what is
    missing to judge them; ``changes``: the first `limits.API_ROWS`."""

    policy: str
    judged: int
    beyond: int
    unjudged: dict[str, int]
    agrees: int
    differs: int
    weaker: int
    matrix: list[Cell]
    changes: list[Changed]


class SpendQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Behind ``after``, a cursor."""

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Limit = 100


class BudgetLine(msgspec.Struct, frozen=True):
    """A scope and period of a budget, in its unit. ``left``, ``limit``: null if the policy states
    none; ``shown``: the amounts as text."""

    budget: str
    scope: str
    of: str
    period: str
    unit: str
    alerts: int
    reserved: float
    used: float
    limit: float | None
    left: float | None
    shown: dict[str, str]


class Spend(msgspec.Struct, frozen=True):
    """A page of budgets. ``next``: what to give as ``after``."""

    budgets: list[BudgetLine]
    next: int | None


class EconomicsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to look at. ``by``: what spending is summed by; ``agent``: only this one's runs, "" for
    all; ``within``: time in which runs are to end (ms), 0 for none."""

    by: Literal["organisation", "team", "agent", "run", "branch", "step", "model", "day"] = "agent"
    agent: Annotated[str, Meta(max_length=200)] = ""
    within: Annotated[int, Meta(ge=0, le=2**53)] = 0


class Agents(msgspec.Struct, frozen=True):
    """A page of agents, the latest first. ``next``: what to give as ``after``."""

    agents: list[Registered]
    next: int | None


async def _policy(ask: Ask) -> Any:
    policy = ask.site.runtime.policy
    path = ask.site.settings.policy
    files = [File(file.name, read_text(file)) for file in files_of(path)] if path else []
    return PolicyNow(policy.name, policy.hash, policy.otherwise,
                     [rule_document(rule) for rule in policy.rules], files)  # fmt: skip


def _parsed(files: list[File]) -> Policy:
    names = [check_path(file.name) for file in files]
    if len(set(names)) != len(names):
        raise Misuse("two files of the policy have one name")
    return parse_files([(file.text, name) for file, name in zip(files, names, strict=True)],
                       names[0])  # fmt: skip


async def _check(ask: Ask) -> Any:
    try:
        policy = await asyncio.to_thread(_parsed, ask.body.files)
    except Misuse as error:
        return Checked(str(error))
    rules = [rule_document(rule) for rule in policy.rules]
    return Checked("", policy.name, policy.hash, rules, lint(policy))


async def _backtest(ask: Ask) -> Any:
    """INVARIANT X113: trying a policy asks no engine outside: an address in it is not called."""
    site, body = ask.site, ask.body
    policy = await asyncio.to_thread(_parsed, body.files)
    since = 0 if body.days is None else site.clock.now_ms() - int(body.days * 86_400_000)
    past = await past_decisions(site.store, since_ms=since, agent=body.agent)
    found = await asyncio.to_thread(backtest, past, policy, site.store.get)
    return msgspec.convert(backtest_document(found, policy.hash, limits.API_ROWS), Backtested)


async def _spend(ask: Ask) -> Any:
    site, query = ask.site, ask.query
    found = budget_lines(site.store, site.settings.policy)
    page = found[query.after : query.after + query.limit]
    stop = query.after + len(page)
    return Spend([msgspec.convert({**one, "reserved": one["reserved"] or 0.0}, BudgetLine)
                  for one in page], stop if stop < len(found) else None)  # fmt: skip


async def _economics(ask: Ask) -> Any:
    site, query = ask.site, ask.query
    asked = asked_of(site.runtime, scopes=(query.by,), agent=query.agent, within=query.within)
    found = await site.books.economics(site.store, asked)
    notes = list(found.notes)
    for what, rows in (("lines of spending", found.spend), ("chains", found.chains)):
        if len(rows) > limits.API_ROWS:
            notes.append(f"{len(rows) - limits.API_ROWS:,} more {what}: `holdfast economics`")
    return msgspec.structs.replace(
        found, spend=found.spend[: limits.API_ROWS], chains=found.chains[: limits.API_ROWS],
        notes=tuple(notes),
    )  # fmt: skip


async def _agents(ask: Ask) -> Any:
    store, query = ask.site.store, ask.query
    rows: list[RunRow] = []
    before = 0
    while page := await store.runs(RunQuery(limits.READ_PAGE_ROWS, before)):
        rows += page
        before = page[-1].number
        await asyncio.sleep(0)  # others' requests have their turn between pages
    board = await hear_switches(store, Switchboard())
    found = registry(rows, ask.site.runtime.policy.agents, board)
    stop = query.after + query.limit
    return Agents(found[query.after : stop], stop if stop < len(found) else None)


WAYS = [
    Way("GET", "/policy", "viewer", _policy, "The policy that counts now.", PolicyNow),
    Way("POST", "/policy/check", "admin", _check, "Look at a policy.", Checked, body=Files),
    Way("POST", "/policy/backtest", "admin", _backtest,
        "Judge decisions of the past with another policy.", Backtested, body=Tried),
    Way("GET", "/spend", "viewer", _spend, "Budgets: reserved, used, left.", Spend, SpendQuery),
    Way("GET", "/economics", "viewer", _economics, "What an outcome costs, and what was wasted.",
        Economics, EconomicsQuery),
    Way("GET", "/agents", "viewer", _agents, "The agents that ran.", Agents, SpendQuery),
]  # fmt: skip
