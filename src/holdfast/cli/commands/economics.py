"""``holdfast economics``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.costing import economics_of
from holdfast.cli.desk import Desk, shared
from holdfast.explain.text import one_line


@click.command()
@click.option("--since", default="", metavar="TIME", help="Count since: 12h, 30d, 2026-01-01.")
@click.option("--agent", default="", metavar="NAME", help="Only runs of this agent.")
@click.option("--within", default="", metavar="TIME",
              help="Time in which runs are to end: 30s, 15min, 4h.")  # fmt: skip
@click.option("--processing", multiple=True, metavar="MODEL",
              help="PROVIDER.MODEL, or a glob, that prepares or checks responses.")  # fmt: skip
@click.option("--policy", default="", metavar="FILE",
              help="The policy that names teams and organisations.")  # fmt: skip
@shared
def command(
    *, since: str, agent: str, within: str, processing: tuple[str, ...], policy: str, desk: Desk
) -> None:
    """Show what an outcome costs, where time goes, and what was wasted.

    The cost of a meaningful response with every factor; waste by cause; use of providers' caches;
    handling time divided into work and waiting; runs that asked nobody; how reliable the chain of
    an agent's steps is. docs/economics.md says how each is counted.

    \b
    Example: holdfast economics --since 30d --within 15min
    """
    from holdfast.cli.since import since_ms

    now = desk.now_ms()
    limit = now - since_ms(within, now) if within else 0
    found = asyncio.run(
        economics_of(
            desk,
            scopes=("agent", "model"),
            since=since,
            agent=agent,
            policy=policy,
            within=limit,
            processing=processing,
        )
    )
    if desk.screen.json:
        desk.screen.document(found)
        return
    if not found.runs:
        desk.screen.note(("there are no runs", "dim"))
        return
    _money(desk, found)
    _time(desk, found)
    for chain in found.chains:
        _chain(desk, chain)
    for note in found.notes:
        desk.screen.note((one_line(note), "dim"))


def _money(desk: Desk, found: Any) -> None:
    say, total, cost = desk.screen.say, found.total, found.response
    say(("spent", "bold"), f" {total.money:,.6f} {found.currency}, {total.tokens:,} tokens, "
        f"{total.calls:,} calls, {found.runs:,} runs ({found.ended:,} ended)")  # fmt: skip
    if found.per_dollar is not None:
        say(f"  {found.per_dollar:,.0f} tokens for 1 {found.currency}")
    if found.joules_per_token is not None:
        say(f"  {found.joules_per_token:,.4f} joules for a token")
    told = "no meaningful response yet" if cost.cost is None else f"{cost.cost:,.6f}"
    say(("cost per meaningful response", "bold"), f" {told} = {cost.formula}")
    for one in cost.factors:
        value = "-" if one.value is None else f"{one.value:,.9g}"
        say(f"  {one.symbol} = {value}  {one.name}: {one_line(one.source)}")
    if cost.others:
        say(f"  besides, {cost.others:,.6f} of steps that are no models")
    say(("waste", "bold"), f" {found.wasted:.1%} of the money")
    for one in found.waste:
        say(f"  {one.cause}: {one.money:,.6f}, {one.tokens:,} tokens, {one.steps:,} steps in "
            f"{one.runs:,} runs: {one_line(', '.join(one.places))}")  # fmt: skip
    cache = found.cache
    share = (
        "nothing read"
        if cache.share is None
        else f"{cache.share:.1%} of {cache.read + cache.fresh:,} tokens read"
    )
    say(("cache", "bold"), f" {share}; {cache.breaks:,} broken prefixes cost {cache.cost:,.6f}")


def _time(desk: Desk, found: Any) -> None:
    from holdfast.explain.telling import took

    say, time = desk.screen.say, found.handling
    say(("time", "bold"), f" of {time.runs:,} runs that ended: {took(time.wall * 1000)} "
        f"(median {took(time.median * 1000)}, 95 % within {took(time.p95 * 1000)})")  # fmt: skip
    part = f" ({time.work / time.wall:.1%})" if time.wall else ""
    say(f"  work {took(time.work * 1000)}{part}")
    for one in time.waits:
        say(f"  waiting for {one.cause}: {took(one.ms * 1000)} ({one.share:.1%}), "
            f"{one.runs:,} runs")  # fmt: skip
    say(("straight through", "bold"), f" {_rate(found.straight)} asked nobody")
    if found.sla is not None:
        say(("in time", "bold"), f" {_rate(found.sla)} ended within {took(found.within * 1000)}")


def _chain(desk: Desk, chain: Any) -> None:
    say = desk.screen.say
    say(("chain of", "bold"), f" {one_line(chain.agent)}: {chain.through:.1%} "
        f"({chain.low:.1%} to {chain.high:.1%}); ended done: {_rate(chain.observed)}")  # fmt: skip
    for link in chain.links:
        most = "  <- loses most" if link.name == chain.weakest else ""
        say(f"  {one_line(link.name)}: {_rate(link.rate)}, {link.uses:.1f} a run, "
            f"{link.through:.1%} get through{most}")  # fmt: skip


def _rate(rate: Any) -> str:
    if rate.share is None:
        return "none"
    return f"{rate.share:.1%} ({rate.low:.1%} to {rate.high:.1%}; {rate.good:,} of {rate.of:,})"
