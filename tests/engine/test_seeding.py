"""Seeded cases: they measure reviewers, and nothing that is answered to one ever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.answers import Changed, answer
from holdfast.engine.inbox import Open, open_questions, question_of, sow
from holdfast.engine.seeding import CAUGHT, PLANTED, Seeded, Sowing, planted
from holdfast.explain.reviewers import READ, reviewers
from holdfast.gate import Policy, parse_policy
from holdfast.gate.files import known_bad
from holdfast.journal.events import ApprovalAsked, Draft, FindingAdded, Plan, RunStarted, body_of
from holdfast.journal.record import SEEDED
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.stores.memory import MemoryStore
from holdfast.testing.faults import FAULTS, Crashed, FaultyStore, at
from holdfast.testing.lives import Life, Site
from holdfast.values.canon import pack
from holdfast.values.errors import Conflict, Misuse, NotFound, Refused
from holdfast.values.ports import SystemDice
from tests.engine import support
from tests.engine.test_approvals import pays

POLICY = """
version: 1
rules:
  - {id: money, when: {tool: pay}, then: escalate, approvers: [ann, bea], reason: it is money}
review: {seeded: 0.5}
"""
CASES = known_bad("")
RUNS = 12


def policy(text: str = POLICY) -> Policy:
    return parse_policy(text, "p.yaml")


async def asking(store: Store, count: int = RUNS) -> None:
    """Runs that ask, without any program."""
    for number in range(count):
        name = f"r{number}"
        asked = ApprovalAsked("1", "action", "May it?", f"{number:064}", plan=None)
        drafts = (Draft(RunStarted("shop"), 1), Draft(asked, 2))
        await store.append((Batch(name, drafts),), {})


async def seeds(store: Store, **more: Any) -> list[Open]:
    sowing = Sowing(policy(), CASES)
    await sow(store, sowing, now_ms=5, dice=SystemDice(), **more)
    return [one for one in await open_questions(store) if one.seed is not None]


async def kinds(store: Store) -> list[str]:
    return [body_of(one).type for one in (await store.read(SEEDED))[2:]]


async def test_a_share_of_questions_has_one_behind_it_once():
    """INVARIANT G81"""
    store = MemoryStore()
    await asking(store)
    found = await seeds(store)
    assert 0 < len(found) < RUNS
    assert len({one.seed.seed.drawn for one in found if one.seed}) == len(found)
    assert len(await seeds(store)) == len(found)
    both = await asyncio.gather(*(seeds(store) for _ in range(3)))
    assert [len(one) for one in both] == [len(found)] * 3
    none = Sowing(policy(POLICY.replace("0.5", "0")), CASES)
    await sow(store, none, now_ms=5, dice=SystemDice())
    assert len(await kinds(store)) == len(found)


async def test_it_looks_like_a_question():
    store = MemoryStore()
    await asking(store)
    for one in await seeds(store):
        question = await question_of(store, one)
        assert "seed" not in one.wait.text.lower()
        assert one.wait.text.startswith("May shop ")
        assert question.asked.verdict is not None
        assert question.asked.verdict.facts
        assert isinstance(question.args, dict)
        with pytest.raises(NotFound):
            await store.run(one.row.run)


@pytest.mark.parametrize("decision", ["approve", "deny", "edit"])
async def test_g80_an_answer_is_a_finding_and_nothing_else(decision: str):
    """INVARIANT G80"""
    store = MemoryStore()
    await asking(store)
    before = await store.last_seq()
    (one, *rest) = await seeds(store)
    value = {"to": "x"} if decision == "edit" else None
    with pytest.raises(Seeded) as told:
        await answer(store, one.row.run, "", decision, by="ann", now_ms=9, value=value)
    assert told.value.right == (decision != "approve")
    assert "nothing is performed" in str(told.value)
    assert one.seed is not None
    assert one.seed.seed.bad in str(told.value)
    left = [each for each in await open_questions(store) if each.seed is not None]
    assert [each.row.run for each in left] == [each.row.run for each in rest]
    since = await store.tail(before, 10_000)
    assert {each.run for each in since} == {SEEDED}
    assert {each.kind for each in since[2:]} == {"finding.added"}
    with pytest.raises(NotFound):
        await answer(store, one.row.run, "", "approve", by="ann", now_ms=9)
    (said,) = reviewers(await store.tail(0, 10_000), store.get)
    assert (said.by, said.seeded, said.caught) == ("ann", 1, decision != "approve")
    assert said.seconds == 0.004


async def test_who_may_not_answer_is_refused_and_recorded():
    store = MemoryStore()
    await asking(store)
    (one, *_) = await seeds(store)
    with pytest.raises(Changed):
        await answer(store, one.row.run, "", "approve", by="a", now_ms=9, digest="none")
    with pytest.raises(Misuse, match="asks for approval"):
        await answer(store, one.row.run, "", "answer", by="a", now_ms=9, value=1)
    assert (await kinds(store))[-1] == "answer.refused"
    assert CAUGHT not in await kinds(store)
    assert len(await seeds(store)) > 0


async def test_a_run_that_takes_its_name_ends_it():
    """G80: whoever answers the one can never be heard by the other."""
    store = MemoryStore()
    await asking(store)
    found = await seeds(store)
    name = found[0].row.run
    await store.append((Batch(name, (Draft(RunStarted("shop"), 1),)),), {})
    assert name not in {one.row.run for one in await open_questions(store)}
    with pytest.raises(Misuse, match="asks nobody anything"):
        await answer(store, name, "", "approve", by="ann", now_ms=9)


async def test_two_answer_at_once():
    store = MemoryStore()
    await asking(store)
    (one, *_) = await seeds(store)
    said = await asyncio.gather(
        *(answer(store, one.row.run, "", "deny", by=by, now_ms=9) for by in ("ann", "bea")),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Seeded) for each in said) == 1
    assert all(isinstance(each, Seeded | Conflict | NotFound) for each in said)
    assert (await kinds(store)).count(CAUGHT) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_crash_at_every_write(fault: str):
    """G80, G81: whenever a process dies, no question has two, no case two answers, and nothing else
    was written."""

    async def once(store: Store) -> None:
        found = await seeds(store)
        for one in found[:2]:
            with pytest.raises(Seeded):
                await answer(store, one.row.run, "", "approve", by="ann", now_ms=9)

    async def life(inner: Store, number: int) -> bool:
        died = asyncio.Event()
        faulty = FaultyStore(inner, at(number, fault), on_crash=died.set)
        going = asyncio.ensure_future(once(faulty))
        await asyncio.wait(
            (going, asyncio.ensure_future(died.wait())), return_when=asyncio.FIRST_COMPLETED
        )
        dead = faulty.crashed
        faulty.bury()
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        return dead

    async def main() -> int:
        crashes = 0
        for number in range(1, 20):
            store = MemoryStore()
            await asking(store)
            last = await store.last_seq()
            try:
                died = await life(store, number)
            except Crashed:
                died = True
            crashes += died
            await seeds(store)
            written = await store.tail(last, 10_000)
            assert {one.run for one in written} == {SEEDED}
            planted_ = [one for one in written if one.kind == "finding.added"]
            behind = [
                each.seed.seed.drawn
                for each in await open_questions(store)
                if each.seed is not None
            ]
            assert len(behind) == len(set(behind))
            answered = [body_of(one).about for one in planted_ if body_of(one).type == CAUGHT]
            assert len(answered) == len(set(answered))
            made = [one for one in planted_ if body_of(one).type == PLANTED]
            assert len(made) == len(behind) + len(answered)
        return crashes

    assert (asyncio.run(main()) > 0) == (fault != "repeated")


def test_no_run_ever_hears_of_it(tmp_path: Path):
    """G80: runs that wait for a real answer go on waiting, whatever is answered to seeded cases."""
    text = POLICY.replace("approvers: [ann, bea], ", "")
    site = Site(caches=str(tmp_path), policy=policy(text), linger=0.05)
    program = pays(site, ((5, "bob"),))

    async def main(life: Life) -> None:
        for number in range(10):
            await life.start(program, name=f"r{number}")
            await support.waits(site, f"r{number}", "person")
        sowing = Sowing(site.policy, CASES)
        await sow(life.store, sowing, now_ms=5, dice=SystemDice())
        found = [one for one in await open_questions(life.store) if one.seed is not None]
        assert found
        for one in found:
            with pytest.raises(Seeded):
                await answer(life.store, one.row.run, "", "approve", by="ann", now_ms=9)
        rows = [row for row in await life.store.runs(RunQuery()) if row.run != SEEDED]
        assert {row.status for row in rows} == {"waiting"}
        assert site.outside.count("once", "pay", 5) == 0
        for number in range(10):
            await answer(life.store, f"r{number}", "", "deny", by="ann", now_ms=9)

    support.drive(site, main, program, check=False)


def test_it_is_never_found_in_a_policy_by_accident():
    for text, wrong in (
        ("review: {seeded: 0.6}", "seeded must be from 0 to 0.5"),
        ("review: {seed: 0.1}", "did you mean 'seeded'"),
        ("review: 0.1", "'review' must be a mapping"),
        ("review: {again: true}", "again must be a number"),
    ):
        with pytest.raises(Misuse, match=wrong):
            policy(POLICY.replace("review: {seeded: 0.5}", text))
    assert policy().hash != policy(POLICY.replace("0.5", "0.4")).hash
    assert policy(POLICY.replace("0.5", "0.0")) == policy(POLICY.rpartition("review")[0])


# ---- what is counted -----------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 2)), max_size=20))
def test_agreement_counts_pairs_of_answers_of_different_people(said: list[tuple[str, bool, int]]):
    """Against the plainest count: every pair, once for each of both."""

    async def main() -> None:
        store = MemoryStore()
        for number, (by, yes, action) in enumerate(said):
            name = f"r{number}"
            plan = Plan(f"tool{action}")
            asked = ApprovalAsked("1", "action", "?", "d", plan=plan)
            drafts = (Draft(RunStarted("shop"), 1), Draft(asked, 2, args=b"{}"))
            await store.append((Batch(name, drafts),), {})
            decision = "approve" if yes else "deny"
            await answer(store, name, "1", decision, by=by, now_ms=5)
        found = {one.by: one for one in reviewers(await store.tail(0, 10_000), store.get)}
        for name in "abc":
            mine = [one for one in said if one[0] == name]
            others = [one for one in said if one[0] != name]
            pairs = [a[1] == b[1] for a in mine for b in others if a[2] == b[2]]
            one = found.get(name)
            assert (one is None) == (not mine)
            if one is not None:
                assert (one.agrees, one.differs) == (pairs.count(True), pairs.count(False))
                assert (one.answers, one.seconds) == (len(mine), 0.003)

    asyncio.run(main())


async def test_an_answer_that_counts_for_nothing_is_not_measured():
    store = MemoryStore()
    await asking(store, 1)
    with pytest.raises((Refused, Misuse)):
        await answer(store, "r0", "1", "answer", by="eve", now_ms=5)
    assert reviewers([one for one in await store.tail(0) if one.kind in READ], store.get) == []
    assert await planted(store) == []


async def test_g83_a_case_is_counted_once_and_only_if_it_was_one():
    """INVARIANT G83"""
    store = MemoryStore()
    await asking(store)
    (one, *_) = await seeds(store)
    with pytest.raises(Seeded):
        await answer(store, one.row.run, "", "approve", by="ann", now_ms=9)
    assert one.seed is not None
    for run, about in ((SEEDED, one.seed.pos), (SEEDED, 77), ("r0", 1)):
        said = Draft(FindingAdded(about, CAUGHT, by="ann"), 9, value=pack({"right": True}, {}))
        await store.append((Batch(run, (said,)),), {})
    (ann,) = reviewers(await store.tail(0, 10_000), store.get)
    assert (ann.seeded, ann.caught, ann.answers) == (1, 0, 1)
