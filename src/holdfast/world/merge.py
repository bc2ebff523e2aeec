"""Three-way merge of worlds. What cannot be merged becomes a value, never a guess.

The walk follows the Merkle trees: whatever only one side changed is taken by hash, unread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import chunks, nodes, tree
from holdfast.world.globs import matcher
from holdfast.world.nodes import EMPTY, Entry
from holdfast.world.objects import Objects
from holdfast.world.text import git_merge_text

Driver = Callable[[bytes, bytes, bytes], bytes | None]
"""Merges one file: (base, ours, theirs) to the merged content, or None for a conflict."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that both sides changed in ways that exclude each other.

    ``kind``: "content"; "add/add" (both made a file there, not the same); "modify/delete"; "mode"
    (both made the same file, only one executable); "type" (a file here, a symlink or directory
    there). The three entries say what each side has; None is "nothing there".
    """

    path: str
    kind: str
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    ``root`` holds **ours** at the path of every conflict, everything else merged. Nothing of
    theirs is lost: the conflict names it. ``merged_paths`` are the files that a driver combined
    from both sides' changes.
    """

    root: str
    conflicts: tuple[Conflict, ...] = ()
    merged_paths: tuple[str, ...] = ()


def merge(
    objects: Objects,
    base: str,
    ours: str,
    theirs: str,
    drivers: Mapping[str, Driver] | None = None,
) -> Merged:
    """Merge what ``theirs`` changed since ``base`` into ``ours`` (all three are roots).

    ``drivers`` maps patterns (see `holdfast.world.globs`) to merge functions; the first that
    matches a path is asked. Other files are merged as text up to MERGE_TEXT_BYTES. Without a common
    ancestor use `EMPTY` as base.
    """
    run = _Merge(objects, drivers or {})
    root = run.directory("", base, ours, theirs)
    conflicts = tuple(sorted(run.conflicts, key=lambda conflict: conflict.path))
    return Merged(root, conflicts, tuple(sorted(run.combined)))


def resolve(objects: Objects, merged: Merged, choices: Mapping[str, Entry | None]) -> Merged:
    """The merge with some conflicts settled: what is to stand at their paths (None: nothing).

    `Misuse` for a path that is not in conflict.
    """
    open_paths = {conflict.path for conflict in merged.conflicts}
    for path in choices:
        if path not in open_paths:
            raise Misuse(f"{path}: is not in conflict; open are: {sorted(open_paths)[:5]}")
    left = tuple(conflict for conflict in merged.conflicts if conflict.path not in choices)
    return Merged(tree.apply(objects, merged.root, choices), left, merged.merged_paths)


class _Merge:
    """One merge under way: collects conflicts and combined paths."""

    def __init__(self, objects: Objects, drivers: Mapping[str, Driver]) -> None:
        self.objects = objects
        self.drivers = [(matcher([pattern]), driver) for pattern, driver in drivers.items()]
        self.conflicts: list[Conflict] = []
        self.combined: list[str] = []

    def directory(self, prefix: str, base: str, ours: str, theirs: str) -> str:
        """Merge three directories (EMPTY stands for one that is not there)."""
        if theirs in (ours, base):
            return ours
        if ours == base:
            return theirs
        mine = {name: old for name, old, _ in nodes.differences(self.objects, base, ours)}
        edits: dict[str, Entry | None] = {}
        both: dict[str, tuple[Entry | None, Entry | None]] = {}
        for name, old, new in nodes.differences(self.objects, base, theirs):
            if name in mine:
                both[name] = (old, new)
            else:
                edits[name] = new
        current = nodes.pick(self.objects, ours, both)
        for name, (old, new) in both.items():
            edits[name] = self._entry(prefix + name, old, current.get(name), new)
        return nodes.edit(self.objects, ours, edits)[0]

    def _entry(
        self, path: str, base: Entry | None, ours: Entry | None, theirs: Entry | None
    ) -> Entry | None:
        """Merge one path that both sides changed."""
        if ours == theirs:
            return ours
        if (ours is None or ours.is_dir) and (theirs is None or theirs.is_dir):
            return self._directories(path, base, ours, theirs)
        if base is not None and ((ours is None) or (theirs is None)):
            other = theirs if ours is None else ours
            if other is not None and base.is_dir != other.is_dir:
                return other  # one removed the old thing, the other did too and made a new one
        kinds = {side.kind for side in (ours, theirs) if side is not None}
        if ours is None or theirs is None:
            return self._conflict(path, "modify/delete", base, ours, theirs)
        if len(kinds) > 1:
            return self._conflict(path, "type", base, ours, theirs)
        if kinds == {"file"}:
            return self._files(path, base, ours, theirs)
        kind = "content" if base is not None and base.kind == "link" else "add/add"
        return self._conflict(path, kind, base, ours, theirs)

    def _directories(
        self, path: str, base: Entry | None, ours: Entry | None, theirs: Entry | None
    ) -> Entry | None:
        old = base if base is not None and base.is_dir else None
        merged = self.directory(
            path + "/",
            old.hash if old else EMPTY,
            ours.hash if ours else EMPTY,
            theirs.hash if theirs else EMPTY,
        )
        # a directory that one side removed goes, unless the other side's work keeps it
        gone = merged == EMPTY and old is not None and (ours is None or theirs is None)
        return None if gone else Entry("dir", merged)

    def _files(self, path: str, base: Entry | None, ours: Entry, theirs: Entry) -> Entry | None:
        if base is None or not base.is_file:
            same = ours._replace(executable=theirs.executable) == theirs
            return self._conflict(path, "mode" if same else "add/add", base, ours, theirs)
        # with a common ancestor the two values of the bit leave no room for a conflict
        executable = ours.executable if ours.executable != base.executable else theirs.executable
        if _same(ours, theirs) or _same(base, theirs):
            return ours._replace(executable=executable)
        if _same(base, ours):
            return theirs._replace(executable=executable)
        content = self._combine(path, base, ours, theirs)
        if content is None:
            return self._conflict(path, "content", base, ours, theirs)
        self.combined.append(path)
        return chunks.put_file(self.objects, content, executable)

    def _combine(self, path: str, *sides: Entry) -> bytes | None:
        for matches, driver in self.drivers:
            if matches(path):
                return driver(*(chunks.file_bytes(self.objects, side) for side in sides))
        if any(side.size > limits.MERGE_TEXT_BYTES for side in sides):
            return None
        base, ours, theirs = (chunks.file_bytes(self.objects, side) for side in sides)
        return git_merge_text(base, ours, theirs)

    def _conflict(
        self,
        path: str,
        kind: str,
        base: Entry | None,
        ours: Entry | None,
        theirs: Entry | None,
    ) -> Entry | None:
        # INVARIANT W4: a merge loses nothing: what either side changed is in the root, or in a
        # conflict that names all three sides.
        self.conflicts.append(Conflict(path, kind, base, ours, theirs))
        return ours


def _same(one: Entry, other: Entry) -> bool:
    return (one.hash, one.chunked) == (other.hash, other.chunked)
