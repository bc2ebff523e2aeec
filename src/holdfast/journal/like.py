"""Arguments that continue earlier ones are stored as what they add.

A conversation is sent whole at every turn: its skeleton (a list of references) is the one of the
turn before plus a little. It is stored as ``{"$like":[<step key>,<bytes kept>],"then":"<rest>"}``,
and its hash is that of the whole skeleton: how it is stored changes neither fingerprint nor chain.
"""

from __future__ import annotations

from collections.abc import Callable
from os.path import commonprefix

from holdfast.values import limits
from holdfast.values.canon import decode, encode

_MARK = b'{"$like":['


def shorten(skeleton: bytes, earlier_key: str, earlier: bytes) -> bytes | None:
    """``skeleton`` as a continuation of ``earlier``, or None if that would not halve it.

    Neither may be shorter than LIKE_MIN_BYTES, so that a reader need not keep short ones.
    """
    if len(skeleton) < limits.LIKE_MIN_BYTES or len(earlier) < limits.LIKE_MIN_BYTES:
        return None
    kept = len(commonprefix([skeleton, earlier]))  # noqa: RUF071 # of bytes, not of paths
    while kept and (kept == len(skeleton) or skeleton[kept] & 0xC0 == 0x80):
        kept -= 1  # cut between characters: the rest must be text of its own
    short = encode({"like": [earlier_key, kept], "then": skeleton[kept:].decode()})
    short = _MARK + short[len(b'{"like":[') :]
    return short if len(short) * 2 < len(skeleton) else None


def is_short(stored: bytes) -> bool:
    """Whether stored arguments are a continuation."""
    return stored.startswith(_MARK)


def restore(stored: bytes, earlier: Callable[[str], bytes]) -> bytes:
    """The whole skeleton; ``earlier(key)`` returns the whole skeleton of an earlier step."""
    if not is_short(stored):
        return stored
    form = decode(stored.replace(b'"$like"', b'"like"', 1))
    key, kept = form["like"]
    return earlier(key)[:kept] + form["then"].encode()
