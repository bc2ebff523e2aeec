"""What a run holds: effects that left no world yet, read from its events; and how it is told that
one was published."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from holdfast.engine.history import History
from holdfast.journal.events import (
    Draft,
    Event,
    Failure,
    SignalReceived,
    Status,
    StepSettled,
    body_of,
)
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.journal.views import PUBLISH, PUBLISH_END, PUBLISHED, place_of
from holdfast.values import limits
from holdfast.values.errors import Conflict

LEAVES = ("idempotent", "once")
"""Effects that leave the world."""


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """An effect that is held, or that a preview stood in for, at step ``place`` of ``run``.

    ``args``: the skeleton of its arguments; ``preview``: that of the preview's result; ``waits``:
    its program waits for the outcome; ``first``: the step (``RUN@STEP``) that asked for it first,
    under whose idempotency key it is published; ``agent``, ``role``: as whom it is judged;
    ``branch``: of that run; ``seq``: its order in the store.
    """

    run: str
    place: str
    name: str
    effect: str
    args: str
    first: str
    agent: str
    role: str = ""
    preview: str | None = None
    waits: bool = False
    branch: str = ""
    seq: int = 0

    def differs(self, value: bytes | None) -> bool:
        """Whether its preview gave another result than this."""
        return self.preview is not None and value is not None and self.preview != value.decode()


class Told(msgspec.Struct, frozen=True):
    """What a run is told of an effect that it held: its outcome. ``value``: a skeleton."""

    status: Status
    type: str = ""
    text: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")


_told = msgspec.json.Decoder(Told)


def read_told(signal: bytes | None) -> Told:
    """What a ``$published`` signal says."""
    return _told.decode(signal or b'{"status":"unknown"}')


def news(held: Held, by: str, body: StepSettled, value: bytes | None, at: int) -> Batch:
    """The signal that tells a run what became of an effect; ``by``: the step that published it."""
    error = body.error
    told = Told(body.status, error.type if error else "", error.text if error else "",
                msgspec.Raw(value or b"null"))  # fmt: skip
    signal = SignalReceived(PUBLISHED + held.place, token=by, by=by.partition("@")[0])
    content = msgspec.json.encode(told, order="deterministic")
    return Batch(held.run, (Draft(signal, at, value=content),))


class Ledger:
    """Folds a run's events, oldest first, through all its segments: ``held`` is what it still holds
    by place, ``claims`` who is publishing it, by token, oldest first. What the past that a fork
    shares holds belongs to the run forked from."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.claims: dict[str, str] = {}
        self._history = History()
        self._closed: set[str] = set()
        self._agent = self._role = ""

    def add(self, events: Iterable[Event]) -> Ledger:
        """Take in events."""
        for event in events:
            body = body_of(event)
            if event.kind == "run.started":
                self._agent, self._role = body.agent, body.role
                if body.fork_of:
                    self.held, self.claims, self._closed = {}, {}, set()
                else:
                    self._history = History()
            self._history.add(event, body)
            if event.kind == "signal.received":
                self._signal(body)
            elif event.kind == "step.planned" and body.held:
                self._keep(event, body.key, body.branch, body.of, waits=True)
            elif event.kind == "step.settled":
                self._settled(event, body)
        return self

    def _signal(self, body: SignalReceived) -> None:
        if body.name.startswith(PUBLISHED):
            self.held.pop(body.name.removeprefix(PUBLISHED), None)
        elif body.name == PUBLISH:
            self.claims.setdefault(body.token, body.by)
        elif body.name == PUBLISH_END:
            self.claims.pop(body.token.removeprefix("end "), None)

    def _settled(self, event: Event, body: StepSettled) -> None:
        place = place_of(self._history.segment, body.key)
        self.held.pop(place, None)  # a wait to be published that the program gave up
        for key in body.drops:
            self.held.pop(place_of(self._history.segment, key), None)
        if body.plan is not None and (body.plan.kind, body.plan.name) == ("fork", "leave"):
            self._closed.add(body.branch)
            self.held = {k: one for k, one in self.held.items() if one.branch != body.branch}
        previewed = body.origin == "preview" and body.status == "value"
        if (body.status == "held" or previewed) and body.branch not in self._closed:
            self._keep(event, body.key, body.branch, body.of, previewed=True)

    def _keep(
        self, event: Event, key: str, branch: str, of: str,
        *, waits: bool = False, previewed: bool = False,
    ) -> None:  # fmt: skip
        step = self._history.steps[key]
        plan, place = step.plan, place_of(self._history.segment, key)
        if plan is None or step.args is None:
            return
        value = event.value if previewed else None
        self.held[place] = Held(
            event.run, place, plan.name, plan.effect, step.args.decode(),
            of or f"{event.run}@{place}", self._agent, self._role,
            None if value is None else value.decode(), waits, branch, event.seq,
        )  # fmt: skip


async def ledger(store: Store, run: str) -> Ledger:
    """What a run holds, and who is publishing it."""
    row = await store.run(run)
    return Ledger().add(await store.read(run, row.segments[0] if row.segments else 0))


async def family(store: Store, run: str) -> list[str]:
    """A run and those that it spawned, and theirs, that hold what leaves the world."""
    found = [run]
    for name in found:
        rows = await store.runs(RunQuery(limit=1_000_000, parent=name))
        found += [row.run for row in reversed(rows) if row.holds]
    return found


async def held_by(store: Store, run: str, branch: str = "") -> list[Held]:
    """What a run and its descendants hold, in the order in which it was held. ``branch``: only what
    is held on that branch of the run. Without it, what branches hold that may yet be merged or left
    is not listed, but for what the program waits for."""
    names = [run] if branch else await family(store, run)
    found = [one for name in names for one in (await ledger(store, name)).held.values()]
    mine = [one for one in found if one.branch == branch or (not branch and one.waits)]
    return sorted(mine, key=lambda one: one.seq)


async def rival(store: Store, run: str, token: str, by: str) -> str:
    """The run that is publishing ``run`` already, "" if none that has not ended does."""
    for other, claimer in (await ledger(store, run)).claims.items():
        if other == token:
            return ""
        if claimer != by and not (await store.run(claimer)).ended:
            return claimer
    return ""


async def discard(
    store: Store, run: str, *, by: str, now_ms: int, branch: str = "", token: str = ""
) -> list[Held]:
    """Drop what a run holds: programs that wait for it are refused. What was dropped, oldest first.
    `Conflict` if it is being published, or if its program goes on all the time."""
    # INVARIANT E41: what is held is published or discarded, never both: a discard is recorded only
    # if nothing was appended, such as a claim to publish, since it was looked for.
    for _ in range(limits.DISCARD_ATTEMPTS):
        names = [run] if branch else await family(store, run)
        heads = {name: (await store.head(name)).pos for name in names}
        for name in names:
            publisher = await rival(store, name, "", by)
            if publisher:
                raise Conflict(
                    f"run {name} is being published by run {publisher}: finish or cancel that"
                )
        held = await held_by(store, run, branch)
        drafts: dict[str, list[Draft]] = {}
        for one in held:
            error = Failure("Refused", f"{one.name}: what was held was discarded by {by}")
            body = StepSettled("", status="refused", error=error)
            source = f"{token or by}@discard-{one.run}-{one.place}"
            drafts.setdefault(one.run, []).extend(news(one, source, body, None, now_ms).drafts)
        if not held or await _unmoved(store, drafts, heads):
            return held
    raise Conflict(f"run {run}: its program goes on, so it cannot be discarded: cancel it first")


async def _unmoved(store: Store, drafts: dict[str, list[Draft]], heads: dict[str, int]) -> bool:
    """Append if every run is where it was."""
    if not drafts.keys() <= heads.keys():
        return False  # a child that was not there yet
    batches = [Batch(run, tuple(some), expect=heads[run]) for run, some in drafts.items()]
    try:
        await store.append(tuple(batches), {})
    except Conflict:
        return False
    return True
