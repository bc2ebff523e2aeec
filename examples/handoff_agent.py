"""Two agents of the OpenAI Agents SDK behind the gate: `python examples/handoff_agent.py`.

The front desk hands a complaint over to a clerk, who wants to refund money. That asks a person: the
run is left open, and after `holdfast approve` the same command goes on where it was. With
MODEL=gpt-5-mini (and OPENAI_API_KEY) a real model decides; without, a script does.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from agents import Agent, RunConfig, Runner, function_tool, set_tracing_disabled
from agents.testing import ModelStep, ScriptedModel
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

import holdfast
from holdfast.adapters.openai_agents import Provider, govern


@function_tool
def refund(order: str, amount: float) -> str:
    """Refund money to a customer."""
    print(f"    (refunded {amount:g} EUR)")
    return f"{amount:g} EUR for {order} are refunded"


def call(name: str, **args: Any) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        type="function_call", call_id=f"of-{name}", name=name, arguments=json.dumps(args)
    )


def scripted(calls: dict[str, ResponseFunctionToolCall]) -> ScriptedModel:
    """Stands in for a model: makes each call whose answer it has not seen, then reports."""

    def respond(asked: Any) -> Any:
        items = asked.input if isinstance(asked.input, list) else []
        seen = {one.get("call_id") for one in items}
        for one in calls.values():
            if one.call_id not in seen:
                return [one]
        text = ResponseOutputText(type="output_text", text="Done, and sorry.", annotations=[])
        return [ResponseOutputMessage(
            id="m", type="message", role="assistant", status="completed", content=[text]
        )]  # fmt: skip

    return ScriptedModel([ModelStep.respond(respond) for _ in range(9)])


def agents() -> Agent[Any]:
    named: Any = os.environ.get("MODEL")
    hand_over, give_back = call("transfer_to_clerk"), call("refund", order="B-3", amount=12.5)
    clerk = Agent(
        name="clerk", instructions="Refund what is just.", tools=[refund],
        model=named or scripted({"refund": give_back}),
    )  # fmt: skip
    return Agent(
        name="front desk", instructions="Hand complaints over.", handoffs=[clerk],
        model=named or scripted({"transfer": hand_over}),
    )  # fmt: skip


async def main() -> None:
    set_tracing_disabled(disabled=not os.environ.get("OPENAI_API_KEY"))
    async with holdfast.Runtime() as runtime:
        desk = govern(agents(), patience=0)
        config = RunConfig(model_provider=Provider(patience=0))
        text = "Order B-3 came broken: 12.50 EUR."
        try:
            async with await runtime.guest(
                "desk", name="complaint-B-3", given={"ask": text}
            ) as guest:
                said = await Runner.run(desk, text, run_config=config)
                guest.result = said.final_output
                print(guest.result)
        except holdfast.Suspended as waits:
            print(waits)
        except holdfast.Conflict as over:
            print(over)


if __name__ == "__main__":
    asyncio.run(main())
