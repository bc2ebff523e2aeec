"""Why a client gets no answer, in the form of errors that its dialect has."""

from __future__ import annotations

import msgspec

from holdfast.models.dialects import Dialect
from holdfast.proxy.relay import Client
from holdfast.values.errors import (
    Conflict,
    Expired,
    HoldfastError,
    Misuse,
    NotFound,
    Outside,
    Refused,
    Suspended,
    TooLarge,
    ToolError,
)


class Refusal(Exception):
    """A request is not answered: the ``status`` and the text that its client gets."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
}


def refusal_of(error: HoldfastError | Suspended) -> Refusal:
    """What a client is told of an error of its step."""
    text = str(error)
    match error:
        case Refused() | Expired():
            return Refusal(403, text)
        case Suspended():
            return Refusal(409, f"{text}")
        case NotFound() | Conflict():
            return Refusal(409, text)
        case TooLarge():
            return Refusal(413, text)
        case ToolError() | Outside():
            return Refusal(502, text)
        case Misuse():
            return Refusal(400, text)
        case _:
            return Refusal(500, text)


async def tell(client: Client, dialect: Dialect, refusal: Refusal) -> None:
    """Answer with a refusal. Clients are told not to repeat it by themselves."""
    if client.begun:
        return  # what it has so far breaks off
    kind = _KINDS.get(refusal.status, "api_error")
    content = msgspec.json.encode(dialect.error(refusal.status, kind, str(refusal)))
    await client.whole(refusal.status, content, [(b"x-should-retry", b"false")])
