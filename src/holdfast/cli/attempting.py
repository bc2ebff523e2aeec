"""The attempts of a try: their table, and what can be done with each."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from holdfast.cli.desk import Desk
from holdfast.cli.landing import Goal, bring, tell
from holdfast.cli.running import result_of
from holdfast.cli.worlds import beginning, home_of
from holdfast.engine.landing import change_of, home_branch
from holdfast.explain import telling
from holdfast.explain.text import Part, cut, one_line
from holdfast.journal.store import RunQuery
from holdfast.journal.views import BRANCH, RunRow
from holdfast.tools.attempts import Attempt, Tally, rank
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, NotFound
from holdfast.world import Stage, diff, unified

AGENT = "holdfast.try"
"""Name of the agent whose runs are tries."""
NOT_FOUND = 127
"""Exit code of the sandbox, as of shells, for a command that is not there."""


async def attempts_of(store: Any, row: RunRow) -> list[tuple[Attempt, RunRow]]:
    """The attempts of a try, best first, ended or not."""
    children = await store.runs(RunQuery(limit=10_000, parent=row.run))
    found: list[tuple[Attempt, RunRow]] = []
    for number, child in enumerate(reversed(children), 1):
        if child.status == "done":
            said: dict[str, Any] = await result_of(store, child)
            said |= {"run": child.run, "changed": Tally(**said["changed"])}
            found.append((Attempt(**said), child))
        else:
            error = child.error.text if child.error else child.status
            found.append((Attempt(number, child.run, error=error), child))
    return sorted(found, key=lambda pair: rank(pair[0]))


async def show(desk: Desk, store: Any, row: RunRow) -> int:
    """The table of a try, and how to go on; 0 if an attempt succeeded, else 1."""
    found = await attempts_of(store, row)
    good = any(not one.error and not one.exit and not one.check for one, _ in found)
    if desk.screen.json:
        documents = [
            {"run": child.run, "number": one.number, "status": child.status, "exit": one.exit,
             "check": one.check, "score": one.score, "files": one.changed.files,
             "added": one.changed.added, "removed": one.changed.removed, "seconds": one.seconds,
             "timed_out": one.timed_out, "sandbox": one.sandbox, "error": one.error}
            for one, child in found
        ]  # fmt: skip
        desk.screen.document({"run": row.run, "status": row.status, "attempts": documents})
    else:
        _table(desk, found)
    return 0 if good else 1


def _table(desk: Desk, found: list[tuple[Attempt, RunRow]]) -> None:
    scored = any(one.score is not None for one, _ in found)
    titles = ["FORK", "EXIT", "CHECK", *(["SCORE"] if scored else []), "FILES", "LINES", "TIME",
              "SANDBOX", ""]  # fmt: skip
    desk.screen.table(titles, [_line(one, child, scored=scored) for one, child in found], fold=2)


def _line(one: Attempt, child: RunRow, *, scored: bool) -> list[Part]:
    if one.error:
        style = telling.STYLES.get(child.status, "red")
        blanks = [""] * (6 + scored)
        return [(child.run, "bold"), *blanks, (cut(one_line(one.error), 200), style)]
    changed = one.changed
    lines = f"+{changed.added} -{changed.removed}" if changed.added or changed.removed else ""
    end = "time" if one.timed_out else str(one.exit)
    tested = "" if one.check is None else "ok" if one.check == 0 else f"exit {one.check}"
    passed = "red" if one.check else "yellow" if one.exit else "green"
    score = [f"{one.score:g}" if one.score is not None else ""] if scored else []
    return [
        (child.run, "bold"), (end, "red" if one.exit else "green"),
        (tested, passed), *score, str(changed.files), lines,
        telling.took(int(one.seconds * 1e6)), one.sandbox, (_said_of(one), "yellow"),
    ]  # fmt: skip


def _said_of(one: Attempt) -> str:
    """What the numbers alone would let somebody overlook."""
    if one.exit == NOT_FOUND:
        return "command not found (exit 127): it sees its fork, the system's programs and --read"
    if one.check == NOT_FOUND:
        return "the check's command was not found (exit 127)"
    if one.exit and one.check == 0:
        return "the command failed, though the check passed"
    return ""


async def how_to_go_on(desk: Desk, store: Any, row: RunRow) -> None:
    """The commands for what comes next."""
    found = [(one, child) for one, child in await attempts_of(store, row) if not one.error]
    if not row.ended:
        desk.screen.note(f"  {desk.command(f'holdfast resume {row.run}')}   go on with it")
    if found:
        best = found[0][1].run
        desk.screen.note(f"  {desk.command(f'holdfast world diff {best}')}   what it changed")
        desk.screen.note(f"  {desk.command(f'holdfast world merge {best}')}   into this directory")
    desk.screen.note(f"  {desk.command(f'holdfast world discard {row.run}')}   drop all of them")


async def offer(desk: Desk, store: Any, row: RunRow) -> None:
    """At a terminal: show, merge, discard, as long as somebody says so."""
    children = {one.number: child for one, child in await attempts_of(store, row) if not one.error}
    while True:
        desk.screen.prompt("d N diff, m N merge, x discard all, q quit: ")
        typed = sys.stdin.readline()
        desk.screen.prompting = not typed
        word, _, rest = typed.strip().partition(" ")
        if not typed or word == "q":
            await how_to_go_on(desk, store, row)
            return
        try:
            if word == "x":
                await discard(desk, store, row)
                return
            number = int(rest) if rest.strip().isdecimal() else 0
            if word not in ("d", "m") or number not in children:
                known = ", ".join(map(str, sorted(children))) or "none"
                desk.screen.note(f"say d N, m N, x or q; N is one of {known}")
            elif word == "d":
                await show_diff(desk, store, children[number])
            elif await merge_home(desk, store, children[number]) == 0:
                return
        except HoldfastError as error:
            desk.screen.note((one_line(str(error)), "red"))


async def show_diff(desk: Desk, store: Any, row: RunRow) -> None:
    """What a run changed since it began, as a patch."""
    stage = Stage(store.get)
    changes = diff(stage, await beginning(store, row), (await store.head(row.run)).world)
    if changes:
        desk.screen.patch(unified(stage, changes))
    else:
        desk.screen.note(f"{row.run} changed nothing")


async def merge_home(
    desk: Desk,
    store: Any,
    row: RunRow,
    check: tuple[str, ...] | None = None,
    seconds: float = limits.COMMAND_SECONDS,
    *,
    directory: str = "",
) -> int:
    """Merge what a run did into the directory that its world was taken in from, or that is named;
    without ``check`` with the one of the try."""
    home = await home_of(store, row, store.directory, directory)
    if home is None:
        raise NotFound(
            f"run {row.run}: its world was not taken in by `try` or `world init`, so there is no "
            "directory to write to: say INTO or --directory, or use `holdfast world export`"
        )
    into = home.run
    if into == row.run and row.agent != BRANCH:  # a launched command's: it is not the directory
        into = await home_branch(store, row.run, now_ms=desk.now_ms(), by=desk.user)
    goal = Goal(into, home, home.check, home.seconds, home.reach)
    if check is not None:
        goal = Goal(into, home, check, seconds)
    done = await bring(desk, store, goal, await change_of(store, row.run, into))
    return tell(desk, store, done, row.run, goal)


async def discard(desk: Desk, store: Any, row: RunRow) -> None:
    """Drop a branch with all that was spawned by it or forked from it, without residue."""
    from holdfast.cli.dropping import drop

    found = await drop(desk, store, row)
    if desk.screen.json:
        desk.screen.document({"run": row.run, **msgspec.structs.asdict(found)})
    else:
        desk.screen.note(f"discarded {row.run}: {found.runs} runs, {found.bytes:,} bytes freed")
