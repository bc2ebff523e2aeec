"""What is decided about the conflicts of a merge: by a person, a function or an agent.

A decision is about one conflict as it was seen: it counts only while the three sides are those.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from holdfast.values.errors import Misuse
from holdfast.world import (
    Conflict,
    Entry,
    Merged,
    Objects,
    RowConflict,
    Stage,
    conflict_text,
    put_file,
    resolve,
)
from holdfast.world.chunks import file_bytes
from holdfast.world.nodes import pack_entry, unpack_entry

WORDS = ("ours", "theirs", "base")
_MIRRORED = {"ours": "theirs", "theirs": "ours"}


class Choice(msgspec.Struct, frozen=True):
    """What was decided about one conflict, whose ``sides`` were these: ``take`` ours, theirs, base,
    file with its ``content``, or row with its fields (None: no row)."""

    sides: list[str]
    take: str
    content: bytes = b""
    row: dict[str, Any] | None = None

    def place(self, conflict: Conflict) -> Any:
        """Where it counts, as `holdfast.world.resolve` names it."""
        row = conflict.row
        if row is None or self.take == "file":
            return conflict.path
        return conflict.path, row.table, tuple(row.key.values())

    def taken(self, conflict: Conflict, stage: Stage) -> Any:
        """What is to stand there."""
        if self.take == "row":
            return self.row
        if self.take == "base":
            row = conflict.row
            return conflict.base if row is None else row.base
        if self.take != "file":
            return self.take
        sides = (conflict.ours, conflict.theirs)
        executable = any(one is not None and one.executable for one in sides)
        return put_file(stage, self.content, executable)


def label(conflict: Conflict) -> str:
    """What people call a conflict: its path, or ``path:table:key`` for a row of a database,
    its key as a JSON list, so that no two rows have one label."""
    row = conflict.row
    if row is None:
        return conflict.path
    key = json.dumps(list(row.key.values()), default=_hex, ensure_ascii=False)
    return f"{conflict.path}:{row.table}:{key}"


def _hex(part: bytes) -> dict[str, str]:
    return {"hex": part.hex()}


def sides_of(conflict: Conflict) -> list[str]:
    """What the three sides are, for comparing: a decision about others is none about these."""
    if conflict.row is not None:
        rows = (conflict.row.base, conflict.row.ours, conflict.row.theirs)
        return ["" if one is None else repr(sorted(one.items())) for one in rows]
    sides = (conflict.base, conflict.ours, conflict.theirs)
    return ["" if one is None else "|".join(map(str, one)) for one in sides]


def settle(stage: Stage, merged: Merged, choices: Mapping[str, Choice]) -> Merged:
    """The merge with what was decided, by label; one by path counts for all rows of that file.

    `Misuse` for what cannot stand, such as a row that a constraint forbids.
    """
    # INVARIANT E80: a decision counts only for the very sides that it was made about.
    decided: dict[Any, Any] = {}
    for one in merged.conflicts:
        for about in (one, replace(one, row=None)):
            choice = choices.get(label(about))
            if choice is not None and choice.sides == sides_of(about):
                decided[choice.place(about)] = choice.taken(about, stage)
                break
    return resolve(stage, merged, decided)


# In agent code ----------------------------------------------------------------------------------
class MergeConflict:
    """One conflict of a merge, for who decides it.

    ``path``, ``kind`` ("content", "add/add", "modify/delete", "mode", "type", "rename", "row"),
    ``why`` in words. ``ours`` is what stands there, ``theirs`` what was to come, ``base`` what both
    came from: bytes of a file, the target of a symlink, the fields of a row, or None for nothing
    there (or a directory). Of a row, ``table`` and ``key`` say which.
    """

    def __init__(self, objects: Objects, conflict: Conflict) -> None:
        self._objects = objects
        self._conflict = conflict
        self.path, self.kind, self.why = conflict.path, conflict.kind, conflict.why
        row = conflict.row
        self.table = "" if row is None else row.table
        self.key: Mapping[str, Any] = {} if row is None else row.key

    @property
    def base(self) -> Any:
        """What both sides came from."""
        return self._side("base")

    @property
    def ours(self) -> Any:
        """What stands there."""
        return self._side("ours")

    @property
    def theirs(self) -> Any:
        """What was to come."""
        return self._side("theirs")

    @property
    def marked(self) -> str | None:
        """The text with both sides between conflict markers; None if it is not text."""
        sides = [self.base, self.ours, self.theirs]
        if self._conflict.row is not None or any(isinstance(one, str) for one in sides):
            return None
        found = conflict_text(*(one or b"" for one in sides))
        return None if found is None else found.decode(errors="replace")

    def _side(self, name: str) -> Any:
        row = self._conflict.row
        if row is not None:
            return getattr(row, name)
        entry: Entry | None = getattr(self._conflict, name)
        if entry is None or entry.is_dir:
            return None
        return file_bytes(self._objects, entry) if entry.is_file else entry.target


Resolve = str | Callable[[MergeConflict], Any]
"""Who decides conflicts: "ours", "theirs" or "base" for all, or a function of one `MergeConflict`,
asynchronous or not, that gives such a word, new content (bytes, or a str that is none of these),
the fields of a row by column, or None: it stays a conflict."""


def told(conflicts: Sequence[Conflict]) -> list[dict[str, Any]]:
    """Conflicts as they are recorded for who decides them. If one is about a whole table of a
    database, that file is decided as one."""
    whole = {one.path: one for one in conflicts if one.row is not None and not one.row.key}
    found: list[dict[str, Any]] = []
    for one in conflicts:
        if one.path not in whole:
            found.append(_plain(one))
        elif one is whole[one.path]:
            found.append(_plain(replace(one, row=None, kind="content")))
    return found


def _plain(one: Conflict) -> dict[str, Any]:
    entries = [
        None if side is None else pack_entry(side) for side in (one.base, one.ours, one.theirs)
    ]
    row = one.row
    fields = row and {
        "table": row.table, "key": dict(row.key), "columns": list(row.columns),
        "rows": [side and dict(side) for side in (row.base, row.ours, row.theirs)],
    }  # fmt: skip
    return {
        "path": label(one), "kind": one.kind, "why": one.why, "file": one.path, "entries": entries,
        "row": fields, "sides": sides_of(one),
    }  # fmt: skip


def _conflict(said: Mapping[str, Any], *, mirrored: bool) -> Conflict:
    turned = (0, 2, 1) if mirrored else (0, 1, 2)
    raw = [said["entries"][place] for place in turned]
    sides = [None if one is None else unpack_entry(one) for one in raw]
    row, fields = None, said["row"]
    if fields is not None:
        base, ours, theirs = (fields["rows"][place] for place in turned)
        columns = tuple(fields["columns"])
        row = RowConflict(fields["table"], fields["key"], columns, base, ours, theirs, said["why"])
    return Conflict(said["file"], said["kind"], *sides, row=row, why=said["why"])


async def decide_all(
    objects: Objects, found: Sequence[Mapping[str, Any]], by: Resolve, *, mirrored: bool
) -> list[dict[str, Any]] | None:
    """Ask about each recorded conflict; the choices for `choices_of`, None if one stays open.
    ``mirrored``: the merge goes the other way round than who decides thinks. `Misuse`."""
    if isinstance(by, str) and by not in WORDS:
        raise Misuse(f"resolve={by!r}: say ours, theirs, base, or give a function")
    # INVARIANT E81: with one left open nothing is merged; what was decided is an argument of the
    # step that merges, and so recorded, judged and replayed as it was.
    choices: list[dict[str, Any]] = []
    for said in found:
        conflict = _conflict(said, mirrored=mirrored)
        answer = by
        if not isinstance(by, str):
            answer = by(MergeConflict(objects, conflict))
            if inspect.isawaitable(answer):
                answer = await _awaited(answer)
        if answer is None:
            return None
        made = _choice(said, conflict, answer)
        if mirrored:
            made["take"] = _MIRRORED.get(made["take"], made["take"])
        choices.append(made)
    return choices


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _choice(said: Mapping[str, Any], conflict: Conflict, answer: Any) -> dict[str, Any]:
    place, row = said["path"], conflict.row
    made: dict[str, Any] = {"path": place, "sides": said["sides"]}
    if isinstance(answer, str) and answer in WORDS:
        return made | {"take": answer}
    if isinstance(answer, Mapping) and row is not None:
        return made | {"take": "row", "row": dict(answer)}
    if isinstance(answer, bytes | str) and row is None:
        content = answer.encode() if isinstance(answer, str) else answer
        return made | {"take": "file", "content": content}
    what = "the fields of the row by column" if row is not None else "content (bytes or str)"
    raise Misuse(
        f"resolve: {place}: gave {type(answer).__name__}; give ours, theirs, base, {what}, or None"
    )


def choices_of(said: Sequence[Mapping[str, Any]]) -> dict[str, Choice]:
    """Recorded choices by label."""
    return {
        one["path"]: Choice(one["sides"], one["take"], one.get("content", b""), one.get("row"))
        for one in said
    }
