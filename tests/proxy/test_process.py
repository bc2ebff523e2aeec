"""Real processes that are killed: what left the world is never done twice unasked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.support import ALLOW, LEDGER, Client, environment, lines_of, text_of, until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "policy.yaml").write_text(ALLOW)
    yield tmp_path
    (tmp_path / "ledger.go").touch()  # whoever still waits for it ends
    while CLIENTS:
        CLIENTS.pop().end()


CLIENTS: list[Client] = []


def connect(place: Path, *more: str, **how: Any) -> Client:
    policy = str(place / "policy.yaml")
    CLIENTS.append(
        Client(place, "--policy", policy, "--patience", "0", *more, "--",
               sys.executable, LEDGER, str(place / "ledger"), **how)
    )  # fmt: skip
    return CLIENTS[-1]


def holdfast(place: Path, *args: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "holdfast.cli", *args], cwd=place, env=environment(place),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_a_proxy_that_dies_during_a_call_does_not_repeat_it(place: Path):
    """INVARIANTS D12, D13, D25: killed between effect and outcome; the same call asks a person."""
    first = connect(place)
    first.begin("tools/call", {"name": "slow", "arguments": {"to": "ann"}})
    until(lambda: lines_of(place / "ledger") == ["slow ann"], "the effect")
    first.kill()
    second = connect(place)
    said = second.call("slow", to="ann")
    assert said["result"]["isError"]
    assert "holdfast" in text_of(said)
    assert lines_of(place / "ledger") == ["slow ann"]
    run = json.loads(holdfast(place, "ps", "--json").splitlines()[0])["run"]
    holdfast(place, "answer", run, '{"content": [{"type": "text", "text": "it was paid"}]}')
    assert text_of(second.call("slow", to="ann")) == "it was paid"
    assert second.close() == 0
    assert lines_of(place / "ledger") == ["slow ann"]


def test_a_client_that_dies_is_answered_from_the_journal(place: Path):
    """INVARIANTS D12, D15: its outcome is recorded and waits; told once, the next call is new."""
    first = connect(place)
    first.begin("tools/call", {"name": "slow", "arguments": {"to": "bob"}})
    until(lambda: lines_of(place / "ledger") == ["slow bob"], "the effect")
    assert first.process.stdin is not None
    first.process.stdin.close()  # the client is gone, its process with it
    (place / "ledger.go").touch()
    assert first.process.wait(30) == 0
    second = connect(place)
    assert text_of(second.call("slow", to="bob")) == "slow bob"
    assert lines_of(place / "ledger") == ["slow bob"]
    assert text_of(second.call("slow", to="bob")) == "slow bob"
    assert lines_of(place / "ledger") == ["slow bob"] * 2
    assert second.close() == 0
    assert json.loads(holdfast(place, "ps", "--json").splitlines()[0])["status"] == "done"


def test_a_server_that_dies_and_a_person_who_approves(place: Path):
    """Dying servers come back, and the default policy's question is answered in the inbox."""
    client = connect(place)
    died = client.call("die", to="x")
    assert died["result"]["isError"]
    assert lines_of(place / "ledger") == ["die x"]
    assert text_of(client.call("look", to="y")) == "look y"  # a new server process
    assert client.close() == 0

    (place / "policy.yaml").write_text(
        "version: 1\nrules:\n  - {id: ask, when: {tool: 'ledger.pay'}, then: escalate}\n"
        "  - {id: rest, when: {tool: '*'}, then: allow}\n"
    )
    client = connect(place)
    said = text_of(client.call("pay", to="ann"))
    assert "holdfast approve" in said
    assert "pay ann" not in lines_of(place / "ledger")
    step = said.split("holdfast approve ")[1].split("`")[0]
    holdfast(place, "approve", step)
    assert text_of(client.call("pay", to="ann")) == "pay ann"
    assert lines_of(place / "ledger")[-1] == "pay ann"
    client.close()


def test_bad_input_is_answered_and_the_rest_goes_on(place: Path):
    """INVARIANTS D1, D6, D7, D11, D16, D18, D20."""
    client = connect(place)
    client.write(b"{broken")
    assert client.next()["error"]["code"] == -32700
    client.write(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]')
    assert client.next()["error"]["code"] == -32600
    client.write(b'{"jsonrpc":"2.0","id":{},"method":"ping"}')
    assert client.next()["error"]["code"] == -32600
    client.write(b"x" * (33 * 1024 * 1024))
    assert client.next()["error"]["code"] == -32600
    assert client.ask("no/such")["error"]["code"] == -32601
    assert client.call("no_such")["error"]["code"] == -32602
    client.send(id="same", method="tools/call", params={"name": "slow", "arguments": {}})
    client.send(id="same", method="tools/call", params={"name": "slow", "arguments": {}})
    assert client.next()["error"]["code"] == -32600
    (place / "ledger.go").touch()
    assert text_of(client.answer("same")) == "slow "
    assert lines_of(place / "ledger") == ["slow "]
    wrong = client.call("wrong")["error"]
    assert (wrong["code"], wrong["data"]) == (-32050, {"to": "x"})
    big = client.call("big")["result"]
    assert len(big["content"][0]["data"]) == 3_000_000
    assert big["structuredContent"]["number"] == 123456789012345678901234567890
    assert client.greeted["result"]["serverInfo"]["name"] == "liar"
    assert client.close() == 0
    run = json.loads(holdfast(place, "ps", "--json").splitlines()[0])
    assert run["agent"] == "mcp"
    assert "ledger.big" in holdfast(place, "show", run["run"])  # not liar.big


def test_a_tool_that_changes_is_seen_by_the_policy(place: Path):
    """INVARIANT D7: the definition counts that the server gives now."""
    (place / "policy.yaml").write_text(
        "version: 1\nrules:\n  - {id: all, when: {tool: '*'}, then: allow}\n"
        "  - {id: changed, when: {tool: '*'}, if: schema_changed, then: deny, reason: it is new}\n"
        "tools:\n  - {tool: ledger.look, effect: once}\n"
    )
    client = connect(place)
    assert text_of(client.call("look")) == "look "
    client.call("change")
    until(lambda: client.call("look")["result"].get("isError"), "the refusal")
    assert "it is new" in text_of(client.call("look", to="z"))
    client.close()
