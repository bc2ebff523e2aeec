"""Canonical bytes: one value, one byte string, everywhere and for ever.

JSON, UTF-8, no white space, object keys sorted, numbers as msgspec writes them (shortest form
that reads back equal). What JSON lacks is written as an object with one key that starts with
``$``; keys of the user's own that start with ``$`` get one more ``$`` so that nothing collides:

    {"$bytes": "<base64>"}   a byte string
    {"$float": "nan"}        a float that is not finite: nan, inf, -inf
    {"$blob": "<sha256>"}    written by `pack` only: the value is in the blob with this hash
    {"$raw": "<sha256>"}     written by `pack` only: the blob is a byte string itself

`pack` splits large and repeated parts out of a value: what remains is its *skeleton*. Blobs are
named by hash, so the skeleton's hash stands for the whole value: it is what steps compare.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import msgspec

from holdfast.values import limits
from holdfast.values.errors import Corrupt, Misuse, NotFound, TooLarge

Blobs = dict[str, bytes]
"""Content by its SHA-256 in hex."""


def digest(content: bytes) -> str:
    """SHA-256 of ``content`` as 64 hex digits: the only hash in Holdfast."""
    return hashlib.sha256(content).hexdigest()


def _foreign(value: Any) -> Any:
    """Turn what msgspec does not know into what it does (called by the encoder)."""
    if isinstance(value, PurePath):
        return str(value)
    fields = _fields(value)
    if fields is not None:
        return fields
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be recorded")


def _fields(value: Any) -> Any:
    """What stands in a model, dataclass or struct, by name; None for anything else."""
    dump = getattr(value, "model_dump", None)  # pydantic models, without importing pydantic
    if callable(dump) and not isinstance(value, type):
        return dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        named = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return {name: getattr(value, field) for name, field in named}
    return None


_encoder = msgspec.json.Encoder(order="deterministic", enc_hook=_foreign)
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """Canonical bytes of ``value``; raises `Misuse` naming the part that cannot be encoded."""
    return _encode(value)[0]


def _encode(value: Any) -> tuple[bytes, bool]:
    """Canonical bytes of ``value``, and whether it is plain JSON already."""
    if not _needs_care(value):
        try:
            return _encoder.encode(value), True
        except (TypeError, ValueError, RecursionError):
            pass  # the careful way says what is wrong with it
    try:
        return _encoder.encode(_plain(value, 0)), False
    except (TypeError, ValueError) as error:
        raise Misuse(f"cannot be recorded: {error}") from None


def _needs_care(value: Any, depth: int = 0) -> bool:
    """Whether anything in ``value`` is no plain JSON value with text for keys, or too deep, or is
    written with a tag: msgspec would write bytes as text and what is not finite as null, let two
    keys fall together and know no limit."""
    kind = type(value)
    if kind in _PLAIN:
        return False
    if kind is dict:
        if depth >= limits.DEPTH_MAX:
            return True
        depth += 1
        for key, item in value.items():
            if type(key) is not str or key[:1] == "$":
                return True
            if type(item) not in _PLAIN and _needs_care(item, depth):
                return True
        return False
    if kind is list or kind is tuple:
        if depth >= limits.DEPTH_MAX:
            return True
        depth += 1
        return any(type(item) not in _PLAIN and _needs_care(item, depth) for item in value)
    return kind is not float or not math.isfinite(value)


_PLAIN = frozenset({str, int, bool, type(None)})
_SCALARS = frozenset({str, int, float, bool, type(None)})


def _plain(value: Any, depth: int) -> Any:
    """``value`` in JSON's own types, with the tagged forms of this module's docstring."""
    if depth > limits.DEPTH_MAX:
        raise TooLarge(f"cannot be recorded: nested deeper than {limits.DEPTH_MAX} levels")
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return {"$float": repr(value)}
    if kind in _SCALARS:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        plain = {_plain_key(key): _plain(item, depth + 1) for key, item in value.items()}
        if len(plain) != len(value):
            raise TypeError("two keys of a mapping would be written alike")
        return plain
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, depth + 1) for item in value), key=_encoder.encode)
    if isinstance(value, str | int | float) and not isinstance(value, enum.Enum):
        base = str if isinstance(value, str) else int if isinstance(value, int) else float
        return _plain(base(value), depth)  # a subclass, such as a marked string
    fields = _fields(value)
    if fields is not None:
        return _plain(fields, depth + 1)
    return _plain(msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_foreign), depth + 1)


def _plain_key(key: Any) -> str:
    text = key if isinstance(key, str) else _encoder.encode(key).decode().strip('"')
    return "$" + text if text.startswith("$") else text


def decode(content: bytes) -> Any:
    """The value whose canonical bytes these are; `Corrupt` if they are not JSON."""
    try:
        value = _decoder.decode(content)
    except msgspec.DecodeError as error:
        raise Corrupt(f"recorded bytes are not canonical JSON: {error}") from None
    return _untag(value, None) if b'"$' in content else value


def _untag(value: Any, fetch: Callable[[str], bytes] | None) -> Any:
    if isinstance(value, list):
        return [_untag(item, fetch) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag == "$bytes":
            return base64.b64decode(content)
        if tag == "$float":
            return float(content)
        if fetch is not None and tag == "$blob":
            return unpack(fetch(content), fetch)
        if fetch is not None and tag == "$raw":
            return fetch(content)
        if fetch is not None and tag == "$erased":
            raise NotFound("this content was erased: `holdfast show` says when, by whom and why")
    return {
        (key[1:] if key.startswith("$$") else key): _untag(item, fetch)
        for key, item in value.items()
    }


def pack(value: Any, blobs: Blobs) -> bytes:
    """Canonical skeleton of ``value``; split-off parts are added to ``blobs``.

    Raises `Misuse` if the value cannot be encoded, `TooLarge` above the payload limit.
    """
    encoded, plain = _encode(value)
    if len(encoded) <= limits.PART_MIN_BYTES:
        return encoded
    if len(encoded) > limits.PAYLOAD_MAX_BYTES:
        raise TooLarge(
            f"{len(encoded):,} bytes is over the payload limit of {limits.PAYLOAD_MAX_BYTES:,}: "
            "write it to a file in the world and pass its path"
        )
    return _encoder.encode(_split(value if plain else _decoder.decode(encoded), blobs))


def pack_scalars(values: Mapping[str, Any], blobs: Blobs) -> bytes:
    """`pack` of named strings, numbers, truth values and None: the common case, in a third of the
    time."""
    try:
        encoded = _encoder.encode(values)
    except (TypeError, ValueError):
        return pack(values, blobs)
    if len(encoded) > limits.PART_MIN_BYTES or b"null" in encoded or b'"$' in encoded:
        return pack(values, blobs)
    return encoded


def _split(value: Any, blobs: Blobs) -> Any:
    """Replace long strings, and long list items, by references (works on plain JSON values)."""
    kind = type(value)
    if kind is str:
        if len(value) <= limits.PART_MIN_BYTES:
            return value
        return {"$blob": _keep(_encoder.encode(value), blobs)}
    if kind is dict:
        if len(value) == 1 and len(value.get("$bytes", "")) > limits.PART_MIN_BYTES:
            return {"$raw": _keep(base64.b64decode(value["$bytes"]), blobs)}
        return {
            key: item if type(item) in _SHORT else _split(item, blobs)
            for key, item in value.items()
        }
    if kind is list or kind is tuple:
        return [item if type(item) in _SHORT else _split_item(item, blobs) for item in value]
    return value


_SHORT = frozenset({int, float, bool, type(None)})


def _split_item(item: Any, blobs: Blobs) -> Any:
    if len(_encoder.encode(item)) <= limits.PART_MIN_BYTES:
        return item  # nothing in it is longer
    part = _split(item, blobs)
    encoded = _encoder.encode(part)
    if len(encoded) <= limits.PART_MIN_BYTES:
        return part
    return {"$blob": _keep(encoded, blobs)}


def _keep(content: bytes, blobs: Blobs) -> str:
    name = digest(content)
    blobs[name] = content
    return name


def unpack(skeleton: bytes, fetch: Callable[[str], bytes]) -> Any:
    """The value of a skeleton; ``fetch(sha256)`` returns a blob or raises `Corrupt`. `NotFound` if
    it was erased."""
    if b'"$' not in skeleton:
        return _decoder.decode(skeleton)
    return _untag(_decoder.decode(skeleton), fetch)


def part(plain: Any, blobs: Blobs) -> Any:
    """A part of a skeleton that is built piece by piece: ``plain`` (bytes, a scalar, or lists and
    dicts of parts, whose keys do not start with ``$``), or a reference to it if it is long.
    `seal_parts` writes the whole. Raises `TooLarge`, and `Misuse` for what cannot be encoded."""
    if isinstance(plain, bytes):
        if len(plain) <= limits.PART_MIN_BYTES:
            return {"$bytes": base64.b64encode(plain).decode()}
        if len(plain) > limits.PAYLOAD_MAX_BYTES:
            raise TooLarge(
                f"{len(plain):,} bytes is over the payload limit of {limits.PAYLOAD_MAX_BYTES:,}"
            )
        return {"$raw": _keep(plain, blobs)}
    if type(plain) is float and not math.isfinite(plain):
        return {"$float": repr(plain)}
    encoded = seal_parts(plain)
    if len(encoded) <= limits.PART_MIN_BYTES:
        return plain
    if len(encoded) > limits.PAYLOAD_MAX_BYTES:
        raise TooLarge(
            f"{len(encoded):,} bytes is over the payload limit of {limits.PAYLOAD_MAX_BYTES:,}"
        )
    return {"$blob": _keep(encoded, blobs)}


def seal_parts(plain: Any) -> bytes:
    """The canonical skeleton that parts make together (see `part`)."""
    try:
        return _encoder.encode(plain)
    except (TypeError, ValueError) as error:
        raise Misuse(f"cannot be recorded: {error}") from None


def references(skeleton: bytes) -> set[str]:
    """Hashes of the blobs that a skeleton names directly (for garbage collection)."""
    if b'"$blob"' not in skeleton and b'"$raw"' not in skeleton:
        return set()
    found: set[str] = set()
    stack = [_decoder.decode(skeleton)]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            if len(value) == 1 and ("$blob" in value or "$raw" in value):
                found.update(value.values())
            else:
                stack.extend(value.values())
    return found
