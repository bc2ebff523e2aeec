"""The queue of questions at the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.engine.inbox import open_questions, reviews
from holdfast.journal.events import Draft, FindingAdded
from holdfast.journal.store import Batch
from holdfast.journal.views import REVIEW
from holdfast.runtime.maintenance import open_store
from holdfast.runtime.settings import Settings
from holdfast.values.canon import pack
from tests.cli.support import call, documents, invoke, newest, rows
from tests.cli.terminal import Terminal

POLICY = """
version: 1
name: shop
rules:
  - id: money
    when: {tool: pay}
    then: escalate
    approvers: [ann, bea]
    reason: it is money
"""


@pytest.fixture
def shop(place: Path) -> str:
    """A run that asks whether it may pay."""
    (place / "policy.yaml").write_text(POLICY, encoding="utf-8")
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", "amount=7", code=10)
    return newest()


def asked() -> list[Any]:
    return documents(invoke("inbox", "--json").stdout)


def resumed(run: str) -> Any:
    """The result of a run that goes on, under the same policy."""
    call("resume", run, "--policy", "policy.yaml", "--no-input", cwd=Path.cwd(), code=None)
    return rows()[0]


def events(run: str, kind: str) -> list[Any]:
    document = json.loads(invoke("show", run, "--json").stdout)
    return [one for one in document["events"] if one["kind"] == kind]


def test_nobody_is_asked(place: Path):
    invoke("run", "agents.py:add", "1")
    assert "nobody is asked anything" in invoke("inbox").stderr
    assert asked() == []
    assert "nothing is to be looked at" in invoke("inbox", "--review").stderr


def test_everything_about_a_question(shop: str):
    (one,) = asked()
    assert (one["run"], one["agent"], one["about"]) == (shop, "shop", "action")
    assert one["args"] == {"amount": 7, "to": "bob"}
    assert one["approvers"] == ["ann", "bea"]
    assert one["missing"] == "1 of ann, bea"
    assert one["rules"] == ["money"]
    assert one["reason"] == "it is money"
    assert len(one["digest"]) == 64
    table = invoke("inbox").stdout
    assert f"{shop}@{one['step']}" in table
    assert "money" in table
    assert invoke("inbox", "--mine", "--json").stdout


def test_only_mine(shop: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_USER", "eve")
    assert documents(invoke("inbox", "--mine", "--json").stdout) == []
    assert len(asked()) == 1
    refused = invoke("approve", shop, code=3)
    assert "eve may not answer this; ann, bea may" in refused.stderr
    assert events(shop, "approval.given") == []


def test_an_approval_of_what_changed_is_refused(shop: str):
    told = invoke("approve", shop, "--digest", "0" * 8, code=2).stderr
    assert "not 00000000: look at what it asks now" in told
    assert events(shop, "approval.given") == []
    invoke("approve", shop, "--digest", asked()[0]["digest"][:10])
    assert resumed(shop)["status"] == "done"


def test_other_arguments(shop: str):
    told = invoke("approve", shop, "--set", "what=5", code=2).stderr
    assert "it has no argument 'what'; it has amount, to" in told
    invoke("approve", shop, "--set", "amount=5")
    (given,) = events(shop, "approval.given")
    assert (given["body"]["decision"], given["value"]) == ("edit", {"amount": 5, "to": "bob"})
    assert resumed(shop)["status"] == "done"
    (ended,) = events(shop, "run.ended")
    assert ended["value"] == "paid 5 to bob"
    step = invoke("show", f"{shop}@1").stdout
    assert "ann: edit" in step
    assert '"amount": 5' in step


def test_what_cannot_fit_is_told_at_once(shop: str, place: Path):
    for change, why in (
        ("amount=much", "that was a number and would be a string"),
        ("amount=[5]", "would be a list"),
        ("amount:=many", "must be JSON"),
    ):
        assert why in invoke("approve", shop, "--set", change, code=2).stderr
    declares = "tools: [{tool: pay, args: {amount: number, to: string}}]\n"
    (place / "types.yaml").write_text(POLICY + declares, encoding="utf-8")
    env = {"HOLDFAST_POLICY": "types.yaml"}
    screen = Terminal("inbox", cwd=place, **env)
    screen.until("q: quit")
    screen.type('e amount:="much"')
    screen.until("amount is a number (the policy says), not a string")
    screen.type("q")
    assert screen.end() == 0
    assert events(shop, "approval.given") == []
    invoke("approve", shop, "--set", "to=5", "--set", "amount:=null")
    (given,) = events(shop, "approval.given")
    assert given["value"] == {"amount": None, "to": "5"}


def test_a_parent_names_the_child_that_asks(place: Path):
    invoke("run", "agents.py:worried", "--no-input", "--name", "top", code=10)
    child = next(one["run"] for one in rows() if one["run"] != "top")
    for words in (("approve", "top"), ("deny", "top@1"), ("answer", "top", "red")):
        told = invoke(*words, code=2).stderr
        assert f"these ask {child}@" in told
        assert "Which colour?" in told
        assert f"holdfast answer {child}@" in told


def test_a_rule_is_proposed_for_review(shop: str, place: Path):
    """E69: names, and every value; the policy stays what it is."""
    text = invoke("approve", shop, "--always").stdout
    added = "\n".join(line[1:] for line in text.splitlines() if line.startswith("+"))
    rule, exception = added.split("   if:", 2)[0], added.split("   if:")
    (parsed,) = yaml.safe_load(added.rpartition("   if:")[0])
    assert parsed["when"] == {"agent": "shop", "tool": "pay"}
    assert parsed["if"] == 'args.amount == 7 && args.to == "bob"'
    assert parsed["then"] == "allow"
    assert rule.startswith(" - id: allow-pay-")
    assert yaml.safe_load(exception[-1]) == (
        '!(agent == "shop" && tool == "pay" && args.amount == 7 && args.to == "bob")'
    )
    assert (place / "policy.yaml").read_text("utf-8") == POLICY
    assert "--write needs --always" in invoke("approve", shop, "--write", "x", code=2).stderr


def test_g87_the_policy_that_asked_is_changed(shop: str, place: Path):
    """INVARIANT G87: and asks no more about this, but about all else."""
    commented = POLICY.replace("  - id: money", "  # what costs\n  - id: money  # all of it")
    (place / "policy.yaml").write_text(commented, encoding="utf-8")  # the same policy
    told = invoke("approve", shop, "--always", "--write", "policy.yaml")
    assert "+    if: " in told.stdout
    assert "policy.yaml is changed, for review" in told.stderr
    text = (place / "policy.yaml").read_text("utf-8")
    assert [line for line in commented.splitlines() if line not in text.splitlines()] == []
    invoke("policy", "check", "policy.yaml")
    again = ("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input")
    assert "paid 7 to bob" in invoke(*again, "amount=7").stdout
    invoke(*again, "amount=8", code=10)


def test_a_policy_that_did_not_ask_is_not_changed(shop: str, place: Path):
    other = POLICY.replace("it is money", "it is ours")
    (place / "other.yaml").write_text(other, encoding="utf-8")
    told = invoke("approve", shop, "--always", "--write", "other.yaml", code=2).stderr
    assert "asked: write into that one" in told
    assert (
        "no such policy file"
        in invoke("approve", shop, "--always", "--write", "none.yaml", code=2).stderr
    )
    assert (place / "other.yaml").read_text("utf-8") == other
    assert events(shop, "approval.given") == []  # nor is anything answered


def test_what_no_rule_lifts_is_said_before_anything_is_answered(place: Path):
    (place / "policy.yaml").write_text(POLICY + "risk: {base: 8}\n", encoding="utf-8")
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", code=10)
    told = invoke("approve", newest(), "--always", "--write", "policy.yaml", code=2).stderr
    assert "would still be escalate by risk" in told
    assert events(newest(), "approval.given") == []


def test_cases_that_speak_against_it_are_told(place: Path):
    (place / "p" / "tests").mkdir(parents=True)
    (place / "p" / "policy.yaml").write_text(POLICY, encoding="utf-8")
    (place / "p" / "tests" / "cases.yaml").write_text(
        "cases:\n- {name: seven, agent: shop, tool: pay, args: {amount: 7, to: bob},"
        " decision: escalate}\n", encoding="utf-8",
    )  # fmt: skip
    invoke("run", "agents.py:shop", "--policy", "p", "--no-input", "amount=7", code=10)
    told = invoke("approve", newest(), "--always", "--write", "p", code=1).stderr
    assert "speaks against it: p/tests/cases.yaml:2: seven: allow by allow-pay-" in told


def test_what_agents_say_commands_no_terminal(place: Path):
    invoke("run", "agents.py:number", "--no-input", code=10)
    for shown in (invoke("inbox").stdout, invoke("inbox", "--json").stdout):
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_one_by_one_at_a_terminal(shop: str, place: Path):
    invoke("run", "agents.py:colour", "--no-input", code=10)
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", code=10)
    screen = Terminal("inbox", cwd=place)
    screen.until("q: quit")
    assert "money" in screen.shown
    screen.type("nonsense")
    screen.until("'nonsense' is not understood")
    screen.type("p")
    screen.until("allow-pay-")
    screen.until("q: quit")
    screen.type("e amount=4")
    screen.until("Which colour?")
    screen.until("q: quit")
    screen.type("r 2")
    screen.until("money")
    screen.until("q: quit")
    screen.type("d not today")
    screen.until("3 answered")
    assert screen.end() == 0
    given = [one["body"] for run in rows() for one in events(run["run"], "approval.given")]
    assert sorted(one["decision"] for one in given) == ["answer", "deny", "edit"]
    assert asked() == []


def test_skipping_and_leaving(shop: str, place: Path):
    for typed in ("s", "q"):
        screen = Terminal("inbox", cwd=place)
        screen.until("q: quit")
        screen.type(typed)
        screen.until("0 answered")
        assert screen.end() == 0
    assert len(asked()) == 1


# ---- afterwards --------------------------------------------------------------------------------


async def _sample(run: str, pos: int) -> None:
    store = open_store(Settings())
    asked = Draft(FindingAdded(pos, REVIEW, by="gate"), 5, value=pack({"why": "sample"}, {}))
    await store.append((Batch(run, (asked,)),), {})
    await store.close()


def test_calls_that_happened_are_looked_at_afterwards(place: Path):
    invoke("run", "agents.py:add", "1")
    run = newest()
    settled = [one["pos"] for one in events(run, "step.settled")]
    for pos in settled:
        asyncio.run(_sample(run, pos))
    first, second = documents(invoke("inbox", "--review", "--json").stdout)
    assert (first["event"], first["args"], first["status"]) == (settled[0], {"n": 1}, "value")
    assert first["why"] == second["why"] == {"why": "sample"}
    assert "look(n=1)" in invoke("inbox", "--review").stdout
    screen = Terminal("inbox", "--review", cwd=place)
    screen.until("q: quit")
    screen.type("w it looked at too much")
    screen.until("q: quit")
    screen.type("s")
    screen.until("1 answered")
    assert screen.end() == 0
    findings = events(run, "finding.added")
    assert findings[-1]["body"] == {"about": settled[0], "by": "ann", "type": "reviewed"}
    assert findings[-1]["value"] == {"note": "it looked at too much", "opinion": "wrong"}
    assert [one["event"] for one in documents(invoke("inbox", "--review", "--json").stdout)] == [
        settled[1]
    ]


def test_the_queue_is_read_in_order_of_waiting(place: Path):
    for _ in range(3):
        invoke("run", "agents.py:colour", "--no-input", code=10)

    async def read() -> list[int]:
        store = open_store(Settings())
        found = await open_questions(store)
        assert await reviews(store) == []
        await store.close()
        return [one.wait.since for one in found]

    times = asyncio.run(read())
    assert times == sorted(times)
    assert len(times) == 3


# ---- reviewers are measured --------------------------------------------------------------------

SEEDING = POLICY.replace("    approvers: [ann, bea]\n", "") + "review: {seeded: 0.5}\n"


def _seeded(place: Path) -> tuple[list[str], list[Any]]:
    """Runs that ask to pay, and the questions in the queue that are none of theirs."""
    (place / "policy.yaml").write_text(SEEDING, encoding="utf-8")
    runs = [f"r{number}" for number in range(8)]
    for run in runs:
        asking = ("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", "--name", run)
        invoke(*asking, code=10)
    queue = json.loads(invoke("inbox", "--json", "--policy", "policy.yaml").stdout)
    return runs, [one for one in queue if one["run"] not in runs]


def test_g82_a_seeded_case_is_answered_as_a_question_is(place: Path):
    """INVARIANT G82; G80: nothing is performed, and who approved it is told so at once."""
    runs, seeds = _seeded(place)
    assert 1 < len(seeds) <= 8
    table = invoke("inbox").stdout
    assert all(one["run"] in table for one in seeds)
    assert "seed" not in table
    first, second, *_ = seeds
    told = invoke("approve", first["run"][:8], "--json", code=1)
    assert documents(told.stdout)[0]["right"] is False
    assert "you approved what is known to be bad" in documents(told.stdout)[0]["text"]
    assert "rightly" in invoke("deny", f"{second['run']}@{second['step']}").stderr
    assert "is not in this store" in invoke("approve", first["run"], code=2).stderr
    assert {row["status"] for row in rows() if row["run"] in runs} == {"waiting"}
    assert all(events(run, "approval.given") == [] for run in runs)
    invoke("deny", runs[0])
    (ann,) = json.loads(invoke("inbox", "stats", "--json").stdout)
    assert (ann["by"], ann["answers"], ann["seeded"], ann["caught"]) == ("ann", 3, 2, 1)
    shown = invoke("inbox", "stats").stdout
    assert "1 of 2" in shown
    said = invoke("audit", "log").stdout
    assert "ann approved the seeded case" in said
    assert "put a seeded case among the questions of shop" in said


def test_g82_a_beginning_that_could_be_either_names_neither(place: Path):
    """INVARIANT G82"""
    _, seeds = _seeded(place)
    begins = seeds[0]["run"][:4]
    (place / "policy.yaml").write_text(POLICY, encoding="utf-8")
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", "--name",
           f"{begins}-real", code=10)  # fmt: skip
    for answer in ("approve", "deny"):
        assert "could be" in invoke(answer, begins, code=2).stderr
    assert events(f"{begins}-real", "approval.given") == []


def test_seeded_cases_at_a_terminal(place: Path):
    runs, seeds = _seeded(place)
    screen = Terminal("inbox", cwd=place)
    for _ in range(len(runs) + len(seeds)):
        screen.until("q: quit")
        screen.type("d")
    screen.until(f"{len(runs) + len(seeds)} answered")
    assert screen.end() == 0
    (ann,) = json.loads(invoke("inbox", "stats", "--json").stdout)
    assert (ann["denied"], ann["caught"]) == (len(runs), len(seeds))
    invoke("inbox", "--policy", "nowhere.yaml", code=2)


def test_approved_calls_are_looked_at_again(place: Path, monkeypatch: pytest.MonkeyPatch):
    again = SEEDING.replace("seeded: 0.5", "again: 1")
    (place / "policy.yaml").write_text(again, encoding="utf-8")
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", code=10)
    run = newest()
    invoke("approve", run)
    assert resumed(run)["status"] == "done"
    (one,) = json.loads(invoke("inbox", "--review", "--json").stdout)
    assert (one["run"], one["why"]) == (run, {"why": "again"})
    monkeypatch.setenv("HOLDFAST_USER", "bea")
    screen = Terminal("inbox", "--review", cwd=place, HOLDFAST_USER="bea")
    screen.until("q: quit")
    screen.type("w never so much")
    screen.until("1 answered")
    assert screen.end() == 0
    (ann,) = json.loads(invoke("inbox", "stats", "--json").stdout)
    assert (ann["by"], ann["approved"], ann["right"], ann["wrong"]) == ("ann", 1, 0, 1)
