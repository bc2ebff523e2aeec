"""The program that `test_pydantic_ai` kills: a pydantic-ai agent in a guest, or in an agent's run.

It loads everything once and forks: each line of standard input is a JSON object for a child,
``{"place", "where", "fault", "number"}``; the child is killed at that append, before or after it is
written. What a child that lives to the end returns is printed, else how it died.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import holdfast
from holdfast import Runtime, Settings
from holdfast.adapters.pydantic_ai import HoldfastDurability, as_tool
from holdfast.engine.history import History
from holdfast.testing.lives import ALLOW_ALL
from holdfast.values.canon import decode
from holdfast.values.errors import Conflict

PLACE = [Path()]


def did(line: str) -> None:
    """One line, one write: whole or not at all."""
    file = os.open(PLACE[0] / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode() + b"\n")
    os.close(file)


def paid(amount: int) -> Any:
    path = PLACE[0] / "effects"
    text = path.read_text("utf-8") if path.exists() else ""
    return f"paid {amount}" if f"pay {amount}\n" in text else holdfast.NOT_DONE


@holdfast.tool(effect="once", reconcile=paid)
async def pay(amount: int) -> str:
    """Pays."""
    did(f"pay {amount}")
    return f"paid {amount}"


@holdfast.tool(effect="idempotent")
async def note(text: str) -> str:
    """Notes."""
    did(f"note {text} {holdfast.idempotency_key()}")
    return "noted"


def look_up(word: str) -> str:
    """Looks up."""
    if word == "nothing":
        raise ModelRetry("say a word")
    return f"{word} is dear"


def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    del info
    turn = sum(isinstance(one, ModelResponse) for one in messages)
    did(f"model {turn}")
    if turn == 0:
        calls = [ToolCallPart("look_up", {"word": word}) for word in ("tea", "nothing")]
        return ModelResponse([*calls, ToolCallPart("note", {"text": "a"})])
    if turn == 1:
        return ModelResponse([ToolCallPart("pay", {"amount": 7})])
    said = [part for one in messages for part in one.parts if isinstance(part, ToolReturnPart)]
    return ModelResponse([TextPart("; ".join(str(part.content) for part in said))])


clerk = Agent(
    FunctionModel(answer, model_name="script"),
    name="clerk",
    tools=[look_up, as_tool(pay), as_tool(note)],
    capabilities=[HoldfastDurability(effects={"look_up": "read"})],
)


@holdfast.agent
async def inside(question: str) -> str:
    return (await clerk.run(question)).output


def deadly(store: Any, fault: str, number: int) -> None:
    """Kill this process at the n-th append."""
    append, count = store.append, 0

    def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count != number:
            return append(*args)
        if fault == "before":
            os.kill(os.getpid(), signal.SIGKILL)

        async def last() -> Any:
            await append(*args)
            os.kill(os.getpid(), signal.SIGKILL)

        return asyncio.ensure_future(last())

    store.append = counted


async def live(where: str, fault: str, number: int) -> str:
    settings = Settings(store=str(PLACE[0] / "store"), synchronous="NORMAL", linger=0.005)
    async with Runtime(settings, policy=ALLOW_ALL) as runtime:
        deadly(runtime.store, fault, number)
        runtime.programs.add(inside)
        if where == "guest":
            try:
                async with await runtime.guest("clerk", name="r") as guest:
                    guest.result = (await clerk.run("What is tea?")).output
            except Conflict:  # it has ended
                history = History()
                history.extend(await runtime.store.read("r"))
                return str(decode(history.ended_value or b""))
            return str(guest.result)
        try:
            run = await runtime.launch(inside, ("What is tea?",), name="r")
        except Conflict:
            run = await runtime.resume("r")
        return str(await run.result())


async def warm_up(place: Path) -> None:
    """Load before forking what is loaded late, and build what is built once."""
    PLACE[0] = place
    async with (
        Runtime(store="memory", policy=ALLOW_ALL) as runtime,
        await runtime.guest("clerk"),
    ):
        await clerk.run("What is tea?")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(warm_up(Path(place)))
    for line in sys.stdin:
        asked = json.loads(line)
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reads)
            PLACE[0] = Path(asked["place"])
            said = asyncio.run(live(asked["where"], asked["fault"], asked["number"]))
            os.write(writes, said.encode())
            os._exit(0)
        os.close(writes)
        with os.fdopen(reads, "rb") as pipe:
            said = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"said": said, "status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
