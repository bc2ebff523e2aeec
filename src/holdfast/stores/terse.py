"""Payloads as rows keep them: a reference takes 33 bytes instead of 75.

A conversation's events are mostly hashes. In a row, a reference is one control byte and the 32
bytes of its hash; JSON has no such bytes of its own, so nothing else looks like it. The payload,
its hash and the chain know nothing of this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from holdfast.journal.proof import Raw

# plain, and inside the string that ends a continuation (see `holdfast.journal.like`)
_FORMS = {
    b"\1": (b'{"$blob":"', b'"}'),
    b"\2": (b'{"$raw":"', b'"}'),
    b"\3": (rb"{\"$blob\":\"", rb"\"}"),
    b"\4": (rb"{\"$raw\":\"", rb"\"}"),
}
_MARKS = {begin: mark for mark, (begin, _) in _FORMS.items()}
_WRITTEN = re.compile(rb'(\{(\\?)"\$(?:blob|raw)\2":\2")([0-9a-f]{64})\2"\}')
_STORED = re.compile(rb"([\1-\4])(.{32})", re.DOTALL)


def terse(payload: bytes) -> str | bytes:
    """The column of a payload: text, or bytes if it names blobs."""
    if b'"$' not in payload:
        return payload.decode()
    short, count = _WRITTEN.subn(_shorten, payload)
    return short if count else payload.decode()


def written(stored: str | bytes) -> bytes:
    """The payload of a column; of a connection that reads text as bytes, too.

    INVARIANT S10: the payload of a column is byte for byte the one that was appended.
    """
    if isinstance(stored, str):
        return stored.encode()
    return _STORED.sub(_lengthen, stored)


def raw_event(columns: Sequence[Any]) -> Raw:
    """An event from the columns of its row, of a connection that reads text as bytes. Raises
    TypeError if the row is damaged."""
    *others, args, value = columns
    args = None if args is None else written(args)
    return Raw(*others, args=args, value=None if value is None else written(value))


def _shorten(found: re.Match[bytes]) -> bytes:
    return _MARKS[found[1]] + bytes.fromhex(found[3].decode())


def _lengthen(found: re.Match[bytes]) -> bytes:
    begin, end = _FORMS[found[1]]
    return begin + found[2].hex().encode() + end
