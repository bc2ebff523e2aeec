"""Both stores against one small model: any order of appends, forks, claims, crashes, reopenings."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.journal.events import (
    Draft,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
)
from holdfast.journal.proof import prove
from holdfast.journal.store import Batch, RunQuery
from holdfast.stores.fsck import check
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.canon import digest
from holdfast.values.errors import HoldfastError

NAMES = ["a", "b", "c", "d"]
BODIES = [
    StepSettled("k", Plan("t")), StepPlanned("k", Plan("go", "signal")), SignalReceived("go"),
    FindingAdded(0, "score"), StepPlanned("p", Plan("sleep", "wait"), due=50), RunEnded("done"),
]  # fmt: skip


class Model:
    """A run is a list of event ids, an owner and an epoch; a fork copies the list, not the end."""

    def __init__(self) -> None:
        self.runs: dict[str, list] = {}
        self.ended: set[str] = set()
        self.lease: dict[str, tuple[str, int]] = {}
        self.order: list[tuple[str, int]] = []

    def may(self, run: str, body, expect, epoch: int) -> bool:
        chain, (owner, current) = self.runs.get(run), self.lease.get(run, ("", 0))
        if expect is not None and expect != (len(chain) - 1 if chain else -1):
            return False
        if chain is None:
            ok = isinstance(body, RunStarted) and not epoch
            return ok and (not body.fork_of or body.fork_pos < len(self.runs.get(body.fork_of, ())))
        news = isinstance(body, SignalReceived | FindingAdded)
        mine = owner != "" and epoch == current
        return (mine and (news or run not in self.ended)) if epoch else news

    def add(self, run: str, body, lease: str, event) -> None:
        if run not in self.runs:
            past = self.runs[body.fork_of][: body.fork_pos + 1] if body.fork_of else []
            self.runs[run] = list(past)
            self.lease[run] = (lease, 1 if lease else 0)
        if isinstance(body, RunEnded):  # its owner has nothing more to do in it
            self.ended.add(run)
            self.lease[run] = ("", self.lease[run][1])
        self.runs[run].append(event.id)
        self.order.append((run, event.pos))


class Journal(RuleBasedStateMachine):
    """Each rule does the same to the model and to both stores, and compares the answers."""

    loop: asyncio.AbstractEventLoop | None = None

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.place = tempfile.TemporaryDirectory()
        self.memory = MemoryStore()
        self.memory.owner_died("ghost")
        self.sqlite = SqliteStore(Path(self.place.name))
        self.model = Model()
        self.at = 0

    def teardown(self) -> None:
        if self.loop is None:
            return
        self.run(self.sqlite.close())
        kinds = {problem.kind for problem in check(self.place.name).problems}
        self.loop.close()
        self.place.cleanup()
        assert kinds <= {"outcome"}  # stores do not judge steps, proofs do

    def run(self, question):
        async def ask():
            return await question

        assert self.loop is not None
        return self.loop.run_until_complete(ask())

    def both(self, act):
        """Do it to both stores: both answer, or both refuse in the same way."""
        answers = []
        for store, me in ((self.memory, "me"), (self.sqlite, self.sqlite.name)):
            try:
                answers.append(act(store, me))
            except HoldfastError as error:
                answers.append(type(error))
        assert answers[0] == answers[1]
        return answers[0]

    def append(self, run: str, body, expect, epoch: int, lease: bool = False):
        self.at += 1
        draft = Draft(body, self.at, args=b"{}", value=b"[1]")

        def act(store, me):
            batch = Batch(run, (draft,), expect, epoch, me if lease else "")
            (event,) = store.append_now((batch,), {digest(b"x"): b"x"})
            return event

        allowed = self.model.may(run, body, expect, epoch)
        event = self.both(act)
        assert (not isinstance(event, type)) == allowed, event
        if allowed:
            self.model.add(run, body, "me" if lease else "", event)

    @rule(run=st.sampled_from(NAMES), lease=st.booleans(), expect=st.sampled_from([-1, None, 3]))
    def start(self, run, lease, expect):
        self.append(run, RunStarted("agent"), expect, 0, lease)

    @rule(run=st.sampled_from(NAMES), source=st.sampled_from(NAMES), pos=st.integers(0, 12),
          lease=st.booleans())  # fmt: skip
    def fork(self, run, source, pos, lease):
        if run != source:
            self.append(run, RunStarted("agent", fork_of=source, fork_pos=pos), -1, 0, lease)

    @rule(run=st.sampled_from(NAMES), body=st.sampled_from(BODIES),
          expect=st.one_of(st.none(), st.integers(-1, 12)), stale=st.integers(0, 3))  # fmt: skip
    def grow(self, run, body, expect, stale):
        epoch = self.model.lease.get(run, ("", 0))[1]
        self.append(run, body, expect, max(0, epoch - stale))

    @rule(run=st.sampled_from(NAMES), body=st.sampled_from([BODIES[2], BODIES[3]]))
    def news(self, run, body):
        self.append(run, body, None, 0)

    @rule(run=st.sampled_from(NAMES), ghost=st.booleans())
    def claim(self, run, ghost):
        def act(store, me):
            return self.run(store.claim(run, "ghost" if ghost else me))

        epoch = self.both(act)
        owner, old = self.model.lease.get(run, ("", 0))
        if run not in self.model.runs or (owner == "me" and ghost):
            assert isinstance(epoch, type)
        else:
            assert epoch == old + 1
            self.model.lease[run] = ("ghost" if ghost else "me", epoch)

    @rule(run=st.sampled_from(NAMES), late=st.integers(0, 1))
    def release(self, run, late):
        chain = self.model.runs.get(run)
        if chain is not None:
            epoch = self.model.lease[run][1]
            seen = len(chain) - 1 - late
            done = self.both(lambda store, _: self.run(store.release(run, epoch, seen)))
            assert done == (late == 0)
            if done:
                self.model.lease[run] = ("", epoch)

    @precondition(lambda self: self.model.runs)
    @rule(clean=st.booleans())
    def reopen(self, clean):
        """The process ends (or only its lease is lost, as after a crash) and another begins."""
        if clean:
            self.run(self.sqlite.close())
        else:
            self.sqlite._ledger.leased = False  # no farewell: the owner's row stays
            self.run(self.sqlite.close())
        self.sqlite = SqliteStore(Path(self.place.name), create=False)
        for run, (owner, epoch) in self.model.lease.items():
            if owner:  # whoever held it is dead now
                row = self.memory.slots[run]
                self.memory.slots[run] = type(row)(row.head, _owned(row.row, "ghost"))
                self.model.lease[run] = ("ghost", epoch)

    @invariant()
    def the_same_history(self):
        for run, ids in self.model.runs.items():
            chains = [self.run(store.read(run)) for store in (self.memory, self.sqlite)]
            assert chains[0] == chains[1]
            assert [event.id for event in chains[0]] == ids
            assert [event.pos for event in chains[0]] == list(range(len(ids)))
            assert {problem.kind for problem in prove(chains[0])} <= {"outcome"}

    @invariant()
    def the_same_tail_and_listing(self):
        for store in (self.memory, self.sqlite):
            tail = self.run(store.tail(0))
            assert [(event.run, event.pos) for event in tail] == self.model.order
            assert [event.seq for event in tail] == list(range(1, len(tail) + 1))
        rows = [self.run(store.runs(RunQuery())) for store in (self.memory, self.sqlite)]
        assert [_owned(row, "") for row in rows[0]] == [_owned(row, "") for row in rows[1]]
        for now in (0, 49, 50):
            ready = [self.run(store.wakeable(now, 99))[0] for store in (self.memory, self.sqlite)]
            assert sorted(ready[0]) == sorted(ready[1])


def _owned(row, owner: str):
    return msgspec.structs.replace(row, owner=owner)


TestJournal = Journal.TestCase


def test_who_ends_a_run_lets_go_of_it():
    """The end takes the lease; one that is taken later, to write below the end, stays."""
    journal = Journal()
    journal.begin()
    try:
        settled, _, signal, finding, _, ended = BODIES
        journal.start("a", lease=True, expect=-1)
        journal.grow("a", ended, None, 0)
        journal.grow("a", settled, None, 0)
        journal.reopen(clean=True)
        journal.grow("a", settled, None, 0)
        journal.claim("a", ghost=False)
        journal.grow("a", settled, None, 0)
        journal.grow("a", ended, None, 0)
        journal.news("a", signal)
        journal.grow("a", finding, None, 0)
        journal.the_same_history()
        journal.the_same_tail_and_listing()
    finally:
        journal.teardown()
