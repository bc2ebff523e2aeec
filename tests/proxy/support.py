"""What the tests of the proxy share: a client that speaks lines to a real process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LEDGER = str(HERE / "ledger.py")
REFERENCE = str(HERE / "reference.py")
WAIT = 100.0  # machines may be very busy: nothing is waited for longer than it takes

ALLOW = "version: 1\nrules: [{id: all, when: {tool: '*'}, then: allow}]\n"
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {},
              "clientInfo": {"name": "test", "version": "1"}}  # fmt: skip


def environment(place: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env | {"HOLDFAST_USER": "ann", "HOLDFAST_STORE": str(place / "store")}


class Client:
    """A client with its proxy as a child process, as real ones have it."""

    def __init__(self, place: Path, *args: str, capabilities: dict[str, Any] | None = None,
                 env: dict[str, str] | None = None) -> None:  # fmt: skip
        self.log = (place / "stderr").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli", "mcp", *args], cwd=place,
            env={**environment(place), **(env or {})}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        self.log.close()
        self.lines: queue.Queue[Any] = queue.Queue()
        self.other: list[Any] = []
        self._last = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        said = {**INITIALIZE, "capabilities": capabilities or {}}
        self.greeted = self.ask("initialize", said)
        self.send(method="notifications/initialized")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def send(self, **said: Any) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", **said}).encode())

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def begin(self, method: str, params: Any = None) -> int:
        self._last += 1
        self.send(id=self._last, method=method, params=params or {})
        return self._last

    def next(self) -> Any:
        found = self.lines.get(timeout=WAIT)
        assert found is not None, "the proxy has ended"
        return found

    def answer(self, about: Any) -> Any:
        while True:
            found = self.next()
            if found.get("id") == about and "method" not in found:
                return found
            self.other.append(found)

    def ask(self, method: str, params: Any = None) -> Any:
        return self.answer(self.begin(method, params))

    def call(self, name: str, **args: Any) -> Any:
        return self.ask("tools/call", {"name": name, "arguments": args})

    def end(self) -> None:
        """Whatever happened: no process and no pipe stays."""
        self.process.kill()
        self.process.wait()
        self._reader.join(WAIT)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=WAIT)


def text_of(answer: Any) -> str:
    return answer["result"]["content"][0]["text"]


def until(holds: Any, what: str = "it") -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
