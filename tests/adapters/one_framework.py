"""What holds for the adapter of each framework: run by ``test_other_frameworks`` in an environment
that has them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import Runtime, Settings
from holdfast.adapters.taking import effect
from holdfast.gate import parse_policy
from holdfast.stores.memory import MemoryStore

sys.path.insert(0, str(Path(__file__).parent))
from other_frameworks import MAKERS

ALLOW = parse_policy("version: 1\nname: allow\notherwise: allow\nrules: []\n", "allow.yaml")
ASK = parse_policy(
    "version: 1\nname: ask\notherwise: allow\nrules:\n"
    "  - {id: asked, when: {effect: once}, then: escalate}\n", "ask.yaml",
)  # fmt: skip
sent: list[str] = []
every = pytest.mark.parametrize("framework", sorted(MAKERS))


@pytest.fixture(autouse=True)
def nothing_sent():
    sent.clear()


async def send(to: str) -> str:
    """Send a letter."""
    sent.append(to)
    return f"sent to {to}"


@effect("read")
async def look(path: str) -> str:
    """Look at a file."""
    return f"content of {path}"


def runtime(store: Any = None, policy: Any = ALLOW) -> Runtime:
    return Runtime(Settings(user="ann"), store=store or MemoryStore(), policy=policy)


TWO: Any = [[("1", "look", {"path": "a"})], [("2", "send", {"to": "bob"})]]
ONE: Any = [[("1", "send", {"to": "bob"})]]


@every
async def test_d56_it_asks_and_goes_on(framework: str):
    """INVARIANT D56; a model is not asked again for what the journal knows."""
    asked: list[int] = []
    run = MAKERS[framework](TWO, [look, send], asked, patience=0)
    async with runtime(policy=ASK) as here:
        for _ in range(2):
            with pytest.raises(holdfast.Suspended):
                async with await here.guest("helper", name="g"):
                    await run()
        assert (sent, asked) == ([], [0, 1])
        await here.answer("g", "edit", {"to": "eve"})
        async with await here.guest("helper", name="g"):
            assert await run() == "content of a | sent to eve"
        assert (sent, asked) == (["eve"], [0, 1, 2])


@every
async def test_a_person_who_says_no_is_heard_by_the_model(framework: str):
    run = MAKERS[framework](ONE, [send], [])
    store = MemoryStore()
    async with runtime(store, ASK) as here, await here.guest("helper", name="g"):
        waiting = asyncio.create_task(run())
        while (await store.run("g")).status != "waiting" and not waiting.done():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await here.answer("g", "deny", note="not him")
        assert "not him" in await waiting
    assert sent == []


@every
async def test_d116_another_call_at_the_same_place_stops_the_agent(framework: str):
    """INVARIANT D116: the model is not told of it as of a tool that failed, and nothing is done."""
    asked: list[int] = []
    async with runtime() as here:
        async with await here.guest("helper", name="g") as guest:
            await guest.step(_named("send"), {"to": "eve"}, key="call.1", perform=_nothing)
            await guest.leave()
        with pytest.raises(BaseException) as caught:
            async with await here.guest("helper", name="g"):
                await MAKERS[framework](ONE, [send], asked)()
        chain: list[BaseException] = [caught.value]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(cause)
        assert any(isinstance(one, holdfast.Diverged) for one in chain)
    assert (sent, asked) == ([], [0])


def _named(name: str) -> holdfast.Described:
    return holdfast.Described(name, _nothing, effect="once")


async def _nothing(_: Any) -> str:
    return "sent"


@every
async def test_outside_of_a_guest_nothing_is_different(framework: str):
    assert await MAKERS[framework](ONE, [send], [])() == "sent to bob"


@every
async def test_d58_a_call_inside_of_a_tool_is_refused_or_a_step(framework: str):
    """INVARIANT D58"""
    inner = MAKERS[framework](ONE, [send], [])

    async def research(text: str) -> str:
        """Ask another agent."""
        return await inner(text)

    turns: Any = [[("9", "research", {"text": "x"})]]
    async with runtime() as here:
        async with await here.guest("helper", name="g") as guest:
            try:
                found = await MAKERS[framework](turns, [research], [])()
            except Exception as error:  # noqa: BLE001 - some tell the model, some stop
                found = str(error)
            await guest.leave()
        assert "it runs an agent" in found
        assert sent == []
        async with await here.guest("helper", name="h"):
            run = MAKERS[framework](turns, [research], [], effects={"research": "agent"})
            assert "sent to bob" in await run()


@every
async def test_skills_are_steps_under_their_own_names(framework: str, tmp_path: Path):
    """INVARIANT D113"""
    at = tmp_path / "pdf"
    at.mkdir()
    (at / "SKILL.md").write_text("---\nname: pdf\ndescription: Reads PDF.\n---\nDo this.\n")
    found = holdfast.skills(at)
    turns: Any = [[("1", "skills_activate", {"skill": "pdf"})]]
    store = MemoryStore()
    async with runtime(store) as here, await here.guest("helper", name="g"):
        assert "Do this." in await MAKERS[framework](turns, found.functions, [])()
    steps = [one for one in store.chains["g"] if b'"skills.activate.pdf"' in one.body]
    assert len(steps) == 1
    assert found["pdf"].version.encode() in (steps[0].args or b"")


@pytest.mark.parametrize("framework", ["agent_framework"])
async def test_a_stream_arrives_and_is_made_anew(framework: str):
    run = MAKERS[framework](ONE, [send], [], patience=0, streams=True)
    async with runtime(policy=ASK) as here:
        with pytest.raises(holdfast.Suspended):
            async with await here.guest("helper", name="g"):
                await run()
        await here.answer("g", "approve")
        async with await here.guest("helper", name="g"):
            assert await run() == "sent to bob"
    assert sent == ["bob"]


@pytest.mark.parametrize("framework", ["google_adk"])
async def test_d119_calls_without_ids_are_the_same_calls_again(framework: str):
    """INVARIANT D119: ADK would give them a random one in each process."""
    run = MAKERS[framework](TWO, [look, send], [], ids=False, patience=0)
    async with runtime(policy=ASK) as here:
        with pytest.raises(holdfast.Suspended):
            async with await here.guest("helper", name="g"):
                await run()
        await here.answer("g", "approve")
        async with await here.guest("helper", name="g"):
            assert await run() == "content of a | sent to bob"
    assert sent == ["bob"]


@pytest.mark.parametrize("framework", ["google_adk"])
async def test_d118_whom_the_framework_would_have_asked_is_not_passed_over(framework: str):
    """INVARIANT D118: also a callback of the agent's own is heard."""
    from google.adk.tools import FunctionTool

    tool = FunctionTool(send, require_confirmation=True)
    async with runtime() as here, await here.guest("helper") as guest:
        with pytest.raises(RuntimeError, match="require_confirmation"):
            await MAKERS[framework](ONE, [tool], [])()

        def instead(tool: Any, args: Any, tool_context: Any) -> Any:
            return {"result": "not by me"}

        run = MAKERS[framework](ONE, [send], [], before_tool_callback=instead)
        assert "Diverged" not in await run()
        await guest.leave()
    assert sent == []


@pytest.mark.parametrize("framework", ["google_adk"])
async def test_what_a_tool_told_the_runner_is_told_again(framework: str):
    from google.adk.tools.tool_context import ToolContext

    seen: list[Any] = []

    async def remember(text: str, tool_context: ToolContext) -> str:
        """Remember a text."""
        tool_context.state["text"] = text
        return "noted"

    async def recall(tool_context: ToolContext) -> str:
        """Recall it."""
        seen.append(tool_context.state.get("text"))
        return str(tool_context.state.get("text"))

    turns: Any = [
        [("1", "remember", {"text": "x"})], [("2", "send", {"to": "bob"})], [("3", "recall", {})],
    ]  # fmt: skip
    effects = {"remember": "read", "recall": "read"}
    run = MAKERS[framework](turns, [remember, recall, send], [], effects=effects, patience=0)
    async with runtime(policy=ASK) as here:
        with pytest.raises(holdfast.Suspended):
            async with await here.guest("helper", name="g"):
                await run()
        await here.answer("g", "approve")
        async with await here.guest("helper", name="g"):
            assert await run() == "noted | sent to bob | x"
    assert seen == ["x"]
