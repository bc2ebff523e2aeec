"""Agents of other frameworks through the gate: one policy, one journal, killed at every write."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import Runtime, Settings
from holdfast.adapters.taking import effect
from holdfast.gate import parse_policy
from holdfast.stores.memory import MemoryStore
from holdfast.testing.standin import StandIn

FRAMEWORKS = {"langgraph": "langchain", "openai_agents": "agents"}
ALLOW = parse_policy("version: 1\nname: allow\notherwise: allow\nrules: []\n", "allow.yaml")
ASK = parse_policy(
    "version: 1\nname: ask\notherwise: allow\nrules:\n"
    "  - {id: asked, when: {effect: once}, then: escalate}\n", "ask.yaml",
)  # fmt: skip
ANSWER = (
    "content of a | content of b | charged 5 | wipe: refused by wiping: nothing is wiped here; "
    "leave it (a person may change that: the policy, or in a fork) | sent to bob"
)


def installed(framework: str) -> Any:
    absent = importlib.util.find_spec(FRAMEWORKS[framework]) is None
    mark = pytest.mark.skipif(absent, reason=f"the extra for {framework} is not installed")
    return pytest.param(framework, marks=mark)


both = pytest.mark.parametrize("framework", [installed(one) for one in FRAMEWORKS])
langgraph = pytest.mark.skipif(
    importlib.util.find_spec("langchain") is None, reason="the extra langgraph is not installed"
)
openai = pytest.mark.skipif(
    importlib.util.find_spec("agents") is None, reason="the extra openai-agents is not installed"
)


@both
@pytest.mark.slow
@pytest.mark.timeout(900)  # some forty processes, one after the other
@pytest.mark.parametrize("side", ["before", "after"])
def test_one_policy_governs_and_a_kill_at_every_write_changes_nothing(
    framework: str, side: str, tmp_path: Path
):
    """INVARIANT D57: the run goes on where it was, and no effect of ``once`` happens twice. Both
    frameworks answer the same: what is denied comes back, what is escalated waits for a person."""
    script = Path(__file__).with_name("frameworks.py")
    done = subprocess.run(
        [sys.executable, str(script), framework, str(tmp_path), side],
        capture_output=True, text=True, timeout=880, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, *killed = json.loads(done.stdout)
    assert (whole["codes"], whole["answer"]) == ([3, 0], ANSWER), done.stderr
    assert len(killed) == whole["appends"]
    for one in killed:
        assert 9 in one["codes"], one
        assert (one["answer"], one["effects"]) == (ANSWER, ["charged 5", "sent to bob"]), one


# ---- small agents ------------------------------------------------------------------------------

Turns = list[list[tuple[str, str, dict[str, Any]]]]


def agent(framework: str, turns: Turns, *tools: Any, asked: list[int] | None = None, **more: Any):
    """A coroutine function that runs an agent whose model asks for the calls of ``turns``, then
    says what it got; ``asked``: is told at which turn the model itself is."""
    make = _langgraph if framework == "langgraph" else _openai
    return make(turns, tools, [] if asked is None else asked, **more)


def model_of(turns: Turns, asked: list[int]) -> Any:
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    from holdfast.adapters.chatmodel import turn_of

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **more: Any) -> Any:
            return self.bind(tools=[one.name for one in tools])

        def _stream(self, messages: Any, *args: Any, **more: Any) -> Any:
            said = self._generate(messages).generations[0].message
            for number, one in enumerate(said.tool_calls):
                piece: Any = {**one, "args": json.dumps(one["args"]), "index": number}
                piece["type"] = "tool_call_chunk"
                yield ChatGenerationChunk(
                    message=AIMessageChunk(content="", tool_call_chunks=[piece])
                )
            for word in said.text.split(" "):
                yield ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))

        def _generate(self, messages: Any, *args: Any, **more: Any) -> Any:
            turn = turn_of(messages)
            asked.append(turn)
            said = AIMessage(" | ".join(one.text for one in messages if type(one) is ToolMessage))
            if turn < len(turns):
                calls = [dict(zip(("id", "name", "args"), one, strict=True)) for one in turns[turn]]
                said = AIMessage("", tool_calls=calls)
            return ChatResult(generations=[ChatGeneration(message=said)])

    return Model(messages=iter(()))


def _langgraph(turns: Turns, tools: Any, asked: list[int], **more: Any) -> Any:
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    from holdfast.adapters.langchain import Governed

    graph = create_agent(
        model_of(turns, asked), [tool(one) for one in tools], middleware=[Governed(**more)]
    )

    async def run(text: str = "begin") -> str:
        begin: Any = {"messages": [("user", text)]}
        found = await graph.ainvoke(begin)
        return str(found["messages"][-1].text)

    return run


def _openai(turns: Turns, tools: Any, asked: list[int], **more: Any) -> Any:
    from agents import Agent, Runner, function_tool

    from holdfast.adapters.openai_agents import govern

    one = Agent(
        name="one", model=_scripted(turns, asked), tools=[function_tool(tool) for tool in tools]
    )
    govern(one, **more)

    async def run(text: str = "begin") -> str:
        return str((await Runner.run(one, text)).final_output)

    return run


def _scripted(turns: Turns, asked: list[int]) -> Any:
    from agents import set_tracing_disabled
    from agents.testing import ModelStep, ScriptedModel
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )

    from holdfast.adapters.openai_agents import turn_of

    set_tracing_disabled(disabled=True)

    def respond(call: Any) -> Any:
        items = call.input if isinstance(call.input, list) else []
        turn = turn_of(items)
        asked.append(turn)
        if turn < len(turns):
            return [
                ResponseFunctionToolCall(
                    type="function_call", call_id=name, name=tool, arguments=json.dumps(args)
                )
                for name, tool, args in turns[turn]
            ]
        got = [one["output"] for one in items if one.get("type") == "function_call_output"]
        text = ResponseOutputText(type="output_text", text=" | ".join(got), annotations=[])
        return [
            ResponseOutputMessage(
                id="m", type="message", role="assistant", status="completed", content=[text]
            )
        ]

    return ScriptedModel([ModelStep.respond(respond) for _ in range(20)])


sent: list[str] = []


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


# ---- what holds in both ------------------------------------------------------------------------


@both
async def test_d56_a_tool_of_which_nobody_said_anything_asks(framework: str):
    """INVARIANT D56; and `Suspended` leaves the framework, an approval goes on."""
    asked: list[int] = []
    turns: Turns = [[("1", "look", {"path": "a"})], [("2", "send", {"to": "bob"})]]
    run = agent(framework, turns, look, send, asked=asked, patience=0)
    async with runtime(policy=ASK) as here:
        for _ in range(2):
            with pytest.raises(holdfast.Suspended):
                async with await here.guest("helper", name="g"):
                    await run()
        assert sent == []
        assert asked == [0, 1]  # the second time, the journal answered
        await here.answer("g", "approve")
        async with await here.guest("helper", name="g"):
            assert await run() == "content of a | sent to bob"
        assert sent == ["bob"]
        assert asked == [0, 1, 2]


@both
async def test_what_a_person_changed_is_what_happens(framework: str):
    run = agent(framework, [[("1", "send", {"to": "bob"})]], send, patience=0)
    async with runtime(policy=ASK) as here:
        with pytest.raises(holdfast.Suspended):
            async with await here.guest("helper", name="g"):
                await run()
        await here.answer("g", "edit", {"to": "eve"})
        async with await here.guest("helper", name="g"):
            assert await run() == "sent to eve"
    assert sent == ["eve"]


@both
async def test_a_person_who_says_no_is_heard_by_the_model(framework: str):
    run = agent(framework, [[("1", "send", {"to": "bob"})]], send, effects={"send": "once"})
    store = MemoryStore()
    async with runtime(store, ASK) as here, await here.guest("helper", name="g"):
        waiting = asyncio.create_task(run())
        while (await store.run("g")).status != "waiting":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await here.answer("g", "deny", note="not him")
        assert "not him" in await waiting
    assert sent == []


@langgraph
async def test_d57_ids_that_a_model_uses_again_are_other_calls():
    """INVARIANT D57 (the OpenAI Agents SDK itself takes them for one)"""
    turns: Turns = [[("1", "send", {"to": "bob"})]] * 2
    async with runtime() as here, await here.guest("helper"):
        assert await agent("langgraph", turns, send)() == "sent to bob | sent to bob"
    assert sent == ["bob", "bob"]


@both
async def test_d59_another_question_at_the_same_place_is_no_replay(framework: str):
    """INVARIANT D59: a run that asks something else than it did stops, and repeats nothing."""
    turns: Turns = [[("1", "send", {"to": "bob"})], [("2", "send", {"to": "eve"})]]
    store = MemoryStore()
    async with runtime(store) as here:
        async with await here.guest("helper", name="g") as guest:
            await agent(framework, turns, send)("it is 10:00")
            await guest.leave()
        with pytest.raises(holdfast.Diverged):
            async with await here.guest("helper", name="g"):
                await agent(framework, turns, send)("it is 11:00")
    assert sent == ["bob", "eve"]


@both
async def test_outside_of_a_guest_nothing_is_different(framework: str):
    assert await agent(framework, [[("1", "send", {"to": "bob"})]], send)() == "sent to bob"


@both
async def test_d58_an_agent_inside_a_tool_is_governed_or_refused(framework: str):
    """INVARIANT D58"""
    inner = agent(framework, [[("1", "send", {"to": "bob"})]], send)

    async def research(text: str) -> str:
        """Ask another agent."""
        return await inner(text)

    turns: Turns = [[("1", "research", {"text": "x"})]]
    store = MemoryStore()
    async with runtime(store) as here:
        with pytest.raises(Exception, match="it runs an agent"):
            async with await here.guest("helper", name="g"):
                await agent(framework, turns, research)()
        assert sent == []
        async with await here.guest("helper", name="h"):
            found = await agent(framework, turns, research, effects={"research": "agent"})()
            assert found == "sent to bob"
    tools = [one for one in store.chains["h"] if b'"kind":"model"' not in one.body]
    assert sum(b'"send"' in one.body for one in tools) == 1


# ---- LangChain and LangGraph -------------------------------------------------------------------


@langgraph
async def test_a_graph_of_ones_own_blocking_code_and_a_checkpointer():
    """`ToolNode` and a wrapped model; `invoke` in a thread; going on from a saved state."""
    from langchain_core.tools import tool
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode

    from holdfast.adapters.langchain import Governed, recorded
    from holdfast.adapters.langgraph import Checkpointer

    asked: list[int] = []
    turns: Turns = [[("1", "look", {"path": "a"})], [("2", "send", {"to": "bob"})]]

    @tool("look")
    @effect("read")
    def look_now(path: str) -> str:
        """Look at a file."""
        return f"content of {path}"

    @tool("send")
    def send_now(to: str) -> str:
        """Send a letter."""
        sent.append(to)
        return f"sent to {to}"

    tools = [look_now, send_now]
    governed = Governed(patience=0)
    model = recorded(model_of(turns, asked).bind_tools(tools), patience=0)
    graph = StateGraph(MessagesState)

    def ask(state: MessagesState) -> Any:
        return {"messages": model.invoke(state["messages"])}

    graph.add_node("model", ask)
    graph.add_node(
        "tools",
        ToolNode(
            tools, wrap_tool_call=governed.wrap_tool_call, awrap_tool_call=governed.awrap_tool_call
        ),
    )
    graph.add_edge(START, "model")
    graph.add_conditional_edges(
        "model", lambda now: "tools" if now["messages"][-1].tool_calls else END
    )
    graph.add_edge("tools", "model")
    store = MemoryStore()
    config: Any = {"configurable": {"thread_id": "t"}}
    begin: Any = {"messages": [("user", "begin")]}
    async with runtime(store, ASK) as here:
        built = graph.compile(checkpointer=Checkpointer(store))
        with pytest.raises(holdfast.Suspended):
            async with await here.guest("helper", name="g"):
                await asyncio.to_thread(built.invoke, begin, config, durability="sync")
        assert asked == [0, 1]
        await here.answer("g", "approve")
        async with await here.guest("helper", name="g"):
            found = await asyncio.to_thread(built.invoke, None, config)
        assert found["messages"][-1].text == "content of a | sent to bob"
    assert (asked, sent) == ([0, 1, 2], ["bob"])


@langgraph
async def test_blocking_code_outside_of_a_guest_goes_its_way():
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    from holdfast.adapters.langchain import Governed

    @tool
    def send(to: str) -> str:
        """Send a letter."""
        return f"sent to {to}"

    model = model_of([[("1", "send", {"to": "bob"})]], [])
    graph = create_agent(model, [send], middleware=[Governed()])
    begin: Any = {"messages": [("user", "x")]}
    assert graph.invoke(begin)["messages"][-1].text == "sent to bob"
    stream: Any = graph.stream(begin, stream_mode="messages")
    assert len([one for one, _ in stream if type(one).__name__ == "AIMessageChunk"]) > 3


@langgraph
async def test_blocking_the_guests_own_loop_is_refused():
    from langchain.agents import create_agent

    from holdfast.adapters.langchain import Governed

    graph = create_agent(model_of([], []), [], middleware=[Governed()])
    begin: Any = {"messages": [("user", "x")]}
    async with runtime() as here:
        with pytest.raises(holdfast.Misuse, match="to_thread"):
            async with await here.guest("helper"):
                graph.invoke(begin)


@langgraph
async def test_a_stream_comes_piece_by_piece_and_again_from_the_journal():
    from langchain_core.messages import AIMessage

    from holdfast.adapters.chatmodel import pieces, recorded

    asked: list[int] = []
    model = recorded(model_of([], asked))
    from langchain_core.messages import ToolMessage

    question = [ToolMessage("one two three" * 30, tool_call_id="1")]
    store, texts = MemoryStore(), []
    async with runtime(store) as here:
        for _ in range(2):
            async with await here.guest("helper", name="g") as guest:
                came = [one.text async for one in model.astream(question)]
                assert len(came) > 3
                texts.append("".join(came))
                await guest.leave()
    assert texts[0] == texts[1]
    assert len(asked) == 1
    calls: Any = [{"name": "t", "args": {"x": [1, None]}, "id": "1"}]
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    for text in ("", "x" * 99):
        whole = AIMessage(text, tool_calls=calls, usage_metadata=usage)
        first, *rest = pieces(whole)
        for one in rest:
            first += one
        again: Any = first.message
        assert (again.text, again.tool_calls) == (text, whole.tool_calls)
        assert again.usage_metadata == usage


# ---- OpenAI Agents SDK -------------------------------------------------------------------------


@openai
async def test_hand_offs_agents_as_tools_and_streams_are_governed():
    from agents import Agent, ModelProvider, RunConfig, Runner, function_tool

    from holdfast.adapters.openai_agents import Provider, govern

    asked: list[int] = []
    writer = Agent(
        name="writer", tools=[function_tool(send)],
        model=_scripted([[("w", "send", {"to": "bob"})]], asked),
    )  # fmt: skip
    second = Agent(
        name="second", tools=[writer.as_tool("write", "Writes.")],
        model=_scripted([[], [("s", "write", {"input": "x"})]], asked),
    )  # fmt: skip
    first: Any = Agent(name="first", handoffs=[second], model="scripted")
    second.handoffs.append(first)  # in a circle

    class Models(ModelProvider):
        def get_model(self, model_name: Any) -> Any:
            assert model_name == "scripted"
            return _scripted([[("f", "transfer_to_second", {})]], asked)

    config = RunConfig(model_provider=Provider(Models()))
    kinds: list[list[str]] = []
    store = MemoryStore()
    async with runtime(store) as here:
        for _ in range(2):
            async with await here.guest("helper", name="g") as guest:
                found = Runner.run_streamed(govern(first), "begin", run_config=config)
                events = [one async for one in found.stream_events()]
                kinds.append([one.type for one in events])
                assert found.final_output.endswith("sent to bob")
                await guest.leave()
    assert sent == ["bob"]
    assert len(asked) == 5
    assert kinds[0] == kinds[1]
    names = [json.loads(one.body)["plan"]["name"] for one in store.chains["g"]
             if one.kind in ("step.planned", "step.settled") and b'"plan"' in one.body]  # fmt: skip
    assert names.count("send") == 1
    assert "write" not in names


@openai
async def test_d60_a_tool_that_no_hook_sees_does_not_run():
    """INVARIANT D60"""
    from agents import Agent, LocalShellTool, Runner

    from holdfast.adapters.openai_agents import govern

    one = Agent(
        name="one", model=_scripted([], []), tools=[LocalShellTool(executor=lambda _: "done")]
    )
    with pytest.raises(holdfast.Misuse, match="past every hook"):
        await Runner.run(govern(one), "x")


# ---- with the providers' own clients, over HTTP --------------------------------------------------

KEY: Any = "any"
SCRIPT: list[Any] = [
    {"calls": [{"name": "look", "arguments": {"path": "a"}},
               {"name": "send", "arguments": {"to": "bob"}}]},
    "all done, and all is well with what was sent to bob",
]  # fmt: skip


@langgraph
@pytest.mark.parametrize("streams", [False, True])
async def test_a_real_client_of_langchains_asks_once(streams: bool):
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    from holdfast.adapters.langchain import Governed

    store, said = MemoryStore(), []
    begin: Any = {"messages": [("user", "begin")]}
    async with StandIn(SCRIPT) as server, runtime(store) as here:
        for _ in range(2):
            model = ChatOpenAI(
                model="gpt-x", base_url=f"{server.url}/v1", api_key=KEY, stream_usage=True
            )
            graph = create_agent(model, [tool(look), tool(send)], middleware=[Governed()])
            async with await here.guest("helper", name="g") as guest:
                if streams:
                    stream: Any = graph.astream(begin, stream_mode="messages")
                    came = [one[0] async for one in stream]
                    texts = [one.text for one in came if type(one).__name__ == "AIMessageChunk"]
                    assert len([text for text in texts if text]) > 1
                    said.append("".join(texts))
                else:
                    said.append((await graph.ainvoke(begin))["messages"][-1].text)
                await guest.leave()
    assert said == [SCRIPT[1]] * 2
    assert (len(server.requests), sent) == (2, ["bob"])
    _tells_what_it_asked(store, "openai.gpt-x")


@openai
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("responses", [False, True])
async def test_a_real_client_of_openais_asks_once(streams: bool, responses: bool):
    from agents import (
        Agent,
        ModelSettings,
        OpenAIProvider,
        RunConfig,
        Runner,
        function_tool,
        set_tracing_disabled,
    )  # fmt: skip
    from openai import AsyncOpenAI

    from holdfast.adapters.openai_agents import Provider, govern

    set_tracing_disabled(disabled=True)
    store, said = MemoryStore(), []
    async with StandIn(SCRIPT) as server, runtime(store) as here:
        for _ in range(2):
            client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any")
            inner = OpenAIProvider(openai_client=client, use_responses=responses)
            config = RunConfig(model_provider=Provider(inner))
            told = ModelSettings(include_usage=True)
            one = govern(
                Agent(
                    name="one",
                    model="gpt-x",
                    model_settings=told,
                    tools=[function_tool(look), function_tool(send)],
                )
            )
            async with await here.guest("helper", name="g") as guest:
                if streams:
                    found: Any = Runner.run_streamed(one, "begin", run_config=config)
                    kinds = [each.type async for each in found.stream_events()]
                    assert kinds.count("raw_response_event") > 2
                else:
                    found = await Runner.run(one, "begin", run_config=config)
                said.append(found.final_output)
                await guest.leave()
            await client.close()
    assert said == [SCRIPT[1]] * 2
    assert (len(server.requests), sent) == (2, ["bob"])
    _tells_what_it_asked(store, "openai.gpt-x")


@openai
@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_that_is_cut_off_is_the_sdks_own_error(streams: bool):
    """Live and on replay, and it is settled: it is the provider's failure, nobody's misuse."""
    from agents import (
        Agent,
        ModelBehaviorError,
        OpenAIProvider,
        RunConfig,
        Runner,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    from holdfast.adapters.openai_agents import Provider, govern

    set_tracing_disabled(disabled=True)
    store, said = MemoryStore(), list[str]()
    async with StandIn([{"text": "half of", "finish": "length"}]) as server, runtime(store) as here:
        client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any")
        config = RunConfig(model_provider=Provider(OpenAIProvider(openai_client=client)))
        one = govern(Agent(name="one", model="gpt-x"))

        async def run() -> None:
            if not streams:
                await Runner.run(one, "begin", run_config=config)
                return
            async for _ in Runner.run_streamed(one, "begin", run_config=config).stream_events():
                pass

        for _ in range(2):
            async with await here.guest("helper", name="g") as guest:
                with pytest.raises(ModelBehaviorError) as raised:
                    await run()
                said.append(str(raised.value))
                await guest.leave()
        await client.close()
    assert said[0] == said[1]
    assert "incomplete" in said[0]
    assert len(server.requests) == 1
    settled = [json.loads(one.body) for one in store.chains["g"] if one.kind == "step.settled"]
    assert [one["error"]["type"] for one in settled] == ["ModelBehaviorError"]


def _tells_what_it_asked(store: MemoryStore, name: str) -> None:
    """Each call of the model is in the journal with its tokens, under the provider's name."""
    bodies = [json.loads(one.body) for one in store.chains["g"] if one.kind == "step.settled"]
    models = [body for body in bodies if body.get("plan", {}).get("kind") == "model"]
    assert [body["plan"]["name"] for body in models] == [name, name]
    assert all(body["usage"]["tokens"] > 0 for body in models)
