"""Reports: what is in them, what they never say, and that nothing of a record becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.explain.evidence import KINDS, collect_evidence
from holdfast.explain.frameworks import framework, names, parse
from holdfast.explain.registry import registry
from holdfast.explain.reporting import (
    Reported,
    as_html,
    as_json,
    as_markdown,
    compose,
)
from holdfast.gate.agents import AgentCard
from holdfast.gate.switches import Switchboard
from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Checked,
    Panel,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
    Verdict,
)
from holdfast.journal.store import RunQuery
from holdfast.stores.memory import MemoryStore
from holdfast.values.errors import Misuse, NotFound
from tests.stores.scenes import Scene, rich

NEVER = re.compile(r"complian|conformant|certified|fulfil|satisf", re.IGNORECASE)


async def reported(word: str = "tool", store: MemoryStore | None = None) -> Reported:
    store = store or MemoryStore()
    await rich(store, scale=2)
    scene = Scene(store)
    await scene.add("x", RunStarted("bot", role="clerk", policy="p" * 64))
    facts = {"integrity": "untrusted", "leaks": True, "schema_changed": True}
    verdict = Verdict(
        "deny", (word,), risk=0.4, facts=facts, checked=(Checked("a", True), Checked("b", False))
    )
    settled = StepSettled("1", Plan(word), verdict, "refused", label="untrusted/secret")
    await scene.add("x", settled)
    await scene.add("x", RunEnded("failed"))
    evidence = collect_evidence(await store.tail(0), {"bot": "ann"})
    return compose(
        [framework(name) for name in names()], evidence, store=word, made=1_700_000_000_000,
        owners={"owasp-asi": word, "ASI01": "maria"},
    )  # fmt: skip


async def test_evidence_is_counted():
    report = await reported()
    rows = {row.id: row for section in report.sections for row in section.rows}
    found = {one.kind: one for row in rows.values() for one in row.found}
    counts = {kind: one.count for kind, one in found.items()}
    assert counts["denials"] == counts["blocked_flows"] == counts["drift"] == counts["risks"] == 1
    assert counts["checks"] == 2
    assert counts["agents"] == 4
    assert counts["owners"] == counts["roles"] - 1 == 1
    assert counts["forks"] == 2
    assert found["denials"].examples == (("x#1", "tool: deny by rule tool"),)
    assert rows["ASI01"].owner == "maria"
    assert rows["ASI02"].owner == "tool"
    assert rows["GOVERN 1.2"].owner == ""
    assert KINDS["signed_roots"] in rows["Article 12"].gaps


async def counts(*bodies, since: int = 0) -> dict[str, int]:
    store = MemoryStore()
    scene = Scene(store)
    await scene.add("a", RunStarted("Bot"), args={})
    for body in bodies:
        await scene.add("a", body)
    found = collect_evidence(await store.tail(0), {}, since).found
    return {kind: one.count for kind, one in found.items()}


async def test_an_effect_that_was_held_is_counted_once():
    planned = StepPlanned("1", Plan("pay"), verdict=Verdict("allow", ("r",)), held=True)
    found = await counts(planned, StepSettled("1", status="held"))
    assert (found["holds"], found["decisions"]) == (1, 1)
    settled = StepSettled("2", Plan("pay"), status="held")
    assert (await counts(planned, StepSettled("1"), settled))["holds"] == 2
    assert (await counts(settled, settled))["holds"] == 2


async def test_a_question_about_a_cost_is_no_decision_of_the_policy():
    for about, decisions in (("budget", 0), ("action", 1)):
        verdict = Verdict("escalate", ("daily",), risk=0.5)
        asked = ApprovalAsked("1", about, "May it?", "d", plan=Plan("pay"), verdict=verdict)
        found = await counts(asked)
        assert (found["decisions"], found["risks"], found["escalations"]) == (
            decisions, decisions, 1,
        )  # fmt: skip


def answers(*given: tuple[str, str, str]) -> list[ApprovalGiven]:
    return [ApprovalGiven("1", digest, decision, by) for decision, by, digest in given]


COUNTED = {
    "nobody that is named": (answers(("approve", "mallory", "d")), 0, 0),
    "who is barred": (answers(("deny", "Bot", "d"), ("approve", "Bot", "d")), 0, 0),
    "another action": (answers(("approve", "ann", "e")), 0, 0),
    "all who are needed": (answers(("approve", "ann", "d"), ("approve", "ben", "d")), 2, 0),
    "one twice": (answers(("approve", "ann", "d"), ("approve", "ann", "d")), 1, 0),
    "one no": (answers(("deny", "ann", "d"), ("approve", "ben", "d")), 1, 1),
    "after the end": (
        [*answers(("approve", "ann", "d")), StepSettled("1"), *answers(("deny", "ben", "d"))], 1, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
async def test_j70_only_answers_that_counted_are_counted(name: str):
    """INVARIANT J70"""
    given, approvals, refusals = COUNTED[name]
    asked = ApprovalAsked(
        "1", "action", "?", "d", plan=Plan("pay"), barred=("Bot",), needs=2,
        panels=(Panel({"ann": (), "ben": (), "Bot": ()}, needs=2),),
    )  # fmt: skip
    found = await counts(asked, *given)
    assert (found["approvals"], found["refusals"]) == (approvals, refusals)
    late = ApprovalAsked("1", "action", "?", "d", plan=Plan("pay"), expires=1)
    assert (await counts(late, *answers(("approve", "ann", "d"))))["approvals"] == 0


async def test_since_leaves_out_what_is_older():
    store = MemoryStore()
    await rich(store, scale=2)
    events = await store.tail(0)
    late = collect_evidence(events, {}, events[-1].at + 1)
    assert not any(one.count for kind, one in late.found.items() if kind != "retention")
    assert (late.first, late.last) == (events[0].at, max(event.at for event in events))


async def test_it_never_says_that_a_control_is_met():
    report = await reported()
    texts = [as_html(report), as_markdown(report), json.dumps(as_json(report))]
    folder = files("holdfast.explain") / "controls"
    texts += [path.read_text("utf-8") for path in folder.iterdir()]
    for text in texts:
        assert NEVER.search(text) is None
    assert len(texts) >= 7


def test_every_kind_of_evidence_speaks_to_a_control_and_every_mapping_has_a_source():
    used: set[str] = set()
    for name in names():
        found = framework(name)
        assert found.framework == name
        assert found.source.startswith("https://")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.as_of)
        assert len({control.id for control in found.controls}) == len(found.controls)
        used.update(kind for control in found.controls for kind in control.evidence)
    assert {"erasures", "merges"} == set(KINDS) - used  # shown by `audit log`
    eu = {control.id: control.applies for control in framework("eu-ai-act").controls}
    assert eu["Article 50"] == "2026-08-02"
    assert eu["Article 12"] == "2027-12-02"


def test_what_is_no_mapping_is_refused():
    with pytest.raises(NotFound, match="owasp-asi"):
        framework("../x")
    with pytest.raises(Misuse, match="no mapping"):
        parse("framework: x", "x.yaml")
    head = "framework: x\ntitle: x\nsource: x\nas_of: '1'\ncontrols:\n"
    with pytest.raises(Misuse, match="no evidence is called"):
        parse(head + "- {id: a, title: b, evidence: [magic], yours: c}\n", "x.yaml")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.odd: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            if name.startswith("on") or (name in ("src", "style")) or "javascript" in (value or ""):
                self.odd.append(f"{tag} {name}")


@settings(max_examples=25)
@given(st.text("<>\"'&`|*[]()\n\\ab/=:", max_size=30))
def test_j63_no_text_becomes_markup(word: str):
    """INVARIANT J63"""
    import asyncio

    bare, marked = asyncio.run(reported("tool")), asyncio.run(reported(f"<script>{word}</script>"))
    tags: list[set[str]] = []
    for report in (bare, marked):
        parser = _Tags()
        parser.feed(as_html(report))
        assert parser.odd == []
        tags.append(parser.seen)
    assert tags[0] == tags[1]
    text = as_markdown(marked)
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert [line[:3] for line in text.splitlines() if line.startswith("#")] == [
        line[:3] for line in as_markdown(bare).splitlines() if line.startswith("#")
    ]


async def test_agents_against_a_policy():
    store = MemoryStore()
    await rich(store, scale=2)
    rows = await store.runs(RunQuery(limit=100))
    cards = (AgentCard(("writer", "absent"), owner="ann", autonomy=2),)
    found = {one.agent: one for one in registry(rows, cards, Switchboard())}
    assert (found["writer"].standing, found["writer"].owner, found["writer"].runs) == (
        "registered", "ann", 3,
    )  # fmt: skip
    assert found["child"].standing == "pending"
    assert found["absent"].runs == 0
    assert {one.standing for one in registry(rows, (), Switchboard())} == {""}
    stopped = (AgentCard(("*",), stopped="on leave"),)
    assert {one.why for one in registry(rows, stopped, Switchboard())} == {"on leave"}
