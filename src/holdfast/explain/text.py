"""Text that came from elsewhere, made safe to show.

What agents, tools and models say is hostile: escape sequences move the cursor or set the window's
title, bidirectional overrides make a command read backwards. Such characters are shown as what
they are (``\\x1b``), never sent to the terminal; in JSON they stand as ``\\u`` escapes.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from holdfast.values.canon import encode

Part = str | tuple[str, str]
"""A piece of a line: text, or (text, style)."""

_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks and overrides
    "\u2028\u2029\ufff9-\ufffb\ufeff"  # line separators, annotations, byte order mark
    "\U000e0000-\U000e007f\ud800-\udfff]"  # invisible tags, halves of characters
)


def clean(text: str) -> str:
    """``text`` with every character that could command a terminal written out."""
    return _ODD.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


def one_line(text: str) -> str:
    """``text`` cleaned, on one line."""
    return " ".join(clean(text).split())


def cut(text: str, room: int) -> str:
    """``text`` in at most ``room`` characters, "…" for the rest."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def json_text(document: Any) -> str:
    """One line of JSON for ``document``, with everything odd escaped; it reads back the same."""
    return _ODD.sub(_escaped, encode(document).decode())


def pretty(document: Any) -> str:
    """JSON for people: indented, cleaned as in `json_text`."""
    return _ODD.sub(_escaped, msgspec.json.format(json_text(document), indent=2))


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
