"""``holdfast anomalies``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.cli.since import since_ms
from holdfast.explain.telling import clock
from holdfast.explain.text import one_line
from holdfast.values import limits


@click.command()
@click.option("--agent", metavar="NAME", default="", help="Only of this agent.")
@click.option("--since", metavar="TIME", default="",
              help="Only since 90min, 12h, 7d ago, or a date (UTC).")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=limits.LIST_ROWS, show_default=True,
              help="At most so many.")  # fmt: skip
@click.option("--follow", "-f", "live", is_flag=True,
              help="Go on as alarms are raised, and record them as findings.")  # fmt: skip
@click.option("--judge", nargs=2, type=(str, click.Choice(["normal", "bad"])), default=None,
              metavar="RUN@STEP normal|bad", help="Say what you think of an alarm.")  # fmt: skip
@click.option("--note", metavar="TEXT", default="", help="With --judge: why.")
@click.option("--policy", metavar="FILE", default="",
              help="The policy that says how many (default: HOLDFAST_POLICY).")  # fmt: skip
@shared
def command(
    *, agent: str, since: str, limit: int, live: bool, judge: tuple[str, str] | None, note: str,
    policy: str, desk: Desk,
) -> int:  # fmt: skip
    """List what agents did that is unlike what they did before.

    Alarms that nobody judged come first, the most unusual first, each with its parts: what was
    seen, what is usual, and the share of the agent's past that was as unusual. Without --follow,
    nothing is recorded. "normal" makes it a part of what is usual and raises no alarm about the
    like of it again; after "bad", the like of it always does. With --json: an array; with
    --follow, one document a line.

    \b
    Examples:
      holdfast anomalies --since 7d
      holdfast anomalies --follow
      holdfast anomalies --judge 7k3@4.1 normal --note "a new supplier"
    """
    if note and judge is None:
        raise click.UsageError("--note goes with --judge")
    if live and judge is not None:
        raise click.UsageError("--follow and --judge do not go together")
    try:
        if judge is not None:
            asyncio.run(_judge(desk, judge, note, policy))
        else:
            asyncio.run(_list(desk, (agent, since_ms(since, desk.now_ms()), limit), live, policy))
    except KeyboardInterrupt:
        if not live:
            raise
        return 130  # that is how following ends: nothing to complain about
    return 0


def _settings(desk: Desk, policy: str) -> Any:
    import msgspec

    return msgspec.structs.replace(desk.settings, policy=policy) if policy else desk.settings


async def _list(desk: Desk, which: tuple[str, int, int], live: bool, policy: str) -> None:
    from holdfast.runtime.maintenance import policy_of
    from holdfast.runtime.watching import Watching, alarms_of, budget_of, known

    agent, since, limit = which
    settings = _settings(desk, policy)
    async with desk.store() as store:
        state = await known(store, settings.directory, budget_of(policy_of(settings)))
    found = alarms_of(state, since_ms=since, agent=agent)
    if desk.screen.json and not live:
        desk.screen.document([_document(alarm) for alarm in found[:limit]])
        return
    for alarm in found[:limit]:
        _say(desk, alarm)
    if len(found) > limit:
        desk.screen.note((f"{len(found) - limit} more: --limit {len(found)}", "dim"))
    if not found and not live:
        desk.screen.note(("no alarm", "dim"))
    if live:
        before = {alarm.place: alarm for alarm in found}
        async with Watching(settings) as watching:
            async for alarm in watching.newest():
                if before.get(alarm.place) != alarm and agent in ("", alarm.agent):
                    _say(desk, alarm)


def _document(alarm: Any) -> dict[str, Any]:
    import msgspec

    return {"place": alarm.place, **msgspec.to_builtins(alarm)}


def _say(desk: Desk, alarm: Any) -> None:
    screen = desk.screen
    if screen.json:
        screen.document(_document(alarm))
        return
    judged = f"  {alarm.judged} ({one_line(alarm.by)})" if alarm.judged else ""
    style = {"bad": "red", "normal": "dim"}.get(alarm.judged, "yellow")
    screen.say((f"{alarm.score:.4f}", style), ("  " + alarm.place, "bold"),
               f"  {clock(alarm.at)}  {one_line(alarm.agent)}", (judged, style))  # fmt: skip
    for part in alarm.parts:
        screen.say(f"        {part.name:<13} {one_line(part.sentence)}",
                   (f"  rank {part.rank:.2g}", "dim"))  # fmt: skip


async def _judge(desk: Desk, said: tuple[str, str], note: str, policy: str) -> None:
    from holdfast.runtime.maintenance import policy_of
    from holdfast.runtime.refs import find_run, split
    from holdfast.runtime.watching import budget_of, find_alarm, judge, known

    place, verdict = said
    settings = _settings(desk, policy)
    async with desk.store() as store:
        state = await known(store, settings.directory, budget_of(policy_of(settings)))
        run, step = split(place)
        run, event, pos = run.partition("#")
        row = await find_run(store, run)
        alarm = find_alarm(state, f"{row.run}{event}{pos}{'@' + step if step else ''}")
        now = desk.now_ms()
        await judge(store, alarm, verdict, by=desk.user, now_ms=now, note=note)
    if desk.screen.json:
        desk.screen.document({"place": alarm.place, "verdict": verdict, "by": desk.user})
        return
    desk.screen.say((alarm.place, "bold"), f"  {verdict}")
    if verdict == "bad":
        where = alarm.place if alarm.key else alarm.run
        desk.screen.say("a rule that stops the like of it: ",
                        desk.command(f"holdfast prevent {where}"))  # fmt: skip
