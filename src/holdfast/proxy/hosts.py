"""By which names a door may be called: a page in a browser whose name was made to lead here is no
client of it, whatever it knows (DNS rebinding)."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_TEXT = b"403: this host name is not served here: use 127.0.0.1, or the address of --listen\n"


def serves(address: str, hosts: Collection[str]) -> bool:
    """Whether an address (``//HOST:PORT``, or with a scheme) is one of this machine itself, or of
    ``hosts``; where all addresses are listened at, any that is a number."""
    host = None
    with contextlib.suppress(ValueError):
        host = urlsplit(address).hostname
    if host is None:
        return False
    return host in _LOCAL or host in hosts or (_is_number(host) and any(map(_is_any, hosts)))


def host_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The host that a request names, as `serves` takes it; said twice, or never, it is none."""
    found = [value.decode("latin-1").strip() for name, value in headers if name.lower() == b"host"]
    return f"//{found[0]}" if len(found) == 1 else ""


def only_for(app: Any, hosts: Collection[str]) -> Any:
    """``app``, an ASGI application, for requests that name this machine or one of ``hosts``."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        # INVARIANT D190: a request under another host name gets nothing but 403 from any door
        if scope["type"] != "http" or serves(host_of(scope["headers"]), hosts):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403,
                    "headers": [(b"content-type", b"text/plain"),
                                (b"content-length", str(len(_TEXT)).encode())]})  # fmt: skip
        await send({"type": "http.response.body", "body": _TEXT})

    return guarded


def _is_number(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def _is_any(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False
