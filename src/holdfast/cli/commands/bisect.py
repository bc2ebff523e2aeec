"""``holdfast bisect``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.values import limits


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--outcome", default="", metavar="CONDITION",
              help="When a run ends well: CEL over status, value, args, steps, ...")  # fmt: skip
@click.option("--budget", type=click.IntRange(1), default=limits.BISECT_RUNS, show_default=True,
              metavar="N", help="Forks at most, those of earlier calls included.")  # fmt: skip
@click.option("--money", type=click.FloatRange(0), default=0.0, metavar="M",
              help="Begin no fork once the forks cost so much.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.9, show_default=True,
              help="Stop when a step is believed so much.")  # fmt: skip
@click.option("--steps", default="", metavar="A..B", help="Only steps from A to B.")
@click.option("--alternative", "alternatives", multiple=True, metavar="STEP=VALUE",
              help="Another outcome for a step, to be tried in its place.")  # fmt: skip
@click.option("--rates", default="", metavar="LOW/HIGH",
              help="Known rates of good ends: of forks that keep the cause/do not.")  # fmt: skip
@click.option("--policy", default="", metavar="FILE", help="Policy file (or HOLDFAST_POLICY).")
@shared
def command(
    run: str,
    *,
    outcome: str,
    budget: int,
    money: float,
    confidence: float,
    steps: str,
    alternatives: tuple[str, ...],
    rates: str,
    policy: str,
    desk: Desk,
) -> int:
    """Find the step of a run that, taken otherwise, flips how it ended.

    It forks the run again and again, each time where that teaches the most, and believes in steps
    by how the forks end. Forks hold: nothing leaves the world, and none is published. What it finds
    is recorded as a finding, with the interval. Called again it goes on with the forks there are.

    A run's outcome is bad if --outcome says so, or its score; without either, whatever ends
    otherwise counts as a flip. Exit code 1 if no step was found.

    \b
    Examples:
      holdfast bisect 7k3 --outcome 'value.total == 12'
      holdfast bisect 7k3 --steps 3..9 --budget 20 --money 2
      holdfast bisect 7k3 --alternative 4='{"price": 12}'
    """
    from holdfast.cli.refs import pair
    from holdfast.runtime.bisecting import Asked

    given: dict[str, tuple[Any, ...]] = {}
    for text in alternatives:
        key, value = pair(text, "--alternative")
        given[key] = (*given.get(key, ()), value)
    first, last = _between(steps)
    asked = Asked(outcome, budget, money, confidence, first, last, given, {}, _rates(rates))
    return asyncio.run(_bisect(desk, run, asked, policy))


def _between(text: str) -> tuple[str, str]:
    from holdfast.values.errors import Misuse

    first, dots, last = text.partition("..")
    if text and not dots:
        raise Misuse(f"--steps {text!r}: say A..B, such as 3..9, or 3.. for all from there")
    return first, last


def _rates(text: str) -> tuple[Any, ...]:
    from holdfast.explain.bisect import Rate
    from holdfast.values.errors import Misuse

    if not text:
        return ()
    low, _, high = text.partition("/")
    try:
        miss, hit = float(low), float(high)
    except ValueError:
        miss, hit = 1.0, 0.0
    if not 0 < miss < hit < 1:
        raise Misuse(f"--rates {text!r}: say LOW/HIGH between 0 and 1, such as 0.3/0.9")
    return (Rate(hit, miss),)


async def _bisect(desk: Desk, text: str, asked: Any, policy: str) -> int:
    from holdfast.cli.running import runtime_of
    from holdfast.cli.stopping import stoppable
    from holdfast.explain.bisected import Bisected
    from holdfast.runtime.bisecting import bisect
    from holdfast.runtime.maintenance import open_store
    from holdfast.runtime.refs import find_run

    await open_store(desk.settings).close()
    screen, runtime = desk.screen, runtime_of(desk, policy=policy)

    def told(found: Bisected) -> None:
        made = found.forks[-1]
        if not screen.talks:
            word = "untold" if made.good is None else "flipped" if made.good else "ended alike"
            screen.note(f"{made.run}  @{made.step}  {word}")
        screen.live(f"{len(found.forks)} forks  {_spark(found)}  @{found.step or '-'} "
                    f"{found.probability:.0%}")  # fmt: skip

    with screen.reserved(mute=screen.json), stoppable(screen) as stop:
        async with runtime:
            row = await find_run(runtime.store, text)
            search = asyncio.create_task(bisect(runtime, row.run, asked, told))
            stopping = asyncio.create_task(stop.asked.wait())
            await asyncio.wait({search, stopping}, return_when="FIRST_COMPLETED")
            stopping.cancel()
            if not search.done():
                search.cancel()
                await asyncio.wait({search})
    screen.erase()
    if search.cancelled():
        screen.note("stopped; called again it goes on with the forks there are")
        return stop.code
    found = search.result()
    if screen.json:
        import msgspec

        screen.document(msgspec.to_builtins(found))
    else:
        _print(desk, found)
    return 0 if found.verdict == "found" else 1


_LEVELS = " ▁▂▃▄▅▆▇█"


def _spark(found: Any) -> str:
    top = max(one.belief for one in found.places) or 1.0
    return "".join(_LEVELS[round(one.belief / top * 8)] for one in found.places)


def _print(desk: Desk, found: Any) -> None:
    from holdfast.explain.text import Part, one_line

    screen = desk.screen
    screen.say((f"{found.run}", "bold"), f"  {one_line(found.outcome)}")
    rows: list[list[Part]] = []
    for one in found.places:
        mine = one.key == found.step
        rows.append([
            (f"@{one.key}", "bold" if mine else ""), f"{one.belief:.1%}",
            f"{one.good}/{one.of}" if one.of else ".",
            ("█" * round(one.belief * 24), "green" if mine else "cyan"), one_line(one.action),
        ])  # fmt: skip
    rows.append(["none", f"{found.none:.1%}", "", ("█" * round(found.none * 24), "cyan"), ""])
    screen.table(["STEP", "BELIEF", "FLIPS", "", "ACTION"], rows)
    cost = f", {found.money:.4g} spent" if found.money else ""
    untold = f", {found.untold} of which nothing can be told" if found.untold else ""
    screen.note(f"{len(found.forks)} forks{cost}{untold}; all of them hold what leaves the world")
    style = "green" if found.verdict == "found" else "yellow"
    screen.say((found.text, style))
    if found.verdict == "found":
        screen.note(f"recorded as a finding; {desk.command(f'holdfast prevent {found.run}')} "
                    "proposes a rule")  # fmt: skip
