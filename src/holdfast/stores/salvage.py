"""Exporting what is sound of a damaged journal. The source is only read."""

from __future__ import annotations

import sqlite3
from array import array
from pathlib import Path
from typing import Any

import msgspec

from holdfast.journal.events import KINDS, Event
from holdfast.journal.proof import Chain
from holdfast.journal.record import OWN
from holdfast.stores.fsck import Check, Progress, Report
from holdfast.stores.lines import ArchiveWriter, new_file
from holdfast.stores.still import journal_path, reading_file
from holdfast.stores.terse import raw_event
from holdfast.values.errors import Corrupt
from holdfast.values.ports import Clock, SystemClock


class Salvaged(msgspec.Struct):
    """What `salvage` saved and what it could not. ``report``: everything that is wrong with the
    source; ``cut``: runs that end early in the archive, with the position of the first event that
    is missing; ``gone``: runs of which nothing could be saved; ``lost``: blobs."""

    report: Report
    runs: int = 0
    events: int = 0
    blobs: int = 0
    cut: dict[str, int] = msgspec.field(default_factory=dict)
    gone: list[str] = msgspec.field(default_factory=list)
    lost: list[str] = msgspec.field(default_factory=list)


def salvage(
    path: Path | str,
    target: Path | str,
    *,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Salvaged:
    """Write what is sound of the journal at ``path`` to a new archive at ``target``.

    Of each run: its events up to the first that cannot be proven. Raises as `check` does if the
    file is no journal, and `Misuse` if the target exists.
    """
    path = journal_path(path)
    with reading_file(path) as conn, new_file(Path(target)) as file:
        check = Check(conn, path, progress, clock or SystemClock())
        check.places = {}
        report = check.run()
        found = Salvaged(report, lost=sorted(report.lost))
        stops = _stops(check, found)
        names = [
            (chain.run, chain.fork_of, chain.fork_pos)
            for number, chain in sorted(check.chains.items())
            if number in stops
        ]
        writer = ArchiveWriter(file, names, check.content, report.lost)
        chains: dict[str, Chain] = {}
        for number, stop in sorted(stops.items()):
            old = check.chains[number]
            chain = chains[old.run] = Chain(old.run)
            if old.fork_of:
                head = check.head_at(chains[old.fork_of], old.fork_pos)
                if head is None:
                    raise Corrupt(f"{path}: {old.fork_of}#{old.fork_pos} can no longer be read")
                chain.fork_from(chains[old.fork_of], old.fork_pos, head)
            _save(conn, writer, chain, check.places[number], stop)
        writer.end()
        found.runs, found.events, found.blobs = len(stops), writer.events, writer.blobs
    return found


def _stops(check: Check, found: Salvaged) -> dict[int, int]:
    """For each run of which something is sound: the position before which it is."""
    stops: dict[int, int] = {}
    saved: dict[str, int] = {}
    for number, chain in sorted(check.chains.items()):
        if chain.run in OWN:
            continue  # they speak of the damaged store as a whole
        stop = check.sound_to.get(chain.run, chain.pos + 1)
        first = chain.fork_pos + 1 if chain.fork_of else 0
        whole = not chain.fork_of or saved.get(chain.fork_of, 0) > chain.fork_pos
        if chain.row is None or chain.row.run != chain.run or stop <= first or not whole:
            found.gone.append(chain.run)
            continue
        if chain.run in check.sound_to:
            found.cut[chain.run] = stop
        stops[number] = saved[chain.run] = stop
    return stops


def _save(
    conn: sqlite3.Connection, writer: ArchiveWriter, chain: Chain, places: array[int], stop: int
) -> None:
    for seq in places:
        columns: Any = conn.execute(
            "SELECT pos,kind,at,id,world,body,args,value FROM event WHERE seq=?", (seq,)
        ).fetchone()
        if columns[0] >= stop:
            return
        parent = chain.head_id
        event = raw_event(columns)
        wrong = chain.take(event)
        assert wrong is None, wrong
        pos, code, at, name, world, body, args, value = event
        writer.add(
            Event(
                seq, chain.run, pos, name.hex(), parent, KINDS[code], at,
                world.hex() if world else "", body, args, value,
            ),
            chain.whole,
        )  # fmt: skip
