"""JSON-RPC messages as bytes: reading one, and writing those that are ours."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from holdfast.values import limits

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND = -32700, -32600, -32601
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022

Id = int | str | None


class Broken(Exception):
    """Something that is not a message: what the peer is told, as JSON-RPC says it."""

    def __init__(self, code: int, text: str, about: Id = None) -> None:
        super().__init__(text)
        self.code = code
        self.about = about


class RpcError(Exception):
    """A peer answered with an error. ``key``: the step that ended so, if it was one."""

    key = ""

    def __init__(self, code: int, text: str, data: Any = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.data = data


class Unsent(ConnectionResetError):
    """A message of which nothing has left us: nobody can have acted on it."""


class Frame(msgspec.Struct):
    """One message: a request (``method`` and ``id``), a notification (``method``) or an answer."""

    jsonrpc: str = ""
    id: int | str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET

    @property
    def is_answer(self) -> bool:
        """Whether it answers a request."""
        return self.method is UNSET


_frames = msgspec.json.Decoder(Frame)
_objects = msgspec.json.Decoder(dict[str, Any])
_anything = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class _Named(msgspec.Struct):
    id: int | str | None = None


def parse(line: bytes) -> Frame:
    """One message; `Broken` says what is wrong with it."""
    if len(line) > limits.FRAME_BYTES:
        raise Broken(INVALID_REQUEST, f"a message has at most {limits.FRAME_BYTES:,} bytes")
    try:
        str(line, "utf-8")
        frame = _frames.decode(line)
    except msgspec.ValidationError:
        raise Broken(INVALID_REQUEST, "not a JSON-RPC message", _id_of(line)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Broken(PARSE_ERROR, "not JSON") from None
    about = None if frame.id is UNSET else frame.id
    answers = (frame.result is not UNSET) + (frame.error is not UNSET)
    if frame.jsonrpc != "2.0" or (frame.method is UNSET) != (answers == 1):
        raise Broken(INVALID_REQUEST, "not a JSON-RPC 2.0 message", about)
    if frame.is_answer and frame.id is UNSET and frame.error is UNSET:
        raise Broken(INVALID_REQUEST, "an answer without an id")
    if frame.params is not UNSET and bytes(frame.params)[:1] != b"{":
        raise Broken(INVALID_REQUEST, "params must be an object", about)
    return frame


def _id_of(line: bytes) -> Id:
    try:
        return msgspec.json.decode(line, type=_Named).id
    except (msgspec.DecodeError, RecursionError):
        return None


def fields(raw: bytes | Raw | UnsetType) -> dict[str, Any]:
    """An object's fields; `Broken` if it is none."""
    if raw is UNSET:
        return {}
    try:
        return _objects.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise Broken(INVALID_PARAMS, "not an object that can be read") from None


def raw(value: Raw | UnsetType) -> bytes:
    """A part of a message as it came, null if it is not there."""
    return b"null" if value is UNSET else bytes(value)


def error_of(said: bytes | Raw) -> RpcError:
    """The error that a peer answered with, whatever form it has."""
    try:
        found = _anything.decode(said)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or type(found.get("code")) is not int:
        return RpcError(INTERNAL_ERROR, "the server answered with an error that cannot be read")
    return RpcError(found["code"], str(found.get("message", "")), found.get("data"))


def unexpected(error: Exception) -> str:
    """What is said of an error that nobody foresaw: its text may hold what is not the peer's."""
    return f"it cannot be carried out: an unexpected {type(error).__name__}"


def plain(value: Any) -> bytes:
    """JSON of our own data."""
    return _encode(value)


def flat(raw: bytes) -> bytes:
    """JSON on one line: what stands between line feeds must have none."""
    if b"\n" in raw or b"\r" in raw:
        return msgspec.json.format(raw, indent=-1)
    return raw


def request(about: Id, method: str, params: bytes) -> bytes:
    """A request."""
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (
        _encode(about), _encode(method), params,
    )  # fmt: skip


def note(method: str, params: bytes) -> bytes:
    """A notification."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (_encode(method), params)


def result(about: Id, raw: bytes) -> bytes:
    """The answer to a request."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_encode(about), raw)


def error(about: Id, code: int, text: str, data: Any = None) -> bytes:
    """The answer that something is wrong."""
    said: dict[str, Any] = {"code": code, "message": text}
    if data is not None:
        said["data"] = data
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (_encode(about), _encode(said))
