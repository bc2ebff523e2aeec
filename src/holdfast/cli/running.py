"""What `run`, `resume` and `fork` share: a runtime, somebody who attends, and what came of it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from holdfast.cli.asking import keyboard
from holdfast.cli.attend import Attendant, Manner, short
from holdfast.cli.desk import Desk
from holdfast.cli.failing import WAITS, complain, report
from holdfast.cli.stopping import Stop, stoppable
from holdfast.engine.answers import ending
from holdfast.explain import telling
from holdfast.explain.past import question
from holdfast.explain.text import one_line
from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime import Runtime
from holdfast.runtime.maintenance import open_store
from holdfast.values.errors import Diverged, HoldfastError

Troubles = dict[str, HoldfastError]
Begin = Callable[[Runtime, Troubles], Awaitable[list[str]]]
"""Starts or resumes runs and returns their ids; notes those that cannot be."""


def runtime_of(desk: Desk, *, policy: str = "", serve: bool = False) -> Runtime:
    """The runtime for this command; programs are found from here and from beside the store."""
    import msgspec

    settings = desk.settings
    if policy:
        desk.policy = policy
        settings = msgspec.structs.replace(settings, policy=policy)
    for place in (str(settings.directory.resolve().parent), str(Path.cwd())):
        if place not in sys.path:
            sys.path.insert(0, place)
    return Runtime(settings, serve=serve)


async def execute(
    desk: Desk,
    runtime: Runtime,
    begin: Begin,
    manner: Manner,
    *,
    may_ask: bool,
    many: bool = False,
    create: bool = True,
    documents: bool = True,
) -> int:
    """Begin runs, attend them, and say what came of them; the exit code. ``many``: do not print
    results; ``create``: the store may be new; ``documents``: with ``--json``, one for each run."""
    if not create:
        await open_store(desk.settings).close()
    if not os.environ.get("HOLDFAST_DEBUG"):  # an error is one line, said by whoever catches it
        logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    keys = keyboard() if may_ask and not desk.screen.json else None
    watch = None
    troubles: Troubles = {}
    try:
        with desk.screen.reserved(), stoppable(desk.screen) as stop:
            async with runtime:
                watch = open_store(desk.settings)
                after = await watch.last_seq()
                runs = await begin(runtime, troubles)
                attendant = Attendant(desk.screen, runtime.host, watch, keys, manner)
                going = [run for run in runs if run not in troubles]
                await attendant.attend(going, after, stop)
                troubles.update(attendant.troubles)
        loud = desk.screen.json and documents
        return await _conclude(
            desk, watch, runs, troubles, stop, many=many, manner=manner, documents=loud
        )
    finally:
        if watch is not None:
            await watch.close()


async def _conclude(
    desk: Desk,
    store: Store,
    runs: list[str],
    troubles: Troubles,
    stop: Stop,
    *,
    many: bool,
    manner: Manner,
    documents: bool,
) -> int:
    codes: list[int] = []
    suspended: list[str] = []
    for run in dict.fromkeys([*runs, *troubles]):
        if run in troubles and run not in runs:
            if isinstance(troubles[run], Diverged):
                desk.screen.note((getattr(troubles[run], "diff", ""), ""))
            codes.append(report(troubles[run]))
            continue
        row = await store.run(run)
        left = bool(stop.code) and not row.ended and run not in troubles
        if left:
            suspended.append(run)
        if documents:
            desk.screen.document(await _document(store, row, troubles.get(run), suspended=left))
        if not left:
            codes.append(await _tell(desk, store, row, troubles.get(run), many=many, manner=manner))
    if manner.forever:
        return 0
    if suspended:
        names = " ".join(suspended) if len(suspended) <= 5 else "--all"
        desk.screen.note(f"suspended; resume with: {desk.command(f'holdfast resume {names}')}")
        return stop.code
    return _worst(codes)


def _worst(codes: list[int]) -> int:
    """Of several runs: the first error, else a failure, else waiting, else 0."""
    errors = [code for code in codes if code not in (0, 1, WAITS)]
    return next(iter(errors), 1 if 1 in codes else WAITS if WAITS in codes else 0)


async def _tell(
    desk: Desk,
    store: Store,
    row: RunRow,
    trouble: HoldfastError | None,
    *,
    many: bool,
    manner: Manner,
) -> int:
    """Say how one run stands, unless JSON did; its exit code."""
    screen = desk.screen
    if trouble is not None:
        if isinstance(trouble, Diverged) and trouble.diff and not screen.json:
            screen.patch(trouble.diff)
        return report(trouble)
    if row.status == "done":
        if many and not manner.hushed:
            screen.note((f"run {row.run} done", "green"))
        elif not many and not screen.json:
            screen.result(await result_of(store, row))
        return 0
    if row.ended:
        error = row.error
        complain(f"run {row.run} {row.status}: {error.type}: {error.text}" if error else row.status)
        return 1
    screen.note((f"run {row.run} waits: ", "yellow"), short(row))
    for wait in telling.asked(row):
        body = await question(store, row, wait)
        for each in body.choices if body else ():
            screen.note(("  choice ", "dim"), one_line(each))
    for text in telling.who_may_answer(row):
        screen.note(f"  {text}")
    for command in telling.how_to_answer(row):
        screen.note(f"  {desk.command(command)}")
    if not telling.how_to_answer(row):
        screen.note(f"  {desk.command(f'holdfast resume {row.run}')}")
    return WAITS


async def result_of(store: Store, row: RunRow) -> Any:
    """What a run returned, in plain form."""
    event = await ending(store, row.run)
    return telling.plain(event.value, store.get)


async def _document(
    store: Store, row: RunRow, trouble: HoldfastError | None, *, suspended: bool
) -> dict[str, Any]:
    document = telling.row_document(row)
    if row.status == "done":
        document["result"] = await result_of(store, row)
    if suspended:
        document["suspended"] = True
    if trouble is not None:
        document["trouble"] = one_line(str(trouble))
        if isinstance(trouble, Diverged):
            document["diff"] = trouble.diff
    return document
