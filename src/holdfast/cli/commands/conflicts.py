"""``holdfast conflicts``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from holdfast.cli.desk import Desk, shared
from holdfast.explain.text import cut, one_line


@click.command()
@click.argument("ref", metavar="REF")
@click.option("--show", default="", metavar="PATH", help="Print the text at PATH with both sides.")
@shared
def command(ref: str, *, show: str, desk: Desk) -> None:
    """List what stands in the way of a refused merge.

    REF is the branch that was to be merged into. OURS is what stands there now, THEIRS what was to
    come, BASE what both came from.

    \b
    Examples:
      holdfast conflicts 7k3
      holdfast conflicts 7k3 --show src/app.py
    """
    asyncio.run(_conflicts(desk, ref, show))


async def _conflicts(desk: Desk, ref: str, show: str) -> None:
    from holdfast.engine.landing import open_merge
    from holdfast.runtime.refs import find_run
    from holdfast.values.errors import Misuse
    from holdfast.world import Stage

    async with desk.store() as store:
        row = await find_run(store, ref)
        found = await open_merge(store, row.run)
        stage = Stage(store.get)
        if show:
            one = next((one for one in found.conflicts if one.path == show), None)
            if one is None:
                raise Misuse(f"{show}: is not in conflict")
            text = _text(stage, one)
            if desk.screen.json:
                desk.screen.document({"path": show, "text": text})
            else:
                desk.screen.say(text.rstrip("\n"))
            return
        documents = [_document(stage, one, found) for one in found.conflicts]
        if desk.screen.json:
            desk.screen.document({
                "run": row.run, "source": found.change.source, "event": found.pos,
                "left": len(found.left), "conflicts": documents,
            })  # fmt: skip
            return
        lines = [
            [(each["path"], "bold"), each["kind"], each["base"], each["ours"], each["theirs"],
             (each["decided"] or "open", "green" if each["decided"] else "yellow")]
            for each in documents
        ]  # fmt: skip
        desk.screen.table(["PATH", "CONFLICT", "BASE", "OURS", "THEIRS", "DECIDED"], lines)
        desk.screen.note(f"merge of {found.change.source or 'changes'} into {row.run}: "
                         f"{len(found.left)} of {len(documents)} open")  # fmt: skip


def _document(stage: Any, one: Any, found: Any) -> dict[str, Any]:
    from holdfast.engine.choices import label

    choice = found.change.choices.get(label(one))
    where = one if one.row is None else one.row
    return {
        "path": label(one), "kind": one.kind, "base": _side(where.base), "ours": _side(where.ours),
        "theirs": _side(where.theirs), "why": one.why,
        "decided": choice.take if choice is not None and found.settled(one) else "",
    }  # fmt: skip


def _side(entry: Any) -> str:
    if entry is None:
        return "nothing"
    if isinstance(entry, Mapping):  # a row of a database
        row: Mapping[str, Any] = entry
        return cut(one_line(", ".join(f"{name}={value}" for name, value in row.items())), 60)
    if entry.is_file:
        return f"{entry.size:,} bytes{' *' if entry.executable else ''}"
    return f"-> {entry.target}" if entry.kind == "link" else "directory"


def _text(stage: Any, one: Any) -> str:
    """The file with conflict markers, if its sides are text."""
    from holdfast.values.errors import Misuse
    from holdfast.world import conflict_text
    from holdfast.world.chunks import file_bytes

    sides = (one.base, one.ours, one.theirs)
    if any(side is not None and not side.is_file for side in sides):
        raise Misuse(f"{one.path}: is not a file on every side")
    texts = [b"" if side is None else file_bytes(stage, side) for side in sides]
    marked = conflict_text(*texts)
    if marked is None:
        raise Misuse(f"{one.path}: is no text; take a side, or --file")
    return marked.decode(errors="replace")
