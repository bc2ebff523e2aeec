"""Runs in one file: to move them, to keep them, to save what is sound of a damaged store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from holdfast.journal.events import FORMAT, KINDS, Event, Head, body_of, other_roots
from holdfast.journal.meters import add_up, charged_by, charges_of
from holdfast.journal.proof import Chain, Named, raw
from holdfast.journal.record import OWN
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow
from holdfast.stores.lines import (
    VERSION,
    ArchiveWriter,
    BlobLine,
    EventLine,
    HeadLine,
    new_file,
    read_lines,
    unpacked,
)
from holdfast.stores.sqlite import SqliteStore
from holdfast.values import limits
from holdfast.values.canon import Blobs, digest
from holdfast.values.errors import Conflict, Corrupt, Misuse, NotFound
from holdfast.world import Stage, reachable


class Moved(msgspec.Struct, frozen=True):
    """What an export wrote, or what an import added (what was there already does not count)."""

    runs: int
    events: int
    blobs: int


class Adopting(Protocol):
    """A store that can take in sealed events (both of ours can)."""

    def adopt(self, events: Sequence[Event]) -> int:
        """See `SqliteStore.adopt`."""
        ...


async def export_runs(
    source: Store | Path | str, runs: Iterable[str] | None, target: Path | str
) -> Moved:
    """Write runs (None: all) to a new archive, with the runs they fork from and those they spawned.

    Every event is proven on the way: `Corrupt` names the first that is not sound. `NotFound`,
    `Misuse` if the file exists already.
    """
    if isinstance(source, str | Path):
        store = SqliteStore(source, create=False)
        try:
            return await export_runs(store, runs, target)
        finally:
            await store.close()
    return await _export_all(source, await _chosen(source, runs), Path(target))


async def _export_all(source: Store, rows: Sequence[RunRow], target: Path) -> Moved:
    forked = {row.fork_of for row in rows}
    chains: dict[str, Chain] = {}
    with new_file(target) as file:
        names = [(row.run, row.fork_of, row.fork_pos) for row in rows]
        writer = ArchiveWriter(file, names, source.get)
        for row in rows:
            chain = Chain(row.run)
            if row.fork_of:
                (cut,) = await source.read(row.fork_of, row.fork_pos, row.fork_pos + 1)
                chain.fork_from(chains[row.fork_of], row.fork_pos, Head(cut.pos, cut.id, cut.world))
            await _export(source, writer, chain)
            if row.run in forked:
                chains[row.run] = chain
        writer.end()
    return Moved(len(rows), writer.events, writer.blobs)


async def _export(source: Store, writer: ArchiveWriter, chain: Chain) -> None:
    stop = (await source.head(chain.run)).pos + 1
    start = chain.pos + 1
    while start < stop:
        for event in await source.read(
            chain.run, start, min(stop, start + limits.READ_PAGE_EVENTS)
        ):
            wrong = chain.take(raw(event))
            if wrong is not None:
                raise Corrupt(
                    f"event {event.run}#{event.pos}: {wrong[1]}; "
                    "`holdfast fsck --salvage FILE` exports what is sound"
                )
            writer.add(event, chain.whole)
            start = event.pos + 1


async def _chosen(store: Store, runs: Iterable[str] | None) -> list[RunRow]:
    """Rows of the runs asked for, of what they fork from and of what they spawned, oldest first."""
    found: dict[str, RunRow] = {}
    if runs is None:
        async for row in _pages(store, RunQuery(limit=1000)):
            if row.run not in OWN:
                found[row.run] = row
    runs = None if runs is None else list(runs)
    if runs is not None and not OWN.isdisjoint(runs):
        raise Misuse(
            f"{' and '.join(sorted(OWN))} belong to their store: `holdfast audit export` copies it"
        )
    stack = [] if runs is None else [await store.run(run) for run in runs]
    while stack:
        row = stack.pop()
        if row.run not in found:
            found[row.run] = row
            if row.fork_of:
                stack.append(await store.run(row.fork_of))
            children = _pages(store, RunQuery(limit=1000, parent=row.run))
            stack += [child async for child in children]
    return sorted(found.values(), key=lambda row: row.number)


async def _pages(store: Store, query: RunQuery) -> AsyncIterator[RunRow]:
    while page := await store.runs(query):
        for row in page:
            yield row
        query = msgspec.structs.replace(query, before=page[-1].number)


class _Proof:
    """The first pass over an archive: everything in it is proven before anything is stored."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store
        self.roots: dict[str, str] = {}
        self.lost: frozenset[str] = frozenset()
        self.runs = 0
        self._chains: dict[str, Chain] = {}
        self._cuts: dict[str, dict[int, Head | None]] = {}
        self._charged: dict[str, dict[str, int]] = {}
        self._named = Named()
        self._count = [0, 0]

    def damaged(self, text: str) -> Corrupt:
        """The error that names the archive."""
        return Corrupt(f"{self.path}: {text}; nothing was imported")

    def run(self) -> None:
        """Read everything once."""
        lines = read_lines(self.path)
        head = next(lines, None)
        if not isinstance(head, HeadLine):
            raise self.damaged("is not a Holdfast archive")
        if head.version > VERSION or head.format > FORMAT:
            raise Misuse(
                f"{self.path}: has archive version {head.version}, journal format {head.format}; "
                f"this Holdfast reads up to {VERSION} and {FORMAT}: update Holdfast"
            )
        self.lost = frozenset(head.lost)
        self.runs = len(head.runs)
        for name, fork_of, fork_pos in head.runs:
            if name in OWN:
                raise Misuse(
                    f"{self.path}: holds run {name}, which belongs to the store that keeps it and "
                    "is never taken from another (J64); nothing was imported"
                )
            self._chains[name] = Chain(name)
            if fork_of:
                self._cuts.setdefault(fork_of, {})[fork_pos] = None
        ended = False
        for line in lines:
            if ended or isinstance(line, HeadLine):
                raise self.damaged("goes on after its end")
            if isinstance(line, BlobLine):
                self._count[1] += 1
                self._named.hold(digest(line.content), line.content)
            elif isinstance(line, EventLine):
                self._count[0] += 1
                self._event(line)
            else:
                ended = [line.events, line.blobs] == self._count
                if not ended:
                    raise self.damaged("lacks lines that its end counts")
        if not ended:
            raise self.damaged("is cut off")
        self._complete()

    def _complete(self) -> None:
        empty = [name for name, chain in self._chains.items() if chain.row is None]
        if empty:
            raise self.damaged(f"has no events of run {empty[0]}")
        for name, place in self._named.missing():
            if name not in self.lost:
                raise self.damaged(f"{place} names blob {name}, which is absent")

    def _event(self, line: EventLine) -> None:
        chain = self._chains.get(line.run)
        place = f"event {line.run}#{line.pos}"
        if chain is None or line.kind not in KINDS:
            raise self.damaged(f"{place} is of an unknown run or kind")
        event = unpacked(line)
        try:
            stored = raw(event)
        except ValueError:
            raise self.damaged(f"{place} holds something else than hashes") from None
        if chain.pos < 0:
            self._fork(chain, event)
        if line.parent != chain.head_id:
            raise self.damaged(f"{place} does not name the event before it")
        wrong = chain.take(stored)
        if wrong is not None:
            raise self.damaged(f"{place}: {wrong[1]}")
        if charged_by(event.kind, event.body):
            self._charge(event, place)
        cuts = self._cuts.get(line.run)
        if cuts is not None and line.pos in cuts:
            cuts[line.pos] = Head(line.pos, line.id, line.world)
        for skeleton in (chain.whole, event.value):
            if skeleton:
                self._named.show(skeleton, place)
        for root in filter(None, (line.world, *other_roots(event.kind, event.body))):
            self.roots.setdefault(root, place)

    def _charge(self, event: Event, place: str) -> None:
        # INVARIANT J65: an imported run gives back no more than it took, so it lowers no meter
        sums = self._charged.setdefault(event.run, {})
        charges = charges_of(body_of(event))
        add_up(sums, charges)
        for name in charges:
            if sums.get(name, 0) < 0:
                raise Misuse(
                    f"{self.path}: {place} takes more from meter {name} than its run charged; "
                    "nothing was imported"
                )

    def _fork(self, chain: Chain, event: Event) -> None:
        body = body_of(event)
        if event.kind != "run.started":
            raise self.damaged(f"run {chain.run} does not begin with run.started")
        if not body.fork_of:
            return
        base: str = body.fork_of
        head: Head | None = None
        at: str = base
        while head is None and at in self._chains:
            head = self._cuts.get(at, {}).get(body.fork_pos)
            at = self._chains[at].fork_of
        if head is None:
            raise self.damaged(
                f"run {chain.run} forks from {base}#{body.fork_pos}, which is absent"
            )
        chain.fork_from(self._chains[base], body.fork_pos, head)


async def import_archive(file: Path | str, store: Store) -> Moved:
    """Add an archive's runs to ``store``, names and ids unchanged.

    Everything is proven first; then content is stored, then events. A run that is there already is
    left alone if its history is the same or longer, and goes on if the archive knows more.
    `Conflict` if a run of that name has another history, `Corrupt` if the archive was damaged or
    changed, `Misuse` if it holds Holdfast's own runs or would lower a meter, `LeaseLost` if a
    process is running what would grow. A run that had not ended goes on in whichever process serves
    this store.
    """
    path = Path(file)
    proof = _Proof(path, store)
    proof.run()
    await _same_history(path, store)
    blobs = await _store_blobs(path, store)
    seen: set[str] = set()
    stage = Stage(store.get)
    for root, place in proof.roots.items():
        try:
            for name in reachable(stage, root, seen):
                store.get(name)
        except Corrupt as error:
            if not proof.lost:
                raise proof.damaged(f"{place}: its world is incomplete ({error})") from None
    events = runs = 0
    for page in _event_pages(path):
        added = _adopt(store, page)
        events += added
        runs += bool(added and page[0].kind == "run.started" and added == len(page))
    return Moved(runs, events, blobs)


def _adopt(store: Any, events: Sequence[Event]) -> int:
    adopting: Adopting = store
    return adopting.adopt(events)


async def _same_history(path: Path, store: Store) -> None:
    """`Conflict` before anything is written, if a run is there with another history."""
    heads: dict[str, Head | None] = {}
    newest: dict[str, tuple[int, str]] = {}
    for line in read_lines(path):
        if isinstance(line, EventLine):
            if line.run not in heads:
                try:
                    heads[line.run] = await store.head(line.run)
                except NotFound:
                    heads[line.run] = None
            head = heads[line.run]
            if head is not None and line.pos <= head.pos:
                newest[line.run] = (line.pos, line.id)
    for run, (pos, name) in newest.items():
        (event,) = await store.read(run, pos, pos + 1)
        if event.id != name:
            raise Conflict(
                f"{path}: run {run} is in this store with another history; nothing was imported"
            )


async def _store_blobs(path: Path, store: Store) -> int:
    blobs: Blobs = {}
    size = count = 0
    for line in read_lines(path):
        if isinstance(line, BlobLine):
            count += 1
            blobs[digest(line.content)] = line.content
            size += len(line.content)
            if size > limits.STAGE_FLUSH_BYTES // 4:
                await store.put(blobs)
                blobs, size = {}, 0
    await store.put(blobs)
    return count


def _event_pages(path: Path) -> Iterator[list[Event]]:
    """The archive's events, in pages of one run each."""
    page: list[Event] = []
    for line in read_lines(path):
        if not isinstance(line, EventLine):
            continue
        if page and (page[0].run != line.run or len(page) >= limits.READ_PAGE_EVENTS):
            yield page
            page = []
        page.append(unpacked(line))
    if page:
        yield page
