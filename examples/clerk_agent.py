"""An agent of pydantic-ai behind the gate: `python examples/clerk_agent.py`.

It looks up a price and wants to order. Ordering asks a person: the run is left open, and after
`holdfast approve` the same command goes on where it was, without asking the model again. With
MODEL=openai:gpt-5-mini (and a key) a real model decides; without, a script does.
"""

from __future__ import annotations

import asyncio
import os

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import holdfast
from holdfast.adapters.pydantic_ai import HoldfastDurability, as_tool


def price(thing: str) -> float:
    """The price of a thing, in EUR."""
    return 3.5 * len(thing)


@holdfast.tool(effect="once")
async def order(thing: str, amount: int) -> str:
    """Orders a thing."""
    print(f"    (ordered {amount} {thing})")
    return f"{amount} {thing} will arrive on Monday"


def script(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Stands in for a model."""
    del info
    print("    (the model is asked)")
    turn = sum(isinstance(one, ModelResponse) for one in messages)
    if turn == 0:
        return ModelResponse([ToolCallPart("price", {"thing": "tea"})])
    if turn == 1:
        return ModelResponse([ToolCallPart("order", {"thing": "tea", "amount": 2})])
    results = [getattr(part, "content", "") for part in messages[-1].parts]
    return ModelResponse([TextPart(f"Here you are: {results[0]}.")])


clerk = Agent(
    os.environ.get("MODEL") or FunctionModel(script, model_name="script"),
    name="clerk",
    instructions="You buy what you are asked for, if it costs less than 20 EUR.",
    tools=[price, as_tool(order)],
    capabilities=[HoldfastDurability(effects={"price": "read"}, patience=0)],
)


async def main() -> None:
    async with holdfast.Runtime() as runtime:
        try:
            async with await runtime.guest("clerk", name="tea-1") as guest:
                guest.result = (await clerk.run("Buy me two packets of tea.")).output
                print(guest.result)
        except holdfast.Suspended as waits:
            print(waits)
        except holdfast.Conflict:
            print("This one is done: `holdfast show tea-1`.")


if __name__ == "__main__":
    asyncio.run(main())
