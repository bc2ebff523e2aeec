"""``holdfast policy backtest``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.consulting import consulting
from holdfast.cli.desk import Desk, shared
from holdfast.explain.judged import backtest_document, past_decisions
from holdfast.explain.text import one_line
from holdfast.gate import load_policy_file
from holdfast.gate.backtest import NOT_ASKED, ORDER, Backtest, Change, backtest


@click.command(name="backtest")
@click.argument("new", metavar="POLICY")
@click.option("--since", type=click.FloatRange(0), default=None, metavar="DAYS",
              help="Only decisions of the last so many days.")  # fmt: skip
@click.option("--agent", default="", metavar="NAME", help="Only decisions about this agent.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True,
              help="How many changed decisions to print.")  # fmt: skip
@click.option("--accept-weaker", is_flag=True,
              help="End with 0 also if something that was stopped is now allowed.")  # fmt: skip
@shared
def command(
    new: str, *, since: float | None, agent: str, limit: int, accept_weaker: bool, desk: Desk
) -> int:
    """Judge decisions of the past again with another policy.

    It reads the facts that were kept with each verdict, and calls no model and no tool. Exact up to
    the first changed verdict of a run; what came after it is unknown: fork the run to see. If the
    policy has an engine outside (Open Policy Agent), it is asked; a decision that needs an answer
    which does not come is counted as not judged. Exit code 1 if something that the gate or a person
    had stopped would now be allowed, else 5 if the engine outside gave no answer.

    \b
    Examples:
      holdfast policy backtest policies/next --since 30
      holdfast policy backtest next.yaml --json
    """
    return asyncio.run(_backtest(desk, new, since, agent, limit, accept_weaker))


async def _backtest(
    desk: Desk, new: str, days: float | None, agent: str, limit: int, accept: bool
) -> int:

    policy = load_policy_file(new)
    since = 0 if days is None else desk.now_ms() - int(days * 86_400_000)
    async with desk.store() as store:
        past = await past_decisions(store, since_ms=since, agent=agent)
        with consulting(policy) as ask:
            found = backtest(past, policy, store.get, ask)
    if desk.screen.json:
        desk.screen.document(backtest_document(found, policy.hash, limit))
    else:
        _print(desk, found, limit)
    if found.weaker and not accept:
        return 1
    return 5 if any(why.startswith(NOT_ASKED) for why in found.unjudged) else 0


def _print(desk: Desk, found: Backtest, limit: int) -> None:

    screen = desk.screen
    screen.say((f"{found.judged:,} decisions judged again", "bold"),
               f"  {len(found.changes):,} come out otherwise")  # fmt: skip
    rows = [
        [
            then,
            *(f"{found.matrix[then, now]:,}" if found.matrix[then, now] else "." for now in ORDER),
        ]
        for then in ORDER
        if any(found.matrix[then, now] for now in ORDER)
    ]
    if rows:
        screen.table(["THEN \\ NOW", *(word.upper() for word in ORDER)], rows)
    if found.beyond:
        screen.note(f"{found.beyond:,} behind a changed verdict of their run: unknown, fork to see")
    for why, count in found.unjudged.items():
        screen.note(f"{count:,} not judged: {why}")
    if found.agrees or found.differs:
        screen.say(f"as persons answered: {found.agrees:,}, against them: {found.differs:,}")
    for change in found.changes[:limit]:
        screen.say(*_line(change))
    if len(found.changes) > limit:
        screen.note(f"{len(found.changes) - limit:,} more: --limit")
    if found.weaker:
        screen.say((f"{len(found.weaker):,} that were stopped would be allowed", "bold red"))


def _line(change: Change) -> list[Any]:
    old, new = change.old, change.new
    answered = {
        "approve": ", a person approved", "deny": ", a person refused",
        "edit": ", a person changed it",
    }.get(old.answer, "")  # fmt: skip
    style = "red" if new.decision == "allow" and old.stood != "allow" else "yellow"
    why = f"  {new.rules[0]}: {one_line(new.reason)}" if new.rules and new.reason else ""
    return [
        (f"{old.verdict.decision} -> {new.decision}", style),
        f"  {old.run}@{old.key}  {one_line(old.agent)} {one_line(old.plan.name)}{answered}",
        (why or f"  {', '.join(new.rules)}", "dim"),
    ]
