"""A store that lives as long as the process: for tests, trials and simulations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from holdfast.journal.events import Event, Head, erased
from holdfast.journal.meters import parts
from holdfast.journal.placing import Placed, Slot, graft, lineage, place, refused
from holdfast.journal.store import Batch, RunQuery
from holdfast.journal.views import RunRow
from holdfast.values.canon import Blobs, digest
from holdfast.values.errors import Corrupt, Exceeded, LeaseLost, Misuse, NotFound


class _Contents:
    """Content by its hash."""

    def __init__(self) -> None:
        self.blobs: Blobs = {}

    async def put(self, blobs: Blobs) -> None:
        """See `Store.put`."""
        self.put_now(blobs)

    def put_now(self, blobs: Blobs) -> None:
        """See `Store.put_now`."""
        self.blobs.update(blobs)

    def get(self, name: str) -> bytes:
        """See `Store.get`."""
        content = self.blobs.get(name)
        if content is None or digest(content) != name:
            raise Corrupt(f"blob {name} is {'absent' if content is None else 'damaged'}")
        return content


class MemoryStore(_Contents):
    """Implements `holdfast.journal.store.Store` in dicts. Every append is final at once."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.chains: dict[str, list[Event]] = {}
        self.slots: dict[str, Slot] = {}
        self._meters: Counter[str] = Counter()
        self._bells: list[Callable[[], None]] = []
        self._dead: set[str] = set()
        self._heard: dict[str, int] = {}

    def append(self, batches: Sequence[Batch], blobs: Blobs) -> asyncio.Future[list[Event]]:
        """See `Store.append`."""
        future: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(self.append_now(batches, blobs))
        except Exception as error:  # noqa: BLE001 # whatever it is, it is the future's
            future.set_exception(error)
        return future

    def append_now(self, batches: Sequence[Batch], blobs: Blobs) -> list[Event]:
        """See `Store.append_now`."""
        head_at, seq = partial(_head_at, self), len(self.events) + 1
        try:
            placed = place(batches, self.slots.get, head_at, seq, self._meters.__getitem__)
        except Exceeded:
            self.slots.update(refused(batches, self.slots.get))
            raise
        self.put_now(blobs)
        self._take(placed)
        return placed.events

    def forget(self, run: str, positions: Sequence[int]) -> None:
        """See `Store.forget`."""
        chain = _need_chain(self, run)
        for pos in positions:
            event = chain[pos - chain[0].pos] if chain[0].pos <= pos <= chain[-1].pos else None
            if event is None or event.kind != "finding.added":
                raise Misuse(f"event {run}#{pos} is no finding: `holdfast erase` erases a run")
            if event.value is not None:
                other = msgspec.structs.replace(event, value=erased(event.value))
                chain[pos - chain[0].pos] = self.events[event.seq - 1] = other

    def adopt(self, events: Sequence[Event]) -> int:
        """Take in sealed events of one run from another store; see `SqliteStore.adopt`."""
        head_at, seq = partial(_head_at, self), len(self.events) + 1
        placed = graft(events, self.slots.get, head_at, seq, self._meters.__getitem__)
        for run, slot in placed.slots.items():
            owner = slot.row.owner
            if owner and owner not in self._dead:
                raise LeaseLost(f"run {run}: {owner} is running it")
        self._take(placed)
        return len(placed.events)

    def _take(self, placed: Placed) -> None:
        self.events.extend(placed.events)
        for name, value in placed.meters.items():
            if value:
                self._meters[name] = value
            else:
                self._meters.pop(name, None)
        for event in placed.events:
            self.chains.setdefault(event.run, []).append(event)
        for run, slot in placed.slots.items():
            row = slot.row
            if run not in self.slots:
                row = msgspec.structs.replace(row, number=len(self.slots) + 1)
            self.slots[run] = Slot(slot.head, row, slot.serial)
        for bell in self._bells:
            bell()

    def meters(self, names: Sequence[str]) -> dict[str, int]:
        """See `Store.meters`."""
        exact, starts = parts(names)
        found = {name: self._meters[name] for name in exact if name in self._meters}
        if starts:
            known = list(self._meters.items())  # another thread may append meanwhile
            found.update((name, n) for name, n in known if name.startswith(tuple(starts)))
        return found

    async def head(self, run: str) -> Head:
        """See `Store.head`."""
        return _need(self.slots, run).head

    async def read(self, run: str, start: int = 0, stop: int | None = None) -> list[Event]:
        """See `Store.read`."""
        end = _need(self.slots, run).head.pos + 1
        found: list[Event] = []
        stop = end if stop is None else min(stop, end)
        for name, first, last in lineage(lambda one: _need(self.slots, one).row, run, start, stop):
            chain = self.chains[name]
            offset = chain[0].pos
            found.extend(chain[first - offset : last - offset])
        return found

    async def tail(self, after: int, limit: int = 1000) -> list[Event]:
        """See `Store.tail`."""
        return self.events[after : after + limit]

    async def last_seq(self) -> int:
        """See `Store.last_seq`."""
        return len(self.events)

    async def run(self, run: str) -> RunRow:
        """See `Store.run`."""
        return _need(self.slots, run).row

    async def runs(self, query: RunQuery) -> list[RunRow]:
        """See `Store.runs`."""
        found: list[RunRow] = []
        for slot in reversed(self.slots.values()):
            row = slot.row
            if query.before and row.number >= query.before:
                continue
            if query.status not in ("", row.status) or query.agent not in ("", row.agent):
                continue
            if query.parent not in ("", row.parent):
                continue
            found.append(row)
            if len(found) == query.limit:
                break
        return found

    async def claim(self, run: str, owner: str) -> int:
        """See `Store.claim`."""
        slot = _need(self.slots, run)
        if slot.row.owner and slot.row.owner != owner and slot.row.owner not in self._dead:
            raise LeaseLost(f"run {run}: {slot.row.owner} holds it")
        row = msgspec.structs.replace(slot.row, owner=owner, epoch=slot.row.epoch + 1)
        self.slots[run] = Slot(slot.head, row)
        return row.epoch

    async def release(self, run: str, epoch: int, seen: int) -> bool:
        """See `Store.release`."""
        slot = _need(self.slots, run)
        if slot.row.epoch != epoch or slot.head.pos != seen:
            return False
        self.slots[run] = Slot(slot.head, msgspec.structs.replace(slot.row, owner=""))
        self._heard[run] = seen  # only what comes from now on wakes it
        return True

    async def wakeable(self, now_ms: int, limit: int) -> tuple[list[str], int]:
        """See `Store.wakeable`."""
        ready: list[str] = []
        timer = 0
        for run, slot in self.slots.items():
            row = slot.row
            if row.ended or (row.owner and row.owner not in self._dead):
                continue
            left = row.owner in self._dead and bool(row.owner)
            if (
                left
                or row.status == "running"
                or (row.woken and slot.head.pos > self._heard.get(run, -1))
                or (row.due and row.due <= now_ms)
            ):
                ready.append(run)
            elif row.due and (not timer or row.due < timer):
                timer = row.due
        return ready[:limit], timer

    def owner_died(self, owner: str) -> None:
        """Declare a lease holder dead (what a kernel or a clock tells other stores)."""
        self._dead.add(owner)

    def listen(self, bell: Callable[[], None]) -> None:
        """See `Store.listen`."""
        self._bells.append(bell)

    async def close(self) -> None:
        """See `Store.close`."""
        self._bells.clear()


def _need(slots: dict[str, Slot], run: str) -> Slot:
    slot = slots.get(run)
    if slot is None:
        raise NotFound(f"run {run!r} is not in this store")
    return slot


def _need_chain(store: MemoryStore, run: str) -> list[Event]:
    _need(store.slots, run)
    return store.chains[run]


def _head_at(store: MemoryStore, run: str, pos: int) -> Head:
    for name, first, last in lineage(lambda one: _need(store.slots, one).row, run, pos, pos + 1):
        chain = store.chains[name]
        event = chain[first - chain[0].pos]
        assert last == pos + 1
        return Head(event.pos, event.id, event.world)
    raise NotFound(f"run {run} has no event #{pos}")
