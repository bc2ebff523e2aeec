"""Real processes that are killed: what left the world is never done twice unasked."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.proxy.support import (
    ALLOW,
    INITIALIZE,
    LEDGER,
    WAIT,
    Client,
    environment,
    lines_of,
    text_of,
    until,
)

pytestmark = pytest.mark.timeout(300)


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


def newest(place: Path) -> dict[str, Any]:
    return json.loads(holdfast(place, "ps", "--json"))[0]


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
    run = newest(place)["run"]
    holdfast(place, "answer", run, '{"content": [{"type": "text", "text": "it was paid"}]}')
    assert text_of(second.call("slow", to="ann")) == "it was paid"
    assert second.close() == 0
    assert lines_of(place / "ledger") == ["slow ann"]


def test_one_that_only_looks_ends_no_run_that_owes_an_outcome(place: Path):
    """INVARIANT D25: what another process was not told is not done again."""
    first = connect(place)
    first.begin("tools/call", {"name": "slow", "arguments": {"to": "ann"}})
    until(lambda: lines_of(place / "ledger") == ["slow ann"], "the effect")
    first.kill()
    looks = connect(place)
    assert looks.ask("tools/list")["result"]["tools"]
    assert looks.close() == 0
    third = connect(place)
    assert third.call("slow", to="ann")["result"]["isError"]
    assert lines_of(place / "ledger") == ["slow ann"]


def test_a_client_that_dies_is_answered_from_the_journal(place: Path):
    """INVARIANTS D12, D15: its outcome is recorded and waits; told once, the next call is new."""
    first = connect(place)
    first.begin("tools/call", {"name": "slow", "arguments": {"to": "bob"}})
    until(lambda: lines_of(place / "ledger") == ["slow bob"], "the effect")
    assert first.process.stdin is not None
    first.process.stdin.close()  # the client is gone, its process with it
    (place / "ledger.go").touch()
    assert first.process.wait(WAIT) == 0
    second = connect(place)
    assert text_of(second.call("slow", to="bob")) == "slow bob"
    assert lines_of(place / "ledger") == ["slow bob"]
    assert text_of(second.call("slow", to="bob")) == "slow bob"
    assert lines_of(place / "ledger") == ["slow bob"] * 2
    assert second.close() == 0
    assert newest(place)["status"] == "done"
    (said,) = [line for line in holdfast(place, "show", newest(place)["run"]).splitlines()
               if "finding client about #0" in line]  # fmt: skip
    assert 'name: "test"' in said  # INVARIANT D193: once, though two processes met it


def test_an_error_that_nobody_heard_is_told_again(place: Path):
    """INVARIANT D15: what is not known to have happened is not tried again unasked."""
    client = connect(place, "--patience", "30")
    client.begin("tools/call", {"name": "die", "arguments": {"to": "x"}})
    until(lambda: holdfast(place, "inbox", "--json").strip() not in ("", "[]"), "the question")
    run = newest(place)["run"]
    client.kill()
    holdfast(place, "deny", run, "--note", "nobody knows")
    client = connect(place)
    again = client.call("die", to="x")
    assert again["result"]["isError"]
    assert "not known" in text_of(again)
    assert lines_of(place / "ledger") == ["die x"]
    client.close()


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
    run = newest(place)
    assert run["agent"] == "mcp"
    assert "ledger.big" in holdfast(place, "show", run["run"])  # not liar.big


def test_a_client_that_only_closes_its_half_is_answered(place: Path):
    """And what it is answered does not count as delivered: it may not have listened."""
    for _ in range(2):
        client = connect(place)
        about = client.begin("tools/call", {"name": "pay", "arguments": {"to": "ann"}})
        assert client.process.stdin is not None
        client.process.stdin.close()
        assert text_of(client.answer(about)) == "pay ann"
        assert client.process.wait(WAIT) == 0
        assert lines_of(place / "ledger") == ["pay ann"]


def test_a_call_that_a_server_goes_on_with_is_one_step(place: Path):
    """INVARIANT D14: the handle is the answer; the outcome is recorded when there is one."""
    client = connect(place)
    asked = {"name": "slow", "arguments": {"to": "ann"}, "task": {"ttl": 60_000}}
    assert client.ask("tools/call", asked)["result"]["task"]["taskId"] == "t1"
    assert client.ask("tasks/get", {"taskId": "t1"})["result"]["status"] == "working"
    run = newest(place)["run"]
    assert "at last" not in holdfast(place, "show", run)
    (place / "ledger.go").touch()
    until(lambda: "at last" in holdfast(place, "show", run), "the outcome")
    assert lines_of(place / "ledger") == ["slow"]
    assert client.close() == 0


def test_servers_get_no_secrets_and_do_not_outlive_their_door(place: Path):
    """INVARIANTS D2, D3, D8."""
    os.environ["A_SECRET"], os.environ["A_NAMED"] = "s", "n"
    try:
        client = connect(place, "--env", "A_NAMED", "--agent", "clerk")
        found = json.loads(text_of(client.call("env")))
    finally:
        del os.environ["A_SECRET"], os.environ["A_NAMED"]
    assert found["A_NAMED"] == "n"
    assert "A_SECRET" not in found
    assert not [name for name in found if name.startswith("HOLDFAST_")]
    assert client.close() == 0
    row = newest(place)
    assert row["agent"] == "clerk"  # whatever the client calls itself
    mine = str(place / "ledger").encode()
    commands = list(Path("/proc").glob("[0-9]*/cmdline"))
    assert not [one for one in commands if mine in _read(one)]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_over_http_the_token_says_who_calls(place: Path):
    """INVARIANT D8; a file of tokens that others may read is refused."""
    tokens = place / "tokens"
    tokens.write_text("ann: 0123456789abcdef-ann\nbob: 0123456789abcdef-bob\n")
    command = [sys.executable, "-m", "holdfast.cli", "mcp", "--policy", str(place / "policy.yaml"),
               "--listen", "127.0.0.1:0", "--token-file", str(tokens),
               "--", sys.executable, LEDGER, str(place / "ledger")]  # fmt: skip
    refused = subprocess.run(command, cwd=place, env=environment(place), capture_output=True,
                             text=True, stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    assert (refused.returncode, "chmod 600" in refused.stderr) == (2, True)
    tokens.chmod(0o600)
    with subprocess.Popen(
        command, cwd=place, env=environment(place), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            url = process.stdout.readline().removeprefix("listening: ").strip()
            for name in ("ann", "bob"):
                headers = {"Authorization": f"Bearer 0123456789abcdef-{name}",
                           "Accept": "application/json, text/event-stream"}  # fmt: skip
                with httpx2.Client(headers=headers, timeout=WAIT) as http:
                    said = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
                            "params": {**INITIALIZE, "clientInfo": {"name": "root"}}}  # fmt: skip
                    mark = http.post(url, json=said).headers["mcp-session-id"]
                    said = {"jsonrpc": "2.0", "id": 2, "method": "tools/call",
                            "params": {"name": "pay", "arguments": {"to": name}}}  # fmt: skip
                    answer = http.post(url, json=said, headers={"Mcp-Session-Id": mark}).json()
                    assert text_of(answer) == f"pay {name}"
        finally:
            process.terminate()
            process.wait(WAIT)
    rows = json.loads(holdfast(place, "ps", "--json"))
    assert {(row["agent"], row["status"]) for row in rows} == {("ann", "done"), ("bob", "done")}


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


def refused(place: Path, *args: str) -> str:
    """What `holdfast mcp` says of what is misuse: one line, and no run is begun."""
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.cli", "mcp", *args], cwd=place, env=environment(place),
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not (place / "store").exists()
    return done.stderr


def test_without_a_client_no_run_is_begun(place: Path):
    assert "through pipes" in refused(place, "--", sys.executable, LEDGER, "x")


def test_two_credentials_for_one_server_are_refused(place: Path):
    url = "http://u:hunter2@127.0.0.1:1/mcp"
    said = refused(place, "--url", url, "--header", "authorization:Bearer sk-X")
    assert "say one of them" in said
    assert not {"hunter2", "sk-X"} & set(re.split(r"[^\w-]", said))
    entry = {"mcpServers": {"a": {"url": url, "headers": {"Authorization": "Bearer sk-X"}}}}
    (place / "m.json").write_text(json.dumps(entry))
    assert "say one of them" in refused(place, "--config", "m.json")


def test_servers_that_cannot_be_reached_are_named(place: Path):
    """Once each; the others serve. If there is no other, the exit code says so."""
    entries = {"gone": {"command": "/nonexist"}, "deaf": {"url": "http://127.0.0.1:9/mcp"},
               "good": {"command": sys.executable, "args": [LEDGER, "ledger"]}}  # fmt: skip
    (place / "m.json").write_text(json.dumps({"mcpServers": entries}))
    CLIENTS.append(Client(place, "--config", "m.json"))
    assert CLIENTS[-1].ask("tools/list")["result"]["tools"]
    assert CLIENTS[-1].ask("tools/list")["result"]["tools"]
    assert CLIENTS[-1].close() == 0
    said = lines_of(place / "stderr")
    assert sorted(one.split(": ")[1] for one in said if "holdfast: " in one) == [
        "server deaf", "server gone"
    ]  # fmt: skip
    CLIENTS.append(Client(place, "--", "/nonexist"))
    assert "no command" in CLIENTS[-1].greeted["error"]["message"]
    assert CLIENTS[-1].close() == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_asks_it_to_stop_is_told_so_by_the_exit_code(place: Path, number: int, code: int):
    client = connect(place)
    client.process.send_signal(number)
    assert client.process.wait(WAIT) == code
    assert newest(place)["status"] == "done"
