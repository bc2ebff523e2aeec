"""How files are merged, by path: the ``merge`` attribute of ``.gitattributes``, as git reads it.

A file applies to its directory and what is below; a deeper one wins over one above, a later line
over an earlier one. Patterns are those of `holdfast.world.globs`; ``[attr]`` macros other than
``binary`` and patterns in quotes or with a trailing slash are passed over.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import chunks, tree
from holdfast.world.globs import matcher
from holdfast.world.objects import Objects

NAME = ".gitattributes"
_Line = tuple[Callable[[str], bool], str]


class Attributes:
    """The ``merge`` attributes of one root."""

    def __init__(self, objects: Objects, root: str) -> None:
        self._objects = objects
        self._root = root
        self._known: dict[str, list[_Line]] = {}

    def merge(self, path: str) -> str:
        """The word for a path: "text" where it is only set, "binary" where it is unset, "" where
        nothing is said."""
        found = ""
        parts = path.split("/")
        for depth in range(len(parts)):
            rest = "/".join(parts[depth:])
            for matches, word in self._lines("/".join(parts[:depth])):
                if matches(rest):
                    found = word
        return found

    def _lines(self, directory: str) -> list[_Line]:
        if directory not in self._known:
            self._known[directory] = self._read(f"{directory}/{NAME}" if directory else NAME)
        return self._known[directory]

    def _read(self, path: str) -> list[_Line]:
        entry = tree.find(self._objects, self._root, path)
        if entry is None or not entry.is_file or entry.size > limits.MERGE_TEXT_BYTES:
            return []
        found: list[_Line] = []
        for line in chunks.file_bytes(self._objects, entry).decode(errors="replace").splitlines():
            pattern, *said = line.split() or [""]
            words = [word for one in said if (word := _word(one)) is not None]
            if words and not pattern.startswith(("#", "[attr]", '"', "!")) and pattern[-1] != "/":
                try:
                    found.append((matcher([pattern]), words[-1]))
                except Misuse:
                    pass  # git passes over what it cannot read, too
        return found


def _word(said: str) -> str | None:
    """What one attribute says of merging; None if it is about something else."""
    match said:
        case "merge":
            return "text"
        case "-merge" | "binary":
            return "binary"
        case "!merge":
            return ""
        case _:
            return said.removeprefix("merge=") if said.startswith("merge=") else None
