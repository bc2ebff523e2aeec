"""A server that says what none should: ``python hostile.py FILE``. ``pay`` is a line in FILE; what
is said beside its answer, or instead of it, is named by its argument ``how``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DEEP = "[" * 200_000 + "]" * 200_000


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say(**said: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **said}))


def pay(about: int, how: str) -> None:
    with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
        file.write("paid\n")
    match how:
        case "note":
            progress = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress",
                                   "params": {"progressToken": [], "progress": 1}})  # fmt: skip
            answer = json.dumps({"jsonrpc": "2.0", "id": about, "result": {"content": []}})
            write(f"{progress}\n{answer}")  # in one piece
        case "deep":
            write(f'{{"jsonrpc":"2.0","id":{about},"result":{{"a":{DEEP}}}}}')
        case "deep, id last":
            write(f'{{"result":{{"a":{DEEP}}},"jsonrpc":"2.0","id":{about}}}')
        case "deep, no id":
            write(f'{{"jsonrpc":"2.0","result":{{"a":{DEEP}}}}}')
        case "no object":
            say(id=about, result=[1])
        case "print":
            write("{ debug: true }")
            write("paid")
            write(f'{{"jsonrpc":"2.0","method":"notifications/message","params":{{"a":{DEEP}}}}}')
            say(id=about, result={"content": []})
        case _:
            say(id=about, result={"content": []})


for line in sys.stdin:
    message = json.loads(line)
    number, params = message.get("id"), message.get("params", {})
    match message["method"]:
        case "initialize":
            say(id=number, result={"protocolVersion": params["protocolVersion"], "_meta": "text",
                                   "capabilities": {"tools": {}}, "serverInfo": 7})  # fmt: skip
        case "tools/list":
            tool = {"name": "pay", "inputSchema": {"type": "object"}}
            say(id=number, result={"tools": [tool]})
        case "tools/call":
            pay(number, params.get("arguments", {}).get("how", ""))
        case _ if number is not None:
            say(id=number, error={"code": -32601, "message": "Method not found"})
        case _:
            pass
