"""An agent of Google's ADK behind the gate: `python examples/adk_agent.py`.

It wants to book a trip. That asks a person: the run is left open, and after `holdfast approve` the
same command goes on where it was. With MODEL=gemini-3-flash (and GOOGLE_API_KEY) a real model
decides; without, a script does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.apps import App
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types

import holdfast
from holdfast.adapters.google_adk import Governed


def book(city: str) -> str:
    """Book a trip."""
    print(f"    (booked {city})")
    return f"booked {city}"


class Script(BaseLlm):
    """Stands in for a model: books once, then reports what it was told."""

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        parts = [part for one in llm_request.contents for part in one.parts or ()]
        told = [part.function_response.response for part in parts if part.function_response]
        call = types.FunctionCall(id="book-1", name="book", args={"city": "Bergen"})
        part = types.Part(function_call=call)
        if told:
            part = types.Part(text=f"Done: {' '.join(str(*(one or {}).values()) for one in told)}")
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


async def ask(text: str) -> str:
    model: Any = os.environ.get("MODEL") or Script(model="script")
    agent = LlmAgent(name="traveller", model=model, instruction="Book trips.", tools=[book])
    app = App(name="trips", root_agent=agent, plugins=[Governed(patience=0)])
    runner = InMemoryRunner(app=app)
    session = await runner.session_service.create_session(app_name="trips", user_id="ann")
    message = types.Content(role="user", parts=[types.Part(text=text)])
    said = ""
    async for event in runner.run_async(user_id="ann", session_id=session.id, new_message=message):
        for part in (event.content.parts if event.content else None) or ():
            said = part.text or said
    return said


async def main() -> None:
    async with holdfast.Runtime() as runtime:
        try:
            async with await runtime.guest("traveller", name="trip-1") as guest:
                guest.result = await ask("Take me to Bergen.")
                print(guest.result)
        except holdfast.Suspended as waits:
            print(waits)
        except holdfast.Conflict as over:
            print(over)


if __name__ == "__main__":
    asyncio.run(main())
