"""What a run holds: effects that left no world yet, read from its events; and how it is told that
one was published."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from holdfast.engine.history import History
from holdfast.journal.events import Draft, Event, SignalReceived, StepSettled, body_of
from holdfast.journal.store import Batch
from holdfast.journal.views import PUBLISH, PUBLISH_END, PUBLISHED, place_of

LEAVES = ("idempotent", "once")
"""Effects that leave the world."""


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """An effect that is held, or that its tool's preview stood in for: at step ``place`` of ``run``.

    ``args``: the skeleton of its arguments; ``preview``: that of the preview's result; ``waits``: its
    program waits for the outcome; ``first``: the step (``RUN@STEP``) that asked for it first, under
    whose idempotency key it is published; ``agent``, ``role``: as whom it is judged; ``branch``: of
    that run; ``seq``: its order in the store.
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

    status: str
    type: str = ""
    text: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")


_told = msgspec.json.Decoder(Told)


def read_told(signal: bytes | None) -> Told:
    """What a ``$published`` signal says."""
    return _told.decode(signal or b'{"status":"unknown"}')


def news(held: Held, by: str, body: StepSettled, value: bytes | None, at: int) -> Batch:
    """The signal that tells the run what became of an effect; ``by``: the step that published it."""
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
