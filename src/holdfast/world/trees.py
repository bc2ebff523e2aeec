"""Which rows of two versions of a database can differ, found from the pages that do.

Only the inner pages of its b-trees are read, and of those only the keys between children: a leaf
page that both versions have at the same place, for the same keys, with the same bytes, holds the
same rows. See https://www.sqlite.org/fileformat.html (b-tree pages).
"""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world.chunks import ChunkTree, changed_chunks
from holdfast.world.nodes import Entry
from holdfast.world.objects import Objects

Leaf = tuple[int, int, int]
"""A leaf of a table's b-tree: its page, and that all its rowids are over one number and at most
another."""

_LOWEST, _HIGHEST = -(2**63) - 1, 2**63 - 1
_INDEX_INNER, _TABLE_INNER, _INDEX_LEAF, _TABLE_LEAF = 2, 5, 10, 13
_PAGE = limits.CHUNK_DATABASE_BYTES


class _Odd(Exception):
    """Something that is not as expected: the pages cannot tell."""


def changed_ranges(
    objects: Objects, before: Entry, after: Entry, roots: list[dict[str, int]]
) -> dict[str, list[tuple[int, int]]] | None:
    """By table, the ranges of rowids (both ends included) that can differ between two versions.

    ``roots``: root pages of all b-trees by name, before and after. What is left out has not
    changed; a table that is not told apart by rowids has the whole range. None if pages cannot tell
    (rows that overflow their page, other sizes of pages).
    """
    if not (before.chunked and after.chunked):
        return None
    try:
        pages = {index + 1 for index in changed_chunks(objects, before, after)}
        sides = [
            _Side(ChunkTree(objects, entry), names)
            for entry, names in zip((before, after), roots, strict=True)
        ]
        for side in sides:
            # a page of no b-tree and of no free list goes on with some row, and its leaf may be as
            # it was
            if {page for page in pages if page <= side.last} - side.known - {1}:
                return None
    except (_Odd, IndexError, Misuse):
        return None
    found: dict[str, list[tuple[int, int]]] = {}
    for name in roots[0].keys() & roots[1].keys():
        old, new = (set(side.leaves[name]) for side in sides)
        same = {leaf for leaf in old & new if leaf[0] not in pages}
        ranges = [(low + 1, high) for _, low, high in (old | new) - same]
        if ranges:
            found[name] = _joined(ranges)
    return found


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


class _Side:
    """The b-trees of one version: their leaves, and all pages whose use is known."""

    def __init__(self, content: ChunkTree, roots: dict[str, int]) -> None:
        self._content = content
        self.last = content.chunks
        head = content.chunk(0)
        if int.from_bytes(head[16:18]) != _PAGE or int.from_bytes(head[52:56]):
            raise _Odd  # other pages, or auto_vacuum with its own
        self.known: set[int] = set()
        self.leaves = {name: list(self._walk(page)) for name, page in roots.items()}
        self.leaves[""] = list(self._walk(1))
        self._free(int.from_bytes(head[32:36]))

    def _walk(
        self, page: int, low: int = _LOWEST, high: int = _HIGHEST, depth: int = 0
    ) -> Iterator[Leaf]:
        """The leaves below a page. Pages one above the leaves are the last that are read."""
        content = self._content.chunk(page - 1)
        start = 100 if page == 1 else 0
        kind = content[start]
        if page in self.known or depth > 20:
            raise _Odd
        self.known.add(page)
        if kind in (_TABLE_LEAF, _INDEX_LEAF):
            yield page, low, high
            return
        if kind not in (_TABLE_INNER, _INDEX_INNER):
            raise _Odd
        if kind == _INDEX_INNER:
            yield page, low, high  # it holds entries itself
        cells = int.from_bytes(content[start + 3 : start + 5])
        children: list[Leaf] = []
        for at in range(start + 12, start + 12 + 2 * cells, 2):
            cell = int.from_bytes(content[at : at + 2])
            child = int.from_bytes(content[cell : cell + 4])
            key = _varint(content, cell + 4) if kind == _TABLE_INNER else high
            children.append((child, low, key))
            low = key if kind == _TABLE_INNER else low
        children.append((int.from_bytes(content[start + 8 : start + 12]), low, high))
        below = self._content.chunk(children[0][0] - 1)[0]
        if below in (_TABLE_LEAF, _INDEX_LEAF):  # then all of them are
            leaves = {child for child, _, _ in children}
            if leaves & self.known or len(leaves) < len(children):
                raise _Odd
            self.known |= leaves
            yield from children
            return
        for child in children:
            yield from self._walk(*child, depth + 1)

    def _free(self, trunk: int) -> None:
        while trunk:
            if trunk in self.known:
                raise _Odd
            content = self._content.chunk(trunk - 1)
            self.known.add(trunk)
            count = int.from_bytes(content[4:8])
            for at in range(8, 8 + 4 * count, 4):
                self.known.add(int.from_bytes(content[at : at + 4]))
            trunk = int.from_bytes(content[:4])


def _varint(content: bytes, at: int) -> int:
    value = 0
    for count in range(8):
        byte = content[at + count]
        value = value << 7 | byte & 127
        if byte < 128:
            return value
    value = value << 8 | content[at + 8]
    return value - 2**64 if value >= 2**63 else value


def roots_of(conn: apsw.Connection) -> dict[str, int]:
    """Root pages of all tables and indexes of an open database, by name."""
    listed = conn.execute("select name, rootpage from sqlite_schema where rootpage > 0")
    return {str(name): int(str(page)) for name, page in listed}
