"""Alarms of a run are a fact that rules can use: what leaves the world is asked about meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import holdfast
from holdfast.engine.history import History
from holdfast.engine.knowing import of_run
from holdfast.gate import parse_policy
from holdfast.journal.events import Draft, Event, FindingAdded, Verdict, body_of, erased
from holdfast.journal.store import Batch
from holdfast.testing.lives import Life, Site
from holdfast.values.canon import encode
from tests.engine import support

PAUSED = parse_policy(
    """
version: 1
name: paused
otherwise: allow
rules:
  - id: looked-at-first
    when: {effect: [idempotent, once]}
    if: alarms > 0 && alarm_score >= 0.99
    then: escalate
    reason: this run does what its agent never did
    approvers: [person]
""",
    "paused.yaml",
)


@holdfast.tool(effect="once")
async def pay(to: str) -> str:
    return f"paid {to}"


@holdfast.tool(effect="read")
async def look(to: str) -> str:
    return to


@holdfast.agent
async def pays(times: int) -> int:
    for number in range(times):
        await look(f"a{number}")
        await holdfast.wait_for(f"go{number}")
        await pay(f"a{number}")
    return times


async def found(life: Life, about: int, type_: str, value: dict[str, Any]) -> None:
    """As somebody who watches the store would write it."""
    draft = Draft(FindingAdded(about, type_, "watch"), 5, value=encode(value))
    await life.store.append((Batch("a", (draft,)),), {})
    life.host.ring()


async def waiting(life: Life, kind: str, name: str) -> Any:
    """What the run waits for, once it waits for that."""
    while True:
        row = await life.store.run("a")
        for wait in row.waits:
            if wait.kind == kind and not wait.ready and name in (wait.name, ""):
                return wait
        await asyncio.sleep(0.1)


def test_what_leaves_is_asked_about_until_the_alarm_is_judged():
    # INVARIANT X65
    site = Site(policy=PAUSED)

    async def main(life: Life) -> int:
        handle = await life.start(pays, 4, name="a")
        await waiting(life, "signal", "go0")
        await found(life, 1, "anomaly", {"score": 0.9})  # not unusual enough
        await life.signal("a", "go0")
        await waiting(life, "signal", "go1")
        await found(life, 2, "anomaly", {"score": 0.999})
        await life.signal("a", "go1")
        wait = await waiting(life, "person", "")
        assert wait.approvers == ("person",)
        assert await life.answer_all(lambda row, wait: ("approve", None)) is True
        await waiting(life, "signal", "go2")
        await found(life, 2, "anomaly.judged", {"verdict": "normal"})
        await life.signal("a", "go2")
        await waiting(life, "signal", "go3")  # nobody was asked
        await found(life, 3, "anomaly", {"score": 1})
        await found(life, 3, "anomaly.judged", {"verdict": "bad"})
        await life.signal("a", "go3")
        await waiting(life, "person", "")
        await life.answer_all(lambda row, wait: ("approve", None))
        return await handle.result()

    assert support.drive(site, main, pays) == 4
    verdicts = [
        (body.verdict.decision, body.verdict.facts)
        for event in support.events(site, "a", "step.planned", "approval.asked")
        if isinstance((body := body_of(event)).verdict, Verdict)
        and body.plan is not None
        and body.plan.name == "pay"
    ]
    assert [(decision, facts["alarms"], facts["alarm_score"]) for decision, facts in verdicts] == [
        ("allow", 1, 0.9), ("escalate", 2, 0.999), ("allow", 1, 0.9), ("escalate", 2, 1.0),
    ]  # fmt: skip


def told(*found: tuple[int, str, bytes | None]) -> dict[str, Any]:
    history = History()
    for pos, (about, type_, value) in enumerate(found):
        draft = Draft(FindingAdded(about, type_, "x"), 5, value=value)
        body = draft.body
        event = Event(pos, "r", pos, "i", "", "finding.added", 5, "", b"", None, value)
        history.add(event, body)
    facts = of_run(history, "1", "pay")
    return {"alarms": facts["alarms"], "alarm_score": facts["alarm_score"]}


def test_an_odd_alarm_counts_as_the_worst():
    # INVARIANT X65
    worst = {"alarms": 1, "alarm_score": 1.0}
    small = encode({"score": 0.2})
    for value in (None, b"[]", encode({"score": 7}), encode({"score": "0.1"}), erased(small)):
        assert told((3, "anomaly", value)) == worst
    assert told((3, "anomaly", small)) == {"alarms": 1, "alarm_score": 0.2}
    assert told((3, "anomaly", small), (4, "anomaly", small))["alarms"] == 2
    assert told((3, "score", small)) == {"alarms": 0, "alarm_score": 0.0}


def test_only_normal_takes_an_alarm_back():
    alarm = (3, "anomaly", encode({"score": 0.5}))
    for value in (None, b"{}", encode({"verdict": "bad"}), erased(encode({"verdict": "normal"}))):
        assert told(alarm, (3, "anomaly.judged", value))["alarms"] == 1
    normal = encode({"verdict": "normal"})
    assert told(alarm, (4, "anomaly.judged", normal))["alarms"] == 1
    assert told(alarm, (3, "anomaly.judged", normal))["alarms"] == 0
