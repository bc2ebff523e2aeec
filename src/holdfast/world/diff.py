"""What differs between two worlds, as values and as a patch to read.

Equal directories are equal hashes, so only what differs is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pygit2

from holdfast.values import limits
from holdfast.world import chunks, nodes
from holdfast.world.nodes import EMPTY, EMPTY_DIR, Entry
from holdfast.world.objects import Objects
from holdfast.world.rowdiff import row_changes


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs.

    ``kind`` is "added", "removed", "changed" (content, or file against symlink), "mode" (only the
    executable bit) or, from `renames` only, "renamed" (from ``old_path``, same content).
    """

    path: str
    kind: str
    before: Entry | None
    after: Entry | None
    old_path: str = ""


def diff(objects: Objects, before: str, after: str) -> list[Change]:
    """The changes that lead from one root to another, sorted by path.

    Directories count only while they are empty, as in `tree.walk`.
    """
    # INVARIANT W6: applying the changes to one root's walk gives the other root's walk.
    found: list[Change] = []
    for path, old, new in compare(objects, before, after):
        before_leaf, after_leaf = _leaf(old), _leaf(new)
        if before_leaf is not None or after_leaf is not None:
            kind = _kind(before_leaf, after_leaf)
            found.append(Change(path, kind, before_leaf, after_leaf))
    return sorted(found, key=lambda change: change.path)


def compare(
    objects: Objects, before: str, after: str, prefix: str = ""
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Every path whose entries differ, directories (also where both are) before their content."""
    for name, old, new in nodes.differences(objects, before, after):
        path = prefix + name
        yield path, old, new
        old_dir = old.hash if old is not None and old.is_dir else EMPTY
        new_dir = new.hash if new is not None and new.is_dir else EMPTY
        if old_dir != new_dir:
            yield from compare(objects, old_dir, new_dir, path + "/")


def _leaf(entry: Entry | None) -> Entry | None:
    """The entry, or None for a directory with something in it."""
    return None if entry is not None and entry.is_dir and entry != EMPTY_DIR else entry


def _kind(old: Entry | None, new: Entry | None) -> str:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    if old.is_file and new.is_file and old._replace(executable=new.executable) == new:
        return "mode"
    return "changed"


def renames(changes: Iterable[Change]) -> list[Change]:
    """The changes with each removed and added pair of files of the same content as one rename.

    Only exact renames of files that are not empty are seen; where several match, paths are paired
    in sorted order.
    """
    changes = sorted(changes, key=lambda change: change.path)
    sources: dict[str, list[Change]] = {}
    for change in changes:
        if change.kind == "removed" and change.before is not None and change.before.size:
            sources.setdefault(change.before.hash, []).append(change)
    moved: set[str] = set()
    found: list[Change] = []
    for change in changes:
        if change.kind == "added" and change.after is not None and change.after.size:
            candidates = sources.get(change.after.hash)
            if candidates:
                source = candidates.pop(0)
                moved.add(source.path)
                change = replace(  # noqa: PLW2901
                    change, kind="renamed", before=source.before, old_path=source.path
                )
        found.append(change)
    return [change for change in found if change.kind != "removed" or change.path not in moved]


def line_changes(objects: Objects, change: Change) -> tuple[int, int]:
    """Lines of text that a change adds and removes; none for what is no text."""
    old, new = _text(objects, change.before), _text(objects, change.after)
    if old is None or new is None or old == new:
        return 0, 0
    patch = pygit2.Patch.create_from(old.encode(), new.encode(), context_lines=0)
    _, added, removed = patch.line_stats
    return added, removed


# As a patch -----------------------------------------------------------------------------------
def unified(objects: Objects, changes: Iterable[Change], context: int = 3) -> str:
    """The changes as a patch in git's form, exact renames shown as such; ``context`` in lines.

    `git apply` accepts what it says of text. Content that is not UTF-8, holds a NUL or is longer
    than DIFF_TEXT_BYTES is only said to differ, and of SQLite databases
    which rows do. Empty directories are shown by their header alone.
    """
    return "".join(_patch(objects, change, context) for change in renames(changes))


def _patch(objects: Objects, change: Change, context: int) -> str:
    old_name = _quoted("a/" + (change.old_path or change.path))
    new_name = _quoted("b/" + change.path)
    old, new = change.before, change.after
    if old is not None and new is not None and old.kind != new.kind:
        # as git does: what turns into another kind of thing is removed, then added
        gone = replace(change, kind="removed", after=None)
        return _patch(objects, gone, context) + _patch(
            objects, replace(change, kind="added", before=None), context
        )
    lines = [f"diff --git {old_name} {new_name}\n"]
    if old is None or new is None:
        verb, only = ("new file", new) if old is None else ("deleted file", old)
        lines.append(f"{verb} mode {_mode(only)}\n")
    elif _mode(old) != _mode(new):
        lines.append(f"old mode {_mode(old)}\nnew mode {_mode(new)}\n")
    if change.kind == "renamed":
        lines.append("similarity index 100%\n")
        lines.append(f"rename from {_quoted(change.old_path)}\nrename to {_quoted(change.path)}\n")
    lines.append(_body(objects, old, new, (old_name, new_name), context))
    return "".join(lines)


def _body(
    objects: Objects,
    old: Entry | None,
    new: Entry | None,
    labels: tuple[str, str],
    context: int,
) -> str:
    old_name = labels[0] if old is not None else "/dev/null"
    new_name = labels[1] if new is not None else "/dev/null"
    old_text, new_text = _text(objects, old), _text(objects, new)
    if old_text is None or new_text is None:
        same = old is not None and new is not None and old.hash == new.hash
        if same:
            return ""
        rows = None
        if old is not None and new is not None:
            rows = row_changes(objects, new_name, old, new)
        return f"Binary files {old_name} and {new_name} differ\n{rows or ''}"
    if old_text == new_text:
        return ""
    body = "".join(_hunks(old_text, new_text, context))
    # a tab ends a name that holds spaces, as in git and GNU diff
    old_end = "\t\n" if " " in old_name and not old_name.startswith('"') else "\n"
    new_end = "\t\n" if " " in new_name and not new_name.startswith('"') else "\n"
    return f"--- {old_name}{old_end}+++ {new_name}{new_end}{body}"


def _hunks(old_text: str, new_text: str, context: int) -> Iterator[str]:
    old, new = _lines(old_text), _lines(new_text)
    for group in difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(context):
        old_span = _span(group[0][1], group[-1][2])
        new_span = _span(group[0][3], group[-1][4])
        yield f"@@ -{old_span} +{new_span} @@\n"
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                yield from (_line(" ", line) for line in old[old_from:old_to])
                continue
            yield from (_line("-", line) for line in old[old_from:old_to])
            yield from (_line("+", line) for line in new[new_from:new_to])


def _line(mark: str, line: str) -> str:
    return mark + line if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    """Lines as git sees them: only a line feed ends one (str.splitlines knows ten more)."""
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _span(start: int, stop: int) -> str:
    length = stop - start
    first = start + 1 if length else start
    return f"{first}" if length == 1 else f"{first},{length}"


def _text(objects: Objects, entry: Entry | None) -> str | None:
    """The text to compare, or None if it is not to be shown."""
    if entry is None or entry.is_dir:
        return ""
    if entry.kind == "link":
        return entry.target
    if entry.size > limits.DIFF_TEXT_BYTES:
        return None
    content = chunks.file_bytes(objects, entry)
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _mode(entry: Entry | None) -> str:
    if entry is None:
        return ""
    if entry.kind == "link":
        return "120000"
    if entry.is_dir:
        return "040000"
    return "100755" if entry.executable else "100644"


_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


def _quoted(name: str) -> str:
    """A name as git writes it: in quotes with C escapes if it holds anything that could mislead."""
    plain = name.isprintable() and '"' not in name and "\\" not in name
    if plain:
        return name
    quoted = [
        f"\\{_ESCAPES[byte]}"
        if byte in _ESCAPES
        else (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in name.encode("utf-8", "surrogateescape")
    ]
    return '"' + "".join(quoted) + '"'
