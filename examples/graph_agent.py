"""A LangChain agent whose calls go through the gate: `python examples/graph_agent.py`.

It looks up an invoice and wants to pay it. Paying asks a person: the run is left open, and after
`holdfast approve` the same command goes on where it was. Kill it where you like: nothing is paid
twice. With MODEL=openai:gpt-5-mini (or any other that `init_chat_model` knows) a real model
decides; without, a script does.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

import holdfast
from holdfast.adapters.langchain import Governed
from holdfast.adapters.langgraph import Checkpointer
from holdfast.adapters.taking import effect


@tool
@effect("read")  # may be repeated; of what says nothing, nothing is known: it asks, once
def look_up(invoice: str) -> str:
    """What an invoice is about."""
    return f"{invoice}: 40 EUR to the printers"


@tool
def pay(invoice: str, amount: float) -> str:
    """Pay an invoice."""
    print(f"    (paid {amount:g} EUR)")
    return f"{invoice} is paid"


class Scripted(GenericFakeChatModel):
    """Stands in for a model: looks, pays, reports."""

    def bind_tools(self, tools: Any, **more: Any) -> Any:
        return self.bind(tools=[one.name for one in tools])

    def _generate(self, messages: Any, *args: Any, **more: Any) -> Any:
        calls = [
            {"name": "look_up", "args": {"invoice": "A-7"}, "id": "1"},
            {"name": "pay", "args": {"invoice": "A-7", "amount": 40.0}, "id": "2"},
        ]
        turn = sum(isinstance(one, AIMessage) for one in messages)
        said = AIMessage("", tool_calls=calls[turn : turn + 1]) if turn < 2 else AIMessage("Done.")
        self.messages = iter([said])
        return super()._generate(messages, *args, **more)


def model() -> BaseChatModel:
    if named := os.environ.get("MODEL"):
        from langchain.chat_models import init_chat_model

        return init_chat_model(named)
    return Scripted(messages=iter(()))


async def main() -> None:
    async with holdfast.Runtime() as runtime:
        agent = create_agent(
            model(), [look_up, pay], middleware=[Governed(patience=0)],
            checkpointer=Checkpointer(runtime.store),
        )  # fmt: skip
        thread: Any = {"configurable": {"thread_id": "invoices"}}
        begun = (await agent.aget_state(thread)).values
        text = "Settle invoice A-7."
        asked: Any = None if begun else {"messages": [("user", text)]}
        try:
            async with await runtime.guest(
                "accountant", name="invoice-A-7", given={"ask": text}
            ) as guest:
                found = await agent.ainvoke(asked, thread, durability="sync")
                guest.result = found["messages"][-1].text
                print(guest.result)
        except holdfast.Suspended as waits:
            print(waits)
        except holdfast.Conflict as over:
            print(over)


if __name__ == "__main__":
    asyncio.run(main())
