"""A Strands agent behind the gate: `python examples/strands_agent.py`.

It wants to book a trip. That asks a person: the run is left open, and after `holdfast approve` the
same command goes on where it was. With MODEL=... a model of Amazon Bedrock decides; without, a
script does.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from strands import Agent, tool
from strands.models import Model

import holdfast
from holdfast.adapters.strands import govern


@tool
def book(city: str) -> str:
    """Book a trip."""
    print(f"    (booked {city})")
    return f"booked {city}"


class Script(Model):
    """Stands in for a model: books once, then reports what it was told."""

    def update_config(self, **model_config: Any) -> None:
        """It has none."""

    def get_config(self) -> Any:
        """Its name."""
        return {"model_id": "script"}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        """It gives none."""
        raise NotImplementedError

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """One call, or one text."""
        parts = [part for one in messages for part in one["content"] if "toolResult" in part]
        told = [part["toolResult"]["content"][0]["text"] for part in parts]
        start: Any = {} if told else {"toolUse": {"toolUseId": "book-1", "name": "book"}}
        city = json.dumps({"city": "Bergen"})
        delta: Any = {"text": f"Done: {told[0]}"} if told else {"toolUse": {"input": city}}
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": start}}
        yield {"contentBlockDelta": {"delta": delta}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if told else "tool_use"}}


async def ask(text: str) -> str:
    model: Any = os.environ.get("MODEL") or Script()
    agent = Agent(model=model, tools=[book], callback_handler=None)
    return str(await govern(agent, patience=0).invoke_async(text)).strip()


async def main() -> None:
    async with holdfast.Runtime() as runtime:
        try:
            async with await runtime.guest("traveller", name="trip-2") as guest:
                guest.result = await ask("Take me to Bergen.")
                print(guest.result)
        except holdfast.Suspended as waits:
            print(waits)
        except holdfast.Conflict as over:
            print(over)


if __name__ == "__main__":
    asyncio.run(main())
