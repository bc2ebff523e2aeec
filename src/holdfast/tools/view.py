"""Reading a snapshot of a world: what tools on files and looks into the past have in common."""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import Objects, check_path, list_dir, read_file, walk
from holdfast.world.globs import matcher


@dataclass(frozen=True)
class Match:
    """One line found by `View.grep`; ``line`` counts from 1."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Matches:
    """What `View.grep` found; ``more``: there were more than the limit."""

    matches: tuple[Match, ...]
    more: bool


class View:
    """One snapshot, read only. ``root``: which one."""

    def __init__(self, objects: Objects, root: str) -> None:
        self._objects = objects
        self.root = root

    def text(self, path: str) -> str:
        """The text of a file, whole; `NotFound`, `Misuse` if it is not UTF-8."""
        content = read_file(self._objects, self.root, check_path(path))
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise Misuse(f"{path}: is not UTF-8 text ({len(content):,} bytes)") from None

    def read(self, path: str, offset: int = 0, limit: int = 0) -> str:
        """The text of a file, or ``limit`` lines of it from line ``offset`` (0 is the first)."""
        text = self.text(path)
        if offset or limit:
            lines = text.splitlines(keepends=True)
            text = "".join(lines[offset : offset + limit if limit else None])
        if len(text) > limits.READ_TEXT_BYTES:
            raise Misuse(f"{path}: has {len(text):,} characters; read a part with offset and limit")
        return text

    def list(self, path: str = "") -> Sequence[str]:
        """Names in a directory, sorted; directories end in ``/``."""
        found = list_dir(self._objects, self.root, path)
        return [name + ("/" if entry.kind == "dir" else "") for name, entry in found]

    def glob(self, pattern: str) -> Sequence[str]:
        """Paths of files that match a pattern such as ``src/**/*.py``, sorted."""
        wanted = matcher([pattern])
        return [path for path, _ in walk(self._objects, self.root) if wanted(path)]

    def grep(self, pattern: str, files: str = "**") -> Matches:
        """Lines that a regular expression finds in text files that match a glob."""
        try:
            wanted, expression = matcher([files]), re.compile(pattern)
        except re.error as error:
            raise Misuse(f"grep {pattern!r}: {error}") from None
        found: builtins.list[Match] = []
        for path, entry in walk(self._objects, self.root):
            if entry.kind != "file" or not wanted(path) or entry.size > limits.FILE_WHOLE_BYTES:
                continue
            content = read_file(self._objects, self.root, path)
            if b"\0" in content[:8192]:
                continue
            for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
                if expression.search(line):
                    if len(found) == limits.GREP_MATCHES:
                        return Matches(tuple(found), True)
                    found.append(Match(path, number, line[:500]))
        return Matches(tuple(found), False)
