"""Three-way merge of text, line by line, as git does it (libgit2, in memory, no repository)."""

from __future__ import annotations

import threading

import pygit2
from pygit2.enums import FileMode, MergeFavor, ObjectType


class _Memory(pygit2.OdbBackend):
    """An object database for the three sides of one merge: libgit2 reads them from nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs: dict[pygit2.Oid, tuple[int, bytes]] = {}

    def read_cb(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        return self.blobs[oid]

    def read_header_cb(self, oid: pygit2.Oid) -> tuple[int, int]:
        kind, content = self.blobs[oid]
        return kind, len(content)

    def write_cb(self, oid: pygit2.Oid, content: bytes, kind: int) -> None:
        self.blobs[oid] = (kind, content)

    def refresh_cb(self) -> None:
        pass  # nobody else writes here

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return oid in self.blobs


class _Merger:
    """One libgit2 repository without a disk; used under a lock, emptied after each merge."""

    def __init__(self) -> None:
        self.memory = _Memory()
        self.odb = pygit2.Odb()
        self.odb.add_backend(self.memory, 1)
        self.repository = pygit2.Repository()
        self.repository.set_odb(self.odb)
        self.lock = threading.Lock()

    def merge(self, base: bytes, ours: bytes, theirs: bytes) -> tuple[bool, str]:
        """Whether it merged, and the text (with conflict markers if it did not)."""
        with self.lock:
            try:
                result = self.repository.merge_file_from_index(
                    self._side("base", base), self._side("ours", ours), self._side("theirs", theirs)
                )
                return result.automergeable, result.contents
            except RuntimeError:  # how the binding reports a result of no bytes
                return True, ""
            finally:
                self.memory.blobs.clear()

    def union(self, *sides: bytes) -> bytes:
        """Base, ours and theirs merged, with the lines of both where they conflict."""
        with self.lock:
            try:
                trees = [self._tree(side) for side in sides]
                index = self.repository.merge_trees(*trees, favor=MergeFavor.UNION)
                return self.memory.blobs[index["side"].id][1]
            finally:
                self.memory.blobs.clear()

    def _tree(self, content: bytes) -> pygit2.Oid:
        builder = self.repository.TreeBuilder()
        builder.insert("side", self.odb.write(ObjectType.BLOB, content), FileMode.BLOB)
        return builder.write()

    def _side(self, label: str, content: bytes) -> pygit2.IndexEntry:
        # libgit2 labels conflict markers with the entry's path
        return pygit2.IndexEntry(label, self.odb.write(ObjectType.BLOB, content), FileMode.BLOB)


_merger = _Merger()


def git_merge_text(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both sides' changes since ``base``, or None if they conflict or any side holds a NUL.

    Lines end with a line feed; changes to adjacent lines conflict, as in git.
    """
    if ours in (base, theirs):
        return theirs
    if theirs == base:
        return ours
    merged = _merge(base, ours, theirs)
    return merged[1] if merged is not None and merged[0] else None


def union_text(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both sides' changes since ``base``; where they conflict, our lines and then theirs. None if
    any side holds a NUL."""
    if any(b"\0" in side for side in (base, ours, theirs)):
        return None
    return _merger.union(base, ours, theirs)


def conflict_text(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """The merge with ``<<<<<<< ours`` and ``>>>>>>> theirs`` around what conflicts, for a person
    to edit; None if any side holds a NUL."""
    merged = _merge(base, ours, theirs)
    return None if merged is None else merged[1]


def _merge(base: bytes, ours: bytes, theirs: bytes) -> tuple[bool, bytes] | None:
    sides = (base, ours, theirs)
    if any(b"\0" in side for side in sides):
        return None  # binary, and the binding would cut the result there
    try:
        for side in sides:
            side.decode()
    except UnicodeDecodeError:
        # the binding insists on UTF-8: give each byte a character of its own, and take it back
        clean, text = _merger.merge(*(side.decode("latin-1").encode() for side in sides))
        return clean, text.encode("latin-1")
    clean, text = _merger.merge(*sides)
    return clean, text.encode()
