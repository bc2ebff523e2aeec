"""``holdfast what-if``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("place", metavar="RUN[@STEP]")
@click.option("--set", "edits", multiple=True, metavar="PATH=VALUE",
              help="Change result.…, args.… of the step, or input.… of the run.")  # fmt: skip
@click.option("--message", "messages", multiple=True, metavar="N=TEXT",
              help="Other words for message N (from 0; or system) of a request.")  # fmt: skip
@click.option("--observation", default="", metavar="STEP=VALUE",
              help="Another result of STEP, such as a tool's.")  # fmt: skip
@click.option("--model", default="", metavar="NAME", help="Ask another model at this step.")
@click.option("--policy", default="", metavar="FILE",
              help="Judge it, and all that follows, under another policy.")  # fmt: skip
@click.option("--without", multiple=True, metavar="SOURCE",
              help="Leave out message:N, or the result of step SOURCE.")  # fmt: skip
@click.option("--times", default=1, show_default=True, metavar="N", type=click.IntRange(1),
              help="Forks to make: models and chance may decide otherwise each time.")  # fmt: skip
@click.option("--outcome", default="", metavar="EXPR",
              help="When an outcome is good: a condition, as in docs/compare.md.")  # fmt: skip
@click.option("--budget", default=None, metavar="N", type=click.IntRange(1),
              help="Forks to make at most (default: 100).")  # fmt: skip
@click.option("--money", default=None, metavar="AMOUNT", type=click.FloatRange(0),
              help="Make no more forks once they have used this much money.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Run every later step again, even unchanged ones.")
@shared
def command(
    place: str,
    *,
    outcome: str,
    times: int,
    budget: int | None,
    money: float | None,
    policy: str,
    desk: Desk,
    **said: Any,
) -> int:
    """Fork a run with one thing changed, and compare what comes of it.

    The run itself stays as it is. Forks share its past up to the step and run from there under
    today's code. Nothing leaves the world in them: it is served from the record where the run did
    the same, else previewed, else held. They are never published from here. Without any change the
    step is taken again. What came of it is kept as a finding about the step, for `holdfast why`.

    Outcomes are told apart by --outcome, else by the run's score (`holdfast score`), else by status
    and value.

    \b
    Examples:
      holdfast what-if 7k3@4 --set result.price=12
      holdfast what-if 7k3@6 --message 2="Do not send anything." --times 10
      holdfast what-if 7k3 --without 3 --outcome 'steps.exists(s, s.name == "send")'
    """
    from holdfast.cli.running import runtime_of
    from holdfast.explain.outcome import wanted_of
    from holdfast.runtime.whatif import Budget
    from holdfast.values import limits

    bounds = Budget(budget or limits.WHATIF_RUNS, money)
    wanted = wanted_of(outcome)
    runtime = runtime_of(desk, policy=policy)
    return asyncio.run(_what_if(desk, runtime, place, said, (wanted, times, bounds, policy)))


async def _what_if(
    desk: Desk, runtime: Any, place: str, said: dict[str, Any], how: tuple[Any, int, Any, str]
) -> int:
    import msgspec

    from holdfast.explain.whatif import Tried
    from holdfast.runtime.maintenance import open_store
    from holdfast.runtime.refs import find
    from holdfast.runtime.whatif import what_if

    wanted, times, budget, policy = how
    await open_store(desk.settings).close()  # it must exist
    made: list[str] = []

    def told(one: Tried) -> None:
        made.append(one.run)
        desk.progress(f"fork {one.run}", len(made), min(times, budget.forks))

    async with runtime:
        row, step = await find(runtime.store, place)
        key, changes = _changes(step, said)
        with desk.screen.reserved():
            found = await what_if(
                runtime, row.run, key, changes, wanted=wanted, times=times, budget=budget,
                policy=policy, told=told,
            )  # fmt: skip
    desk.screen.erase()
    if desk.screen.json:
        desk.screen.document(msgspec.to_builtins(found))
    else:
        _tell(desk, found)
    return 0


def _changes(step: str, said: dict[str, Any]) -> tuple[str, Any]:
    """The step to fork before, and what to change there."""
    from holdfast.cli.refs import pair
    from holdfast.runtime.counterfactual import RESULT, Changes
    from holdfast.values.errors import Misuse

    edits = dict(pair(text, "--set") for text in said["edits"])
    messages = {name: text for name, _, text in map(_message, said["messages"])}
    places: list[str] = []
    steps: list[str] = []
    for source in said["without"]:
        kind, colon, name = source.partition(":")
        if colon and kind == "message":
            places.append(name)
        else:
            places.append(RESULT)
            steps.append(source)
    if said["observation"]:
        name, value = pair(said["observation"], "--observation")
        steps.append(name)
        edits["result"] = value
    here = {*steps, *([step] if step else [])}
    if len(here) > 1:
        raise Misuse(
            f"a fork changes one step, not @{' and @'.join(sorted(here))}: ask one thing at a time"
        )
    changes = Changes(edits, messages, tuple(places), said["model"], said["fresh"])
    return next(iter(here), ""), changes


def _message(text: str) -> tuple[str, str, str]:
    from holdfast.values.errors import Misuse

    name, equals, words = text.partition("=")
    if not (name and equals):
        raise Misuse(f"--message {text!r}: say N=TEXT")
    return name, equals, words


def _tell(desk: Desk, found: Any) -> None:
    from holdfast.cli.comparing import tell
    from holdfast.explain.text import one_line

    screen = desk.screen
    screen.say((found.intervention, "bold"))
    screen.say(f"run {found.run}: {one_line(found.original.text)}")
    if found.stopped:
        screen.say((f"{found.stopped}: {len(found.tried)} forks were made", "yellow"))
    screen.table(
        ["FORKS", "SHARE", "OUTCOME"],
        [[str(one.count), f"{one.low:.0%} to {one.high:.0%}", one_line(one.text)]
         for one in found.outcomes],
    )  # fmt: skip
    if found.of:
        share = f"{found.flips} of {found.of} forks ended otherwise"
        between = f"  (between {found.low:.0%} and {found.high:.0%} would, with 95 % confidence)"
        screen.say((share, "yellow" if found.flips else "green"), (between, "dim"))
    else:
        screen.say(("inconclusive: no fork's outcome can be told", "yellow"))
    if found.comparison is not None:
        screen.say()
        tell(screen, found.comparison)
