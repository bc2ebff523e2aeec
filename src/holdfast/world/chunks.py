"""The content of files: one blob, or many chunks under a tree of lists. Part of the format.

Content that begins as an SQLite database is cut into chunks of CHUNK_DATABASE_BYTES, all other
content into chunks of CHUNK_BYTES; the last chunk is shorter. Content of at most one chunk is that
one blob. Above the chunks stands a tree: each node is a blob of

    b"chunks", one byte: level, one byte: log2 of the bytes of a chunk, then 32 bytes for each child

and every node has CHUNK_FANOUT children but the last one of each level. Level 0 lists chunks, the
next one lists nodes of level 0, and the root, whose hash stands in the entry, is the lowest node
that is alone on its level. So one changed page of a large database rewrites three short lists, and
a hole of any size is one subtree of zeros, stored once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt, Misuse, TooLarge
from holdfast.world.nodes import Entry
from holdfast.world.objects import Objects

DATABASE_HEAD = b"SQLite format 3\0"
"""How every SQLite database begins."""

_FANOUT = limits.CHUNK_FANOUT
_MAGIC = b"chunks"
_HEAD = len(_MAGIC) + 2
_LEVELS = 8  # 64 to the power of 9 chunks: far more than any file has

Piece = bytes | int
"""Part of a file as it streams: its bytes, or how many bytes of zeros (a hole)."""


def chunk_bytes_of(head: bytes) -> int:
    """The size of the chunks of content that begins with ``head`` (16 bytes suffice)."""
    # INVARIANT W9: the hash of content depends on the content alone, never on how it came about:
    # the size of its chunks follows from its first bytes, and the shape of its tree from its size.
    database = head.startswith(DATABASE_HEAD)
    return limits.CHUNK_DATABASE_BYTES if database else limits.CHUNK_BYTES


# Nodes ----------------------------------------------------------------------------------------
def _pack(level: int, chunk_bytes: int, children: bytes) -> bytes:
    return _MAGIC + bytes((level, chunk_bytes.bit_length() - 1)) + children


def _read(objects: Objects, name: str, level: int | None = None) -> tuple[int, int, bytes]:
    """Level, bytes of a chunk and children of a node; `Corrupt` if it is none of this level."""
    content = objects.get(name)
    children = content[_HEAD:]
    count, odd = divmod(len(children), 32)
    if (
        not content.startswith(_MAGIC)
        or odd
        or not 0 < count <= _FANOUT
        or content[6] > _LEVELS
        or content[7] > 30
        or (level is not None and content[6] != level)
    ):
        raise Corrupt(f"world file {name} is damaged: not the list of chunks it should be")
    return content[6], 1 << content[7], children


def _child(children: bytes, at: int) -> str:
    return children[32 * at : 32 * at + 32].hex()


def _level_of(chunks: int) -> int:
    """Level of the root above so many chunks; -1 is a chunk alone."""
    level = -1
    while chunks > 1:
        chunks = -(-chunks // _FANOUT)
        level += 1
    return level


def _span(level: int) -> int:
    """Chunks below a full node of a level."""
    return int(_FANOUT ** (level + 1))


@lru_cache(64)
def _zeros(level: int, chunk_bytes: int) -> bytes:
    """The blob of a full node (or, at -1, chunk) of nothing but zeros."""
    if level < 0:
        return bytes(chunk_bytes)
    return _pack(level, chunk_bytes, bytes.fromhex(_zeros_name(level - 1, chunk_bytes)) * _FANOUT)


@lru_cache(64)
def _zeros_name(level: int, chunk_bytes: int) -> str:
    return digest(_zeros(level, chunk_bytes))


def _put_zeros(put: Callable[[bytes], str], level: int, chunk_bytes: int) -> str:
    for below in range(-1, level):
        put(_zeros(below, chunk_bytes))
    return put(_zeros(level, chunk_bytes))


# Writing --------------------------------------------------------------------------------------
class _Writer:
    """Content that streams in; what is kept in memory is one chunk and one node per level."""

    def __init__(self, put: Callable[[bytes], str]) -> None:
        self.put = put
        self.size = 0
        self._chunk_bytes = 0  # not known before the first bytes are
        self._rest = b""  # less than a chunk
        self._levels: list[list[bytes]] = [[]]

    def add(self, piece: Piece) -> None:
        if isinstance(piece, int):
            self._hole(piece)
        else:
            self._bytes(piece)

    def _bytes(self, content: bytes) -> None:
        self.size += len(content)
        if self._rest:
            content = self._rest + content
        if not self._chunk_bytes:
            if len(content) < len(DATABASE_HEAD):
                self._rest = content
                return
            self._chunk_bytes = chunk_bytes_of(content)
        step = self._chunk_bytes
        whole = len(content) - len(content) % step
        for start in range(0, whole, step):
            self._place(self.put(content[start : start + step]))
        self._rest = content[whole:]

    def _hole(self, length: int) -> None:
        if not self._chunk_bytes or self._rest:
            first = min(length, (self._chunk_bytes or len(DATABASE_HEAD)) - len(self._rest))
            self._bytes(bytes(first))
            length -= first
            if self._rest and length:  # what was not yet known is known now: once more
                self._hole(length)
                return
        whole, rest = divmod(length, self._chunk_bytes) if length else (0, 0)
        self.size += whole * self._chunk_bytes
        while whole:
            level = -1
            while whole >= _span(level + 1) and not any(self._levels[: level + 2]):
                level += 1
            self._place(_put_zeros(self.put, level, self._chunk_bytes), level)
            whole -= _span(level)
        if rest:
            self._bytes(bytes(rest))

    def _place(self, name: str, level: int = -1) -> None:
        """Append a node of a level (-1: a chunk) to the level above."""
        level += 1
        while level >= len(self._levels):
            self._levels.append([])
        self._levels[level].append(bytes.fromhex(name))
        if len(self._levels[level]) == _FANOUT:
            self._close(level)

    def _close(self, level: int) -> None:
        children = b"".join(self._levels[level])
        self._levels[level] = []
        self._place(self.put(_pack(level, self._chunk_bytes, children)), level)

    def end(self, executable: bool) -> Entry:
        if self._rest or not self.size:
            self._place(self.put(self._rest))
        level = 0
        while True:
            row = self._levels[level]
            if len(row) == 1 and not any(self._levels[level + 1 :]):
                return Entry("file", row[0].hex(), self.size, executable, level > 0)
            if row:
                self._close(level)
            level += 1


def put_chunks(
    put: Callable[[bytes], str], pieces: Iterable[Piece], executable: bool = False
) -> Entry:
    """Keep a file that arrives in pieces of any length, a whole number being that many zeros.

    With ``put=canon.digest`` nothing is kept and the entry is only computed. A hole costs no time
    or memory in proportion to its length.
    """
    writer = _Writer(put)
    for piece in pieces:
        writer.add(piece)
    return writer.end(executable)


def put_file(objects: Objects, content: bytes, executable: bool = False) -> Entry:
    """Keep a file's content and return its entry, to be put at a path with `tree.apply`."""
    return put_chunks(objects.put, (content,), executable)


# Reading --------------------------------------------------------------------------------------
def file_pieces(objects: Objects, entry: Entry) -> Iterator[Piece]:
    """A file's content from its beginning, holes as the number of their zeros.

    `Corrupt` if a part is absent or does not fit.
    """
    if not entry.chunked:
        content = objects.get(entry.hash)
        if len(content) != entry.size:
            said = f"{len(content):,} bytes instead of {entry.size:,}"
            raise Corrupt(f"world file {entry.hash} has {said}")
        yield content
        return
    level, chunk_bytes, _ = _read(objects, entry.hash)
    chunks = -(-entry.size // chunk_bytes)
    if level != _level_of(chunks):
        raise _wrong(entry)
    left = entry.size
    for name, zeros in _below(objects, entry.hash, level, chunk_bytes, chunks):
        content = b"" if zeros else objects.get(name)
        expected = zeros * chunk_bytes or min(left, chunk_bytes)
        left -= expected
        if left < 0 or (not zeros and len(content) != expected):
            raise _wrong(entry)
        yield expected if zeros else content


def _below(
    objects: Objects, name: str, level: int, chunk_bytes: int, chunks: int
) -> Iterator[tuple[str, int]]:
    """Chunks below a node in order, each with 0, and subtrees of so many chunks of zeros."""
    if chunks == _span(level) and name == _zeros_name(level, chunk_bytes):
        yield name, chunks
        return
    if level < 0:
        yield name, 0
        return
    children = _children(objects, name, level, chunk_bytes, chunks)
    span = _span(level - 1)
    for at in range(len(children) // 32):
        below = min(span, chunks - at * span)
        yield from _below(objects, _child(children, at), level - 1, chunk_bytes, below)


def _children(objects: Objects, name: str, level: int, chunk_bytes: int, chunks: int) -> bytes:
    """The children of a node that has so many chunks below it."""
    _, size, children = _read(objects, name, level)
    if size != chunk_bytes or len(children) != 32 * -(-chunks // _span(level - 1)):
        raise Corrupt(f"world file {name} is damaged: its list of chunks has the wrong length")
    return children


def file_chunks(objects: Objects, entry: Entry) -> Iterator[bytes]:
    """A file's content in pieces of bounded size; `Corrupt` as `file_pieces`."""
    for piece in file_pieces(objects, entry):
        if isinstance(piece, bytes):
            yield piece
            continue
        step = limits.CHUNK_BYTES
        for start in range(0, piece, step):
            yield bytes(min(step, piece - start))


def file_bytes(objects: Objects, entry: Entry) -> bytes:
    """A file's whole content; `TooLarge` over FILE_WHOLE_BYTES, `Corrupt` as `file_pieces`."""
    if entry.size > limits.FILE_WHOLE_BYTES:
        raise TooLarge(
            f"a file of {entry.size:,} bytes is over the {limits.FILE_WHOLE_BYTES:,} that are read "
            "at once: read it in a command or in parts"
        )
    return b"".join(file_chunks(objects, entry))


def blobs_of(objects: Objects, entry: Entry, seen: set[str]) -> Iterator[str]:
    """Hashes of all blobs that a file needs, but for those in ``seen``; `Corrupt` if a list of
    chunks is absent. A list is in ``seen`` with a plus sign: a file may have its very bytes."""
    stack = [(entry.hash, None if entry.chunked else -1)]
    while stack:
        name, level = stack.pop()
        key = name if level == -1 else "+" + name
        if key in seen:
            continue
        seen.add(key)
        yield name
        if level != -1:
            found, _, children = _read(objects, name, level)
            below = found - 1
            stack.extend((_child(children, at), below) for at in range(len(children) // 32))


def changed_chunks(objects: Objects, before: Entry, after: Entry) -> Iterator[int]:
    """Numbers of the chunks that two chunked files do not have alike; what is equal is not read.

    `Misuse` if their chunks have different sizes.
    """
    levels = [_read(objects, entry.hash) for entry in (before, after)]
    chunk_bytes = levels[0][1]
    if levels[1][1] != chunk_bytes:
        raise Misuse("files with chunks of different sizes cannot be compared by them")
    if levels[0][0] != levels[1][0]:  # one is so much longer that it has a level more
        one, other = (ChunkTree(objects, entry) for entry in (before, after))
        for index in range(max(one.chunks, other.chunks)):
            names = {tree.name(index) if index < tree.chunks else "" for tree in (one, other)}
            if len(names) > 1:
                yield index
        return
    yield from _unlike(objects, before.hash, after.hash, levels[0][0], 0)


def _unlike(objects: Objects, before: str, after: str, level: int, first: int) -> Iterator[int]:
    if before == after:
        return
    if level < 0:
        yield first
        return
    span = _span(level - 1)
    old, new = (_read(objects, name, level)[2] if name else b"" for name in (before, after))
    for at in range(max(len(old), len(new)) // 32):
        yield from _unlike(objects, _child(old, at), _child(new, at), level - 1, first + at * span)


def _wrong(entry: Entry) -> Corrupt:
    return Corrupt(f"world file {entry.hash} does not have the {entry.size:,} bytes it should have")


# Random access --------------------------------------------------------------------------------
class ChunkTree:
    """A file's content to be read and changed at any place; nothing is read before it is needed.

    ``entry``: the content to begin with; without one it is empty, and ``chunk_bytes`` says what
    the size of chunks will be (a wrong guess costs time only). Changes stay in memory until `spill`
    or `save`; a tree that is not saved leaves no trace. Not for several threads at once.
    """

    def __init__(
        self, objects: Objects, entry: Entry | None = None, *, chunk_bytes: int = 0
    ) -> None:
        self.objects = objects
        self.executable = entry is not None and entry.executable
        self.chunk_bytes = chunk_bytes or limits.CHUNK_BYTES
        self.size = 0
        self._name = ""
        self._level = -1
        self._lists: dict[tuple[int, int], bytes] = {}
        self._changed: dict[int, bytes | str] = {}
        self._there = 0  # chunks of the entry
        self._kept = 0  # the first of them that are neither cut off nor zeros now
        self.dirty_bytes = 0
        if entry is not None and entry.size:
            self._open(entry)

    def _open(self, entry: Entry) -> None:
        if entry.chunked:
            level, self.chunk_bytes, children = _read(self.objects, entry.hash)
            self._lists[level, 0] = children
        else:
            level = -1
            self.chunk_bytes = chunk_bytes_of(self.objects.get(entry.hash))
        self._there = self._kept = -(-entry.size // self.chunk_bytes)
        if level != _level_of(self._there):
            raise _wrong(entry)
        self._name, self._level, self.size = entry.hash, level, entry.size

    @property
    def chunks(self) -> int:
        """How many chunks the content has now."""
        return -(-self.size // self.chunk_bytes)

    def length(self, index: int) -> int:
        """Bytes of chunk ``index``."""
        return min(self.chunk_bytes, self.size - index * self.chunk_bytes)

    def chunk(self, index: int) -> bytes:
        """The bytes of a chunk; `Misuse` beyond the end, `Corrupt` if it is absent."""
        if not 0 <= index < self.chunks:
            raise Misuse(f"chunk {index} of a file of {self.chunks}")
        changed = self._changed.get(index)
        if isinstance(changed, bytes):
            return changed
        if changed is None and index >= self._kept:
            return bytes(self.length(index))
        content = self.objects.get(changed or self._stored(-1, index))
        if len(content) != self.length(index):
            raise Corrupt(f"world file {self._name} is damaged: chunk {index} has a wrong length")
        return content

    def name(self, index: int) -> str:
        """The hash of a chunk that was not changed since the entry."""
        return self._stored(-1, index)

    def put(self, index: int, content: bytes) -> None:
        """Change a chunk, to exactly as many bytes as it has. `Misuse`."""
        if not 0 <= index < self.chunks or len(content) != self.length(index):
            raise Misuse(f"chunk {index} of a file of {self.chunks} cannot be {len(content)} bytes")
        self._set(index, content)

    def _set(self, index: int, content: bytes | None) -> None:
        old = self._changed.pop(index, b"")
        self.dirty_bytes -= len(old) if isinstance(old, bytes) else 0
        if content is not None:
            self._changed[index] = content
            self.dirty_bytes += len(content)

    def resize(self, size: int) -> None:
        """Cut the content off, or continue it with zeros. `TooLarge` over FILE_MAX_BYTES."""
        if size > limits.FILE_MAX_BYTES:
            raise TooLarge(f"{size:,} bytes is over the {limits.FILE_MAX_BYTES:,} of one file")
        before, last = self.size, min(size, self.size) // self.chunk_bytes
        cut = self.chunk(last) if last * self.chunk_bytes < min(size, before) else b""
        self.size = size
        if size < before:
            for index in [index for index in self._changed if index >= self.chunks]:
                self._set(index, None)
            self._kept = min(self._kept, self.chunks)
        if cut and len(cut) != self.length(last):
            self._set(last, cut[: self.length(last)].ljust(self.length(last), b"\0"))

    def spill(self) -> None:
        """Put changed chunks into the objects and out of memory."""
        for index, content in self._changed.items():
            if isinstance(content, bytes):
                self._changed[index] = self.objects.put(content)
        self.dirty_bytes = 0

    def save(self) -> Entry:
        """Put what changed; returns the entry of the content as it is now."""
        if not self.size:
            return Entry("file", self.objects.put(b""), 0, self.executable)
        fits = chunk_bytes_of(self.chunk(0)[: len(DATABASE_HEAD)]) == self.chunk_bytes
        self.spill()
        level = _level_of(self.chunks)
        name = self._save(level, 0, sorted(self._changed))
        entry = Entry("file", name, self.size, self.executable, level >= 0)
        if not fits:  # it became a database, or is none any more (W9)
            entry = put_chunks(self.objects.put, file_pieces(self.objects, entry), self.executable)
        self._lists.clear()
        self._changed.clear()
        self._open(entry)
        return entry

    def _save(self, level: int, index: int, order: list[int]) -> str:
        """The name of a node (-1: a chunk) as it is now; ``order``: the changed chunks, sorted."""
        span = _span(level)
        first = index * span
        stop = min(first + span, self.chunks)
        at = bisect_left(order, first)
        touched = at < len(order) and order[at] < stop
        same = stop <= self._kept and stop == min(first + span, self._there)
        if not touched:
            if same and level <= self._level:
                return self._stored(level, index)
            if first >= self._kept and (first + span) * self.chunk_bytes <= self.size:
                return _put_zeros(self.objects.put, level, self.chunk_bytes)
        if level < 0:
            changed = self._changed.get(first)
            return changed if isinstance(changed, str) else self.objects.put(self.chunk(first))
        below = _span(level - 1)
        if same and level <= self._level:
            children = bytearray(self._list(level, index))
            while at < len(order) and order[at] < stop:
                child = order[at] // below
                name = bytes.fromhex(self._save(level - 1, child, order))
                where = 32 * (child - index * _FANOUT)
                children[where : where + 32] = name
                at = bisect_left(order, (child + 1) * below, at)
        else:
            children = bytearray()
            for child in range(index * _FANOUT, -(-stop // below)):
                children += bytes.fromhex(self._save(level - 1, child, order))
        return self.objects.put(_pack(level, self.chunk_bytes, bytes(children)))

    def _stored(self, level: int, index: int) -> str:
        """The name that a node (-1: a chunk) has in the entry."""
        if level == self._level:
            return self._name
        children = self._list(level + 1, index // _FANOUT)
        return _child(children, index % _FANOUT)

    def _list(self, level: int, index: int) -> bytes:
        """The children that a node has in the entry."""
        children = self._lists.get((level, index))
        if children is None:
            name = self._stored(level, index)
            chunks = min(_span(level), self._there - index * _span(level))
            children = _children(self.objects, name, level, self.chunk_bytes, chunks)
            self._lists[level, index] = children
        return children
