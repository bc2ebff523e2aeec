"""How files are merged, by path: the ``merge`` attribute of ``.gitattributes``, as git reads it.

A file applies to its directory and what is below; a deeper one wins over one above, a later line
over an earlier one. ``[attr]`` macros other than ``binary`` and patterns in quotes are passed over,
and so is what git passes over: lines that it cannot understand or that are too long, and, by less
patient figures than git's, files that are too long.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from holdfast.values import limits
from holdfast.world import chunks, tree
from holdfast.world.globs import rule
from holdfast.world.objects import Objects

NAME = ".gitattributes"
_BLANK = re.compile(rb"[ \t\r]+")
_SAID = re.compile(rb"[-!]?[\w.][-\w.]*(=.*)?", re.DOTALL)
_PASSED_OVER = (b"#", b"[attr]", b'"', b"!")
_Line = tuple[Callable[[bytes, bool], bool], str]


class Attributes:
    """The ``merge`` attributes of one root."""

    def __init__(self, objects: Objects, root: str) -> None:
        self._objects = objects
        self._root = root
        self._known: dict[str, list[_Line]] = {}

    def merge(self, path: str) -> str:
        """The word for a path: "text" where it is only set, "binary" where it is unset, "" where
        nothing is said."""
        parts = path.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            rest = "/".join(parts[depth:]).encode("utf-8", "surrogateescape")
            for matches, word in reversed(self._lines("/".join(parts[:depth]))):
                if matches(rest, False):
                    return word
        return ""

    def _lines(self, directory: str) -> list[_Line]:
        if directory not in self._known:
            self._known[directory] = self._read(f"{directory}/{NAME}" if directory else NAME)
        return self._known[directory]

    def _read(self, path: str) -> list[_Line]:
        entry = tree.find(self._objects, self._root, path)
        if entry is None or not entry.is_file or entry.size > limits.RULES_FILE_BYTES:
            return []
        content = chunks.file_bytes(self._objects, entry).removeprefix(b"\xef\xbb\xbf")
        lines = content.split(b"\n")
        if len(lines) > limits.RULES_FILE_LINES:
            return []
        return [read for line in lines if (read := _line(line)) is not None]


def _line(line: bytes) -> _Line | None:
    """What a line says of merging; None if it says nothing of it."""
    pattern, *said = _BLANK.split(line.partition(b"\0")[0].strip(b" \t\r"))
    if len(line) >= limits.RULES_LINE_BYTES or pattern.startswith(_PASSED_OVER):
        return None
    if not all(_SAID.fullmatch(one) for one in said):
        return None  # git passes over the whole line, too
    words = [word for one in said if (word := _word(one.decode(errors="replace"))) is not None]
    matches = rule(pattern) if words else None
    return None if matches is None else (matches, words[-1])


def _word(said: str) -> str | None:
    """What one attribute says of merging; None if it is about something else."""
    match said.partition("=")[0] if said[0] in "-!" else said:
        case "merge":
            return "text"
        case "-merge" | "binary":
            return "binary"
        case "!merge":
            return ""
        case _:
            return said.removeprefix("merge=") if said.startswith("merge=") else None
