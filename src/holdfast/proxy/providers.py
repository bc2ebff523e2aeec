"""Where models are: providers, their keys, and which headers go to them and come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import msgspec

from holdfast.values.errors import Misuse
from holdfast.values.ids import NAME

Headers = list[tuple[bytes, bytes]]

_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
_OWN = frozenset(
    b"host content-length accept-encoding cookie forwarded via x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto x-real-ip expect x-holdfast-token x-http-method-override x-http-method "
    b"x-method-override".split()
)
KEYS = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key")
"""Headers in which clients and providers say a key."""
_NOT_SENT = _HOP | _OWN
_NO_KEYS = _NOT_SENT | frozenset(KEYS)
_BACK = _HOP | frozenset(
    b"set-cookie alt-svc strict-transport-security content-encoding server date".split()
)

KEY_STYLES: Mapping[str, tuple[str, str]] = {
    "bearer": ("authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
    "api-key": ("api-key", ""),
}


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider. ``name``: the first part of paths, and of models' names in the journal; ``url``:
    where requests go, as base; ``key``: the provider's own, "" for none; ``key_style``: the header
    that takes it; ``pass_keys``: without a key of its own, the client's is sent on; ``other``: what
    is neither a model call nor a list of models is sent on too, ungoverned; ``retries``: how often
    a busy or broken provider is asked again."""

    name: str
    url: str
    key: str = ""
    key_style: str = ""
    pass_keys: bool = False
    other: bool = False
    retries: int = 0

    def __repr__(self) -> str:  # no key may get into a log
        return f"<provider {self.name} at {urlsplit(self.url).hostname}>"

    @property
    def style(self) -> str:
        """The header style of the key: as given, or as the provider is known to want it."""
        if self.key_style:
            return self.key_style
        host = urlsplit(self.url).hostname or ""
        if self.name == "anthropic" or host.endswith("anthropic.com"):
            return "x-api-key"
        if self.name in ("gemini", "google") or host == "generativelanguage.googleapis.com":
            return "x-goog-api-key"
        return "api-key" if host.endswith(".azure.com") else "bearer"

    def request_headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
        """What is sent to the provider of a client's headers.

        INVARIANT D36: a client's keys and cookies go nowhere, unless the provider has none of ours
        and the settings say that the client's is passed on.
        """
        drop = _NOT_SENT if self._passes else _NO_KEYS
        found = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in given
            if name.lower() not in drop
        ]
        found.append(("accept-encoding", "identity"))  # what comes back is read on the side
        if self.key:
            name, prefix = KEY_STYLES[self.style]
            found.append((name, prefix + self.key))
        return found

    def target(self, path: str, query: bytes) -> str:
        """The URL of a request, byte for byte but for the base, and a client's key."""
        text = query.decode("latin-1")
        if text and not self._passes:
            kept = [one for one in text.split("&") if _parameter(one)[0].lower() != "key"]
            text = "&".join(kept)
        return f"{self.url}{path}" + (f"?{text}" if text else "")

    @property
    def _passes(self) -> bool:
        return self.pass_keys and not self.key

    def hide(self, content: bytes) -> bytes:
        """``content`` without the provider's key, should it say it; of the same length."""
        if not self.key or (key := self.key.encode()) not in content:
            return content
        return content.replace(key, b"*" * len(key))


def response_headers(raw: Iterable[tuple[bytes, bytes]], provider: Provider) -> Headers:
    """What a client gets of a provider's headers."""
    found: Headers = []
    for name, value in raw:
        low = name.lower()
        if low not in _BACK:
            found.append((low, provider.hide(value)))
    return found


def given_token(scope: Mapping[str, Any]) -> str:
    """The token of a request: its own header, or wherever clients put keys; "" for none."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.lower(), value)
    own = headers.get(b"x-holdfast-token")
    if own is not None:
        return own.decode("latin-1")
    for name in KEYS:
        if name in headers:
            text = headers[name].decode("latin-1").strip()
            return text[7:].strip() if text[:7].lower() == "bearer " else text
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
    return next((value for name, value in query if name == "key"), "")


def without_token(token: str, headers: Headers, query: bytes) -> tuple[Headers, bytes]:
    """Headers and query of a request but for those that say ``token``, however they are named.

    INVARIANT D48: the token of a request reaches no provider, whatever the settings pass on.
    """
    mark = token.encode("latin-1", "replace")
    kept = [(name, value) for name, value in headers if mark not in value]
    text = query.decode("latin-1")
    if text:
        text = "&".join(one for one in text.split("&") if token not in "=".join(_parameter(one)))
    return kept, text.encode("latin-1")


def _parameter(text: str) -> tuple[str, str]:
    """Name and value of a part of a query, as servers read them."""
    name, _, value = text.partition("=")
    return unquote_plus(name).strip(), unquote_plus(value)


def check(one: Provider) -> Provider:
    """``one``, if it can be used; `Misuse` says why not."""
    place = f"provider {one.name!r}"
    if not NAME.fullmatch(one.name) or "." in one.name:
        raise Misuse(f"{place}: use letters, digits, '_' and '-'")
    parts = urlsplit(one.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not one.url.isprintable():
        raise Misuse(f"{place}: its url must be an http or https address")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise Misuse(f"{place}: its url may hold no query, fragment, user or password")
    if one.key_style and one.key_style not in KEY_STYLES:
        raise Misuse(f"{place}: key_style {one.key_style!r} is none of {', '.join(KEY_STYLES)}")
    if one.key and not (one.key.isprintable() and one.key.isascii()):
        raise Misuse(f"{place}: its key has characters that cannot stand in a header")
    if not 0 <= one.retries <= 10:
        raise Misuse(f"{place}: retries must be 0 to 10")
    return msgspec.structs.replace(one, url=one.url.rstrip("/"))
