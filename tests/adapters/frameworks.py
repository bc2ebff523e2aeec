"""The same agent in two frameworks, killed at every write: run by ``test_frameworks``.

``python frameworks.py FRAMEWORK FOLDER SIDE`` imports the framework once and forks a process for
each life of a run, so that each is killed as a machine would kill it. Prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import holdfast
from holdfast import Runtime, Settings
from holdfast.adapters.taking import effect
from holdfast.engine.answers import answer
from holdfast.gate import parse_policy
from holdfast.stores.sqlite import SqliteStore
from holdfast.values.ports import SystemClock

POLICY = """\
version: 1
name: both
otherwise: deny
rules:
  - {id: asking, when: {kind: model}, then: allow}
  - {id: looking, when: {tool: look}, then: allow}
  - {id: charging, when: {tool: charge}, if: args.amount <= 5, then: allow}
  - {id: sending, when: {tool: send}, then: escalate}
  - {id: wiping, when: {tool: wipe}, then: deny, reason: nothing is wiped here, way: leave it}
"""

TURNS: list[Any] = [
    [("c1", "look", {"path": "a"}), ("c2", "look", {"path": "b"})],
    [("c3", "charge", {"amount": 5})],
    [("c4", "wipe", {"path": "a"}), ("c5", "send", {"to": "bob"})],
]
"""What the model wants, turn by turn; then it says what it got."""

DIED, WAITS = 9, 3
here = [Path()]


def did(line: str) -> None:
    """An effect in the world: one line, one write."""
    file = os.open(here[0] / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def effects() -> list[str]:
    path = here[0] / "effects"
    return path.read_text().splitlines() if path.exists() else []


@effect("read")
async def look(path: str) -> str:
    """Look at a file."""
    await asyncio.sleep(0.002 if path == "a" else 0)  # the second ends first
    return f"content of {path}"


async def charge(amount: int) -> str:
    """Charge a card."""
    did(f"charged {amount}")
    return f"charged {amount}"


async def wipe(path: str) -> str:
    """Wipe a file."""
    did(f"wiped {path}")
    return "wiped"


async def send(to: str) -> str:
    """Send a letter."""
    did(f"sent to {to}")
    return f"sent to {to}"


TOOLS = (look, charge, wipe, send)


class Dying(SqliteStore):
    """A store whose process ends just before or just after its ``number``-th append."""

    def __init__(self, folder: Path, number: int, side: str) -> None:
        super().__init__(folder, synchronous="NORMAL")
        self.appends = 0
        self._number, self._side = number, side

    def append(self, batches: Any, blobs: Any) -> Any:
        self.appends += 1
        if self.appends == self._number:
            if self._side == "after":
                self.append_now(batches, blobs)
            os._exit(DIED)
        return super().append(batches, blobs)


# ---- the two frameworks ------------------------------------------------------------------------


def langgraph() -> Any:
    from langchain.agents import create_agent
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage, ToolMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_core.tools import tool

    from holdfast.adapters.chatmodel import turn_of
    from holdfast.adapters.langchain import Governed

    class Model(GenericFakeChatModel):
        """Answers by how far the conversation is, as a server would."""

        def bind_tools(self, tools: Any, **more: Any) -> Any:
            return self.bind(tools=[one.name for one in tools])

        def _generate(self, messages: Any, *args: Any, **more: Any) -> Any:
            turn = turn_of(messages)
            if turn < len(TURNS):
                calls = [dict(zip(("id", "name", "args"), one, strict=True)) for one in TURNS[turn]]
                said: Any = AIMessage("", tool_calls=calls)
            else:
                got = [one.text for one in messages if isinstance(one, ToolMessage)]
                said = AIMessage(" | ".join(got))
            return ChatResult(generations=[ChatGeneration(message=said)])

    tools = [tool(one) for one in TOOLS]
    graph = create_agent(
        Model(messages=iter(())), tools, middleware=[Governed({"charge": "once"}, patience=0)]
    )

    async def run() -> str:
        begin: Any = {"messages": [("user", "begin")]}
        found = await graph.ainvoke(begin)
        return str(found["messages"][-1].text)

    return run


def openai_agents() -> Any:
    from agents import Agent, Runner, function_tool, set_tracing_disabled
    from agents.testing import ModelStep, ScriptedModel
    from openai.types.responses import ResponseFunctionToolCall

    from holdfast.adapters.openai_agents import govern

    set_tracing_disabled(disabled=True)

    def respond(call: Any) -> Any:
        items = call.input if isinstance(call.input, list) else []
        got = [one["output"] for one in items if one.get("type") == "function_call_output"]
        calls = sum(one.get("type") == "function_call" for one in items)
        turn = {0: 0, 2: 1, 3: 2}.get(calls, 3)
        if turn < len(TURNS):
            return [
                ResponseFunctionToolCall(
                    type="function_call", call_id=name, name=tool, arguments=json.dumps(args)
                )
                for name, tool, args in TURNS[turn]
            ]
        return [_says(" | ".join(got))]

    def agent() -> Any:
        tools = [function_tool(one) for one in TOOLS]
        model = ScriptedModel([ModelStep.respond(respond) for _ in range(9)])
        front = Agent(name="front", tools=list(tools), model=model)
        return govern(front, patience=0)

    async def run() -> str:
        return str((await Runner.run(agent(), "begin")).final_output)

    return run


def _says(text: str) -> Any:
    from openai.types.responses import ResponseOutputMessage, ResponseOutputText

    part = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id="m", type="message", role="assistant", status="completed", content=[part]
    )


# ---- lives -------------------------------------------------------------------------------------


async def live(run: Any, number: int, side: str) -> int:
    """One process's life of the run: until it is done, waits for a person, or dies."""
    store = Dying(here[0] / ".holdfast", number, side)
    await answer_all(store)
    policy = parse_policy(POLICY, "policy.yaml")
    code = 0
    async with Runtime(Settings(user="ann"), store=store, policy=policy) as runtime:
        try:
            async with await runtime.guest("helper", name="case") as guest:
                guest.result = await run()
                (here[0] / "answer").write_text(guest.result)
        except holdfast.Suspended:
            code = WAITS
        except holdfast.Conflict:  # it died when all was done
            assert (await store.run("case")).ended
    (here[0] / "appends").write_text(str(store.appends))
    return code  # the store is not closed: the next life finds what a kill leaves


async def answer_all(store: SqliteStore) -> None:
    """A person answers what the run asks: yes; and of an effect, what really happened."""
    try:
        row = await store.run("case")
    except holdfast.NotFound:
        return
    for wait in row.waits:
        if wait.kind == "person" and not wait.ready:
            happened = "charged 5" if "c3" in wait.key.split(".") else "sent to bob"
            decision = "approve"
            if wait.about == "unknown" and happened in effects():
                decision = "answer"
            did_it = happened if decision == "answer" else None
            await answer(
                store, "case", wait.key, decision, by="ann", value=did_it,
                now_ms=SystemClock().now_ms(),
            )  # fmt: skip


def case(run: Any, folder: Path, number: int, side: str) -> dict[str, Any]:
    """A run that dies once, and goes on until it is done."""
    here[0] = folder
    shutil.copytree(folder.parent / "new", folder)
    codes: list[int] = []
    appends = 0
    while not codes or codes[-1] in (DIED, WAITS):
        (folder / "appends").write_text("0")
        child = os.fork()
        if not child:
            code = 70
            try:
                code = asyncio.run(live(run, 0 if DIED in codes else number - appends, side))
            except BaseException:  # noqa: BLE001 # shown, and told by the exit code
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        appends += int((folder / "appends").read_text())
        if len(codes) > 9:
            break
    text = (folder / "answer").read_text() if (folder / "answer").exists() else ""
    return {"number": number, "side": side, "codes": codes, "answer": text,
            "effects": effects(), "appends": appends}  # fmt: skip


def main(framework: str, folder: Path, side: str) -> Sequence[dict[str, Any]]:
    run = {"langgraph": langgraph, "openai_agents": openai_agents}[framework]()
    return sweep(run, folder, side)


def sweep(run: Any, folder: Path, side: str) -> Sequence[dict[str, Any]]:
    """The run as a whole, then killed at each write."""
    new = SqliteStore(folder / "new" / ".holdfast", synchronous="NORMAL")
    asyncio.run(new.close())  # copied for every case
    parse_policy(POLICY, "policy.yaml")  # what it takes is loaded once, not in every life
    whole = case(run, folder / "whole", 0, "")
    numbers = range(1, whole["appends"] + 1)
    return [whole, *(case(run, folder / str(number), number, side) for number in numbers)]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
