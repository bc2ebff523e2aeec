"""``holdfast publish``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--discard", is_flag=True, help="Drop what is held instead; nothing is performed.")
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--no-input", is_flag=True, help="Ask nothing here, even on a terminal.")
@click.option("--quiet", "-q", is_flag=True, help="Do not tell about single steps.")
@shared
def command(
    run: str, *, discard: bool, policy: str, no_input: bool, quiet: bool, desk: Desk
) -> int:
    """Perform what a fork held, in order, or drop it.

    Effects that leave the world are held in forks. Publishing performs them now, and those that a
    preview stood in for, through the policy, approvals included, each once: as a run of its own. It
    stops at the first that is denied or fails; publishing again goes on behind that one. A run that
    waited for one of them goes on. Files are merged by `holdfast world merge`, first.

    \b
    Examples:
      holdfast publish 9qg
      holdfast publish 9qg --discard
    """
    if discard:
        return asyncio.run(_discard(desk, run))

    from holdfast.cli.attend import Manner
    from holdfast.cli.running import execute, runtime_of
    from holdfast.engine.publisher import publish_run
    from holdfast.runtime.refs import find_run

    begun: list[str] = []

    async def begin(runtime: Any, _: Any) -> list[str]:
        row = await find_run(runtime.store, run)
        handle = await publish_run(runtime.host, row.run, by=desk.user)
        desk.screen.note((f"run {handle.id}", "bold"), f"  publishes {row.run}")
        begun.append(handle.id)
        return [handle.id] if row.ended else [handle.id, row.run]

    manner = Manner(user=desk.user, timers=True, quiet=quiet)
    code = asyncio.run(
        execute(
            desk, runtime_of(desk, policy=policy), begin, manner, may_ask=not no_input,
            many=True, create=False,
        )
    )  # fmt: skip
    return asyncio.run(_say(desk, begun[0], code))


async def _discard(desk: Desk, run: str) -> int:
    from holdfast.engine.held import discard
    from holdfast.runtime.refs import find_run
    from holdfast.values.ids import new_id
    from holdfast.values.ports import SystemDice

    async with desk.store() as store:
        row = await find_run(store, run)
        token = new_id(SystemDice())
        held = await discard(store, row.run, by=desk.user, now_ms=desk.now_ms(), token=token)
    if desk.screen.json:
        desk.screen.document({"run": row.run, "discarded": [one.first for one in held]})
        return 0
    for one in held:
        desk.screen.say(("discarded ", "yellow"), f"{one.run}@{one.place}  {one.name}")
    if not held:
        desk.screen.note(f"run {row.run} holds nothing")
    return 0


async def _say(desk: Desk, publisher: str, code: int) -> int:
    """What was published and what was not, once that is over; the exit code."""
    from holdfast.cli.running import result_of
    from holdfast.explain.text import cut, one_line

    async with desk.store() as store:
        row = await store.run(publisher)
        if row.status != "done":
            return code
        found = await result_of(store, row)
    stopped = found["stopped"]
    if not desk.screen.json:
        for one in found["done"]:
            desk.screen.say(("published ", "green"), f"{one['step']}  {one['name']}")
            if one["differs"]:
                was, now = (cut(one_line(repr(one[key])), 200) for key in ("preview", "result"))
                desk.screen.say(("  differs  ", "yellow"), f"preview {was}, published {now}")
        if stopped:
            text = f"{stopped['step']}  {stopped['name']}: {one_line(str(stopped['result']))}"
            desk.screen.say((f"{stopped['status']} ", "red"), text)
        for one in found["left"]:
            desk.screen.say(("still held ", "yellow"), f"{one['step']}  {one['name']}")
        if not found["done"] and not stopped:
            desk.screen.note("nothing was held")
    if stopped:
        return 3 if stopped["status"] == "refused" else 5
    return code
