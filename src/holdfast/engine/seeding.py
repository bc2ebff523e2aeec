"""Cases that are known to be bad, put among the questions now and then: they measure reviewers.

A seeded case is no question of any run. It stands as a finding in a run of Holdfast's own, which
never executes, and so does what somebody answers: nothing that performs anything reads either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

import msgspec

from holdfast.engine.commands import too_long
from holdfast.gate import Policy, judge
from holdfast.gate.cases import Case
from holdfast.journal.events import ApprovalAsked, Draft, Event, FindingAdded, Plan, body_of
from holdfast.journal.quorum import people
from holdfast.journal.record import SEEDED, keep_record
from holdfast.journal.store import Batch, Store
from holdfast.journal.views import RunRow, Wait
from holdfast.values import limits
from holdfast.values.canon import Blobs, digest, pack, unpack
from holdfast.values.errors import Conflict, Misuse, NotFound
from holdfast.values.ids import new_id
from holdfast.values.masking import named
from holdfast.values.ports import Dice

PLANTED: Final = "seeded"
"""Type of the finding that is a seeded case: all that a reviewer sees, and where it comes from."""
CAUGHT: Final = "seeded.answered"
"""Type of the finding that says what somebody answered to one."""


class Seeded(Misuse):
    """The answer was to a seeded case. It is an error, so that no view takes it for an answer that
    counts for a run. ``right``: the case was not approved."""

    def __init__(self, text: str, *, right: bool) -> None:
        super().__init__(text)
        self.right = right


class Seed(msgspec.Struct, frozen=True):
    """One seeded case. ``run`` and ``asked.key`` are where it says that it stands; ``args``: the
    action's; ``asked``: the question as a reviewer sees it; ``bad``: why it must not be approved;
    ``case``: where that case is written; ``drawn``: the question that it was put behind."""

    run: str
    agent: str
    args: dict[str, Any]
    asked: ApprovalAsked
    bad: str
    case: str
    drawn: str


class Planted(msgspec.Struct, frozen=True):
    """A seeded case in the journal: event ``pos`` of the run of seeded cases, made ``at`` (ms)."""

    seed: Seed
    pos: int
    at: int

    @property
    def row(self) -> RunRow:
        """The run that it says it is of: there is none."""
        return RunRow(run=self.seed.run, agent=self.seed.agent, status="waiting", started=self.at)

    @property
    def wait(self) -> Wait:
        """What it asks, as a question of a run would."""
        asked = self.seed.asked
        return Wait(
            asked.key, "person", text=asked.text, digest=asked.digest, about=asked.about,
            approvers=people(asked.panels), panels=asked.panels, barred=asked.barred,
            needs=asked.needs, since=self.at, pos=self.pos,
        )  # fmt: skip


class Sowing(msgspec.Struct, frozen=True):
    """What seeded cases are made from: the ``policy`` that says how many, and ``cases`` with what
    is bad about them."""

    policy: Policy
    cases: tuple[Case, ...]


Asked = tuple[RunRow, Wait, ApprovalAsked]
"""A question that a run asks."""


async def planted(store: Store) -> list[Planted]:
    """Seeded cases that nobody answered, oldest first."""
    found: dict[int, Planted] = {}
    for event in await _events(store):
        body = body_of(event)
        if not isinstance(body, FindingAdded) or event.value is None:
            continue
        if body.type == PLANTED:
            seed = msgspec.convert(unpack(event.value, store.get), Seed)
            found[event.pos] = Planted(seed, event.pos, event.at)
        elif body.type == CAUGHT:
            found.pop(body.about, None)
    return [one for one in found.values() if await _stands_alone(store, one.seed.run)]


async def _stands_alone(store: Store, run: str) -> bool:
    """Whether no run took the name that a seeded case says it is of: else whoever answers the one
    might be heard by the other."""
    try:
        await store.run(run)
    except NotFound:
        return True
    return False


async def _events(store: Store) -> Sequence[Event]:
    try:
        return await store.read(SEEDED)
    except NotFound:
        return ()


async def plant(
    store: Store, asked: Iterable[Asked], sowing: Sowing, *, now_ms: int, dice: Dice
) -> None:
    """Put seeded cases behind a share of the questions that are asked, as the policy says: behind
    each question at most one, however often and by however many this is done."""
    share, cases = sowing.policy.review.seeded, sowing.cases
    drawn = [one for one in asked if one[1].about == "action" and _falls(one, share)]
    if not drawn or not cases:
        return
    await keep_record(store, SEEDED, now_ms, new_id(dice, chars=26))
    for one in drawn:
        for _ in range(limits.ANSWER_ATTEMPTS):
            head = await store.head(SEEDED)
            if _place(one) in await _behind(store):
                break
            seed = _seed(one, sowing, new_id(dice))
            body = FindingAdded(0, PLANTED, by="holdfast")
            # INVARIANT G81: a question has one seeded case behind it at most: whoever puts one
            # there knows all that were
            if await _append(store, body, msgspec.to_builtins(seed), now_ms, head.pos):
                break


def _falls(one: Asked, share: float) -> bool:
    return int(digest(_place(one).encode())[:8], 16) < share * 2**32


def _place(one: Asked) -> str:
    row, wait, _ = one
    return f"{row.run}@{wait.key}#{wait.pos}"


async def _behind(store: Store) -> set[str]:
    found: set[str] = set()
    for event in await _events(store):
        body = body_of(event)
        if isinstance(body, FindingAdded) and body.type == PLANTED and event.value is not None:
            found.add(str(unpack(event.value, store.get)["drawn"]))
    return found


def _seed(one: Asked, sowing: Sowing, name: str) -> Seed:
    """A seeded case behind a question: it looks as if the same agent asked, of the same people."""
    row, wait, asked = one
    same = [case for case in sowing.cases if asked.plan and case.proposal.tool == asked.plan.name]
    cases = same or sowing.cases
    case = cases[int(digest(f"{_place(one)} {name}".encode())[:8], 16) % len(cases)]
    proposal = msgspec.structs.replace(case.proposal, agent=row.agent)
    verdict = judge(proposal, sowing.policy, case.facts)
    if verdict.decision != "escalate" and asked.verdict is not None:
        # nobody is asked about what rules refuse: it is shown as that question is
        theirs = asked.verdict
        verdict = msgspec.structs.replace(
            verdict, decision="escalate", rules=theirs.rules, reason=theirs.reason, way=theirs.way,
            policy=theirs.policy, checks=(),
        )  # fmt: skip
    facts = msgspec.to_builtins(case.facts)
    verdict = msgspec.structs.replace(verdict, facts=facts, approvers=wait.approvers)
    shown = ", ".join(named(key, value) for key, value in proposal.args.items())
    text = f"May {row.agent} {proposal.tool}({shown})? {verdict.reason}".strip()
    body = ApprovalAsked(
        wait.key, "action", too_long(text), digest(f"seeded {name}".encode()),
        plan=Plan(proposal.tool, proposal.kind, proposal.effect), verdict=verdict,
        panels=wait.panels, barred=wait.barred, needs=wait.needs,
    )  # fmt: skip
    return Seed(name, row.agent, dict(proposal.args), body, case.bad, case.place, _place(one))


async def caught(
    store: Store, one: Planted, decision: str, *, by: str, now_ms: int, note: str
) -> NoReturn:
    """Record what somebody answered to a seeded case and tell them so: raises `Seeded`, or
    `Conflict` if somebody else did at the same time."""
    # INVARIANT G80: an answer to a seeded case is a finding about that case and nothing else: no
    # approval of anything stands anywhere because of it
    right = decision != "approve"
    value = {"decision": decision, "by": by, "right": right, "note": too_long(note)}
    for _ in range(limits.ANSWER_ATTEMPTS):
        head = await store.head(SEEDED)
        if all(other.pos != one.pos for other in await planted(store)):
            raise Conflict(f"{one.seed.run}@{one.seed.asked.key}: somebody answered it meanwhile")
        if await _append(store, FindingAdded(one.pos, CAUGHT, by=by), value, now_ms, head.pos):
            break
    else:
        raise Conflict("too much is answered at the same time: try again")
    said = {"approve": "you approved what is known to be bad", "edit": "you changed it"}
    raise Seeded(
        f"{one.seed.run}@{one.seed.asked.key} was a seeded case, so nothing is performed:"
        f" {said.get(decision, 'you refused it, rightly')} ({one.seed.bad})",
        right=right,
    )


async def _append(store: Store, body: FindingAdded, value: Any, now: int, expect: int) -> bool:
    """Whether it was written: not if something else was meanwhile."""
    blobs: Blobs = {}
    batch = Batch(SEEDED, (Draft(body, now, value=pack(value, blobs)),), expect=expect)
    try:
        await store.append((batch,), blobs)
    except Conflict:
        return False
    return True
