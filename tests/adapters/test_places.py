"""Graphs that are left and gone on with: a call's key is the same, and no other call's."""

from __future__ import annotations

import asyncio
import operator
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import pytest

import holdfast
from holdfast import Runtime, Settings
from holdfast.gate import parse_policy
from holdfast.stores.memory import MemoryStore

pytest.importorskip("langchain", reason="the extra langgraph is not installed")
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Send

from holdfast.adapters.langchain import Governed, recorded
from holdfast.adapters.langgraph import Checkpointer

ASK = parse_policy(
    "version: 1\nname: ask\notherwise: allow\nrules:\n"
    "  - {id: asked, when: {tool: send}, then: escalate}\n", "ask.yaml",
)  # fmt: skip
paid: list[str] = []


class Did(TypedDict, total=False):
    did: Annotated[list[str], operator.add]


class State(Did, total=False):
    who: int


async def pay(to: str) -> str:
    """Pay."""
    paid.append(to)
    return "paid"


async def send(to: str) -> str:
    """Send a letter."""
    return "sent"


_tools = Governed(patience=0)
TOOLS = ToolNode(
    [pay, send], awrap_tool_call=_tools.awrap_tool_call, handle_tool_errors=False
)  # fmt: skip


async def call(tool: str, to: str = "bob") -> State:
    """A model of its own, in each node, which begins its ids again."""
    asked: Any = [{"name": tool, "args": {"to": to}, "id": "call_0"}]
    await TOOLS.ainvoke({"messages": [AIMessage("", tool_calls=asked)]})
    return {"did": [tool]}


async def pays(_: State) -> State:
    return await call("pay")


async def sends(_: State) -> State:
    return await call("send")


def line(*nodes: tuple[str, Any], schema: Any = State) -> Any:
    graph = StateGraph(State, output_schema=schema)
    for name, node in nodes:
        graph.add_node(name, node)
    for (one, _), (other, _) in pairwise(nodes):
        graph.add_edge(one, other)
    graph.add_edge(START, nodes[0][0])
    return graph


def two_nodes() -> Any:
    return line(("first", pays), ("between", sends), ("second", pays))


def one_node_twice() -> Any:
    graph = line(("pays", pays))
    graph.add_node("between", sends)
    graph.add_edge("between", "pays")
    graph.add_conditional_edges("pays", lambda state: END if state["did"][1:] else "between")
    return graph


def a_graph_twice() -> Any:
    """The graph inside begins its own steps again each time."""
    inner = line(("pays", pays)).compile()

    async def inside(state: State) -> State:
        await inner.ainvoke({})
        return {"did": ["pay"]}

    graph: Any = StateGraph(State).add_node("inside", inside)
    graph.add_node("between", sends)
    graph.add_edge(START, "inside").add_edge("between", "inside")
    graph.add_conditional_edges("inside", lambda state: END if state["did"][1:] else "between")
    return graph


def side_by_side() -> Any:
    """The same graph for each of two; one is done before the other asks."""
    done = asyncio.Event()
    if paid:  # this is gone on with
        done.set()

    async def perhaps(state: State) -> State:
        if state.get("who") == 1:
            await done.wait()
            await call("send")
        return {}

    async def then(state: State) -> State:
        found = await call("pay")
        done.set()
        return found

    graph = StateGraph(State)
    graph.add_node("one", line(("perhaps", perhaps), ("then", then), schema=Did).compile())
    graph.add_conditional_edges(START, lambda _: [Send("one", {"who": n}) for n in (0, 1)], ["one"])
    return graph


async def twice(make: Any, *, saved: bool) -> holdfast.Guest:
    """The graph, left where it waits for a person, and gone on with as another process would."""
    store = MemoryStore()
    settings = Settings(user="ann")
    saver = Checkpointer(store) if saved else None
    config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 12}
    async with Runtime(settings, store=store, policy=ASK) as runtime:
        with pytest.raises(holdfast.Suspended):
            async with await runtime.guest("g", name="g-1"):
                await make().compile(checkpointer=saver).ainvoke({"did": []}, config)
    async with Runtime(settings, store=store, policy=ASK) as runtime:
        await runtime.answer("g-1", "approve")
        async with await runtime.guest("g", name="g-1") as guest:
            graph = make().compile(checkpointer=saver)
            await graph.ainvoke(None if saved else {"did": []}, config)
    return guest


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("make", [two_nodes, one_node_twice, a_graph_twice, side_by_side])
async def test_a_call_is_not_answered_by_another_nodes_record(make: Any, saved: bool):
    """INVARIANT D57: nodes that call one tool alike are as many calls, whichever of them a
    checkpointer spares when the graph goes on; and none of them happens twice."""
    paid.clear()
    await asyncio.wait_for(twice(make, saved=saved), 30)
    assert paid == ["bob", "bob"]


class Answering(GenericFakeChatModel):
    """Answers with what it was asked; the first question of ``slow`` after all of the other."""

    before: Any = None
    asked: list[str] = []  # noqa: RUF012 # a field of pydantic's

    async def _agenerate(self, messages: Any, *args: Any, **more: Any) -> ChatResult:
        text = messages[-1].text
        self.asked.append(text)
        if text == "slow 1":
            await self.before.wait()
        if text == "fast 3":
            self.before.set()
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


@pytest.mark.parametrize("saved", [True, False])
async def test_branches_ask_one_model_in_any_order(saved: bool):
    """INVARIANT D57: which of two branches asks first is another matter live and on replay."""
    asked: list[str] = []

    def make() -> Any:
        inner = Answering(messages=iter(()), before=asyncio.Event())
        inner.asked = asked
        model = recorded(inner, patience=0)

        def asking(name: str, before: bool = False) -> Any:
            async def node(_: State) -> State:
                if before:
                    await call("send")
                for number in (1, 2, 3):
                    found = await model.ainvoke([HumanMessage(f"{name} {number}")])
                    assert found.text == f"{name} {number}"
                return {"did": [name]}

            return node

        graph = StateGraph(State)
        graph.add_node("slow", asking("slow")).add_node("fast", asking("fast"))
        graph.add_node("last", asking("last", before=True))
        graph.add_edge(START, "slow").add_edge(START, "fast").add_edge(["slow", "fast"], "last")
        return graph

    await asyncio.wait_for(twice(make, saved=saved), 30)
    assert sorted(asked) == [f"{name} {n}" for name in ("fast", "last", "slow") for n in (1, 2, 3)]
