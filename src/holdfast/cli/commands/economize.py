"""``holdfast economize``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.explain.text import clean, one_line


@click.command()
@click.option("--agent", default="", metavar="NAME", help="Only decisions of this agent.")
@click.option("--code", is_flag=True, help="Print the rules as Python functions, to read.")
@shared
def command(*, agent: str, code: bool, desk: Desk) -> None:
    """Find decisions of models and people that plain code could make.

    Rules are learned from earlier runs and tried on later ones: how often they said what was
    decided, where not, and what they would save in a month. Nothing is switched on, and no code is
    run: a rule is a proposal for whoever owns the agent.

    \b
    Example: holdfast economize --agent triage --code
    """
    found = asyncio.run(_economized(desk, agent))
    if desk.screen.json:
        desk.screen.document(found)
        return
    for one in found.proposals:
        _show(desk, one, code=code)
    if not found.proposals:
        desk.screen.note(f"nothing to propose, of {found.decisions:,} decisions")
    for one in found.left:
        name = f"{one_line(one.agent)}: {one_line(one.step)} ({one.site})"
        desk.screen.note((f"{name}: {one_line(one.why)}", "dim"))


async def _economized(desk: Desk, agent: str) -> Any:
    from holdfast.explain.economize import economize
    from holdfast.runtime.maintenance import every_event

    async with desk.store() as store:
        return economize(every_event(store, await store.last_seq()), store.get, agent)


def _show(desk: Desk, one: Any, *, code: bool) -> None:
    from holdfast.explain.telling import clock
    from holdfast.explain.text import pretty

    say, rate = desk.screen.say, one.agreement
    say((f"{one_line(one.agent)}: {one_line(one.step)}", "bold"), f" could be a {one.form}")
    say(f"  agreed with {rate.good:,} of {rate.of:,} later decisions "
        f"({rate.low:.1%} to {rate.high:.1%}), in {one.tried:,} runs")  # fmt: skip
    say(f"  says something of {one.covered.good:,} of {one.covered.of:,}; learned from "
        f"{one.learned:,} runs, until {clock(one.until)}")  # fmt: skip
    say(f"  saves {one.money:,.4f} USD and {one.hours:,.2f} hours of waiting in a month")
    if one.leaves:
        say(("  an effect that cannot be repeated follows this decision", "yellow"))
    for miss in one.misses:
        say(f"  {miss.place}: it says {one_line(miss.rule)[:60]}, "
            f"and {one_line(miss.was)[:60]} was decided")  # fmt: skip
    for line in (clean(one.code) if code else pretty(one.rule)).splitlines():
        say("    " + line)
