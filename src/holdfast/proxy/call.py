"""One call through the proxy, which may outlive the request that began it.

A client asks; the server may ask back, and the answer comes with another request; the stream may
break, and the client asks again. All of these are one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from holdfast.proxy import eras, frames
from holdfast.proxy.exchange import Exchange
from holdfast.proxy.upstream import Sent, Upstream
from holdfast.values import limits


class Call:
    """A call. ``exchange``: the request that waits for it now, None while nobody does; ``key``:
    what an identical call has too; ``sent``: where it is being carried out; ``begun``: whether it
    has begun to be; ``limit``: how long it may still take; ``raw``, ``error``: what the server
    said, in its own era (``native``: the modern one); ``cancelled``: its client gave it up;
    ``first``: answers and state that came with the request that began it; ``handed``: the client
    has a handle for what goes on; ``over``: its outcome is being told."""

    def __init__(self, exchange: Exchange, key: Any, mark: str) -> None:
        self.exchange: Exchange | None = exchange
        self.key = key
        self.mark = mark
        self.method = exchange.method
        self.who = exchange.who
        self.meta = exchange.meta
        self.sent: tuple[Upstream, Sent] | None = None
        self.begun = False
        self.raw: bytes | None = None
        self.native = False
        self.error: frames.RpcError | None = None
        self.handed = False
        self.over = False
        self.cancelled = False
        self.limit: asyncio.Timeout | None = None
        self.first: dict[str, Any] = {}
        self.task: asyncio.Task[None] | None = None
        self._asks: tuple[dict[str, Any], str, asyncio.Future[dict[str, Any]]] | None = None

    @property
    def attended(self) -> bool:
        """Whether somebody waits for it now, or did until it was over."""
        one = self.exchange
        return self.over or (one is not None and not one.gone and not one.away)

    def note(self, frame: bytes) -> None:
        """Something about it for the client."""
        if self.exchange is not None:
            self.exchange.send(frame)

    def cancel(self) -> None:
        """Its client gives it up: if it has begun, its outcome counts only if it comes soon."""
        self.cancelled = True
        if self.task is not None and not self.begun:
            self.task.cancel()  # nothing is performed while nobody waits
        elif self.limit is not None and not self.limit.expired():
            now = asyncio.get_running_loop().time()
            self.limit.reschedule(now + limits.CANCEL_SECONDS)

    async def attach(self, exchange: Exchange, brought: Mapping[str, Any]) -> None:
        """Another request waits for it now, and ``brought`` answers to what was asked, or not.
        `Broken` if it also brings a state that was not given to it."""
        state = brought.get("requestState")
        if state is not None and (self._asks is None or state != self._asks[1]):
            raise frames.Broken(frames.INVALID_PARAMS, "requestState is not the one given")
        responses = brought.get("inputResponses")
        before, self.exchange, self.cancelled = self.exchange, exchange, False
        self.who, self.meta = exchange.who, exchange.meta
        if before is not None and before is not exchange and before.away and not before.gone:
            # its client waits for nothing there any more: else it would keep its place for ever
            await before.fail(frames.INTERNAL_ERROR, "another request goes on with this call")
        if self._asks is None:
            return
        requests, given, future = self._asks
        if responses is not None and requests.keys() <= responses.keys() and not future.done():
            future.set_result({key: responses[key] for key in requests})
        else:
            await self._interim(requests, given)

    async def ask(self, requests: dict[str, Any], state: str = "") -> dict[str, Any]:
        """Ask the client, in its era: `InputRequests`, and the `InputResponses`. ``state``: what a
        server wants back. `RpcError` if the client refuses, cannot, or never answers."""
        exchange = self.exchange
        for one in requests.values():
            method = one.get("method") if isinstance(one, dict) else None
            if not isinstance(method, str) or not eras.can(self.who.capabilities, method):
                raise frames.RpcError(
                    frames.METHOD_NOT_FOUND, f"the client cannot be asked {method}"
                )
        if exchange is not None and not exchange.modern:
            return await self._ask_directly(exchange, requests)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asks = (requests, state, future)
        try:
            if exchange is not None and not exchange.gone:
                await self._interim(requests, state)
            return await asyncio.wait_for(future, limits.INPUT_SECONDS)
        except TimeoutError:
            text = "the client never came back with what it was asked"
            raise frames.RpcError(frames.INTERNAL_ERROR, text) from None
        finally:
            self._asks = None

    async def hand_over(self, raw: bytes) -> None:
        """The server goes on by itself, and has given a handle: that is the answer, for now."""
        exchange, self.exchange = self.exchange, None
        self.handed = exchange is not None and await exchange.result(raw)
        if self.handed:
            self.key = None  # an identical call is another one

    async def _ask_directly(self, exchange: Exchange, requests: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, one in requests.items():
            answer = await exchange.peer.ask(one["method"], one.get("params") or {}, exchange)
            found[key] = frames.fields(answer)
        return found

    async def _interim(self, requests: dict[str, Any], state: str) -> None:
        """INVARIANT D9: what is asked about a call, and the request that brings the answer, are the
        same call: it goes on, and nothing is begun anew."""
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        said: dict[str, Any] = {"resultType": "input_required"}
        if requests:
            said["inputRequests"] = requests
        said["requestState"] = f"{self.mark}:{state}"
        await exchange.result(frames.plain(said))


def came_with(params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a request brings to a call that was asked something: its mark ("" = none) and, for the
    server, answers and state. They are no part of what the call is."""
    brought: dict[str, Any] = {}
    mark = ""
    responses = params.pop("inputResponses", None)
    if isinstance(responses, dict):
        brought["inputResponses"] = responses
    state = params.pop("requestState", None)
    if isinstance(state, str):
        mark, _, rest = state.partition(":")
        if rest:
            brought["requestState"] = rest
    return mark, brought
