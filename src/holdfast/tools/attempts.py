"""Attempts: one program run on several forks of a world, checked and ranked.

The agents behind `holdfast try`, and usable from any agent: `attempts` spawns an `attempt` for each
fork, so that every one is a run of its own, resumable as any run is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic.dataclasses import dataclass

from holdfast.engine import scope
from holdfast.engine.declare import agent, tool
from holdfast.engine.verbs import Child, gather, spawn
from holdfast.tools import world
from holdfast.tools.command import Result
from holdfast.values import limits
from holdfast.values.errors import RunFailed
from holdfast.world import diff, line_changes

ATTEMPT = "HOLDFAST_ATTEMPT"
"""The variable that tells a program which attempt it is, from 1."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Tally:
    """How much differs between two worlds: files, and lines of text added and removed."""

    files: int = 0
    added: int = 0
    removed: int = 0


@dataclass(frozen=True)
class Attempt:
    """How one attempt went. ``exit``: of the command, ``check``: of the check command, if there was
    one; ``score``: the last number that the check printed, if asked for; ``sandbox``: the walls
    around the command; ``error``: why it came to no end of its own."""

    number: int
    run: str
    exit: int | None = None
    check: int | None = None
    score: float | None = None
    changed: Tally = Tally()
    seconds: float = 0.0
    timed_out: bool = False
    sandbox: str = ""
    error: str = ""


@tool(effect="read", name="world.version")
async def version() -> str:
    """The root of the world as it is now."""
    return scope.world_call().root


@tool(effect="read", name="world.tally")
async def tally(since: str) -> Tally:
    """How much the world differs from an earlier root of it."""
    here = scope.world_call()
    added = removed = 0
    changes = diff(here.stage, since, here.root)
    for change in changes:
        more, less = line_changes(here.stage, change)
        added, removed = added + more, removed + less
    return Tally(len(changes), added, removed)


@dataclass(frozen=True)
class Reach:
    """What commands may see beyond their world; the words are those of `holdfast.tools.world.run`:
    host paths to read, hosts on the network, names of variables whose values are secrets."""

    readable: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


async def _reaching(
    command: Sequence[str], seconds: float, environment: dict[str, str] | None, reach: Reach
) -> Result:
    return await world.run.fn(
        command, seconds, environment,
        readable=reach.readable, network=reach.network, secrets=reach.secrets,
    )  # fmt: skip


def _effect_of_reach(bound: Mapping[str, Any]) -> str:
    """What may run in many forks at once may be repeated, though it leaves the world."""
    return "idempotent" if bound["reach"].network else "world"


@tool(effect="world", name="world.attempt")
async def _attempt(
    command: Sequence[str], seconds: float, environment: dict[str, str], reach: Reach
) -> Result:
    """The command of an attempt: `world.run` with the reach that the person who tries gave it."""
    return await _reaching(command, seconds, environment, reach)


@tool(effect="world", name="world.check")
async def check(
    command: Sequence[str],
    seconds: float = limits.COMMAND_SECONDS,
    environment: dict[str, str] | None = None,
    reach: Reach = Reach(),  # noqa: B008 - a value that cannot change
) -> Result:
    """Run a command as `world.run` does, and drop what it changes: the world stays as it is."""
    here = scope.world_call()
    before = here.root
    result = await _reaching(command, seconds, environment, reach)
    here.root = before
    return result


_attempt.effect_of = check.effect_of = _effect_of_reach


@agent(name="holdfast.check")
async def checked(
    command: list[str],
    seconds: float = limits.COMMAND_SECONDS,
    reach: Reach = Reach(),  # noqa: B008 - as above
) -> Result:
    """Run a check in a world, such as a candidate of a merge, and change nothing."""
    return await check(command, seconds, None, reach)


@agent(name="holdfast.mount")
async def mounted(command: list[str], seconds: float = limits.COMMAND_SECONDS) -> Result:
    """Run one command in a world, which then is what it left."""
    return await world.run(command, seconds)


@agent(name="holdfast.attempt")
async def attempt(
    number: int,
    command: list[str],
    check_command: list[str],
    seconds: float = limits.COMMAND_SECONDS,
    score: bool = False,
    reach: Reach = Reach(),  # noqa: B008 - as above
) -> Attempt:
    """One attempt: the command, then the check, in this run's own world."""
    start = await version()
    environment = {ATTEMPT: str(number)}
    ran = await _attempt(command, seconds, environment, reach)
    changed = await tally(start)
    tested = None
    if check_command:
        tested = await check(check_command, seconds, environment, reach)
    return Attempt(
        number, "", ran.exit, tested.exit if tested else None,
        last_number(tested.stdout) if tested and score else None,
        changed, ran.seconds, ran.timed_out, ran.sandbox,
    )  # fmt: skip


@agent(name="holdfast.try")
async def attempts(
    command: list[str],
    count: int = 4,
    check_command: list[str] = [],  # noqa: B006 - never changed; what is recorded must be a list
    *,
    seconds: float = limits.COMMAND_SECONDS,
    score: bool = False,
    reach: Reach = Reach(),  # noqa: B008 - as above
    directory: str = "",
    ignore: list[str] = [],  # noqa: B006 - as above
) -> list[Attempt]:
    """Run a command in ``count`` forks of this run's world at once; the results, best first.

    ``directory``: where the world was taken in from, but for what ``ignore`` matches; a merge
    writes there if nothing else is said. Each attempt sees its number in HOLDFAST_ATTEMPT.
    """
    children = [
        await spawn(attempt, number, command, check_command, seconds, score, reach)
        for number in range(1, count + 1)
    ]
    done = await gather(*(_outcome(number, one) for number, one in enumerate(children, 1)))
    return sorted(done, key=rank)


async def _outcome(number: int, child: Child) -> Attempt:
    try:
        found: Attempt = await child.result()
    except RunFailed as error:
        return Attempt(number, child.id, error=str(error).partition(": ")[2] or str(error))
    return replace(found, run=child.id)


def rank(one: Attempt) -> tuple[object, ...]:
    """Best first: came to an end, passed the check, highest score, its command succeeded, changed
    something, and of that the fewest lines."""
    lines = one.changed.added + one.changed.removed
    return (
        bool(one.error), (one.check or 0) != 0, -(one.score or 0.0), one.score is None,
        (one.exit or 0) != 0, one.changed.files == 0, lines, one.changed.files, one.number,
    )  # fmt: skip


def last_number(text: str) -> float | None:
    """The last number in a text, as a score; None if there is none."""
    found = _NUMBER.findall(text[-limits.SCORE_CHARS :])
    return float(found[-1]) if found else None
