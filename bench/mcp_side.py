"""A server of the Model Context Protocol that does nothing, as fast as Python can: at the standard
streams, or with ``http`` on a free port, which it prints."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

OPEN = {"type": "object", "properties": {"to": {"type": "string"}}}
TOOLS = [
    {"name": "look", "inputSchema": OPEN, "annotations": {"readOnlyHint": True}},
    {"name": "pay", "inputSchema": OPEN},
]


def answer(message: dict[str, Any]) -> bytes | None:
    about = message.get("id")
    if about is None:
        return None
    match message["method"]:
        case "initialize":
            result: Any = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                           "serverInfo": {"name": "nothing", "version": "1"}}  # fmt: skip
        case "tools/list":
            result = {"tools": TOOLS}
        case "tools/call":
            result = {"content": [{"type": "text", "text": message["params"]["arguments"]["to"]}]}
        case other:
            error = {"code": -32601, "message": f"Method not found: {other}"}
            return json.dumps({"jsonrpc": "2.0", "id": about, "error": error}).encode()
    return json.dumps({"jsonrpc": "2.0", "id": about, "result": result}).encode()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The same over HTTP."""
    if scope["method"] != "POST":
        status, body = 405, b""
    else:
        said = answer(json.loads((await receive())["body"]))
        status, body = (202, b"") if said is None else (200, said)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    if "http" in sys.argv:
        import uvicorn

        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        door.bind(("127.0.0.1", 0))
        door.listen()
        print(f"listening: http://127.0.0.1:{door.getsockname()[1]}/mcp", flush=True)
        config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[door])
    else:
        for line in sys.stdin.buffer:
            said = answer(json.loads(line))
            if said is not None:
                sys.stdout.buffer.write(said + b"\n")
                sys.stdout.buffer.flush()
