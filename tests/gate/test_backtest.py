"""A back-test says what another policy would have decided, and no more than it can know."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.commands.risk import example
from holdfast.gate import Policy, judge, parse_policy
from holdfast.gate.backtest import backtest
from holdfast.gate.decisions import Decided, decisions
from holdfast.gate.facts import GROUPS, Facts
from holdfast.gate.proposal import Proposal
from holdfast.journal.events import (
    NO_HEAD,
    ApprovalAsked,
    ApprovalGiven,
    Draft,
    Event,
    FindingAdded,
    Head,
    Panel,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
    seal,
)
from holdfast.values.canon import pack
from holdfast.values.errors import Corrupt

ALL = tuple(sorted(GROUPS))


def policy(*rules: str, otherwise: str = "allow", risk: str = "") -> Policy:
    text = "\n".join(rules) or "  - {id: nothing, when: {tool: never}, then: deny}"
    return parse_policy(
        f"version: 1\nname: p\notherwise: {otherwise}\n{risk}rules:\n{text}\n", "p.yaml"
    )


OPEN = policy()
ASKS = policy("  - {id: sends, when: {tool: send}, then: escalate}")
LARGE = policy("  - {id: large, when: {tool: send}, if: args.amount > 10, then: deny}")
NEW = policy("  - {id: new, if: new_target, then: escalate}")


def fetch(name: str) -> bytes:
    raise Corrupt(f"{name} is not here")


class Past:
    """A journal, written as the engine writes it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.heads: dict[str, Head] = {}

    def add(self, run: str, body: Any, **payload: Any) -> int:
        seq = len(self.events) + 1
        event = seal(Draft(body, seq, **payload), run, self.heads.get(run, NO_HEAD), seq)
        self.events.append(event)
        self.heads[run] = Head(event.pos, event.id, event.world)
        return event.pos

    def run(self, name: str, rules: Policy, *calls: dict[str, Any]) -> None:
        """A run of calls, each {tool, args, facts, answer}."""
        self.add(name, RunStarted("clerk", role="r"), args=b"{}")
        for number, call in enumerate(calls, 1):
            args = call.get("args", {})
            facts = Facts(**call.get("facts", {}), groups=ALL)
            plan = Plan(call.get("tool", "send"), "tool", "once")
            verdict = judge(
                Proposal("clerk", "r", "tool", plan.name, plan.effect, args), rules, facts
            )
            verdict = msgspec.structs.replace(verdict, facts=msgspec.to_builtins(facts))
            key, stored = str(number), pack(args, {})
            if verdict.decision == "escalate":
                self.add(name, ApprovalAsked(key, "action", "May it?", "d", plan, verdict),
                         args=stored)  # fmt: skip
                answer = call.get("answer", "approve")
                self.add(name, ApprovalGiven(key, "d", answer, "eve"))
                done = "value" if answer == "approve" else "refused"
                self.add(name, StepSettled(key, status=done), value=b"null")
            elif verdict.decision == "deny":
                self.add(name, StepSettled(key, plan, verdict, "refused"), args=stored)
            else:
                self.add(name, StepPlanned(key, plan, verdict=verdict), args=stored)
                self.add(name, StepSettled(key), value=b"null")
        self.add(name, RunEnded("done"))

    def decided(self) -> list[Decided]:
        return decisions(self.events, fetch)


def send(amount: float, **more: Any) -> dict[str, Any]:
    return {"args": {"to": "a@b.example", "amount": amount}, **more}


def test_decisions_are_read_with_what_persons_said():
    past = Past()
    past.run("one", ASKS, send(1), send(2, answer="deny"), {"tool": "read"})
    past.run("two", OPEN, send(3))
    pos = past.decided()[-1].pos
    past.add("two", FindingAdded(pos, "reviewed", "eve"), value=pack({"opinion": "wrong"}, {}))
    past.add("two", FindingAdded(pos, "reviewed", "eve"),
             value=b'{"$erased":"' + b"0" * 64 + b'"}')  # fmt: skip
    found = past.decided()
    assert [(one.run, one.key, one.agent, one.role, one.answer, one.reviewed) for one in found] == [
        ("one", "1", "clerk", "r", "approve", ""),
        ("one", "2", "clerk", "r", "deny", ""),
        ("one", "3", "clerk", "r", "", ""),
        ("two", "1", "clerk", "r", "", "wrong"),
    ]
    assert [one.stood for one in found] == ["allow", "escalate", "allow", "allow"]


TWO = (Panel(needs=2, seats={"ann": (), "bea": ()}),)


def asked(about: str = "action", **more: Any) -> ApprovalAsked:
    plan = Plan("pay", "tool", "once")
    verdict = judge(Proposal("clerk", "", "tool", "pay", "once", {}), policy(otherwise="escalate"))
    return ApprovalAsked("1", about, "May it?", about, plan, verdict, **more)


def answer_of(*bodies: Any) -> str:
    """The answer that counts for the action of the one step of a run with these events."""
    past = Past()
    past.add("r", RunStarted("clerk"), args=b"{}")
    for body in bodies:
        past.add("r", body)
    return past.decided()[0].answer


def say(by: str, decision: str = "approve", about: str = "action") -> ApprovalGiven:
    return ApprovalGiven("1", about, decision, by)


def test_only_what_decides_about_the_action_is_an_answer():
    """G62"""
    two = asked(panels=TWO, needs=2)
    assert answer_of(two, say("ann")) == ""  # the other never answered, it expired
    assert answer_of(two, say("ann"), say("ann"), say("carl")) == ""
    assert answer_of(two, say("ann"), say("bea")) == "approve"
    assert answer_of(two, say("ann"), say("bea", "deny")) == "deny"
    assert answer_of(asked(expires=1), say("ann")) == ""
    assert answer_of(asked(barred=("ann",)), say("ann", "deny")) == ""
    for about in ("unknown", "budget"):
        for other in ("deny", "approve", "answer"):
            later = (say("ann"), asked(about), say("bea", other, about))
            assert answer_of(asked(), *later) == "approve"
    assert answer_of(asked(), say("ann", "deny", "another")) == ""
    assert answer_of(asked(), say("ann"), say("bea", "deny")) == "approve"


def test_what_a_person_changed_was_neither_approved_nor_refused():
    """G62"""
    past = Past()
    past.run("one", ASKS, send(1, answer="edit"))
    (one,) = past.decided()
    assert (one.answer, one.stood) == ("edit", "escalate")
    found = backtest([one], OPEN, fetch)
    assert (found.agrees, found.differs, len(found.weaker)) == (0, 0, 1)
    assert example(one, ASKS) is None


def test_the_effect_of_an_example_is_the_one_that_was_judged():
    """The policy's, where it is stricter than the tool's own."""
    tools = "risk: {review: 5.0}\ntools:\n  - {tool: send, effect: once}\n"
    strict = policy("  - {id: sends, when: {tool: send}, then: escalate}", risk=tools)
    past = Past()
    past.run("one", strict, send(1))
    (one,) = past.decided()
    one.plan = Plan("send", "tool", "read")
    found = example(one, strict)
    assert found is not None
    assert found.effect == "once"
    assert {"irreversible", "outside"} <= found.features.keys()
    plain = example(one, ASKS)
    assert plain is not None
    assert plain.effect == "read"


def test_the_same_policy_changes_nothing():
    past = Past()
    past.run("one", ASKS, send(1), send(2, answer="deny"), {"tool": "read"})
    found = backtest(past.decided(), ASKS, fetch)
    assert (found.judged, found.changes, found.beyond, found.unjudged) == (3, [], 0, {})
    assert found.matrix["escalate", "escalate"] == 2


def test_behind_a_changed_verdict_nothing_is_claimed():
    """G32"""
    past = Past()
    past.run("one", OPEN, send(1), send(50), send(2), send(60))
    past.run("two", OPEN, send(3))
    found = backtest(past.decided(), LARGE, fetch)
    assert [(one.old.run, one.old.key, one.new.decision) for one in found.changes] == [
        ("one", "2", "deny")
    ]
    assert (found.judged, found.beyond) == (3, 2)


def test_an_approved_call_that_is_allowed_goes_the_same_way():
    past = Past()
    past.run("one", ASKS, send(1), send(2, answer="deny"), send(3))
    found = backtest(past.decided(), OPEN, fetch)
    assert [one.old.key for one in found.changes] == ["1", "2"]
    assert [one.old.key for one in found.weaker] == ["2"]  # a person had refused that
    assert (found.beyond, found.agrees, found.differs) == (1, 1, 1)


def test_newly_allowed_comes_first_then_newly_denied():
    past = Past()
    past.run("a", OPEN, send(99))
    past.run("b", ASKS, send(1, answer="deny"))
    past.run("c", OPEN, {"tool": "look", "facts": {"new_target": True}})
    both = policy(
        "  - {id: large, when: {tool: send}, if: args.amount > 10, then: deny}",
        "  - {id: new, if: new_target, then: escalate}",
    )
    found = backtest(past.decided(), both, fetch)
    assert [(one.old.run, one.new.decision) for one in found.changes] == [
        ("b", "allow"), ("a", "deny"), ("c", "escalate"),
    ]  # fmt: skip


def test_what_was_not_kept_is_not_guessed():
    past = Past()
    past.add("r", RunStarted("clerk"), args=b"{}")
    verdict = judge(Proposal("clerk", "", "tool", "send", "once", {}), OPEN, Facts())
    past.add("r", StepPlanned("1", Plan("send", "tool", "once"), verdict=verdict),
             args=b'{"$erased":"' + b"0" * 64 + b'"}')  # fmt: skip
    found = backtest(past.decided(), NEW, fetch)
    assert (found.judged, sum(found.unjudged.values())) == (0, 1)
    assert "facts" in next(iter(found.unjudged))
    assert list(backtest(past.decided(), LARGE, fetch).unjudged) == ["arguments were erased"]
    assert backtest(past.decided(), ASKS, fetch).judged == 1  # it needs neither


CALLS = st.lists(
    st.builds(
        lambda amount, new, answer: send(amount, facts={"new_target": new}, answer=answer),
        st.integers(0, 20), st.booleans(), st.sampled_from(["approve", "deny"]),
    ),
    max_size=6,
)  # fmt: skip


@given(st.lists(CALLS, max_size=4), st.sampled_from([OPEN, ASKS, LARGE, NEW]))
def test_a_back_test_against_another_policy_is_what_that_policy_says(
    runs: list[list[dict[str, Any]]], then: Policy
):
    """G32: up to the first change, each verdict is the one that judging afresh gives."""
    past = Past()
    for number, calls in enumerate(runs):
        past.run(f"r{number}", then, *calls)
    for now in (OPEN, ASKS, LARGE, NEW):
        found = backtest(past.decided(), now, fetch)
        assert found.judged + found.beyond == sum(map(len, runs))
        for change in found.changes:
            call = runs[int(change.old.run[1:])][int(change.old.key) - 1]
            afresh = judge(
                change.old.proposal(call["args"]), now, Facts(**call["facts"], groups=ALL)
            )
            assert afresh.decision == change.new.decision != change.old.verdict.decision
        if now is then:
            assert not found.changes
