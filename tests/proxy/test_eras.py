"""Clients and servers of both eras through one front, with the reference SDK and real servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from holdfast.journal.events import body_of
from holdfast.proxy.upstream import Server
from tests.proxy.packages import NODE
from tests.proxy.support import LEDGER, REFERENCE, lines_of

pytestmark = pytest.mark.timeout(300)

MODES = ["legacy", "2026-07-28"]
PLAIN = {"PYTHONWARNINGS": "ignore"}
MODERN = Server("ref", command=(sys.executable, REFERENCE, "modern"), env=PLAIN)

ASKS = """
version: 1
rules:
  - {id: pay, when: {tool: ledger.pay}, then: escalate, reason: it is money}
  - {id: rest, when: {tool: "*"}, then: allow}
"""


def ledger(tmp_path: Path) -> Server:
    return Server("ledger", command=(sys.executable, LEDGER, str(tmp_path / "ledger")))


async def elicited(_: Any, params: Any) -> types.ElicitResult:
    if "decision" in params.requested_schema["properties"]:
        assert "ledger.pay" in params.message
        return types.ElicitResult(action="accept", content={"decision": "approve"})
    return types.ElicitResult(action="accept", content={"name": "Ada", "response": "Ada"})


async def sampled(_: Any, __: Any) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="m")


async def rooted(_: Any) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root.model_validate({"uri": "file:///tmp"})])


@pytest.mark.parametrize("mode", MODES)
async def test_a_modern_server_is_the_same_for_clients_of_both_eras(mode: str, opened: Any):
    """INVARIANTS D4, D9: what it asks is asked in the client's way, and is one step."""
    async with opened([MODERN]) as place:
        can = {"elicitation_callback": elicited, "sampling_callback": sampled,
               "list_roots_callback": rooted}  # fmt: skip
        async with place.client(mode, **can) as client:
            assert {one.name for one in (await client.list_tools()).tools} > {"test_simple_text"}
            text = await client.call_tool("test_simple_text", {})
            assert text.content[0].text == "This is a simple text response for testing."
            many = await client.call_tool("test_input_required_result_multiple_inputs", {})
            assert "Ada" in many.content[0].text
            assert "Paris" in many.content[0].text
            assert "file:///tmp" in many.content[0].text
            rounds = await client.call_tool("test_input_required_result_multi_round", {})
            assert rounds.content[0].text == "both rounds done"
            progress: list[float] = []

            async def made(done: float, _: Any, __: Any) -> None:
                progress.append(done)

            await client.call_tool("test_tool_with_progress", {}, progress_callback=made)
            assert progress == [0, 50, 100]
            prompt = await client.get_prompt("test_input_required_result_prompt")
            assert prompt.messages[0].content.text == "with context"
            read = await client.read_resource("test://static-text")
            assert read.contents
        planned = [body_of(e).plan.name for e in await place.events() if e.kind == "step.planned"]
        assert len(planned) == 4
        assert all(one.startswith("ref.test_") for one in planned)


@pytest.mark.parametrize("mode", MODES)
async def test_a_legacy_server_is_the_same_for_clients_of_both_eras(
    mode: str, opened: Any, npm: Any
):
    everything = npm("server-everything", "dist/index.js")
    how = {"elicitation_callback": elicited, "sampling_callback": sampled}
    server = Server("everything", command=(NODE, everything, "stdio"))
    async with opened([server]) as place:
        async with place.client(mode, **how) as client:
            if mode == "legacy":
                assert client.server_info is not None
                assert client.server_info.name == "mcp-servers/everything"
            names = {one.name for one in (await client.list_tools()).tools}
            echo = await client.call_tool("echo", {"message": "hi"})
            assert echo.content[0].text == "Echo: hi"
            assert "trigger-sampling-request" in names or mode != "legacy"
            if "trigger-sampling-request" in names:
                said = await client.call_tool("trigger-sampling-request", {"prompt": "capital?"})
                assert "Paris" in str(said.content)
            image = await client.call_tool("get-tiny-image", {})
            assert any(len(getattr(one, "data", "")) > 1000 for one in image.content)
            assert (await client.list_prompts()).prompts
            assert (await client.list_resources()).resources


@pytest.mark.parametrize("mode", MODES)
async def test_the_person_at_the_client_decides(mode: str, opened: Any, tmp_path: Path):
    """INVARIANT D19: the question is the inbox's; the answer is recorded as the person's."""
    async with opened([ledger(tmp_path)], ASKS, patience=0) as place:
        async with place.client(mode, elicitation_callback=elicited) as client:
            paid = await client.call_tool("pay", {"to": "ann"})
            assert paid.content[0].text == "pay ann"
        given = [body_of(e) for e in await place.events() if e.kind == "approval.given"]
        assert [(one.decision, one.by) for one in given] == [("approve", "ann")]

        async def declined(_: Any, __: Any) -> types.ElicitResult:
            return types.ElicitResult(action="decline")

        async with place.client(mode, elicitation_callback=declined) as client:
            refused = await client.call_tool("pay", {"to": "bob"})
            assert refused.is_error
            assert "declined at the client" in refused.content[0].text
        async with place.client(mode) as client:  # one that shows no forms
            waits = await client.call_tool("pay", {"to": "cem"})
            assert waits.is_error
            assert "holdfast approve" in waits.content[0].text
    assert lines_of(tmp_path / "ledger") == ["pay ann"]


async def test_who_may_not_answer_is_not_asked(opened: Any, tmp_path: Path):
    """INVARIANT D19: approvers of the policy count at the client too."""
    policy = ASKS.replace("then: escalate", "then: escalate, approvers: [bea]")
    async with opened([ledger(tmp_path)], policy, patience=0) as place:
        async with place.client("legacy", elicitation_callback=elicited) as client:
            assert (await client.call_tool("pay", {"to": "ann"})).is_error
    assert lines_of(tmp_path / "ledger") == []


async def test_many_servers_are_one(opened: Any, tmp_path: Path, npm: Any):
    """INVARIANT D10; and servers that people use."""
    files = npm("server-filesystem", "dist/index.js")
    notes = npm("server-memory", "dist/index.js")
    (tmp_path / "a.txt").write_text("hello")
    servers = [
        ledger(tmp_path),
        Server("other", command=(sys.executable, LEDGER, str(tmp_path / "other"))),
        Server("files", command=(NODE, files, str(tmp_path))),
        Server("notes", command=(NODE, notes), env={"MEMORY_FILE_PATH": str(tmp_path / "m.json")}),
        Server("time", command=(sys.executable, "-m", "mcp_server_time"), env=PLAIN),
        Server("git", command=(sys.executable, "-m", "mcp_server_git"), env=PLAIN),
        Server("fetch", command=(sys.executable, "-m", "mcp_server_fetch"), env=PLAIN),
    ]  # fmt: skip
    begin = ["git", "init", "-q", "-b", "main", str(tmp_path / "repo")]
    await asyncio.to_thread(subprocess.run, begin, check=True)
    async with opened(servers) as place, place.client("2026-07-28") as client:
        names = {one.name for one in (await client.list_tools()).tools}
        assert {"ledger__pay", "other__pay", "read_text_file", "create_entities"} <= names
        assert "pay" not in names
        await client.call_tool("other__pay", {"to": "ann"})
        read = await client.call_tool("read_text_file", {"path": str(tmp_path / "a.txt")})
        assert read.content[0].text == "hello"
        when = await client.call_tool("get_current_time", {"timezone": "UTC"})
        assert "UTC" in when.content[0].text
        repo = {"repo_path": str(tmp_path / "repo")}
        status = await client.call_tool("git_status", repo)
        assert "main" in status.content[0].text
        assert "fetch" in names
        prompts = (await client.list_prompts()).prompts
        assert [one.name for one in prompts] == ["fetch"]
    assert lines_of(tmp_path / "other") == ["pay ann"]
    assert lines_of(tmp_path / "ledger") == []
