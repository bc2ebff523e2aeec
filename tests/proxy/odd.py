"""A server of the legacy era that says odd things: ``python odd.py FILE [CAPABILITIES]``.

Each tool writes a line first. ``obey`` never answers, for it does not once it is cancelled, which
it writes down; ``text`` and ``list`` answer what is no object; ``notes`` says
that its lists changed, oddly, before it answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(sys.argv[1])
CAN = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {"tools": {"listChanged": True}}


def say(**said: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **said}) + "\n")
    sys.stdout.flush()


def write(text: str) -> None:
    with FILE.open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def call(about: Any, name: str) -> None:
    write(name)
    match name:
        case "obey":
            return
        case "text":
            say(id=about, result="it is done")
        case "list":
            say(id=about, result=["done"])
        case "notes":
            for meta in ("x", 7, [1]):
                say(method="notifications/tools/list_changed", params={"_meta": meta})
            say(id=about, result={"content": [{"type": "text", "text": "noted"}]})
        case _:
            say(id=about, result={"content": [{"type": "text", "text": name}]})


def take(message: dict[str, Any]) -> None:
    about, params = message.get("id"), message.get("params", {})
    match message.get("method"):
        case "initialize":
            say(id=about, result={"protocolVersion": params["protocolVersion"],
                                  "capabilities": CAN, "serverInfo": {"name": "odd"}})  # fmt: skip
        case "tools/list":
            names = ("obey", "text", "list", "notes", "look")
            say(id=about, result={"tools": [{"name": one, "inputSchema": {"type": "object"}}
                                            for one in names]})  # fmt: skip
        case "tools/call":
            call(about, params["name"])
        case "notifications/cancelled":
            write("cancelled")
        case _ if about is not None:
            say(id=about, error={"code": -32601, "message": "Method not found"})
        case _:
            pass


for line in sys.stdin:
    take(json.loads(line))
