"""The run row, folded event by event."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.journal.events import (
    NO_HEAD,
    ApprovalAsked,
    ApprovalGiven,
    BranchMerged,
    CheckpointSigned,
    Draft,
    Failure,
    FindingAdded,
    Head,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
    seal,
)
from holdfast.journal.views import CANCEL, RunRow, fold_run

START = RunStarted("agent", ref="m:agent", parent="p", parent_key="1")
TIMER = StepPlanned("1", Plan("sleep", "wait"), due=900)
SIGNAL = StepPlanned("2", Plan("go", "signal"))
ASKED = ApprovalAsked("3", "action", "May I?", "digest")
RETRY = StepPlanned("4", Plan("mail", effect="once"), attempt=2, due=700)


def fold(*bodies: Any, row: RunRow | None = None, run: str = "r") -> RunRow:
    head: Head = NO_HEAD
    for at, body in enumerate(bodies, 100):
        event = seal(Draft(body, at), run, head)
        head = Head(event.pos, event.id, "")
        row = fold_run(row, event)
    assert row is not None
    return row


def test_a_run_begins():
    row = fold(START)
    assert (row.run, row.agent, row.ref, row.status) == ("r", "agent", "m:agent", "running")
    assert (row.parent, row.parent_key, row.segments, row.started) == ("p", "1", (0,), 100)


@pytest.mark.parametrize(
    ("body", "kind", "due"),
    [(TIMER, "timer", 900), (SIGNAL, "signal", 0), (ASKED, "person", 0), (RETRY, "timer", 700)],
)
def test_it_waits_until_the_step_is_over(body, kind, due):
    row = fold(START, body)
    assert (row.status, row.due, row.woken) == ("waiting", due, False)
    assert row.waits[0].kind == kind
    over = fold(START, body, StepSettled(body.key))
    assert (over.status, over.waits, over.due) == ("running", (), 0)
    again = fold(START, body, StepPlanned(body.key, Plan("x")))
    assert (again.status, again.waits) == ("running", ())
    assert len(fold(START, body, body).waits) == 1


def test_several_waits():
    row = fold(START, TIMER, SIGNAL, RETRY)
    assert (len(row.waits), row.due) == (3, 700)
    row = fold(START, TIMER, SIGNAL, RETRY, StepSettled("4"))
    assert (len(row.waits), row.due, row.status) == (2, 900, "waiting")


def test_what_wakes():
    assert fold(START, SIGNAL, SignalReceived("go")).woken
    assert not fold(START, SIGNAL, SignalReceived("no")).woken
    assert not fold(START, SignalReceived("go"), SIGNAL).woken
    assert fold(START, ASKED, ApprovalGiven("3", "digest", "deny", by="x")).woken
    assert not fold(START, ASKED, ApprovalGiven("3", "other", "deny", by="x")).woken
    assert not fold(START, ASKED, ApprovalGiven("1", "digest", "deny", by="x")).woken
    assert not fold(START, ASKED, SignalReceived("go")).woken


def test_asking_to_stop():
    row = fold(START, TIMER, SignalReceived(CANCEL), SignalReceived(CANCEL))
    assert row.woken
    assert [wait.key for wait in row.waits] == ["1", "0"]
    assert not fold(START, TIMER, SignalReceived(CANCEL), StepSettled("0")).woken
    assert fold(START, SignalReceived(CANCEL)).woken


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_the_end(status):
    failure = Failure("ValueError", "no")
    row = fold(START, TIMER, ASKED, RunEnded(status, failure, 7))
    assert (row.status, row.ended, row.waits, row.error, row.steps) == (
        status, True, (), failure, 7,
    )  # fmt: skip
    later = [SignalReceived(CANCEL), SignalReceived("go"), FindingAdded(0, "score"),
             ApprovalGiven("3", "digest", "approve", by="x")]  # fmt: skip
    assert fold(START, TIMER, ASKED, RunEnded(status, failure, 7), *later) == row


def test_the_next_segment():
    row = fold(START, TIMER, SignalReceived("x"), RunStarted("agent", segment=2))
    assert (row.segments, row.status, row.waits) == ((0, 3), "running", ())
    assert (row.started, row.parent) == (100, "p")


@pytest.mark.parametrize(("cut", "segments"), [(1, (0,)), (2, (0, 2)), (9, (0, 2, 5))])
def test_a_fork_inherits_the_segments_before_it(cut, segments):
    source = msgspec.structs.replace(fold(START, TIMER), segments=(0, 2, 5), owner="me", epoch=3)
    row = fold(RunStarted("agent", fork_of="r", fork_pos=cut), row=source, run="f")
    assert (row.run, row.segments, row.fork_of, row.fork_pos) == ("f", segments, "r", cut)
    assert (row.waits, row.owner, row.epoch, row.status) == ((), "", 0, "running")


BODIES = st.sampled_from([
    TIMER, SIGNAL, ASKED, RETRY, SignalReceived("go"), SignalReceived(CANCEL), FindingAdded(1, "x"),
    *(StepSettled(key) for key in "01234"), ApprovalGiven("3", "digest", "answer", by="x"),
    BranchMerged("5", "s", "a", "b"), CheckpointSigned("r", "k", "s"),
    RunStarted("agent", segment=2), RunEnded("done"),
])  # fmt: skip


@given(st.lists(BODIES, max_size=25))
def test_what_always_holds(bodies):
    row = fold(START, *bodies)
    assert len({wait.key for wait in row.waits}) == len(row.waits)
    assert row.segments[0] == 0
    if row.ended:
        assert row.waits == ()
    if row.status == "running":
        assert all(wait.key == "0" for wait in row.waits)
    stored = msgspec.json.decode(msgspec.json.encode(row), type=RunRow)
    assert stored == row
    # stores skip events that cannot change a row
    quiet = [body for body in bodies if not isinstance(body, BranchMerged)]
    assert _placeless(fold(START, *quiet)) == _placeless(row)


def _placeless(row: RunRow) -> list[Any]:
    """What a run waits for, wherever the events that say so stand."""
    return [msgspec.structs.replace(wait, since=0, pos=0) for wait in row.waits]


def test_what_is_to_be_reviewed():
    """A sampled call stays listed until somebody has looked at it, also after the run's end."""
    row = fold(START, FindingAdded(7, "review"), FindingAdded(9, "review"), RunEnded("done"))
    assert row.reviews == (7, 9)
    assert fold(START, FindingAdded(7, "review"), FindingAdded(7, "review")).reviews == (7,)
    both = FindingAdded(7, "review"), FindingAdded(9, "review")
    row = fold(START, *both, FindingAdded(7, "score"), FindingAdded(7, "reviewed", by="ann"))
    assert row.reviews == (9,)
