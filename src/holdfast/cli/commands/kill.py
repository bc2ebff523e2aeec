"""``holdfast kill``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("what", required=False, type=click.Choice(["agent", "tool", "rule"]))
@click.argument("name", required=False)
@click.option("--reason", default="", metavar="TEXT", help="Why; agents and people see it.")
@click.option("--lift", is_flag=True, help="Let it go on instead.")
@click.option("--list", "listing", is_flag=True, help="Show what is stopped.")
@shared
def command(
    what: str | None, name: str | None, *, reason: str, lift: bool, listing: bool, desk: Desk
) -> None:
    """Stop an agent, a tool or a rule everywhere, at once.

    From now on every action of the agent, every call of the tool, or every action that the rule
    matches is denied, in every process that uses the store, until it is lifted; the policy is not
    changed. NAME may be a glob for agents and tools. What is being performed goes on to its end;
    what waits is stopped at its next step. `holdfast cancel` stops a single run.

    \b
    Examples:
      holdfast kill tool 'bank.*' --reason "odd transfers"
      holdfast kill --list
      holdfast kill --lift tool 'bank.*'
    """
    asyncio.run(_kill(desk, what, name, reason, lift, listing))


async def _kill(
    desk: Desk, what: str | None, name: str | None, reason: str, lift: bool, listing: bool
) -> None:
    from holdfast.cli.switching import board, throw
    from holdfast.values.errors import Misuse

    if listing == bool(what and name):
        raise Misuse("say what to stop: agent, tool or rule, and its NAME; or --list")
    async with desk.store() as store:
        if what and name:
            await throw(desk, store, what, name, reason, lift)
        seen = bool(what and name) and (lift or await _seen(store, what or "", name or ""))
        found = list((await board(store)).switches.values())
    _tell(desk, found, what, name, lift, seen)


async def _seen(store: Any, what: str, name: str) -> bool:
    """Whether anything that was decided in the store is meant by ``name``."""
    from holdfast.cli.judged import past_decisions
    from holdfast.gate.pattern import names_of

    test = names_of((name,)) if what != "rule" else None
    for one in await past_decisions(store):
        words = {"agent": (one.agent,), "tool": (one.plan.name,), "rule": one.verdict.rules}[what]
        if any(test.match(word) if test else word == name for word in words):
            return True
    return False


def _tell(
    desk: Desk, found: list[Any], what: str | None, name: str | None, lift: bool, seen: bool
) -> None:
    import msgspec

    from holdfast.cli import telling
    from holdfast.cli.text import one_line

    screen = desk.screen
    if screen.json:
        screen.document([msgspec.structs.asdict(one) for one in found])
        return
    if what and name:
        screen.say(f"{what} {one_line(name)} {'may go on' if lift else 'is stopped'}")
        if not lift and not seen:
            screen.note((f"no {what} of this name was ever seen here: is it spelled so?", "yellow"))
        return
    if not found:
        screen.note("nothing is stopped")
        return
    rows = [
        [one.what, (one_line(one.name), "bold"), one_line(one.by), (telling.clock(one.at), "dim"),
         one_line(one.reason)]
        for one in found
    ]  # fmt: skip
    screen.table(["WHAT", "NAME", "BY", "SINCE", "REASON"], rows)
