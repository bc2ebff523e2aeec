"""pydantic-ai on Holdfast: each operation a step; crashes, refusals and approvals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anthropic import AsyncAnthropic
from fastmcp.client.transports import StdioTransport
from openai import AsyncOpenAI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent, FunctionToolset, RunContext, Tool
from pydantic_ai.capabilities import AbstractCapability, Instrumentation, durable_operation
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.toolsets import DynamicToolset

import holdfast
from holdfast import Misuse, Runtime, Settings, Suspended
from holdfast.adapters.pydantic_ai import HoldfastDurability, as_tool
from holdfast.engine.answers import answer
from holdfast.engine.history import History
from holdfast.gate import Policy, parse_policy
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.lives import ALLOW_ALL
from holdfast.testing.standin import StandIn
from holdfast.values.canon import unpack

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("clerk_program.py")
ASK_ONCE = parse_policy(
    """
version: 1
rules:
  - {id: rest, when: {effect: [read, world, idempotent]}, then: allow}
  - {id: ask, when: {effect: once}, then: escalate}
  - {id: never, when: {tool: forbidden}, then: deny, reason: not on Sundays}
""",
    "ASK_ONCE",
)

ASK_ALL = parse_policy(
    """
version: 1
rules:
  - {id: rest, when: {effect: [read, once]}, then: allow}
  - {id: never, when: {tool: forbidden}, then: deny, reason: not on Sundays}
""",
    "ASK_ALL",
)


def calls(*parts: ToolCallPart, last: str = "done") -> Callable[..., ModelResponse]:
    """A model that calls these tools, and then says what came back."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        del info
        if len(messages) == 1:
            return ModelResponse(list(parts))
        found = [
            f"{type(part).__name__}: {part.content}"
            for part in messages[-1].parts
            if isinstance(part, ToolReturnPart)
        ]
        return ModelResponse([TextPart("; ".join([*found, last]))])

    return answer


async def recorded(runtime: Runtime, run: str) -> dict[str, tuple[str, Any, Any]]:
    """By key: kind and effect, arguments, value of each step of a run."""
    history, get = History(), runtime.store.get
    history.extend(await runtime.store.read(run))
    return {
        key: (
            f"{one.plan.kind} {one.plan.effect}",
            one.args and unpack(one.args, get),
            one.value and unpack(one.value, get),
        )
        for key, one in history.steps.items()
        if one.plan is not None and one.plan.kind in ("tool", "model")
    }


async def life(
    settings: Settings, work: Callable[[Runtime], Awaitable[T]], *, stops: bool, policy: Any = None
) -> T:
    """What ``work`` returns in a guest of one process, which is then stopped, or ends the guest."""
    found: list[T] = []
    try:
        async with (
            Runtime(settings, policy=policy or ALLOW_ALL) as runtime,
            await runtime.guest("clerk", name="g"),
        ):
            found.append(await work(runtime))
            if stops:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    return found[0]


def memory(policy: Policy = ALLOW_ALL) -> Runtime:
    return Runtime(store="memory", policy=policy)


# ---- crashes ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("where", ["guest", "run"])
def test_a_process_that_is_killed_at_any_write_goes_on(where: str, tmp_path: Path):
    """Before and after each write; a real process, by SIGKILL."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], cwd=ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None

        def live(place: Path, fault: str = "", number: int = 0) -> Any:
            asked = {"place": str(place), "where": where, "fault": fault, "number": number}
            print(json.dumps(asked), file=program.stdin, flush=True)
            return json.loads(program.stdout.readline())  # type: ignore[union-attr]

        def effects(place: Path) -> list[str]:
            return (place / "effects").read_text("utf-8").splitlines()

        (tmp_path / "clean").mkdir()
        clean = live(tmp_path / "clean")
        assert clean == {"said": "tea is dear; say a word; noted; paid 7", "status": 0}
        whole = effects(tmp_path / "clean")
        crashes = 0
        for fault in ("before", "after"):
            # in an agent's run, which the engine's sweeps crash as well, every second write
            first = 1 if where == "guest" or fault == "before" else 2
            for number in range(first, 40, 1 if where == "guest" else 2):
                place = tmp_path / f"{fault}{number}"
                place.mkdir()
                died = live(place, fault, number)
                if died["status"] == 0:
                    break
                assert died["status"] == -signal.SIGKILL
                crashes += 1
                at = f"{fault} append {number}"
                assert live(place) == clean, at
                found = effects(place)
                assert found.count("pay 7") == 1, at
                assert {one for one in found if one[:4] == "note"} == {
                    one for one in whole if one[:4] == "note"
                }, at
                assert len([one for one in found if one[:5] == "model"]) <= 4, at
            else:
                raise AssertionError("it never came to an end")
        assert crashes >= (16 if where == "guest" else 8)
        program.stdin.close()


# ---- what is recorded ------------------------------------------------------------------------


async def test_the_names_of_steps_are_pinned():
    """D69: they are kept data: another name would strand the runs that are open."""

    def look_up(word: str) -> str:
        return word

    def table(ctx: Any) -> FunctionToolset[Any]:
        return FunctionToolset([fetch], id="inner")

    def fetch(n: int) -> int:
        return n

    agent = Agent(
        TestModel(), name="clerk", tools=[look_up], toolsets=[DynamicToolset(table, id="table")],
        capabilities=[HoldfastDurability(effects={"look_up": "read", "fetch": "idempotent"})],
    )  # fmt: skip
    async with memory() as runtime:
        async with await runtime.guest("clerk", name="g"):
            await agent.run("hi")
            await agent.run("again")
        found = await recorded(runtime, "g")
    assert {key: kind for key, (kind, _, _) in found.items()} == {
        "1.clerk__dynamic_toolset__table.get_tools.1": "tool read",
        "1.clerk__dynamic_toolset__table.get_tools.2": "tool read",
        "1.fetch.1": "tool idempotent",
        "1.look_up.1": "tool read",
        "1.test.test.1": "model read",
        "1.test.test.2": "model read",
        "2.clerk__dynamic_toolset__table.get_tools.1": "tool read",
        "2.clerk__dynamic_toolset__table.get_tools.2": "tool read",
        "2.fetch.1": "tool idempotent",
        "2.look_up.1": "tool read",
        "2.test.test.1": "model read",
        "2.test.test.2": "model read",
    }
    assert found["1.look_up.1"][1] == {"word": "a"}


async def test_outside_of_a_run_the_capability_does_nothing():
    agent = Agent(TestModel(), name="clerk", capabilities=[HoldfastDurability()])
    assert (await agent.run("hi")).output == "success (no tool calls)"


PROVIDERS = ["openai.chat", "openai.responses", "anthropic.messages"]


@contextlib.asynccontextmanager
async def provided(dialect: str, url: str, **options: Any) -> AsyncGenerator[Any]:
    if dialect == "anthropic.messages":
        async with AsyncAnthropic(api_key=KEY, base_url=url, **options) as client:
            yield AnthropicModel("m-1", provider=AnthropicProvider(anthropic_client=client))
        return
    kind = OpenAIChatModel if dialect == "openai.chat" else OpenAIResponsesModel
    async with AsyncOpenAI(api_key=KEY, base_url=url + "/v1", **options) as client:
        yield kind("m-1", provider=OpenAIProvider(openai_client=client))


KEY = "sk-holdfast-very-secret-0123456789"


@pytest.mark.parametrize("container", ["guest", "run"])
@pytest.mark.parametrize("dialect", PROVIDERS)
async def test_real_providers_are_asked_once_and_their_keys_are_not_recorded(
    dialect: str, container: str, tmp_path: Path
):
    called: list[str] = []

    def look_up(word: str) -> str:
        called.append(word)
        return f"{word} is dear"

    script: list[Any] = [
        {"calls": [{"name": "look_up", "arguments": {"word": "tea"}}], "usage": {"input": 9}},
        "It is dear.",
    ]
    async with StandIn(script, key=KEY) as server, provided(dialect, server.url) as model:
        agent = Agent(
            model, name="clerk", tools=[look_up],
            capabilities=[HoldfastDurability(effects={"look_up": "read"})],
        )  # fmt: skip

        @holdfast.agent
        async def inside() -> str:
            return (await agent.run("What is tea?")).output

        async def work(runtime: Runtime) -> Any:
            assert (await agent.run("What is tea?")).output == "It is dear."
            return await recorded(runtime, "g"), repr(await runtime.store.read("g"))

        settings = Settings(store=str(tmp_path))
        if container == "guest":
            await life(settings, work, stops=True)
            found, text = await life(settings, work, stops=False)
        else:
            async with Runtime(settings, policy=ALLOW_ALL) as runtime:
                assert await (await runtime.launch(inside, name="g")).result() == "It is dear."
                found, text = await recorded(runtime, "g"), repr(await runtime.store.read("g"))
        assert len([one for one in server.requests if one.method == "POST"]) == 2
    assert called == ["tea"]
    assert KEY not in text + repr(found)
    first = next(one for kind, *one in found.values() if kind == "model read")
    assert first[0]["model"] == "m-1"
    assert first[0]["provider"] in ("openai", "anthropic")
    assert "What is tea?" in json.dumps(first[0]["request"]["messages"])
    assert (first[1]["status"], first[1]["usage"]["input"]) == (200, 9)


async def test_a_busy_provider_is_asked_again_by_the_step():
    script = [{"error": 503}, {"error": 503}, "ok", {"error": 400, "message": f"no {KEY}"}]
    async with (
        StandIn(script, key=KEY) as server,
        provided("openai.chat", server.url, max_retries=0) as model,
    ):
        agent = Agent(model, name="clerk", capabilities=[HoldfastDurability(retries=2)])
        async with memory() as runtime, await runtime.guest("clerk", name="g"):
            assert (await agent.run("hi")).output == "ok"
            with pytest.raises(ModelAPIError, match="status 400") as error:
                await agent.run("hi")
            assert KEY not in str(error.value) + repr(await runtime.store.read("g"))


# ---- the gate --------------------------------------------------------------------------------


def forbidden() -> str:
    raise AssertionError("it was performed")


async def test_the_model_reads_a_refusal_and_reacts():
    """D70"""
    agent = Agent(
        FunctionModel(calls(ToolCallPart("forbidden"), ToolCallPart("forbidden"), last="sorry")),
        name="clerk", tools=[forbidden], retries=0,
        capabilities=[HoldfastDurability(effects={"forbidden": "read"})],
    )  # fmt: skip
    async with memory(ASK_ONCE) as runtime, await runtime.guest("clerk", name="g"):
        output = (await agent.run("go")).output
    assert output.count("Refused, and not performed: ") == 2
    assert "not on Sundays" in output
    assert output.endswith("sorry")


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_an_approval_suspends_and_the_same_guest_goes_on(decision: str, tmp_path: Path):
    sent: list[str] = []
    asked: list[int] = []

    def send(to: str) -> str:  # nobody says its effect: once
        sent.append(to)
        return f"sent to {to}"

    plain = calls(ToolCallPart("send", {"to": "Ada"}))

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(len(messages))
        return plain(messages, info)

    agent = Agent(
        FunctionModel(answer), name="clerk", tools=[send],
        capabilities=[HoldfastDurability(patience=0)],
    )  # fmt: skip
    settings = Settings(store=str(tmp_path))

    async def work(_: Runtime) -> str:
        return (await agent.run("go")).output

    with pytest.raises(Suspended, match=r"holdfast approve g@1\.send\.1"):
        await life(settings, work, stops=False, policy=ASK_ONCE)
    assert sent == []
    async with Runtime(settings, policy=ASK_ONCE) as runtime:
        await runtime.answer("g", decision)
    output = await life(settings, work, stops=False, policy=ASK_ONCE)
    assert sent == (["Ada"] if decision == "approve" else [])
    assert ("sent to Ada" if decision == "approve" else "Refused") in output
    assert asked == [1, 3]


async def test_in_an_agents_run_it_waits_for_a_person():
    sent: list[str] = []

    @holdfast.tool(effect="once")
    async def send(to: str) -> str:
        sent.append(to)
        return f"sent to {to}"

    agent = Agent(
        FunctionModel(calls(ToolCallPart("send", {"to": "Ada"}))), name="clerk",
        tools=[as_tool(send)], capabilities=[HoldfastDurability()],
    )  # fmt: skip

    @holdfast.agent
    async def inside() -> str:
        return (await agent.run("go")).output

    async with memory(ASK_ONCE) as runtime:
        run = await runtime.start(inside)
        while await run.status() != "waiting":  # noqa: ASYNC110 - a row in a store
            await asyncio.sleep(0.01)
        assert sent == []
        await runtime.answer(run.id, "approve")
        assert "sent to Ada" in await run.result()
    assert sent == ["Ada"]


async def test_a_tool_says_its_effect_in_its_metadata_or_is_once():
    toolset = FunctionToolset[Any](id="t")
    toolset.add_function(lambda: 1, name="one", metadata={"holdfast": {"effect": "read"}})
    toolset.add_function(lambda: 2, name="two", metadata={"holdfast": False})
    toolset.add_function(lambda: 3, name="three")
    agent = Agent(
        TestModel(), name="clerk", toolsets=[toolset], capabilities=[HoldfastDurability()]
    )
    async with memory() as runtime, await runtime.guest("clerk", name="g"):
        await agent.run("go")
        found = await recorded(runtime, "g")
    kinds = {key: kind for key, (kind, _, _) in found.items() if kind[:4] == "tool"}
    assert kinds == {"1.one.1": "tool read", "1.three.1": "tool once"}
    with pytest.raises(Misuse, match="effect 'perhaps'"):
        HoldfastDurability(effects={"x": "perhaps"})


async def test_parallel_calls_keep_their_places_whatever_finishes_first(tmp_path: Path):
    delays = [0.03, 0.0]

    async def wait(n: int) -> str:
        await asyncio.sleep(delays[n])
        return f"waited {n}"

    parts = [ToolCallPart("wait", {"n": n}) for n in (0, 1)]
    agent = Agent(
        FunctionModel(calls(*parts)), name="clerk", tools=[wait],
        capabilities=[HoldfastDurability(effects={"wait": "read"})],
    )  # fmt: skip
    settings = Settings(store=str(tmp_path))

    async def work(runtime: Runtime) -> Any:
        return (await agent.run("go")).output, await recorded(runtime, "g")

    first = await life(settings, work, stops=True)
    delays.reverse()
    again, found = await life(settings, work, stops=False)
    assert first == (again, found)
    assert [found[f"1.wait.{n}"][1] for n in (1, 2)] == [{"n": 0}, {"n": 1}]


async def test_what_a_person_changes_is_what_happens():
    sent: list[tuple[str, int]] = []

    def send(to: str, amount: int) -> str:
        sent.append((to, amount))
        return f"{amount} to {to}"

    agent = Agent(
        FunctionModel(calls(ToolCallPart("send", {"to": "Ada", "amount": 100}))), name="clerk",
        tools=[send], capabilities=[HoldfastDurability()],
    )  # fmt: skip
    async with memory(ASK_ONCE) as runtime, await runtime.guest("clerk", name="g"):
        asked = asyncio.ensure_future(agent.run("go"))
        while not (await runtime.store.run("g")).waits:  # noqa: ASYNC110 - a row in a store
            await asyncio.sleep(0.01)
        changed = {"to": "Ada", "amount": "10"}  # checked as a model's arguments are
        await runtime.answer("g", "edit", changed, step="1.send.1")
        assert "10 to Ada" in (await asked).output
    assert sent == [("Ada", 10)]


@pytest.mark.parametrize("marked", [True, False])
async def test_an_agent_inside_of_a_tool_takes_steps_or_is_refused(marked: bool):
    """D71"""
    inner = Agent(TestModel(), name="inner", tools=[forbidden], capabilities=[HoldfastDurability()])

    async def delegate() -> str:
        return str((await inner.run("go")).output)

    if marked:
        delegate.holdfast_effect = "agent"  # type: ignore[attr-defined]
    outer = Agent(TestModel(), name="outer", tools=[delegate], capabilities=[HoldfastDurability()])
    async with memory(ASK_ALL) as runtime, await runtime.guest("clerk", name="g"):
        if not marked:
            with pytest.raises(holdfast.ToolError, match="run inside of a tool"):
                await outer.run("go")
            return
        assert "not on Sundays" in (await outer.run("go")).output
        found = await recorded(runtime, "g")
    assert list(found) == [
        "1.test.test.1", "1-1.test.test.1", "1-1.forbidden.1", "1-1.test.test.2", "1.test.test.2",
    ]  # fmt: skip


async def test_events_validators_and_operations_of_capabilities_are_steps(tmp_path: Path):
    told: list[str] = []
    noted: list[str] = []

    async def handle(_: Any, events: Any) -> None:
        told.extend([one.event_kind async for one in events])

    @dataclass
    class Notes(AbstractCapability[Any]):
        id: str | None = "notes"

        async def before_model_request(self, ctx: Any, request_context: Any) -> Any:
            await self.keep(ctx, f"turn {len(request_context.messages)}")
            return request_context

        @durable_operation("keep")
        async def keep(self, ctx: RunContext[Any], text: str) -> int:
            noted.append(text)
            return len(text)

    def look_up(word: str) -> str:
        return word

    async def check(ctx: RunContext[Any], word: str) -> None:
        assert word == "a"

    agent = Agent(
        TestModel(), name="clerk", tools=[Tool(look_up, args_validator=check)],
        capabilities=[
            Notes(),
            HoldfastDurability(
                effects={"look_up": "read", "notes.keep": "idempotent"}, event_stream_handler=handle
            ),
        ],
    )  # fmt: skip

    async def work(runtime: Runtime) -> Any:
        await agent.run("go")
        return {key: kind for key, (kind, _, _) in (await recorded(runtime, "g")).items()}

    settings = Settings(store=str(tmp_path))
    found = await life(settings, work, stops=True)
    seen = list(told), list(noted)
    assert await life(settings, work, stops=False) == found
    assert (told, noted) == seen
    assert noted == ["turn 1", "turn 3"]
    assert found["1.clerk__capability__notes.keep.1"] == "tool idempotent"
    assert found["1.clerk__function_toolset___agent_.validate_args-d8ca4230.1"] == "tool read"
    assert found["1.test.test.1"] == "model read"


# ---- MCP -------------------------------------------------------------------------------------

SHOP = """
from mcp.server.mcpserver import MCPServer

server = MCPServer("shop")


@server.tool()
def price(thing: str) -> str:
    "The price of a thing."
    return f"{thing}: 3"


server.run()
"""


async def test_calls_of_mcp_servers_are_steps_and_need_a_guest(tmp_path: Path):
    (tmp_path / "shop.py").write_text(SHOP, "utf-8")
    transport = StdioTransport(sys.executable, [str(tmp_path / "shop.py")])
    agent = Agent(
        TestModel(), name="clerk", toolsets=[MCPToolset(transport, id="shop")],
        capabilities=[HoldfastDurability(effects={"price": "read"})],
    )  # fmt: skip

    @holdfast.agent
    async def inside() -> str:
        return (await agent.run("go")).output

    async with memory() as runtime:
        async with await runtime.guest("clerk", name="g"):
            assert (await agent.run("go")).output == '{"price":"a: 3"}'
        found = await recorded(runtime, "g")
        assert {key: kind for key, (kind, _, _) in found.items() if kind[:4] == "tool"} == {
            "1.clerk__mcp_server__shop.get_tools.1": "tool read",
            "1.shop.price.1": "tool read",
        }
        run = await runtime.start(inside)
        with pytest.raises(holdfast.RunFailed, match="run this agent in a guest"):
            await run.result()


async def test_agents_side_by_side_keep_their_places(tmp_path: Path):
    """D72: whichever is faster."""
    delays = {"a": 0.05, "b": 0.0}

    async def wait(who: str) -> str:
        await asyncio.sleep(delays[who])
        return f"waited for {who}"

    def asks(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        who = str(getattr(messages[0].parts[0], "content", ""))
        return calls(ToolCallPart("wait", {"who": who}))(messages, info)

    agent = Agent(
        FunctionModel(asks, model_name="m"), name="clerk", tools=[wait],
        capabilities=[HoldfastDurability(effects={"wait": "read"})],
    )  # fmt: skip

    async def work(_: Runtime) -> list[str]:
        both = await asyncio.gather(agent.run("a"), agent.run("b"))
        return [one.output for one in both]

    settings = Settings(store=str(tmp_path))
    first = await life(settings, work, stops=True)
    delays.update(a=0.0, b=0.05)
    assert await life(settings, work, stops=False) == first


# ---- traces ----------------------------------------------------------------------------------


async def test_what_is_answered_from_the_journal_leaves_no_spans(tmp_path: Path):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def look_up(word: str) -> str:
        return word

    agent = Agent(
        TestModel(), name="clerk", tools=[look_up],
        capabilities=[
            Instrumentation(InstrumentationSettings(tracer_provider=provider)),
            HoldfastDurability(effects={"look_up": "read"}),
        ],
    )  # fmt: skip

    async def work(_: Runtime) -> Any:
        return await agent.run("go")

    settings, seen = Settings(store=str(tmp_path)), list[list[str]]()
    for stops in (True, False):
        await life(settings, work, stops=stops)
        seen.append(sorted(one.name for one in exporter.get_finished_spans()))
        exporter.clear()
    assert [one.partition(" ")[0] for one in seen[0]].count("chat") == 2
    assert any("look_up" in one for one in seen[0])
    assert not [one for one in seen[1] if "chat" in one or "look_up" in one]


# ---- the example -----------------------------------------------------------------------------


def test_the_example_asks_a_person_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def shown() -> str:
        runpy.run_path(str(ROOT / "examples" / "clerk_agent.py"), run_name="__main__")
        return capsys.readouterr().out

    async def approve() -> None:
        store = SqliteStore(tmp_path / ".holdfast", create=False)
        await answer(store, "tea-1", "", "approve", by="ann", now_ms=0)
        await store.close()

    monkeypatch.chdir(tmp_path)
    first = shown()
    assert first.count("(the model is asked)") == 2
    assert "holdfast approve tea-1@1.order.1" in first
    assert "(ordered" not in first
    asyncio.run(approve())
    assert shown().splitlines() == [
        "    (ordered 2 tea)",
        "    (the model is asked)",
        "Here you are: 2 tea will arrive on Monday.",
    ]
    assert "This one is done" in shown()
