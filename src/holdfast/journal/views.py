"""Views: anything computed by folding events; may be deleted and rebuilt.

The run row is the view that stores keep current inside each append, because listing, waking and
recovery need it: a waiting run is one row and nothing else.
"""

from __future__ import annotations

import msgspec

from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Event,
    Failure,
    FindingAdded,
    Panel,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    body_of,
)
from holdfast.journal.quorum import may, met, people

CHILD = "$child:"
"""Signals that begin so bring a run the end of one that it spawned."""
CANCEL = "$cancel"
"""Name of the signal that asks a run to stop."""
PUBLISH = "$publish"
"""Signals that begin so are about publishing what a run holds: this claims it for a run."""
PUBLISH_END = "$publish-end"
"""Name of the signal that ends a claim."""
PUBLISHED = "$published:"
"""Signals that begin so bring the real outcome of a held step; then its place."""
REVIEW = "review"
"""Type of the finding that asks people to look at an event afterwards."""
REVIEWED = "reviewed"
"""Type of the finding that says what a person thinks of it."""
SCORE = "score"
"""Type of the finding that says what an outcome is worth: ``{"good": bool or null, "score": number
or null, "note": text}``."""
ANOMALY = "anomaly"
"""Type of the finding that raises an alarm about an event, with the parts that made it."""
ANOMALY_JUDGED = "anomaly.judged"
"""Type of the finding that says of an alarm's event what a person thinks: normal or bad."""
CAUSED = "caused"
"""Type of the finding that says what forks without an event, or with another, came to."""
DOOR = "door:"
"""References of programs that begin so name a door: the program is a client behind it."""
CLIENT = "client"
"""Type of the finding about the start of a guest run that says what its client calls itself."""
BRANCH = "world"
"""Agent name of a run without a program: a world that is only forked, merged into and looked at."""
THREAD = "thread"
"""Agent name of a run without a program: what a framework saves of a conversation, as findings."""
STATE = "thread.state"
"""Type of the findings that save a state of a thread."""
WRITES = "thread.writes"
"""Type of the findings that save what a task wrote before its state was complete."""
DROPPED = "thread.dropped"
"""Type of the findings that say which states of a thread are no more, and were forgotten."""


class Wait(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One thing that a run waits for. ``kind``: timer, signal or person; ``name``: the signal's
    name; ``due``: ms, of a question when it expires; ``text``: what a person reads; ``ready``: it
    has come. Of a question: ``approvers`` (everybody who may answer, none: anybody), ``panels``,
    ``barred``, ``needs`` (see `ApprovalAsked`), ``approved`` (who has so far), ``since`` (ms) and
    ``pos``, the place of the event that asks."""

    key: str
    kind: str
    name: str = ""
    due: int = 0
    text: str = ""
    digest: str = ""
    about: str = ""
    choices: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    ready: bool = False
    panels: tuple[Panel, ...] = ()
    barred: tuple[str, ...] = ()
    needs: int = 1
    approved: tuple[str, ...] = ()
    since: int = 0
    pos: int = 0


class RunRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a list of runs shows, and what waking needs. Times are ms since 1970.

    ``status``: running, waiting, done, failed or cancelled; branch if no program runs it.
    ``segments``: positions of the run.started events of this chain, oldest first. ``holds``: what
    leaves the world is held; ``reviews``: positions of events that a person is to look at
    afterwards. ``owner``/``epoch`` are the lease (kept by the store, not folded). ``number``:
    creation order in the store.
    """

    run: str
    agent: str
    ref: str = ""
    status: str = "running"
    started: int = 0
    changed: int = 0
    parent: str = ""
    parent_key: str = ""
    fork_of: str = ""
    fork_pos: int = 0
    segments: tuple[int, ...] = ()
    waits: tuple[Wait, ...] = ()
    error: Failure | None = None
    steps: int = 0
    holds: bool = False
    reviews: tuple[int, ...] = ()
    owner: str = ""
    epoch: int = 0
    number: int = 0

    @property
    def due(self) -> int:
        """The earliest timer, 0 if none."""
        return min((wait.due for wait in self.waits if wait.due), default=0)

    @property
    def woken(self) -> bool:
        """Whether something it waits for has come."""
        return any(wait.ready for wait in self.waits)

    @property
    def door(self) -> str:
        """The door that its program is behind, "" for one that runs here."""
        return self.ref.removeprefix(DOOR) if self.ref.startswith(DOOR) else ""

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.status in ("done", "failed", "cancelled")


def place_of(segment: int, key: str) -> str:
    """How a step is named among all of its run: its key, after the number of a later segment."""
    return key if segment <= 1 else f"{segment}:{key}"


def fold_run(row: RunRow | None, event: Event) -> RunRow | None:
    """The row after an event; the same object if the event does not change it."""
    match event.kind:
        case "run.started":
            return _started(row, event)
        case "step.planned":
            return _planned(row, event)
        case "step.settled":
            return _settled(row, event)
        case "approval.asked" | "approval.given" | "signal.received":
            return _spoken(row, event)
        case "run.ended":
            return _ended(row, event)
        case "finding.added":
            return _found(row, event)
        case _:
            return row


def _started(row: RunRow | None, event: Event) -> RunRow:
    body: RunStarted = body_of(event)
    if row is not None and row.run == event.run:
        # the next segment: signals that were not consumed are looked up in the chain itself
        return msgspec.structs.replace(
            row, segments=(*row.segments, event.pos), status="running", changed=event.at, waits=()
        )
    inherited = tuple(pos for pos in row.segments if pos <= body.fork_pos) if row else ()
    return RunRow(
        run=event.run,
        agent=body.agent,
        ref=body.ref,
        status="branch" if body.agent in (BRANCH, THREAD) and not body.ref else "running",
        started=event.at,
        changed=event.at,
        parent=body.parent,
        parent_key=body.parent_key,
        fork_of=body.fork_of,
        fork_pos=body.fork_pos,
        segments=inherited if body.fork_of else (event.pos,),
        holds=body.holds,
    )


def _planned(row: RunRow | None, event: Event) -> RunRow | None:
    if row is None:
        return row
    body: StepPlanned = body_of(event)
    if body.held:
        name = PUBLISHED + place_of(len(row.segments), body.key)
        return _waiting(row, event, Wait(body.key, "signal", name=name, text=body.plan.name))
    if not (body.due or body.plan.kind in ("wait", "signal")):
        return _without(row, event, body.key)
    kind = "signal" if body.plan.kind == "signal" else "timer"
    wait = Wait(body.key, kind, name=body.plan.name if kind == "signal" else "", due=body.due)
    return _waiting(row, event, wait)


def _waiting(row: RunRow, event: Event, wait: Wait) -> RunRow:
    others = tuple(other for other in row.waits if other.key != wait.key)
    return msgspec.structs.replace(row, status="waiting", changed=event.at, waits=(*others, wait))


def _settled(row: RunRow | None, event: Event) -> RunRow | None:
    if row is None or not row.waits:
        return row
    return _without(row, event, body_of(event).key)


def _without(row: RunRow, event: Event, key: str) -> RunRow:
    """The row once the run no longer waits at step ``key``."""
    stop = key.startswith("0")  # the program's own steps count from 1
    left = tuple(
        wait for wait in row.waits if wait.key != key and not (stop and wait.name == CANCEL)
    )
    if len(left) == len(row.waits):
        return row
    status = row.status if left else "running"
    return msgspec.structs.replace(row, waits=left, status=status, changed=event.at)


def _spoken(row: RunRow | None, event: Event) -> RunRow | None:
    """A person is asked or has answered, or a signal came."""
    body: ApprovalAsked | ApprovalGiven | SignalReceived = body_of(event)
    if row is None or row.ended:
        return row  # news for a run that is over wakes nobody
    if isinstance(body, ApprovalAsked):
        return _waiting(row, event, _question(body, event))
    waits = tuple(_told(wait, body, event.at) for wait in row.waits)
    if isinstance(body, SignalReceived) and body.name == CANCEL:
        others = tuple(wait for wait in waits if wait.key != "0")
        waits = (*others, Wait("0", "signal", name=CANCEL, ready=True))
    return msgspec.structs.replace(row, waits=waits, changed=event.at)


def _question(body: ApprovalAsked, event: Event) -> Wait:
    named = body.verdict.approvers if body.verdict else ()
    return Wait(
        body.key,
        "person",
        due=body.expires,
        text=body.text,
        digest=body.digest,
        about=body.about,
        choices=body.choices,
        approvers=people(body.panels) or named,
        panels=body.panels,
        barred=body.barred,
        needs=body.needs,
        approved=body.approved,
        since=event.at,
        pos=event.pos,
    )


def _told(wait: Wait, body: ApprovalGiven | SignalReceived, at: int) -> Wait:
    """A wait after an answer or a signal."""
    if isinstance(body, SignalReceived):
        come = wait.kind == "signal" and wait.name == body.name
        return msgspec.structs.replace(wait, ready=True) if come else wait
    if wait.kind != "person" or wait.ready:
        return wait
    if wait.key != body.key or wait.digest != body.digest:
        return wait
    approved = hear(wait, body, at)
    if approved is None:
        return wait
    ready = body.decision != "approve" or met(wait.panels, approved)
    return msgspec.structs.replace(wait, approved=approved, ready=ready)


def hear(asked: Wait | ApprovalAsked, body: ApprovalGiven, at: int) -> tuple[str, ...] | None:
    """Who has approved what ``asked`` asks after this answer to it; None if it does not count:
    whoever gave it may not, or it came too late."""
    # INVARIANT E62: an answer from the moment on at which its question expires counts for nothing
    expires = asked.due if isinstance(asked, Wait) else asked.expires
    if (expires and at >= expires) or not may(asked.panels, asked.barred, body.by):
        return None
    if body.decision != "approve" or body.by in asked.approved:
        return asked.approved
    return (*asked.approved, body.by)


def _found(row: RunRow | None, event: Event) -> RunRow | None:
    body: FindingAdded = body_of(event)
    if row is None or body.type not in (REVIEW, REVIEWED):
        return row
    others = tuple(pos for pos in row.reviews if pos != body.about)
    reviews = (*others, body.about) if body.type == REVIEW else others
    return row if reviews == row.reviews else msgspec.structs.replace(row, reviews=reviews)


def _ended(row: RunRow | None, event: Event) -> RunRow | None:
    body: RunEnded = body_of(event)
    if row is None:
        return row
    return msgspec.structs.replace(
        row, status=body.status, changed=event.at, waits=(), error=body.error, steps=body.steps
    )
