"""From an approval to a change of the policy that asked, so that it asks no more.

Nothing here writes: what would change is shown first, and whoever may writes it.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import msgspec

from holdfast.engine.inbox import Open, Question
from holdfast.gate import Facts, Policy, Proposal, judge, load_policy_file
from holdfast.gate.amending import File, amended
from holdfast.gate.files import files_of, load_cases, read_text
from holdfast.gate.parse import parse_files
from holdfast.gate.proposing import Rule, propose
from holdfast.gate.rehearse import mutate
from holdfast.journal.events import Plan, Verdict
from holdfast.values.errors import Misuse


class Change(msgspec.Struct, frozen=True):
    """A policy as it is, and as it would be: ``old`` and ``new`` texts of its files; ``failed``:
    what its cases say against it."""

    policy: str
    old: tuple[File, ...]
    new: tuple[File, ...]
    failed: tuple[str, ...]

    def patch(self) -> str:
        """The difference, as a patch."""
        return "".join(
            line
            for (old, name), (new, _) in zip(self.old, self.new, strict=True)
            for line in difflib.unified_diff(
                old.splitlines(keepends=True), new.splitlines(keepends=True), name, name
            )
        )


def change_of(path: str, rule: Rule, found: Open, question: Question, role: str) -> Change:
    """What ``rule`` changes in the policy at ``path``, which must be the one that asked; ``role``:
    of the run. `Misuse` if it is another, or would not allow the action afterwards; nothing is
    written."""
    files = tuple((read_text(file), os.fspath(file)) for file in files_of(path))
    policy, verdict = load_policy_file(path), question.asked.verdict
    assert verdict is not None
    if not policy.hash.startswith(verdict.policy):
        raise Misuse(
            f"{path}: is policy {policy.hash[:12]}, and {verdict.policy} asked: write into that one"
        )
    # INVARIANT G87: what is written allows the action that was approved, and was seen to before
    asks = {each.id for each in policy.rules if each.then == "escalate"}
    rule = msgspec.structs.replace(rule, asked=tuple(each for each in rule.asked if each in asks))
    new = tuple(amended(files, rule))
    changed = parse_files(list(new), path)
    now = _verdict(changed, Proposal(found.row.agent, role, "tool", "", "once", {}), question)
    if now.decision not in ("allow", "verify"):
        raise Misuse(
            f"{path}: no rule lifts this: it would still be {now.decision} by {now.rules[0]}"
        )
    return Change(path, files, new, tuple(against(path, policy, changed)))


def _verdict(policy: Policy, who: Proposal, question: Question) -> Verdict:
    plan, verdict = question.asked.plan or Plan(""), question.asked.verdict
    args = question.edited if question.edited is not None else question.args
    proposal = Proposal(who.agent, who.role, plan.kind, plan.name, plan.effect, args or {})
    return judge(proposal, policy, msgspec.convert(verdict.facts if verdict else {}, Facts))


def against(path: str, old: Policy, new: Policy) -> list[str]:
    """What `policy check` finds in the new policy that it does not in the old one."""
    said: list[str] = []
    for case in load_cases(Path(path) / "tests") if Path(path).is_dir() else ():
        wrong = case.wrong(judge(case.proposal, new, case.facts))
        if wrong and not case.wrong(judge(case.proposal, old, case.facts)):
            said.append(f"{case.place}: {case.name}: {wrong}")
        known = {(each.part, each.how) for each in mutate(case, old)}
        said += [
            f"{case.place}: {case.name}: {each.part} {each.how} would weaken it"
            for each in mutate(case, new)
            if (each.part, each.how) not in known
        ]
    return said


def rule_for(user: str, found: Open, question: Question, did: str = "approved") -> Rule:
    """The rule that would have allowed it, which says what ``user`` ``did``; `Misuse` if none can
    say it narrowly."""
    asked = question.asked
    if asked.about != "action" or asked.plan is None or asked.verdict is None:
        raise Misuse(f"{found.place} asks about no action that a rule could allow")
    now = question.edited if question.edited is not None else question.args
    why = f"{user} {did} this in {found.place}"
    return propose(found.row.agent, asked.plan.name, now or {}, asked.verdict, why)
