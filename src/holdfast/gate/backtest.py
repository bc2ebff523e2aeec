"""Back-testing: what another policy would have decided on decisions of the past.

Exact as long as a run would have gone the same way: once a decision comes out otherwise, what the
agent would have asked next is unknown, so the rest of that run is counted and not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from holdfast.gate.decisions import Decided
from holdfast.gate.facts import GROUPS
from holdfast.gate.judge import judge
from holdfast.gate.outside import question, ruling, stricter
from holdfast.gate.policy import Policy
from holdfast.gate.verdict import OTHERWISE, STRICTNESS, Decision, Verdict
from holdfast.journal.like import is_short
from holdfast.values.canon import unpack
from holdfast.values.errors import Corrupt

ORDER: Final[tuple[Decision, ...]] = tuple(STRICTNESS)
"""Rows and columns of the matrix, from allow to deny."""


Ask = Callable[[dict[str, Any]], bytes | str]
"""Asks the engine outside that a policy names: its answer, or as text why there is none."""
NOT_ASKED: Final = "engine opa"
"""What is missing of a decision on which an engine outside gave no answer."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """A decision that comes out otherwise."""

    old: Decided
    new: Verdict


class Backtest(msgspec.Struct, gc=False):
    """What came of it. ``matrix``: how many by (decision then, decision now); ``changes``: those
    off its diagonal, newly allowed first, then newly denied; ``beyond``: decisions behind the first
    change of their run, unknown; ``unjudged``: those whose facts or arguments were not kept, by
    what is missing; ``agrees``, ``differs``: now allowed or denied as persons answered, or against
    them."""

    matrix: dict[tuple[Decision, Decision], int]
    changes: list[Change]
    beyond: int = 0
    unjudged: dict[str, int] = {}
    agrees: int = 0
    differs: int = 0

    @property
    def judged(self) -> int:
        """How many decisions were judged again."""
        return sum(self.matrix.values())

    @property
    def weaker(self) -> list[Change]:
        """Changes that let happen what the gate or a person had stopped."""
        return [one for one in self.changes
                if one.new.decision == "allow" and one.old.stood != "allow"]  # fmt: skip


def backtest(
    past: Iterable[Decided], policy: Policy, fetch: Callable[[str], bytes], ask: Ask | None = None
) -> Backtest:
    """Judge every decision of ``past`` again, oldest first, with ``policy``; ``fetch`` reads what
    arguments refer to (it may raise `Corrupt` for what was erased); ``ask``: asks the engine
    outside, if ``policy`` has one; what needs its answer and gets none is not judged."""
    found = Backtest(dict.fromkeys(((a, b) for a in ORDER for b in ORDER), 0), [])
    gone: set[str] = set()
    for one in past:
        # INVARIANT G32: nothing is claimed behind the first changed verdict of a run
        if one.run in gone:
            found.beyond += 1
            continue
        verdict = again(one, policy, fetch, ask)
        if isinstance(verdict, str):
            found.unjudged[verdict] = found.unjudged.get(verdict, 0) + 1
            continue
        found.matrix[one.verdict.decision, verdict.decision] += 1
        if one.answer in ("approve", "deny") and verdict.decision in ("allow", "deny"):
            same = (one.answer == "approve") == (verdict.decision == "allow")
            found.agrees += same
            found.differs += not same
        if verdict.decision != one.verdict.decision:
            found.changes.append(Change(one, verdict))
            if verdict.decision != one.stood:  # an approved call that is allowed goes the same way
                gone.add(one.run)
    found.changes.sort(key=_first)
    return found


def _first(change: Change) -> tuple[int, int, int]:
    new, old = STRICTNESS[change.new.decision], STRICTNESS[change.old.verdict.decision]
    kind = {"allow": 0, "deny": 1}.get(change.new.decision, 2)
    return (kind, -abs(new - old), change.old.seq)


def again(
    one: Decided, policy: Policy, fetch: Callable[[str], bytes], ask: Ask | None = None
) -> Verdict | str:
    """The verdict of ``policy`` on a decision of the past, or what is missing to say."""
    proposal, outside = one.proposal({}), policy.engine is not None
    missing = (frozenset(GROUPS) if outside else policy.needs(proposal)) - set(one.facts.groups)
    if missing:
        return f"facts about {', '.join(sorted(missing))} were not kept"
    args: Any = {}
    if outside or policy.reads(proposal):
        if one.args is None or is_short(one.args):
            return "arguments are not in the journal"
        if one.args.startswith(b'{"$erased":"'):
            return "arguments were erased"
        try:
            args = unpack(one.args, fetch)
        except Corrupt:
            return "arguments were erased"
        proposal = one.proposal(args)
    verdict = judge(proposal, policy, one.facts)
    alone = not policy.rules and verdict.rules == (OTHERWISE,)
    if not outside or (verdict.decision == "deny" and not alone):
        return verdict
    # INVARIANT G84: what an engine outside would have said is never guessed
    said = ruling("it was not asked" if ask is None else ask(question(proposal, one.facts, args)))
    return f"{NOT_ASKED}: {said}" if isinstance(said, str) else stricter(verdict, said, policy)
