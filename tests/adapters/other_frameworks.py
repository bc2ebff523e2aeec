"""The agent of ``frameworks.py`` in frameworks that need an environment of their own: run by
``test_other_frameworks``, as ``python other_frameworks.py FRAMEWORK FOLDER SIDE``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

Turns = Sequence[Sequence[tuple[str, str, dict[str, Any]]]]


# ---- Google ADK --------------------------------------------------------------------------------


def google_adk(turns: Turns, tools: Any, asked: list[int], **more: Any) -> Any:
    from google.adk.agents import LlmAgent
    from google.adk.apps import App
    from google.adk.models import BaseLlm, LlmResponse
    from google.adk.runners import InMemoryRunner
    from google.genai import types

    from holdfast.adapters.google_adk import Governed

    class Scripted(BaseLlm):
        async def generate_content_async(self, llm_request: Any, stream: bool = False) -> Any:
            turn = sum(one.role == "model" for one in llm_request.contents)
            asked.append(turn)
            parts = [part for one in llm_request.contents for part in one.parts]
            got = [part.function_response.response for part in parts if part.function_response]
            said = [types.Part(text=" | ".join(str(*one.values()) for one in got))]
            if turn < len(turns):
                said = [
                    types.Part(
                        function_call=types.FunctionCall(
                            id=key if ids else None, name=name, args=args
                        )
                    )
                    for key, name, args in turns[turn]
                ]
            content = types.Content(role="model", parts=said)
            yield LlmResponse(
                content=content,
                usage_metadata=types.GenerateContentResponseUsageMetadata(
                    prompt_token_count=3, candidates_token_count=2
                ),
            )

    ids = more.pop("ids", True)
    callbacks = {name: more.pop(name) for name in ("before_tool_callback",) if name in more}

    async def run(text: str = "begin") -> str:
        agent = LlmAgent(
            name="helper", model=Scripted(model="scripted"), tools=list(tools), **callbacks
        )
        app = App(name="app", root_agent=agent, plugins=[Governed(**more)])
        runner = InMemoryRunner(app=app)
        session = await runner.session_service.create_session(app_name="app", user_id="ann")
        message = types.Content(role="user", parts=[types.Part(text=text)])
        last = ""
        async for event in runner.run_async(
            user_id="ann", session_id=session.id, new_message=message
        ):
            if event.content and event.content.parts and event.content.parts[0].text:
                last = event.content.parts[0].text
        return last

    return run


# ---- Strands -----------------------------------------------------------------------------------


def strands(turns: Turns, tools: Any, asked: list[int], **more: Any) -> Any:
    from strands import Agent, tool
    from strands.models import Model

    from holdfast.adapters.strands import govern

    class Scripted(Model):
        def update_config(self, **model_config: Any) -> None: ...

        def get_config(self) -> Any:
            return {"model_id": "scripted"}

        def structured_output(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

        async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            turn = sum(one["role"] == "assistant" for one in messages)
            asked.append(turn)
            yield {"messageStart": {"role": "assistant"}}
            if turn < len(turns):
                for key, name, args_of in turns[turn]:
                    start = {"toolUse": {"toolUseId": key, "name": name}}
                    yield {"contentBlockStart": {"start": start}}
                    delta = {"toolUse": {"input": json.dumps(args_of)}}
                    yield {"contentBlockDelta": {"delta": delta}}
                    yield {"contentBlockStop": {}}
            else:
                parts = [part for one in messages for part in one["content"]]
                got = [part["toolResult"] for part in parts if "toolResult" in part]
                text = " | ".join(one["content"][0]["text"] for one in got)
                yield {"contentBlockStart": {"start": {}}}
                yield {"contentBlockDelta": {"delta": {"text": text}}}
                yield {"contentBlockStop": {}}
            reason = "tool_use" if turn < len(turns) else "end_turn"
            yield {"messageStop": {"stopReason": reason}}
            usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
            yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}

    async def run(text: str = "begin") -> str:
        agent = Agent(model=Scripted(), tools=[tool(one) for one in tools], callback_handler=None)
        return str(await govern(agent, **more).invoke_async(text)).strip()

    return run


# ---- Microsoft Agent Framework -----------------------------------------------------------------


def agent_framework(turns: Turns, tools: Any, asked: list[int], **more: Any) -> Any:
    from agent_framework import (
        Agent,
        BaseChatClient,
        ChatMiddlewareLayer,
        ChatResponse,
        ChatResponseUpdate,
        Content,
        FunctionInvocationLayer,
        Message,
        ResponseStream,
        tool,
    )

    from holdfast.adapters.agent_framework import governed

    class Scripted(FunctionInvocationLayer, ChatMiddlewareLayer, BaseChatClient):
        OTEL_PROVIDER_NAME = "scripted"

        def _inner_get_response(self, *, messages: Any, stream: bool, **kwargs: Any) -> Any:
            if not stream:
                return self._answer(messages)

            async def updates() -> AsyncIterator[Any]:
                for one in (await self._answer(messages)).messages:
                    yield ChatResponseUpdate(contents=one.contents, role="assistant")

            return ResponseStream(updates(), finalizer=ChatResponse.from_updates)

        async def _answer(self, messages: Any) -> Any:
            turn = sum(one.role == "assistant" for one in messages)
            asked.append(turn)
            parts = [part for one in messages for part in one.contents]
            got = [str(part.result) for part in parts if part.type == "function_result"]
            said = [Content.from_text(" | ".join(got))]
            if turn < len(turns):
                said = [
                    Content.from_function_call(call_id=key, name=name, arguments=json.dumps(given))
                    for key, name, given in turns[turn]
                ]
            usage = {"input_token_count": 3, "output_token_count": 2}
            return ChatResponse(messages=[Message("assistant", said)], usage_details=usage)

    streams = more.pop("streams", False)

    async def run(text: str = "begin") -> str:
        made = [tool(one, approval_mode="never_require") for one in tools]
        agent = Agent(Scripted(), tools=made, middleware=governed(**more))
        if streams:
            stream = agent.run(text, stream=True)
            return "".join([one.text async for one in stream])
        return (await agent.run(text)).text

    return run


MAKERS: dict[str, Callable[..., Any]] = {
    "google_adk": google_adk, "strands": strands, "agent_framework": agent_framework,
}  # fmt: skip


if __name__ == "__main__":
    import frameworks

    run_it = MAKERS[sys.argv[1]](frameworks.TURNS, frameworks.TOOLS, [], patience=0)
    folder = Path(sys.argv[2])
    (folder / "first").mkdir()
    frameworks.here[0] = folder / "first"
    asyncio.run(run_it())  # what frameworks import late is imported once, not in every life
    print(json.dumps(frameworks.sweep(run_it, folder, sys.argv[3])))
