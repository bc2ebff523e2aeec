"""Calls that a server goes on with after it has answered: its handle, and how they end.

The client has the handle and asks after it; what it hears is heard here too. If it does not ask,
the server is asked now and then, for the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from holdfast.proxy import frames
from holdfast.proxy.upstream import Upstream, Who
from holdfast.values import limits

_OVER = ("completed", "failed", "cancelled")


class _Long:
    def __init__(self, name: str, server: str, *, modern: bool) -> None:
        self.name = name
        self.server = server
        self.modern = modern
        self.done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()

    def ended(self, found: Mapping[str, Any]) -> None:
        """What the server says of it, if that is its end."""
        status = found.get("status")
        if self.done.done() or status not in _OVER:
            return
        if status == "completed" and not self.modern:
            self.over.set()  # its result is asked for apart
        elif status == "completed":
            result = found.get("result")
            self.done.set_result(result if isinstance(result, dict) else {})
        elif status == "failed" and isinstance(found.get("error"), dict):
            self.done.set_exception(frames.error_of(frames.plain(found["error"])))
        else:
            text = str(found.get("statusMessage") or f"it was {status}")
            self.done.set_exception(frames.RpcError(frames.INTERNAL_ERROR, text))


def handle_of(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The handle in a result, if the call goes on: of both eras."""
    if result.get("resultType") == "task" and isinstance(result.get("taskId"), str):
        return result
    found = result.get("task")
    if isinstance(found, dict) and isinstance(found.get("taskId"), str):
        return found
    return None


class LongCalls:
    """The long calls of one front, by handle."""

    def __init__(self) -> None:
        self._open: dict[str, _Long] = {}
        self._servers: dict[str, str] = {}

    def server_of(self, params: Mapping[str, Any]) -> str:
        """The server that gave a handle, "" if none did here."""
        return self._servers.get(str(params.get("taskId")), "")

    def heard(self, method: str, params: Mapping[str, Any], raw: bytes) -> None:
        """An answer or notification about a handle went by."""
        one = self._open.get(str(params.get("taskId")))
        if one is None:
            return
        found = frames.fields(raw)
        if method == "tasks/result" and not one.done.done():
            one.done.set_result(found)
        elif method in ("tasks/get", "notifications/tasks", "notifications/tasks/status"):
            one.ended(found)

    async def outcome(
        self, upstream: Upstream, who: Who, handle: Mapping[str, Any]
    ) -> dict[str, Any]:
        """INVARIANT D14: a long call is one step, which ends when the call does: its result, or
        `RpcError`. `ConnectionError` if the server does not know it any more."""
        name = str(handle["taskId"])
        one = _Long(name, upstream.server.name, modern=upstream.modern)
        self._open[name] = one
        self._servers[name] = one.server
        while len(self._servers) > limits.TOOLS_ITEMS:
            del self._servers[next(iter(self._servers))]
        pause = handle.get("pollIntervalMs", handle.get("pollInterval"))
        pause = pause if isinstance(pause, int | float) and pause > 0 else 0
        one.ended(handle)
        try:
            while not one.done.done():
                # a client that asks as often as it may be is faster than this
                await self._ask(upstream, who, one)
                if not one.done.done():
                    wait = max(2 * pause, limits.POLL_MIN_MS) / 1000
                    await asyncio.wait([one.done], timeout=wait)
            return one.done.result()
        finally:
            del self._open[name]
            if not one.done.cancel() and not one.done.cancelled():
                one.done.exception()

    async def _ask(self, upstream: Upstream, who: Who, one: _Long) -> None:
        params = upstream.dressed({"taskId": one.name}, {}, who)
        try:
            if not one.over.is_set():
                one.ended(frames.fields(await upstream.request("tasks/get", params)))
            if one.over.is_set() and not one.done.done():
                raw = await upstream.request("tasks/result", params)
                if not one.done.done():
                    one.done.set_result(frames.fields(raw))
        except frames.RpcError as error:
            text = f"server {one.server} does not say how the call ended: {error.text}"
            raise ConnectionResetError(text) from None
        except frames.Broken:
            text = f"server {one.server} does not say how the call ended: that cannot be read"
            raise ConnectionResetError(text) from None
