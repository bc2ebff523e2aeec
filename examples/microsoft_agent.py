"""An agent of Microsoft's Agent Framework behind the gate: `python examples/microsoft_agent.py`.

It wants to book a trip. That asks a person: the run is left open, and after `holdfast approve` the
same command goes on where it was. A script stands in for the model; put a chat client of the
framework's in its place.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    Content,
    FunctionInvocationLayer,
    Message,
    tool,
)

import holdfast
from holdfast.adapters.agent_framework import governed


@tool(approval_mode="never_require")
def book(city: str) -> str:
    """Book a trip."""
    print(f"    (booked {city})")
    return f"booked {city}"


class Script(FunctionInvocationLayer, ChatMiddlewareLayer, BaseChatClient):
    """Stands in for a model: books once, then reports what it was told."""

    OTEL_PROVIDER_NAME = "script"

    async def _inner_get_response(self, *, messages: Any, **_: Any) -> Any:
        parts = [part for one in messages for part in one.contents]
        told = [str(part.result) for part in parts if part.type == "function_result"]
        call = {"call_id": "book-1", "name": "book", "arguments": json.dumps({"city": "Bergen"})}
        said = Content.from_text(f"Done: {told[0]}") if told else Content.from_function_call(**call)
        return ChatResponse(messages=[Message("assistant", [said])])


async def ask(text: str) -> str:
    agent = Agent(Script(), "Book trips.", tools=[book], middleware=governed(patience=0))
    return (await agent.run(text)).text


async def main() -> None:
    async with holdfast.Runtime() as runtime:
        try:
            async with await runtime.guest("traveller", name="trip-3") as guest:
                guest.result = await ask("Take me to Bergen.")
                print(guest.result)
        except holdfast.Suspended as waits:
            print(waits)
        except holdfast.Conflict as over:
            print(over)


if __name__ == "__main__":
    asyncio.run(main())
