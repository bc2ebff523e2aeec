"""``holdfast policy suggest``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared
from holdfast.explain.judged import past_decisions
from holdfast.explain.text import one_line
from holdfast.gate.proposing import rule_of
from holdfast.gate.suggest import Suggestion, suggest


@click.command(name="suggest")
@click.option("--since", type=click.FloatRange(0), default=None, metavar="DAYS",
              help="Only answers of the last so many days.")  # fmt: skip
@click.option("--agent", default="", metavar="NAME", help="Only answers about this agent.")
@click.option("--least", type=click.IntRange(2), default=5, show_default=True,
              help="Answers alike before a rule is suggested.")  # fmt: skip
@shared
def command(*, since: float | None, agent: str, least: int, desk: Desk) -> None:
    """Suggest rules from what persons always answer alike.

    Each suggestion covers one agent, one tool and the deciding values that were seen, and agrees
    with every answer there is. It is a text for review and changes nothing; try it with
    `holdfast policy backtest` before it takes effect.

    \b
    Example: holdfast policy suggest --since 90
    """
    asyncio.run(_suggest(desk, since, agent, least))


async def _suggest(desk: Desk, days: float | None, agent: str, least: int) -> None:
    since = 0 if days is None else desk.now_ms() - int(days * 86_400_000)
    async with desk.store() as store:
        past = await past_decisions(store, since_ms=since, agent=agent)
        found = suggest(past, store.get, least)
    with desk.screen.listing():
        for one in found:
            _show(desk, one)
    if not found:
        answered = sum(1 for one in past if one.answer)
        desk.screen.note(f"nothing to suggest from {answered:,} answers")


def _show(desk: Desk, one: Suggestion) -> None:
    then = "allow" if one.answer == "approve" else "deny"
    did = "approved" if one.answer == "approve" else "refused"
    why = f"persons {did} this {one.count} times of {one.count}"
    text = rule_of(one.agent, one.tool, one.condition, one.verdict, then, why).text()
    if desk.screen.json:
        desk.screen.document({
            "agent": one.agent, "tool": one.tool, "answer": one.answer, "count": one.count,
            "condition": one.condition, "steps": list(one.places), "rule": text,
        })  # fmt: skip
        return
    desk.screen.say((f"{one_line(one.agent)} {one_line(one.tool)}", "bold"),
                    f"  {why}, as in {', '.join(one.places)}")  # fmt: skip
    desk.screen.say(text.rstrip())
