"""The closed language of events: ten kinds, their bodies, and the hash that chains them.

Adding a kind, or a field without a default, is a format change: it needs a decision record, a new
golden journal and a higher `FORMAT`.

An event has a *header* (run, position, parent, kind, time, world root), a structural *body*
(canonical JSON of one of the structs below) and up to two payloads, ``args`` and ``value``. Every
field is inside the hash; the payloads enter as hashes of their own, so that a payload can be erased
and the chain still proven.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt

FORMAT = 1
"""Version of everything that is hashed. A store of a newer format is refused, never guessed at."""

Status = Literal["value", "error", "refused", "unknown", "held", "expired"]
"""How a step ended: with a value, an error, a refusal, nobody knows; held, to be published; or
nobody answered in time, which is no refusal."""

Decision = Literal["allow", "verify", "escalate", "deny"]
"""``allow``: go on. ``verify``: checks must pass first. ``escalate``: a person must say yes.
``deny``: no."""


class _Body(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Bodies leave defaults out: rows stay small, and a new field changes no old hash.

    Values of the journal refer to older values only, so they make no cycles that Python's collector
    would have to find (``gc=False``): a long history costs it nothing.
    """


class Checked(_Body, frozen=True):
    """How a check that a ``verify`` verdict asked for ended: its name, whether it passed, why."""

    name: str
    passed: bool
    text: str = ""


class Verdict(_Body, frozen=True):
    """The gate's answer to one action, recorded with the step.

    ``rules``: ids of *all* rules that matched, strictest first, so the first one decided.
    ``reason`` says why, ``way`` names the nearest thing that would be allowed: sentences for agent
    and person. ``policy``: the first 12 hex digits of the policy's hash. ``approvers``: who may
    answer an escalation, persons or routes; empty means anybody who may approve at all. ``facts``:
    what the policy could look at, by name, those that differ from their defaults
    (`holdfast.gate.facts`); never payloads. ``risk``: the probability that a careful reviewer would
    refuse, 0 to 1 (0: not computed), and ``parts``: what each fact added to its logit. ``checks``:
    names of checks to run first, ``checked``: how they ended. ``observed``: what was decided, where
    that is recorded only and ``decision`` lets it happen.
    """

    decision: Decision
    rules: tuple[str, ...] = ()
    reason: str = ""
    way: str = ""
    policy: str = ""
    approvers: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    risk: float = 0.0
    parts: dict[str, float] = {}
    checks: tuple[str, ...] = ()
    checked: tuple[Checked, ...] = ()
    observed: str = ""


class Failure(_Body, frozen=True):
    """An error as data: class name, one-line text, and whether repeating may help."""

    type: str
    text: str = ""
    retryable: bool = False


class Plan(_Body, frozen=True):
    """What a step asks for: ``kind`` (tool, wait, signal, ask, spawn, merge, dice, fork,
    transaction, publish), name, effect."""

    name: str
    kind: str = "tool"
    effect: str = "read"


class Edit(_Body, frozen=True):
    """One change that a fork makes to the past: ``path`` (result.x, args.x, input.x) of a step."""

    key: str
    path: str
    value: Any


class RunStarted(_Body, frozen=True):
    """A run, or the next segment of a long one, begins. Payload ``args``: the program's arguments.

    ``ref`` finds the program again (``module:name`` or ``file.py:name``); ``parent``/``parent_key``
    name the step that spawned it; ``fork_of``/``fork_pos`` the event it forks from; ``code`` is a
    hash of the program's source; ``carry``: positions of signals that earlier segments left
    unconsumed; ``holds``: effects that leave the world are held until they are published;
    ``label``: of its input, if it was not a person who gave it; ``observes``: verdicts are recorded
    but not enforced.
    """

    agent: str
    ref: str = ""
    role: str = ""
    segment: int = 1
    parent: str = ""
    parent_key: str = ""
    fork_of: str = ""
    fork_pos: int = 0
    reuse: bool = False
    edits: tuple[Edit, ...] = ()
    policy: str = ""
    code: str = ""
    by: str = ""
    carry: tuple[int, ...] = ()
    holds: bool = False
    label: str = ""
    observes: bool = False


class StepPlanned(_Body, frozen=True):
    """Intent, durable before an effect may leave the world; or a wait that may outlive memory.

    ``attempt`` counts from 1; from the second on, ``failed`` says how the one before ended.
    ``due`` (ms since 1970, 0 = none): when a timer rings or the attempt may start. ``held``: it
    waits to be published. ``branch``, ``of``: see `StepSettled`. ``charges``: what it adds to
    meters: sums by name over all runs of a store, such as what is reserved of a budget.
    """

    key: str
    plan: Plan
    attempt: int = 1
    verdict: Verdict | None = None
    failed: Failure | None = None
    due: int = 0
    held: bool = False
    branch: str = ""
    of: str = ""
    charges: dict[str, int] = {}


class StepSettled(_Body, frozen=True):
    """The one outcome of a step. Payload ``value``: the result; ``args`` if it was not planned.

    ``took``: microseconds. ``origin``: who supplied the outcome if it was not performed here:
    "person", "reconcile", "fork" (reused from the run forked from), "edit", "preview" (a stand-in,
    to be published) or "publish". ``cause``: position
    of the event that a wait was waiting for. ``inline``: it completed at the spot where it was
    called (chance, the clock, blocking tools), so it has no place in the order of completions.
    ``looked``: it looked at the world, so its outcome depends on its root: the one before
    this event, or ``saw`` if another step changed it meanwhile.
    ``branch``: key of the step that opened the branch it was taken on; ``root``: of that branch
    after it, "" if unchanged. ``of``: the step (``RUN@STEP``) that it publishes, undoes or was
    served from; ``differs``: that one's preview was another. ``drops``: held steps that this one
    drops. ``label``: of its outcome ("": nobody looked). ``charges``: see `StepPlanned`; what
    was reserved is given back here. ``usage``: what it used, by unit, as told by whoever performed
    it; ``unverified``: nobody told, so what was reserved counts.
    """

    key: str
    plan: Plan | None = None
    verdict: Verdict | None = None
    status: Status = "value"
    error: Failure | None = None
    took: int = 0
    attempt: int = 1
    origin: str = ""
    cause: int = 0
    inline: bool = False
    looked: bool = False
    saw: str = ""
    branch: str = ""
    root: str = ""
    of: str = ""
    differs: bool = False
    drops: tuple[str, ...] = ()
    label: str = ""
    charges: dict[str, int] = {}
    usage: dict[str, float] = {}
    unverified: bool = False


class Panel(_Body, frozen=True):
    """People of whom ``needs`` different ones must approve. ``seats``: who may stand in for each,
    by person; one person takes one seat, and a seat is taken once. ``route``: its name, "" for
    persons that a rule names itself."""

    seats: dict[str, tuple[str, ...]]
    route: str = ""
    needs: int = 1


class ApprovalAsked(_Body, frozen=True):
    """A person is asked. ``about``: "action" (may it happen?), "question" (from the agent) or
    "unknown" (did it happen?) or "budget" (may it cost more than its limit?). ``digest`` binds the
    answer to exactly this action; ``text`` is what the person reads. ``expires``: ms since 1970 (0:
    never). ``panels``: all of them must approve (none: anybody may, alone); ``barred``: who may not
    answer whatever they say; ``needs``: how many different people it takes at least. ``edited``:
    who gave the action the arguments in payload ``value``, ``approved``: whoever did so approved
    them. Payload ``args``: the arguments that the program asked with."""

    key: str
    about: str
    text: str
    digest: str
    plan: Plan | None = None
    verdict: Verdict | None = None
    choices: tuple[str, ...] = ()
    expires: int = 0
    needs: int = 1
    panels: tuple[Panel, ...] = ()
    barred: tuple[str, ...] = ()
    edited: str = ""
    approved: tuple[str, ...] = ()


class ApprovalGiven(_Body, frozen=True):
    """A person answered: ``decision`` approve, deny, answer or edit. Payload ``value``: the answer,
    or the arguments that it may happen with."""

    key: str
    digest: str
    decision: str
    by: str
    note: str = ""


class SignalReceived(_Body, frozen=True):
    """Something happened outside that a run may wait for. Payload ``value``. ``token`` makes a
    repeated delivery harmless; names that start with ``$`` are Holdfast's own."""

    name: str
    token: str = ""
    by: str = ""


class BranchMerged(_Body, frozen=True):
    """The world of run ``source`` (root ``theirs``) was merged into this one's; ``base`` is their
    common root. With ``conflicts`` (how many), nothing was changed. ``into``: the branch of this
    run that it was merged into, "" for its own world; ``source`` "@KEY": a branch of this run."""

    key: str
    source: str
    base: str
    theirs: str
    conflicts: int = 0
    into: str = ""


class FindingAdded(_Body, frozen=True):
    """A later judgement about event ``about`` (its position in this run). Payload ``value``."""

    about: int
    type: str
    by: str = ""


class RunEnded(_Body, frozen=True):
    """The last event of a run: ``status`` done, failed or cancelled. Payload ``value``: the
    result."""

    status: str
    error: Failure | None = None
    steps: int = 0


class CheckpointSigned(_Body, frozen=True):
    """A signed statement of what the store's first ``size`` events (by seq) were: ``root`` of the
    Merkle tree over their ids (`holdfast.journal.merkle`), Ed25519 ``signature`` of the note
    `holdfast.journal.signed` makes of it by public ``key`` (both base64). ``origin`` names the
    store, ``time`` is ms since 1970, ``policy`` the hash of the policy in force. ``before``: size
    of the signed root before it; ``proof``: that this tree continues that one; ``peaks``: the
    tree's complete parts, from which it goes on (all hex)."""

    root: str
    key: str
    signature: str
    origin: str = ""
    size: int = 0
    time: int = 0
    policy: str = ""
    before: int = 0
    proof: tuple[str, ...] = ()
    peaks: tuple[str, ...] = ()


Body = (
    RunStarted | StepPlanned | StepSettled | ApprovalAsked | ApprovalGiven | SignalReceived
    | BranchMerged | FindingAdded | RunEnded | CheckpointSigned
)  # fmt: skip

KINDS: tuple[str, ...] = (
    "run.started", "step.planned", "step.settled", "approval.asked", "approval.given",
    "signal.received", "branch.merged", "finding.added", "run.ended", "checkpoint.signed",
)  # fmt: skip
"""Every kind, in the order of the codes that stores may use for them. Only ever appended to."""

_KIND_OF: dict[type, str] = dict(zip(Body.__args__, KINDS, strict=True))
_encoder = msgspec.json.Encoder(order="deterministic")
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(body) for kind, body in zip(KINDS, Body.__args__, strict=True)
}


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event not yet placed in a chain: everything but run, position, parent and hash.

    ``args`` and ``value`` are skeletons (see `holdfast.values.canon`) in their stored form;
    ``args_hash`` overrides the hash of ``args`` when that is a continuation (`like`).
    """

    body: Body
    at: int
    world: str = ""
    args: bytes | None = None
    value: bytes | None = None
    args_hash: str = ""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One immutable entry of the journal. ``id`` is the SHA-256 of all the rest but ``seq``.

    ``seq``: place in the store's global order, given by the store; ``at``: ms since 1970;
    ``world``: root of the run's world after this event ("" if the run has none); ``body``:
    canonical JSON, decoded by `body_of`; ``args``/``value``: payload skeletons or None.
    """

    seq: int
    run: str
    pos: int
    id: str
    parent: str
    kind: str
    at: int
    world: str
    body: bytes
    args: bytes | None
    value: bytes | None


class Head(msgspec.Struct, frozen=True, gc=False):
    """The newest event of a run: position, hash and world root."""

    pos: int
    id: str
    world: str


NO_HEAD = Head(-1, "", "")
"""The head of a run that has no events yet."""


def kind_of(body: Body) -> str:
    """The event kind of a body."""
    return _KIND_OF[type(body)]


def body_of(event: Event) -> Any:
    """The decoded body of an event; `Corrupt` names the event if it does not fit its kind."""
    try:
        return _decoders[event.kind].decode(event.body)
    except (msgspec.DecodeError, KeyError) as error:
        raise Corrupt(f"event {event.run}#{event.pos} cannot be read: {error}") from None


def body_decoder(kind: str) -> msgspec.json.Decoder[Any]:
    """The decoder of the bodies of a kind, for whoever reads very many."""
    return _decoders[kind]


def encode_body(body: Body) -> bytes:
    """Canonical bytes of a body."""
    return _encoder.encode(body)


def other_roots(kind: str, body: bytes) -> tuple[str, ...]:
    """The roots of worlds that a body names, besides the one in the event's header: what a merge
    met, and a branch inside a run. Whoever keeps or checks content must keep these too."""
    if kind == "branch.merged":
        merged: BranchMerged = _decoders[kind].decode(body)
        return tuple(filter(None, (merged.base, merged.theirs)))
    if kind == "step.settled" and b'"root":"' in body:
        settled: StepSettled = _decoders[kind].decode(body)
        return (settled.root,) if settled.root else ()
    return ()


def payload_hash(payload: bytes | None) -> str:
    """How a payload enters its event's hash: "" if absent, else its SHA-256.

    An erased payload is stored as ``{"$erased":"<sha256>"}`` and still proves itself.
    """
    if payload is None:
        return ""
    if len(payload) == 78 and is_erased(payload):
        return payload[12:76].decode()
    return digest(payload)


def erased(payload: bytes) -> bytes:
    """What stands in the place of a payload that was erased."""
    return b'{"$erased":"%b"}' % payload_hash(payload).encode()


def is_erased(payload: bytes | None) -> bool:
    """Whether a payload is only the hash of one."""
    return payload is not None and payload.startswith(b'{"$erased":"') and len(payload) == 78


def event_id(event: Event, args_hash: str, value_hash: str) -> str:
    """SHA-256 over every field of an event but ``seq`` and ``id``, as one canonical JSON array."""
    head = (
        f'[{FORMAT},"{event.run}",{event.pos},"{event.parent}","{event.kind}",{event.at},'
        f'"{event.world}","{args_hash}","{value_hash}",'
    )
    return digest(head.encode() + event.body + b"]")


def seal(draft: Draft, run: str, after: Head, seq: int = 0) -> Event:
    """Place a draft after ``after`` in the chain of ``run``: the only way an event comes to be.

    The world root is carried forward when the draft names none.
    """
    body = _encoder.encode(draft.body)
    kind = _KIND_OF[type(draft.body)]
    world = draft.world or after.world
    pos = after.pos + 1
    args_hash = draft.args_hash or payload_hash(draft.args)
    head = (
        f'[{FORMAT},"{run}",{pos},"{after.id}","{kind}",{draft.at},'
        f'"{world}","{args_hash}","{payload_hash(draft.value)}",'
    )
    name = digest(head.encode() + body + b"]")
    return Event(
        seq, run, pos, name, after.id, kind, draft.at, world, body, draft.args, draft.value
    )
