"""What the path of a step yields and gets back, and how drafts are made: data, no decisions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

import msgspec

from holdfast.engine.dealings import Dealing, charges, dealing
from holdfast.engine.held import LEAVES, news
from holdfast.engine.history import Step
from holdfast.engine.run import Pending, Run
from holdfast.engine.seeing import groups, is_run, known_tool, label_of, looks, seen
from holdfast.gate import Policy, Verdict
from holdfast.gate.counting import RULE
from holdfast.gate.labels import Label, parse_label
from holdfast.gate.policy import Engine
from holdfast.gate.risk import sampled
from holdfast.gate.switches import Switchboard
from holdfast.journal.events import (
    ApprovalAsked,
    BranchMerged,
    Draft,
    Failure,
    FindingAdded,
    Status,
    StepPlanned,
    StepSettled,
)
from holdfast.journal.like import shorten
from holdfast.journal.store import NO_CAPS, Batch
from holdfast.journal.views import REVIEW, place_of
from holdfast.values import limits
from holdfast.values.canon import Blobs, digest, pack, unpack


class Append(msgspec.Struct, gc=False):
    """Commit these drafts to the run (and batches to others), with their blobs. With ``caps``,
    answered with `Exceeded` if a meter would pass one: then nothing was committed."""

    drafts: list[Draft]
    blobs: Blobs
    others: tuple[Batch, ...] = ()
    caps: Mapping[str, int] = NO_CAPS


class Perform(msgspec.Struct, gc=False):
    """Do it: the tool itself, or its reconcile or preview function. Answered with `Done`.
    ``aside``: do this instead, on a copy of the world (``after`` something else that was done
    aside) that is dropped again."""

    attempt: int
    reconcile: bool = False
    preview: bool = False
    aside: Pending | None = None
    after: Done | None = None


class Await(msgspec.Struct, gc=False):
    """Wait for a person's answer, a signal (``name``), or a time (``due``, ms)."""

    kind: str
    due: int = 0
    name: str = ""


class Done(msgspec.Struct, gc=False):
    """How a performance ended. ``value``: skeleton; ``error``; ``open``: it may have happened,
    nobody knows; ``not_done``: reconcile says it did not happen; ``took``: microseconds; ``world``:
    root after; ``merged``: for merges; ``looked``: it looked at the world, whose
    root was ``saw``; ``drops``: held steps that are dropped by it."""

    value: bytes | None = None
    error: Failure | None = None
    open: bool = False
    not_done: bool = False
    took: int = 0
    world: str = ""
    blobs: Blobs = msgspec.field(default_factory=dict)
    merged: BranchMerged | None = None
    looked: bool = False
    saw: str = ""
    drops: tuple[str, ...] = ()


class Look(msgspec.Struct, gc=False):
    """Ask the store how child ``run`` ended. Answered with a skeleton; None if it has not; empty if
    it is the asker's own child, whose news will come."""

    run: str


class Sums(msgspec.Struct, gc=False):
    """Ask the store what meters stand at. ``prefixes``: their names; one that ends with ``*`` means
    all that begin so. Answered with a dict; what is absent is 0."""

    prefixes: tuple[str, ...]


class Above(msgspec.Struct, gc=False):
    """Ask the store how many runs are above a run: its parent, that one's, and so on. Answered with
    a number."""

    run: str


class Labels(msgspec.Struct, gc=False):
    """Ask the store for the label of all that a run has seen. Answered as it is written."""

    run: str


class Find(msgspec.Struct, gc=False):
    """Find the tool of that name that a check calls. Answered with it, or None."""

    tool: str


class Consult(msgspec.Struct, gc=False):
    """Ask the policy engine outside about a document. Answered with the bytes that came, or a text
    that says why none did."""

    engine: Engine
    document: dict[str, Any]


_NOTHING: Final[dict[str, Any]] = {}
"""Charged and used by most outcomes. One for all: nobody changes what is recorded, and each of its
own would be one more thing that Python's collector counts for as long as the run is in memory."""

Command = Append | Perform | Await | Look | Sums | Above | Labels | Find | Consult
Path = Generator[Command, Any, None]


class Terms(msgspec.Struct, frozen=True):
    """The terms of every step: where the current policy comes from, how to read the clock, and what
    persons stopped."""

    policies: Callable[[], Policy]
    now_ms: Any
    switches: Switchboard = msgspec.field(default_factory=Switchboard)

    @property
    def policy(self) -> Policy:
        """The policy that counts now; a running process may get a new one between two steps."""
        return self.policies()

    def effect_of(self, tool: str) -> str:
        """What the policy in force says that a tool does at least."""
        policy = self.policies()
        return (policy.tool(tool).effect or "read") if policy.tools else "read"


def action_digest(
    run: Run, pending: Pending, verdict: Verdict | None, args: bytes | None = None
) -> str:
    """What an approval is bound to: agent, tool and its shape, arguments (``args``: other than the
    step has now), policy and world."""
    parts = (
        run.id, str(run.history.segment), run.program.name, pending.key, pending.plan.kind,
        pending.plan.name, pending.tool.shape if pending.tool else "", digest(args or pending.args),
        verdict.policy if verdict else "", run.root_of(pending.branch),
    )  # fmt: skip
    return digest("\n".join(parts).encode())


def cost_digest(verdict: Verdict, action: str) -> str:
    """What an approval of the cost of ``action`` (its digest) is bound to."""
    # INVARIANT E73: an approval of a cost is bound to the action and to the budgets
    budgets = [one.removeprefix(RULE) for one in verdict.rules]  # as questions of before have them
    return digest("\n".join(("budget", *budgets, action)).encode())


def settle(
    run: Run,
    pending: Pending,
    settings: Terms,
    step: Step,
    done: Done,
    *,
    verdict: Verdict | None = None,
    status: Status | None = None,
    origin: str = "",
    attempt: int = 1,
    cause: int = 0,
    others: tuple[Batch, ...] = (),
    of: str = "",
) -> Path:
    """Commit the one outcome of a step, with the world after it."""
    told, branch, policy = step.args is not None, pending.branch, settings.policy
    differs = pending.of is not None and pending.of.differs(done.value)
    blobs = done.blobs if told else {**pending.blobs, **done.blobs}
    adds = _NOTHING
    if pending.plan.effect in LEAVES:
        adds = yield from _charges(run, pending, policy, step, done, status)
    saw = done.saw if done.looked and done.saw != run.root_of(branch) else ""
    body = StepSettled(  # by place: by name takes three times as long, and every step comes by
        pending.key, None if told else pending.plan, verdict,
        status or ("error" if done.error else "value"), done.error, done.took, attempt, origin,
        cause, pending.inline, done.looked, saw, branch, done.world if branch else "",
        of or pending.about, differs and not done.error, done.drops, "", adds,
        dict(pending.usage) if pending.usage else _NOTHING,
    )  # fmt: skip
    if looks(policy):
        yield from merged_from(run, pending, policy)
        label = label_of(run, policy, pending, body, done.value, blobs)
        body = msgspec.structs.replace(body, label=label)
    world = "" if branch else done.world
    made = draft(run, pending, settings, body, args=not told, value=done.value, world=world)
    drafts = [made]
    if done.merged is not None:
        drafts.insert(0, Draft(done.merged, made.at, world=world))
    if why := _sampled(run, pending, policy, step):
        look = FindingAdded(step.planned_pos, REVIEW, by="sample")
        drafts.append(Draft(look, made.at, value=pack({"why": why}, blobs)))
    if pending.of is not None:
        # INVARIANT E11: an effect that was held is published when its run is told so: one append
        place = place_of(run.history.segment, pending.key)
        others = (*others, news(pending.of, f"{run.id}@{place}", body, done.value, made.at))
    yield Append(drafts, blobs, others)


def _sampled(run: Run, pending: Pending, policy: Policy, step: Step) -> str:
    """Why somebody is to look afterwards at this call, if so: a share, as the policy says, of those
    that left the world without asking, which show what it misses, and of those that were approved,
    which show what reviewers miss."""
    if step.planned is None:
        return ""
    place, risk = f"{run.id} {pending.key}", policy.risk
    if step.verdict is not None:
        share = risk.sample if risk is not None and step.verdict.decision == "allow" else 0.0
        return "sample" if sampled(place, share) else ""
    given, asked = step.given, step.asked
    approved = given is not None and given.decision in ("approve", "edit")
    about_it = asked is not None and asked.about == "action"
    return "again" if approved and about_it and sampled(place, policy.review.again) else ""


def _charges(
    run: Run, pending: Pending, policy: Policy, step: Step, done: Done, status: Status | None
) -> Generator[Command, Any, dict[str, int]]:
    """What the end of a step that leaves the world adds to the past, if anybody looks at that."""
    if not groups(policy):
        return _NOTHING
    answered = step.asked is not None and step.asked.about == "action" and step.given is not None
    decision = step.given.decision if answered and step.given is not None else ""
    well = done.error is None and status in (None, "value")
    one, approved = call_of(run, pending, policy), decision in ("approve", "edit")
    pins = approved
    pinned = known_tool(run, policy, one.tool).pin
    if one.definition and well and not approved and not pinned:
        known: dict[str, int] = yield Sums((one.pin,))
        pins = not known and not (yield Sums((f"pin/{one.tool}/*",)))
    return charges(one, well=well, approved=approved, refused=decision == "deny", pins=pins)


def call_of(run: Run, pending: Pending, policy: Policy) -> Dealing:
    """The call that a step makes, as the past knows it."""
    name, tool = pending.plan.name, pending.tool
    who = pending.of.agent if pending.of is not None else run.program.name
    facts = known_tool(run, policy, name)
    definition = "" if tool is None else tool.definition_of(pending.bound)
    return dealing(who, name, plain_args(run, pending), pending.args, facts, definition)


def merged_from(
    run: Run, pending: Pending, policy: Policy, *, anew: bool = False
) -> Generator[Command, Any, Label | None]:
    """The label of all that the run has seen whose world a step merges; None for other steps."""
    if pending.plan.kind != "merge" or not is_run(source := str(pending.bound.get("source", ""))):
        return None
    now = seen(run, policy)
    if source in now.children:
        return now.children[source]
    if anew or source not in now.sources:
        now.sources[source] = parse_label((yield Labels(source)))
    return now.sources[source]


def plain_args(run: Run, pending: Pending) -> dict[str, Any]:
    """The arguments of a step as they are recorded: plain values."""

    def fetch(name: str) -> bytes:
        found = pending.blobs.get(name)
        return run.outer.fetch(name) if found is None else found

    found = unpack(pending.args, fetch)
    return found if isinstance(found, dict) else {}


def draft(
    run: Run,
    pending: Pending,
    settings: Terms,
    body: StepPlanned | StepSettled | ApprovalAsked,
    *,
    args: bool = False,
    value: bytes | None = None,
    world: str = "",
) -> Draft:
    """A draft; with ``args``, the step's arguments, as a continuation of earlier ones if
    shorter."""
    if not args:
        return Draft(body, settings.now_ms(), world, None, value)
    skeleton = pending.args
    stored: bytes | None = None
    if len(skeleton) >= limits.LIKE_MIN_BYTES:
        latest = run.latest.get(pending.plan.name)
        if latest is not None:
            stored = shorten(skeleton, *latest)
        run.latest[pending.plan.name] = (pending.key, skeleton)
    hashed = digest(skeleton) if stored is not None else ""
    return Draft(body, settings.now_ms(), world, stored or skeleton, value, hashed)


def text_of(error: BaseException) -> str:
    """What an error says, if it can say anything; within its limit."""
    try:
        return too_long(str(error))
    except Exception:  # noqa: BLE001 - its own ``__str__`` fails
        return "(its text cannot be shown)"


def too_long(text: str) -> str:
    """Error text within its limit, saying so when it was cut; what is no text is escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= limits.ERROR_TEXT_CHARS:
        return text
    return text[: limits.ERROR_TEXT_CHARS] + f"... ({len(text):,} characters)"
