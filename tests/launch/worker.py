"""A small agent as its users have them: it asks a model at the base URL of its environment, and
calls the tools that the model wants, ``ledger`` through MCP as `.mcp.json` says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any


def ask(messages: list[Any]) -> Any:
    body = {"model": "gpt-4o", "messages": messages}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'own')}",
         "content-type": "application/json", "traceparent": os.environ["TRACEPARENT"]},
    )  # fmt: skip
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)["choices"][0]["message"]


class Server:
    def __init__(self, entry: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [entry["command"], *entry["args"]], env={**os.environ, **entry.get("env", {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.last = 0
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {},
                                "clientInfo": {"name": "worker", "version": "1"}})  # fmt: skip

    def ask(self, method: str, params: Any) -> Any:
        self.last += 1
        said = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()
        while True:
            found = json.loads(self.process.stdout.readline())
            if found.get("id") == self.last:
                return found

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def main(prompt: str) -> None:
    Path("environment.json").write_text(json.dumps(dict(os.environ)), encoding="utf-8")
    servers = json.loads(Path(".mcp.json").read_text("utf-8"))["mcpServers"]
    ledger = Server(servers["ledger"]) if "ledger" in servers else None
    messages: list[Any] = [{"role": "user", "content": prompt}]
    while True:
        message = ask(messages)
        messages.append(message)
        if not message.get("tool_calls"):
            break
        for call in message["tool_calls"]:
            name, args = call["function"]["name"], json.loads(call["function"]["arguments"])
            if name == "write":
                Path(args["path"]).write_text(args["text"], encoding="utf-8")
                said = "written"
            else:
                assert ledger is not None
                answer = ledger.ask("tools/call", {"name": name, "arguments": args})
                said = json.dumps(answer.get("result") or answer.get("error"))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})
    if ledger is not None:
        ledger.close()
    Path("said.json").write_text(json.dumps(messages), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
