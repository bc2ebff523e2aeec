"""``holdfast prevent``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("run", metavar="RUN[@STEP]")
@click.option("--rule", "only", flag_value="rule", help="Only the rule.")
@click.option("--case", "only", flag_value="case", help="Only the case.")
@click.option("--write", is_flag=True, help="Change the policy's files, and write the case.")
@click.option("--again", type=click.IntRange(0), default=0, metavar="N",
              help="Fork the run before the step N times: none may do it again.")  # fmt: skip
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True,
              help="How many changed decisions to print.")  # fmt: skip
@shared
def command(
    run: str,
    *,
    only: str | None,
    write: bool,
    again: int,
    policy: str,
    limit: int,
    desk: Desk,
) -> int:
    """From a step that went wrong to a rule or a case that stops the next one.

    Without @STEP: the step that a finding says caused the outcome (`holdfast bisect`). What is
    stopped is that step if it is an action of a tool, else the first such action behind it.

    The rule is the condition, on what the policy saw, that stops this action and the fewest of
    those that were right; it is tried on the whole journal before it is shown. The case says that
    this action, on its facts, must not be allowed. Both are for review: --write puts them into the
    policy's files and its `tests/`.

    --again N proposes nothing: it forks the run before the step, under the policy in force, and
    executes the forks, which hold. Exit code 1 if one of them takes that action again.

    \b
    Examples:
      holdfast prevent 7k3@4 --policy policies/support
      holdfast prevent 7k3 --policy policies/support --write
      holdfast prevent 7k3@4 --policy policies/support --again 5
    """
    if again:
        return asyncio.run(_again(desk, run, policy, again))
    return asyncio.run(_prevent(desk, run, policy, only or "", limit, write=write))


async def _again(desk: Desk, text: str, policy: str, tries: int) -> int:
    from holdfast.cli.preventing import bad_of, does_it_again, past_of
    from holdfast.cli.running import runtime_of
    from holdfast.runtime.maintenance import open_store
    from holdfast.runtime.refs import find

    await open_store(desk.settings).close()
    runtime, screen = runtime_of(desk, policy=policy), desk.screen
    with screen.reserved(mute=screen.json):
        async with runtime:
            row, key = await find(runtime.store, text)
            bad = await bad_of(runtime.store, row, key, await past_of(runtime.store))
            found = await does_it_again(runtime, bad, tries)
    if screen.json:
        screen.document({"forks": tries, "again": [f"{name}@{step}" for name, step in found]})
        return 1 if found else 0
    for name, step in found:
        screen.say((f"{name}@{step}", "red"), f"  does it again: {bad.decided.plan.name}")
    screen.say(f"{len(found)} of {tries} forks do it again")
    return 1 if found else 0


async def _prevent(
    desk: Desk, text: str, policy: str, only: str, limit: int, *, write: bool
) -> int:
    from holdfast.cli.preventing import bad_of, past_of, propose
    from holdfast.gate import default_policy, load_policy_file
    from holdfast.runtime.refs import find
    from holdfast.values.errors import Misuse

    path = policy or desk.settings.policy
    if write and not path:
        raise Misuse("--write: say which policy with --policy, or HOLDFAST_POLICY")
    now = load_policy_file(path) if path else default_policy()
    async with desk.store() as store:
        row, key = await find(store, text)
        past = await past_of(store)
        bad = await bad_of(store, row, key, past)
        found = propose(bad, past, now, path, store.get)
    if desk.screen.json:
        desk.screen.document(_document(bad, found, limit))
    else:
        _print(desk, bad, found, only, limit, shows=not write)
    return _write(desk, bad, found, only) if write else 0


def _write(desk: Desk, bad: Any, found: Any, only: str) -> int:
    """Into the policy's files, and a new file of cases beside them."""
    from holdfast.cli.amending import write
    from holdfast.values.errors import Misuse

    path, one = Path(found.change.policy), bad.decided
    code = 0
    if only != "case":
        code = write(desk, found.change)
    if only != "rule":
        if not path.is_dir():
            raise Misuse(f"{path}: cases stand in tests/ of a policy's folder, this is a file")
        file = path / "tests" / f"prevented-{one.run}-{one.key}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(found.case, "utf-8")
        desk.screen.note(f"{file} is written; holdfast policy test {path}")
    return code


def _print(desk: Desk, bad: Any, found: Any, only: str, limit: int, *, shows: bool) -> None:
    """Why, what, and what it does to the past; ``shows``: the texts, too."""
    from holdfast.explain.text import one_line
    from holdfast.gate.prevent import NARROW

    screen, one = desk.screen, bad.decided
    screen.say((f"{one.run}@{one.key}", "bold"), f"  {one_line(one.agent)} "
               f"{one_line(one.plan.name)}: {one_line(bad.why)}")  # fmt: skip
    if only != "case":
        if shows:
            screen.patch(found.change.patch())
        stops = len(found.found.stops)
        screen.say(f"of {found.right:,} actions like it that were right it stops {stops:,}"
                   + (f": {', '.join(found.found.stops[:5])}" if stops else ""))  # fmt: skip
        if found.found.rank >= NARROW:
            screen.note(("it names these very values: it will not stop the next one like it",
                         "yellow"))  # fmt: skip
        for other in found.others:
            screen.note(f"it could also be: {one_line(other.condition)}  ({len(other.stops):,})")
        _effect(desk, found.effect, limit)
        for each in found.change.failed:
            screen.note((f"a case of the policy speaks against it: {each}", "red"))
    if only != "rule" and shows:
        screen.say(("a case for its tests/:", "bold"))
        screen.say(found.case.rstrip())


def _effect(desk: Desk, effect: Any, limit: int) -> None:
    """What the rule does to the past, beside the policy as it is."""
    screen = desk.screen
    screen.say(f"{effect.judged:,} decisions judged again, {len(effect.changes):,} come out "
               "otherwise")  # fmt: skip
    for change in effect.changes[:limit]:
        screen.say((f"{change.old.verdict.decision} -> {change.new.decision}", "yellow"),
                   f"  {change.old.run}@{change.old.key}")  # fmt: skip
    if effect.beyond:
        screen.note(f"{effect.beyond:,} behind a changed verdict of their run: unknown, fork to "
                    "see")  # fmt: skip
    for why, count in effect.unjudged.items():
        screen.note(f"{count:,} not judged: {why}")


def _document(bad: Any, found: Any, limit: int) -> dict[str, Any]:
    one, effect = bad.decided, found.effect
    return {
        "run": one.run, "step": one.key, "cause": bad.step, "agent": one.agent,
        "tool": one.plan.name, "why": bad.why, "then": found.rule.then,
        "condition": found.found.condition, "rank": found.found.rank, "right": found.right,
        "stops": list(found.found.stops),
        "others": [{"condition": x.condition, "stops": list(x.stops)} for x in found.others],
        "patch": found.change.patch(), "case": found.case, "against": list(found.change.failed),
        "backtest": {
            "judged": effect.judged, "beyond": effect.beyond, "unjudged": effect.unjudged,
            "changes": [
                {"run": x.old.run, "step": x.old.key, "then": x.old.verdict.decision,
                 "now": x.new.decision}
                for x in effect.changes[:limit]
            ],
        },
    }  # fmt: skip
