"""A policy engine outside: asked over TCP or a unix socket; whatever is no answer denies."""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.adapters.opa import Opa
from holdfast.gate import STRICTNESS, Decision, Proposal, judge, parse_policy
from holdfast.gate.document import Output
from holdfast.gate.facts import GROUPS, NO_FACTS, Facts
from holdfast.gate.outside import OUTSIDE, question, ruling, stricter
from holdfast.gate.policy import Engine
from holdfast.testing.decider import Decider
from holdfast.testing.lives import Site
from holdfast.values import limits
from tests.engine import support

PACK = Path(__file__).parents[2] / "policies" / "opa"
SECONDS = 5.0
"""Given to engines in these tests where the limit is not what is tested: machines may be slow."""
DID: list[str] = []
REGO: Any = importlib.import_module("regorus")  # it has no types


def allow(_: dict[str, Any]) -> Any:
    return {"decision": "allow", "rules": ["theirs"]}


def policy(
    address: str, rules: str = "rules: []", otherwise: str = "deny", seconds: float = SECONDS
):
    return parse_policy(
        f"version: 1\notherwise: {otherwise}\nengine: {{opa: '{address}', seconds: {seconds}}}\n"
        + rules,
        "opa.yaml",
    )


@holdfast.tool(effect="once")
async def pay(to: str, amount: float) -> str:
    DID.append(to)
    return to


@holdfast.agent
async def pays(to: str, amount: float) -> str:
    return await pay(to, amount)


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    DID.clear()


@pytest.fixture
def opa() -> Iterator[Opa]:
    made = Opa()
    yield made
    made.close()


def run(decider: Decider, opa: Opa, *args: Any, **options: Any) -> tuple[Site, Any]:
    site = Site(policy=policy(decider.address, **options), outside=opa, virtual=False)
    return site, support.run(site, pays, *(args or ("ann", 5.0)))


@pytest.mark.parametrize("unix", [False, True])
def test_it_is_told_of_the_action_and_its_facts(unix: bool, tmp_path: Path, opa: Opa):
    with Decider(allow, str(tmp_path / "opa.sock") if unix else "") as decider:
        site, result = run(decider, opa)
    assert (result, DID) == ("ann", ["ann"])
    (told,) = decider.asked
    facts = told.pop("facts")
    assert told == {
        "agent": "pays", "role": "", "kind": "tool", "tool": "pay", "effect": "once",
        "args": {"to": "ann", "amount": 5.0},
    }  # fmt: skip
    assert set(facts) == {"groups", *(name for names in GROUPS.values() for name in names)}
    assert decider.paths == ["/v1/data/holdfast/verdict"]
    (planned,) = support.bodies(site, "step.planned")
    assert planned.verdict.rules == ("theirs",)


def test_the_connection_is_kept_and_opened_again(opa: Opa):
    @holdfast.agent
    async def often(n: int) -> int:
        for _ in range(n):
            await pay("ann", 1.0)
        return n

    with Decider(allow) as decider:
        site = Site(policy=policy(decider.address), outside=opa, virtual=False)
        assert support.run(site, often, 5) == 5
        assert decider.connections == 1
        decider.hangs_up = True  # after each answer, without saying so before
        again = Site(policy=site.policy, outside=opa, virtual=False)
        assert support.run(again, often, 3) == 3
    assert len(decider.asked) == 8


def test_blocking_code_asks_too(opa: Opa):
    @holdfast.tool(effect="once", name="pay")
    def pay_now(to: str) -> str:
        return to

    @holdfast.agent
    def blocks() -> str:
        return pay_now("ann")

    with Decider(allow) as decider:
        site = Site(policy=policy(decider.address), outside=opa, virtual=False)
        assert support.run(site, blocks) == "ann"
    assert len(decider.asked) == 1


BAD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "undefined": lambda _: None,
    "a number": lambda _: 7,
    "true": lambda _: True,
    "no decision": lambda _: {"rules": ["x"]},
    "another decision": lambda _: {"decision": "permit", "rules": ["x"]},
    "verify without checks": lambda _: {"decision": "verify", "rules": ["x"]},
    "an unknown field": lambda _: {"decision": "allow", "rules": ["x"], "obligations": []},
    "no rule": lambda _: {"decision": "allow", "rules": []},
    "a rule without name": lambda _: {"decision": "allow", "rules": ["x", ""]},
    "rules of another kind": lambda _: {"decision": "allow", "rules": [{"id": "x"}]},
    "not JSON": lambda _: b"<html>",
    "half of it": lambda _: b'{"result": {"decision": "allow"',
    "too long": lambda _: b'{"result": {}, "x": "' + b"x" * 300_000 + b'"}',
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_answer_denies(what: str, opa: Opa):
    """E58, E59: undefined, malformed or contradictory: nothing happens, and it says why."""
    with Decider(BAD[what]) as decider:
        site = Site(policy=policy(decider.address), outside=opa, virtual=False)
        error = support.fails(site, pays, "ann", 5.0)
    assert "did not decide" in str(error)
    assert DID == []
    (settled,) = support.bodies(site, "step.settled")
    assert (settled.status, settled.verdict.rules) == ("refused", (OUTSIDE,))


@pytest.mark.parametrize("status", [201, 302, 404, 500])
def test_another_status_denies(status: int, opa: Opa):
    with Decider(allow) as decider:
        decider.status = status
        site = Site(policy=policy(decider.address), outside=opa, virtual=False)
        assert f"status {status}" in str(support.fails(site, pays, "ann", 5.0))


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1", "unix:/nowhere/opa.sock", "https://127.0.0.1:1"]
)
def test_nobody_there_denies(address: str, opa: Opa):
    site = Site(policy=policy(address), outside=opa, virtual=False)
    assert "did not decide: it cannot be asked" in str(support.fails(site, pays, "ann", 5.0))


def test_no_way_to_ask_denies():
    site = Site(policy=policy("http://127.0.0.1:1"))
    assert "nobody asks" in str(support.fails(site, pays, "ann", 5.0))


def test_an_answer_in_small_pieces_ends_in_time():
    """However slowly it talks: the limit is for the whole answer, not for each piece."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            here, _ = server.accept()
            with here:
                here.recv(65536)
                here.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.02):
                    try:
                        here.sendall(b"X: y\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        opa = Opa()
        engine = Engine(f"http://127.0.0.1:{server.getsockname()[1]}", seconds=0.2)
        said = opa.ask_now(engine, {"input": {}})
        over.set()
        thread.join()
        opa.close()
    assert said == "no answer within 200 ms"


def test_too_late_denies_and_the_next_is_asked_anew(opa: Opa):
    slow = threading.Event()

    def decide(_: dict[str, Any]) -> Any:
        if len(decider.asked) == 1:
            slow.wait(30)
        return allow(_)

    with Decider(decide) as decider:
        engine = Engine(decider.address, seconds=0.2)
        assert opa.ask_now(engine, {"input": {}}) == "no answer within 200 ms"
        slow.set()
        patient = Engine(decider.address, seconds=SECONDS)
        answer = opa.ask_now(patient, {"input": {}})
    assert isinstance(answer, bytes)
    assert isinstance(ruling(answer), Output)


def test_many_ask_at_once_on_so_many_connections(opa: Opa):
    most = limits.OPA_CONNECTIONS
    together = threading.Barrier(most, timeout=60)

    def decide(document: dict[str, Any]) -> Any:
        if document["n"] < most:
            together.wait()  # no answer until all of these are being asked
        return allow(document)

    async def all_of(numbers: range) -> list[bytes | str]:
        return await asyncio.gather(*(opa.ask(engine, {"input": {"n": n}}) for n in numbers))

    with Decider(decide) as decider:
        engine = Engine(decider.address, seconds=60.0)
        first = asyncio.run(all_of(range(most)))
        then = asyncio.run(all_of(range(most, 5 * most)))
        assert decider.connections == most
    assert all(isinstance(ruling(answer), Output) for answer in first + then)
    assert sorted(one["n"] for one in decider.asked) == list(range(5 * most))


class Stepping:
    """A clock that stands still until it is moved."""

    ticks = 0

    def now_ms(self) -> int:
        return self.ticks // 1_000_000

    def ticks_ns(self) -> int:
        return self.ticks


def test_waiting_for_a_turn_counts_and_denies():
    clock, most = Stepping(), limits.OPA_CONNECTIONS
    opa, full, go = Opa(clock), threading.Semaphore(0), threading.Event()

    def decide(document: dict[str, Any]) -> Any:
        full.release()
        go.wait(60)
        return allow(document)

    async def asks() -> tuple[bytes | str, list[bytes | str]]:
        first = [asyncio.ensure_future(opa.ask(engine, {"input": {"n": n}})) for n in range(most)]
        for _ in first:
            assert await asyncio.to_thread(full.acquire, timeout=60)
        last = asyncio.ensure_future(opa.ask(engine, {"input": {"n": most}}))
        await asyncio.sleep(0)  # it has been asked for, and every connection is taken
        clock.ticks += 31 * 10**9
        go.set()
        return await last, await asyncio.gather(*first)

    with Decider(decide) as decider:
        engine = Engine(decider.address, seconds=30.0)
        said, _ = asyncio.run(asks())
        opa.close()
    assert said == "no answer within 30000 ms"
    assert sorted(one["n"] for one in decider.asked) == list(range(most))


def test_it_hangs_up_when_the_runtime_ends(opa: Opa):
    with Decider(allow) as decider:
        run(decider, opa)
        opa.close()
        opa.close()
        run(decider, opa)  # asking again opens it again
        assert decider.connections == 2


# Joining ---

PROPOSAL = Proposal("a", "", "tool", "pay", "once", {})
WORDS: tuple[Decision, ...] = ("allow", "escalate", "deny")


@pytest.mark.hypothesis
@given(
    mine=st.sampled_from(WORDS),
    theirs=st.sampled_from(WORDS),
    people=st.lists(st.sampled_from(["ann", "bob"]), unique=True),
)
def test_the_strictest_of_both_wins(mine: Decision, theirs: Decision, people: list[str]):
    """E54: what an engine outside says can make a verdict stricter, never weaker."""
    approvers = ", approvers: [ann]" if mine == "escalate" else ""
    rules = f"rules:\n  - {{id: mine, when: {{tool: pay}}, then: {mine}{approvers}}}"
    both = policy("http://127.0.0.1:1", rules)
    verdict = judge(PROPOSAL, both, NO_FACTS)
    answer = {"decision": theirs, "rules": ["theirs"], "approvers": people}
    joined = stricter(verdict, ruling(json.dumps({"result": answer}).encode()), both)
    told = theirs if STRICTNESS[theirs] > STRICTNESS[mine] else mine
    if joined.decision != told:  # nobody may approve for both
        assert (joined.decision, mine, theirs, people) == ("deny", "escalate", "escalate", ["bob"])
    assert set(joined.rules) == {"mine", "theirs"}
    if joined.decision == "escalate" and mine == "escalate":
        assert joined.approvers == ("ann",)


def test_without_rules_it_decides_alone_and_stopped_agents_stay_stopped():
    alone = policy("http://127.0.0.1:1")
    found = Output("allow", ("x",))
    assert stricter(judge(PROPOSAL, alone, NO_FACTS), found, alone).decision == "allow"
    listed = policy(
        "http://127.0.0.1:1", "rules: []\nagents: [{agent: a, owner: ann, stopped: lost its key}]"
    )
    told = stricter(judge(PROPOSAL, listed, NO_FACTS), found, listed)
    assert (told.decision, told.rules[0]) == ("deny", "stopped")


def test_checks_that_it_asks_for_are_run(opa: Opa):
    section = """rules: []
checks: [{name: small, kind: condition, that: "args.amount < 50.0", fails: deny}]"""
    answer = {"decision": "verify", "rules": ["theirs"], "checks": ["small"]}
    with Decider(lambda _: answer) as decider:
        site = Site(policy=policy(decider.address, section), outside=opa, virtual=False)
        assert support.run(site, pays, "ann", 5.0) == "ann"
        site = Site(policy=site.policy, outside=opa, virtual=False)
        assert "check 'small' did not pass" in str(support.fails(site, pays, "ann", 70.0))
        answer["checks"] = ["unknown"]
        site = Site(policy=site.policy, outside=opa, virtual=False)
        assert "no check of that name" in str(support.fails(site, pays, "ann", 5.0))


# The pack ---

KNOWN = Facts(worst="person", target_uses=4, amount=20.0)
CASES: list[tuple[Facts, str, str]] = [
    (KNOWN, "allow", "known-payee"),
    (Facts(worst="person", new_target=True, amount=20.0), "escalate", "new-payee"),
    (Facts(worst="person", target_uses=4, amount=1000.5), "escalate", "large"),
    (Facts(worst="person", target_uses=4, amount=20.0, amount_z=3.5), "escalate", "unusual"),
    (Facts(worst="untrusted", target_uses=4, amount=20.0), "deny", "payee-from-untrusted-text"),
    (Facts(worst="person", target_uses=4, schema_changed=True), "deny", "tool-changed"),
    (Facts(worst="person", target_uses=4, denials=3), "deny", "denied-in-a-row"),
    (Facts(worst="nowhere", target_uses=4), "deny", "otherwise"),
]


def rego(told: dict[str, Any]) -> Any:
    """The pack's document, evaluated by regorus."""
    engine = REGO.Engine()
    engine.add_policy_from_file(str(PACK / "payments.rego"))
    engine.set_input_json(json.dumps(told))
    return json.loads(engine.eval_rule_as_json("data.holdfast.verdict"))


@pytest.mark.parametrize(("facts", "outcome", "rule"), CASES)
def test_the_pack(facts: Facts, outcome: str, rule: str, opa: Opa):
    """Through the door, with the pack behind it."""
    proposal = Proposal("a", "", "tool", "pay_invoice", "once", {})
    with Decider(rego) as decider:
        answer = opa.ask_now(
            Engine(decider.address, seconds=SECONDS), question(proposal, facts, {})
        )
    alone = policy(decider.address)
    told = stricter(judge(proposal, alone, NO_FACTS), ruling(answer), alone)
    assert (told.decision, told.rules[0]) == (outcome, rule)


def test_a_field_that_is_dropped_makes_no_answer_of_the_pack_weaker():
    for facts, _, _ in CASES:
        told = question(PROPOSAL, facts, {})["input"]
        before = STRICTNESS[rego(told)["decision"]]
        for name in told:
            less = {k: v for k, v in told.items() if k != name}
            assert STRICTNESS[rego(less)["decision"]] >= before, name
        for name in told["facts"]:
            less = {k: v for k, v in told["facts"].items() if k != name}
            assert STRICTNESS[rego({**told, "facts": less})["decision"]] >= before, name


def test_the_tests_of_the_pack_itself():
    engine = REGO.Engine()
    for name in ("payments.rego", "payments_test.rego"):
        engine.add_policy_from_file(str(PACK / name))
    engine.set_input_json("{}")
    names = [
        line.split()[0] for line in (PACK / "payments_test.rego").read_text().splitlines()
        if line.startswith("test_")
    ]  # fmt: skip
    assert len(names) > 5
    for name in names:
        assert engine.eval_rule(f"data.holdfast_test.{name}") is True, name


@pytest.mark.skipif(shutil.which("opa") is None, reason="no opa on this machine")
def test_a_real_opa(tmp_path: Path, opa: Opa):
    """The pack's own tests, and the pack behind a real server's unix socket."""
    found = shutil.which("opa")
    assert found is not None
    tested = subprocess.run(
        [found, "test", str(PACK)], capture_output=True, timeout=60, check=False
    )
    assert tested.returncode == 0, tested.stdout
    place = tmp_path / "opa.sock"
    server = subprocess.Popen([
        found, "run", "--server", "--addr", f"unix://{place}", str(PACK / "payments.rego")
    ])  # fmt: skip
    try:
        while not place.exists():
            assert server.poll() is None
            time.sleep(0.05)
        engine = Engine(f"unix:{place}", seconds=SECONDS)
        for facts, outcome, _ in CASES:
            told = question(PROPOSAL, facts, {})
            answer = ruling(asyncio.run(opa.ask(engine, told)))
            assert isinstance(answer, Output), answer
            assert answer.decision == outcome
    finally:
        server.terminate()
        server.wait()
