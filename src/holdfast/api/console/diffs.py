"""Differences as lines with a kind each, for templates: patches of worlds, texts, arguments."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast.explain.text import pretty
from holdfast.journal.store import Store
from holdfast.values import limits
from holdfast.world import EMPTY, Stage, diff, renames, unified

KINDS = {"+": "add", "-": "del", " ": "same", "@": "hunk"}


class Row(msgspec.Struct, frozen=True):
    """A line of a difference. ``kind``: file, hunk, add, del or same."""

    kind: str
    text: str


def rows_of(patch: str) -> list[Row]:
    """The lines of a unified patch."""
    found: list[Row] = []
    for line in patch.splitlines():
        if line.startswith("diff --git "):
            found.append(Row("file", line.rpartition(" b/")[2] or line))
        elif not line.startswith(("--- ", "+++ ", "index ")):
            found.append(Row(KINDS.get(line[:1], "same"), line))
    return found


def world_rows(store: Store | Stage, before: str, after: str) -> list[Row]:
    """How one root of a world differs from another; cut where it is too long for a page."""
    if (before or EMPTY) == (after or EMPTY):
        return []
    stage = store if isinstance(store, Stage) else Stage(store.get)
    changes = renames(diff(stage, before or EMPTY, after or EMPTY))
    text = unified(stage, changes)
    rows = rows_of(text[: limits.CONSOLE_PATCH_CHARS])
    if len(text) > limits.CONSOLE_PATCH_CHARS:
        rows.append(Row("hunk", "… longer than a page shows: holdfast world diff"))
    return rows


def text_rows(before: str, after: str) -> list[Row]:
    """How one text differs from another, with three lines around each change."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3)
    return marked_rows(list(lines)[2:])


def value_rows(before: Any, after: Any) -> list[Row]:
    """How one value differs from another."""
    return text_rows(pretty(before), pretty(after))


def marked_rows(lines: Iterable[str]) -> list[Row]:
    """Lines that begin with "+" or "-" or neither."""
    return [Row(KINDS.get(line[:1], "same"), line) for line in lines]
