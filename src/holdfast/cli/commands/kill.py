"""``holdfast kill``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.journal.store import RunQuery


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
    """Whether ``name`` means anything among the newest events of the store."""
    from holdfast.gate.pattern import names_of
    from holdfast.journal.events import body_of
    from holdfast.values import limits

    test = names_of((name,)).match if what != "rule" else name.__eq__
    last = await store.last_seq()
    bottom = max(0, last - limits.NAMES_SEEN_EVENTS)
    while last > bottom:
        after = max(bottom, last - limits.READ_PAGE_EVENTS)
        for event in await store.tail(after, last - after):
            body = body_of(event)
            plan, verdict = getattr(body, "plan", None), getattr(body, "verdict", None)
            words: dict[str, tuple[str, ...]] = {
                "agent": (getattr(body, "agent", ""),), "tool": (plan.name if plan else "",),
                "rule": verdict.rules if verdict else (),
            }  # fmt: skip
            if any(word and test(word) for word in words[what]):
                return True
        last = after
    return what == "agent" and bool(await store.runs(RunQuery(1, agent=name)))


def _tell(
    desk: Desk, found: list[Any], what: str | None, name: str | None, lift: bool, seen: bool
) -> None:
    import msgspec

    from holdfast.explain import telling
    from holdfast.explain.text import one_line

    screen = desk.screen
    if screen.json:
        screen.document([msgspec.structs.asdict(one) for one in found])
        return
    if what and name:
        screen.say(f"{what} {one_line(name)} {'may go on' if lift else 'is stopped'}")
        if not lift and not seen:
            screen.note(
                (f"no {what} of this name was seen here lately: is it spelled so?", "yellow")
            )
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
