"""Three-way merge of worlds. What cannot be merged becomes a value, never a guess.

The walk follows the Merkle trees: whatever only one side changed is taken by hash, unread. Text is
merged by lines, SQLite databases by rows (`rows`), or as ``.gitattributes`` say (`attributes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import chunks, nodes, tree
from holdfast.world.attributes import NAME, Attributes
from holdfast.world.diff import Change, diff
from holdfast.world.nodes import EMPTY, Entry
from holdfast.world.objects import Objects
from holdfast.world.pages import BESIDE
from holdfast.world.rows import Combined, Row, RowConflict, merge_rows, settle_rows
from holdfast.world.text import git_merge_text, union_text


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that both sides changed in ways that exclude each other.

    ``kind``: "content"; "add/add" (both made a file there, not the same); "modify/delete"; "mode"
    (both made the same file, only one executable); "type" (a file here, a symlink or directory
    there); "rename" (each side gave the file another name; the new ones are in the root); "row"
    (``row`` of a database, of which the root holds ours, and every other row merged). The three
    entries say what each side has; None is "nothing there". ``why`` says more, where there is more.
    """

    path: str
    kind: str
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    row: RowConflict | None = None
    why: str = ""


Choice = Entry | Literal["ours", "theirs"] | Row | None
"""How a conflict is settled: an entry for a path, fields for a row, None for nothing there."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    ``root`` holds **ours** at the path of every conflict, everything else merged. Nothing of
    theirs is lost: the conflict names it. ``merged_paths`` are the files that a driver combined
    from both sides' changes. ``renamed`` are pairs of an old path and the new one that one side
    gave it, to which what the other side changed has followed.
    """

    root: str
    conflicts: tuple[Conflict, ...] = ()
    merged_paths: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


def merge(
    objects: Objects,
    base: str,
    ours: str,
    theirs: str,
) -> Merged:
    """Merge what ``theirs`` changed since ``base`` into ``ours`` (all three are roots).

    How a file is merged that both sides changed, ``merge=`` in the ``.gitattributes`` of ``base``
    says: text, rows, union, ours, theirs, or binary (a conflict). Others are merged as databases if
    all three are, or else as text up to MERGE_TEXT_BYTES. A change to a file that the other side
    renamed, without changing it,
    follows it. Without a common ancestor use `EMPTY` as base.
    """
    if theirs in (ours, base):
        return Merged(ours)
    if ours == base:
        return Merged(theirs)
    # INVARIANT W60: the rules are those that both sides came from, so that neither side can make
    # rules for its own merge, and who merges whom makes no difference.
    rules = Attributes(objects, base)
    run = _Merge(objects, rules)
    root = run.directory("", base, ours, theirs)
    if run.gone:  # something was taken away that the other side changed, or took away as well
        renamed, split = _renames(diff(objects, base, ours), diff(objects, base, theirs))
        followed: list[tuple[str, str]] = []
        for old, new in renamed:
            # as if the file had always been where one side put it
            moved = [_moved(objects, root, old, new) for root in (base, ours, theirs)]
            if all(moved):
                base, ours, theirs = moved
                followed.append((old, new))
        if followed:
            run = _Merge(objects, rules)
            root = run.directory("", base, ours, theirs)
        run.renamed, run.conflicts = followed, [*run.conflicts, *split]
    conflicts = tuple(sorted(run.conflicts, key=lambda conflict: conflict.path))
    return Merged(root, conflicts, tuple(sorted(run.combined)), tuple(sorted(run.renamed)))


def _renames(
    ours: list[Change], theirs: list[Change]
) -> tuple[list[tuple[str, str]], list[Conflict]]:
    """Renames on one side of files that the other side changed, and conflicts between renames."""
    mine, yours = _exact(ours), _exact(theirs)
    found: list[tuple[str, str]] = []
    split: list[Conflict] = []
    for here, there, renames in ((mine, theirs, yours), (yours, ours, mine)):
        changed = {change.path: change for change in there}
        for old, new in here.items():
            other = changed.get(old)
            if other is None or new in changed:
                continue
            if other.after is not None and other.after.is_file:
                found.append((old, new))
            elif old in renames and here is mine and renames[old] != new:
                why = f"renamed to {new} on our side and to {renames[old]} on theirs"
                split.append(Conflict(old, "rename", other.before, None, None, why=why))
    return found, split


def _exact(changes: list[Change]) -> dict[str, str]:
    """Where files went whose content is now at one new path and was at one old path only."""
    gone: dict[tuple[str, bool], list[str]] = {}
    came: dict[tuple[str, bool], list[str]] = {}
    for change in changes:
        for entry, where, kind in ((change.before, gone, "removed"), (change.after, came, "added")):
            if change.kind == kind and entry is not None and entry.is_file and entry.size:
                where.setdefault((entry.hash, entry.chunked), []).append(change.path)
    return {
        old[0]: new[0]
        for content, old in gone.items()
        if len(old) == 1 and len(new := came.get(content, [])) == 1
    }


def _moved(objects: Objects, root: str, old: str, new: str) -> str:
    """The root with what is at ``old`` put at ``new``, as far as it is there; "" if it cannot."""
    entry = tree.find(objects, root, old)
    if entry is None or not entry.is_file:
        return root
    if tree.find(objects, root, new) is not None:
        return ""
    try:
        return tree.apply(objects, root, {old: None, new: entry})
    except Misuse:
        return ""


def resolve(
    objects: Objects,
    merged: Merged,
    choices: Mapping[str | tuple[str, str, tuple[object, ...]], Choice],
) -> Merged:
    """The merge with some conflicts settled.

    Each is named by its path, and a row by path, table and the values of its key. What is chosen is
    "ours" or "theirs", or what is to stand there: an entry (None: nothing), or the fields of a row
    by column. A path settles all rows of its file, too; if one of them is about a whole table,
    "theirs" is their whole file. `Misuse` for what is not in conflict, or
    for a row that a constraint forbids.
    """
    left = list(merged.conflicts)
    edits: dict[str, Entry | None] = {}
    rows: dict[str, list[tuple[RowConflict, Row | None]]] = {}
    for place, choice in choices.items():
        found = [conflict for conflict in left if _named(conflict, place)]
        if not found:
            shown = place if isinstance(place, str) else f"{place[0]}: {place[1]} {place[2]}"
            known = sorted({conflict.path for conflict in merged.conflicts})[:5]
            raise Misuse(f"{shown}: is not in conflict; open are: {known}")
        left = [conflict for conflict in left if conflict not in found]
        for conflict in found:
            if choice == "ours":
                continue
            path, row = conflict.path, conflict.row
            if row is None or isinstance(choice, Entry) or (choice is None and place == path):
                chosen = conflict.theirs if choice == "theirs" else choice
                if chosen is not None and not isinstance(chosen, Entry):
                    raise Misuse(f"{path}: choose ours, theirs, an entry or None, not {choice!r}")
                edits[path] = chosen
            elif not row.key and choice == "theirs" and place == path:
                edits[path] = conflict.theirs
            elif isinstance(choice, Entry | str):
                rows.setdefault(path, []).append((row, row.theirs))
            else:
                rows.setdefault(path, []).append((row, choice))
    for path, settled in rows.items():
        if path not in edits:
            entry = tree.find(objects, merged.root, path)
            assert entry is not None
            edits[path] = settle_rows(objects, path, entry, settled)
    return replace(merged, root=tree.apply(objects, merged.root, edits), conflicts=tuple(left))


def _named(conflict: Conflict, place: str | tuple[str, str, tuple[object, ...]]) -> bool:
    row = conflict.row
    if isinstance(place, str):
        return place == conflict.path
    return row is not None and place == (conflict.path, row.table, tuple(row.key.values()))


class _Merge:
    """One merge under way: collects conflicts and combined paths."""

    def __init__(self, objects: Objects, rules: Attributes) -> None:
        self.objects = objects
        self.rules = rules
        self.conflicts: list[Conflict] = []
        self.combined: list[str] = []
        self.renamed: list[tuple[str, str]] = []
        self.open: set[str] = set()
        self.gone = False

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
            found = current.get(name)
            if found is not None and found.is_file and new is not None and new.is_file:
                self._leftovers(prefix + name, name, (base, ours, theirs))
            edits[name] = self._entry(prefix + name, old, found, new)
        return nodes.edit(self.objects, ours, edits)[0]

    def _entry(
        self, path: str, base: Entry | None, ours: Entry | None, theirs: Entry | None
    ) -> Entry | None:
        """Merge one path that both sides changed."""
        if base is not None:
            kept = all(side is not None and side.kind == base.kind for side in (ours, theirs))
            self.gone = self.gone or not kept
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
            rule = "" if same else self.rules.merge(path)
            if rule in ("ours", "theirs", "union"):
                nothing = chunks.put_file(self.objects, b"")
                found = _ruled(self.objects, path, rule, (nothing, ours, theirs))
                if found.entry is not None:
                    self.combined.append(path)
                    return found.entry._replace(executable=ours.executable or theirs.executable)
            return self._conflict(path, "mode" if same else "add/add", base, ours, theirs)
        # with a common ancestor the two values of the bit leave no room for a conflict
        executable = ours.executable if ours.executable != base.executable else theirs.executable
        if _same(ours, theirs) or _same(base, theirs):
            return ours._replace(executable=executable)
        if _same(base, ours):
            return theirs._replace(executable=executable)
        combined = self._combine(path, base, ours, theirs)
        if combined.entry is None:
            return self._conflict(path, "content", base, ours, theirs, combined.why)
        for row in combined.rows:
            self.conflicts.append(Conflict(path, "row", base, ours, theirs, row, row.why))
        self.combined.append(path)
        return combined.entry._replace(executable=executable)

    def _combine(self, path: str, base: Entry, ours: Entry, theirs: Entry) -> Combined:
        sides = (base, ours, theirs)
        rule = self.rules.merge(path)
        if rule in ("text", "union", "ours", "theirs", "binary"):
            return _ruled(self.objects, path, rule, sides)
        if rule == "rows" or all(is_database(self.objects, side) for side in sides):
            if path in self.open:
                why = "it was left open (-wal or -journal beside it): change it once to bring it in"
                return Combined(None, why=why)
            return merge_rows(self.objects, path, base, ours, theirs)
        return _merge_text(self.objects, *sides)

    def _leftovers(self, path: str, name: str, directories: tuple[str, ...]) -> None:
        """Note a file beside which a program left changes that are not in it yet."""
        ends = [name + end for end in BESIDE if end != "-shm"]
        for directory in directories:
            found = nodes.pick(self.objects, directory, ends).values()
            if any(entry.is_file and entry.size for entry in found):
                self.open.add(path)

    def _conflict(
        self,
        path: str,
        kind: str,
        base: Entry | None,
        ours: Entry | None,
        theirs: Entry | None,
        why: str = "",
    ) -> Entry | None:
        # INVARIANT W4: a merge loses nothing: what either side changed is in the root, or in a
        # conflict that names all three sides.
        self.conflicts.append(Conflict(path, kind, base, ours, theirs, why=why))
        return ours


def is_database(objects: Objects, entry: Entry) -> bool:
    """Whether a file begins as SQLite databases do."""
    if entry.size < 512 or not entry.is_file:
        return False
    return chunks.ChunkTree(objects, entry).chunk(0).startswith(chunks.DATABASE_HEAD)


def _ruled(objects: Objects, path: str, rule: str, sides: tuple[Entry, Entry, Entry]) -> Combined:
    """Merge one file as `.gitattributes` say."""
    match rule:
        case "ours":
            return Combined(sides[1])
        case "theirs":
            return Combined(sides[2])
        case "binary":
            return Combined(None, why=f"{path}: merge=binary in {NAME}")
        case _:
            return _merge_text(objects, *sides, union=rule == "union")


def _merge_text(objects: Objects, *sides: Entry, union: bool = False) -> Combined:
    if any(side.size > limits.MERGE_TEXT_BYTES for side in sides):
        return Combined(None, why=f"over {limits.MERGE_TEXT_BYTES:,} bytes: too long for lines")
    base, ours, theirs = (chunks.file_bytes(objects, side) for side in sides)
    content = (union_text if union else git_merge_text)(base, ours, theirs)
    return Combined(None if content is None else chunks.put_file(objects, content))


def _same(one: Entry, other: Entry) -> bool:
    return (one.hash, one.chunked) == (other.hash, other.chunked)
