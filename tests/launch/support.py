"""What the tests of the launcher share: a project, an agent in it, and a launch of it here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from holdfast.engine.history import History
from holdfast.gate import default_policy, parse_policy
from holdfast.launch.launching import Launch, Launched, Streams, Wanted
from holdfast.launch.leashed import Signals
from holdfast.launch.summary import Summary, read_summary
from holdfast.runtime import Runtime, Settings
from holdfast.testing.standin import StandIn
from holdfast.tools.view import View
from holdfast.values.canon import unpack

HERE = Path(__file__).parent
WORKER = str(HERE / "worker.py")
LEDGER = str(HERE.parent / "proxy" / "ledger.py")
KEY = "sk-real-0123456789abcdef"
CONFIG = '{"mcpServers": {"ledger": {"command": %s, "args": [%s, %s]}}}  '
"""As a person wrote it: with blanks at the end that no encoder would write."""

PAYS = [
    {"calls": [{"name": "pay", "arguments": {"to": "bob"}}], "usage": {"input": 100, "output": 9}},
    {"calls": [{"name": "write", "arguments": {"path": "made.txt", "text": "a\nb\n"}}]},
    "Done.",
]


class Project:
    """A directory with a file and an MCP server, and where that server writes."""

    def __init__(self, place: Path) -> None:
        self.path = place / "project"
        self.path.mkdir()
        self.ledger = place / "ledger.txt"
        self.copies = place / "copies"
        (self.path / "notes.txt").write_text("one\n", encoding="utf-8")
        parts = tuple(map(json.dumps, (sys.executable, LEDGER, str(self.ledger))))
        (self.path / ".mcp.json").write_text(CONFIG % parts, encoding="utf-8")
        self.before = self.look()

    def look(self) -> dict[str, bytes]:
        return {
            str(one.relative_to(self.path)): one.read_bytes()
            for one in sorted(self.path.rglob("*"))
            if one.is_file()
        }

    @property
    def paid(self) -> list[str]:
        return self.ledger.read_text("utf-8").splitlines() if self.ledger.exists() else []


class Ended:
    """A launch that is over, and what its journal has."""

    def __init__(self, runtime: Runtime, launched: Launched, said: list[str]) -> None:
        self.runtime, self.launched, self.said = runtime, launched, said

    async def summary(self) -> Summary:
        row = await self.runtime.store.run(self.launched.run)
        return await read_summary(self.runtime.store, row)

    async def view(self) -> View:
        return await self.runtime.world(self.launched.run)

    async def text(self, path: str) -> str:
        return (await self.view()).text(path)

    async def conversation(self) -> list[Any]:
        return json.loads(await self.text("said.json"))

    async def environment(self) -> dict[str, str]:
        return json.loads(await self.text("environment.json"))

    async def history(self) -> History:
        found = History()
        found.extend(await self.runtime.store.read(self.launched.run))
        return found

    async def journal(self) -> str:
        """All that its events say, with every part of every payload."""
        found: list[str] = []
        for event in await self.runtime.store.read(self.launched.run):
            found.append(event.body.decode())
            found += [
                repr(unpack(one, self.runtime.store.get))
                for one in (event.args, event.value)
                if one is not None
            ]
        return "\n".join(found)


async def launch(
    runtime: Runtime, project: Project, *words: str, env: dict[str, str] | None = None, **more: Any
) -> Ended:
    """Launch a command of a project; its output goes nowhere."""
    said: list[str] = []
    more.setdefault("patience", 0.0)
    place, copies = str(project.path), str(project.copies)
    wanted = Wanted(words=words, directory=place, copies=copies, **more)
    streams = Streams(terminal=False, out=subprocess.DEVNULL, piece=lambda _, piece: None)
    given = {**os.environ, "HOME": str(project.copies.parent / "home"), **(env or {})}
    (project.copies.parent / "home").mkdir(exist_ok=True)
    one = Launch(runtime, wanted, given, Signals(terminal=False), streams, said.append)

    async def begun(run: str, fresh: bool) -> None:
        assert fresh == (not more.get("name"))
        said.append(f"run {run}")

    return Ended(runtime, await one.carry_out(begun), said)


def opened(policy: str = "") -> Runtime:
    found = parse_policy(policy, "test") if policy else default_policy()
    return Runtime(Settings(user="ann"), store="memory", policy=found)


def keyed(server: StandIn) -> dict[str, str]:
    """The environment of a person who has a key and a base URL."""
    return {"OPENAI_BASE_URL": server.url + "/v1", "OPENAI_API_KEY": KEY}


def plain(value: Any) -> Any:
    return msgspec.to_builtins(value)
