"""``holdfast import``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command("import")
@click.argument("file")
@shared
def command(file: str, *, desk: Desk) -> None:
    """Read runs from a file that export wrote.

    Everything is proven first; then the runs are added with their names. A run that is there
    already is left alone, or goes on where the file knows more. Runs that had not ended go on in
    whichever process resumes them.

    \b
    Example: holdfast import two-runs.holdfast
    """
    from holdfast.values.errors import Misuse, NotFound

    path = Path(file)
    if not path.exists():  # a wrong name must not leave an empty store behind
        raise NotFound(f"{file}: there is no such file")
    if not path.is_file():
        raise Misuse(f"{file}: is not a file")
    asyncio.run(_import(desk, file))


async def _import(desk: Desk, file: str) -> None:
    import msgspec

    screen = desk.screen
    screen.live(f"reading {file}")
    directory = desk.settings.directory.absolute()
    moved = None
    if not (directory / "journal.db").exists():
        moved = await _into_a_new_one(desk, file, directory)
    moved = moved or await _into(desk.settings, file)
    screen.erase()
    if screen.json:
        screen.document({**msgspec.structs.asdict(moved), "file": file})
    else:
        screen.say(f"added {moved.runs} runs, {moved.events} events, {moved.blobs} blobs")


async def _into(settings: Any, file: str) -> Any:
    from holdfast.runtime.maintenance import import_archive, open_store

    store = open_store(settings, create=True)
    try:
        return await import_archive(file, store)
    finally:
        await store.close()


async def _into_a_new_one(desk: Desk, file: str, directory: Path) -> Any:
    """Import into a store beside, which takes its place when all went well: a failure leaves no
    store behind. None if ``directory`` exists already: the file is sound, import it there."""
    import tempfile

    import msgspec

    base = next(one for one in directory.parents if one.is_dir())
    with tempfile.TemporaryDirectory(prefix=".holdfast-import-", dir=base) as beside:
        made = Path(beside) / "store"
        moved = await _into(msgspec.structs.replace(desk.settings, store=str(made)), file)
        return moved if _move(made, directory) else None


def _move(made: Path, directory: Path) -> bool:
    if directory.exists():
        return False
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(directory)
    except OSError:  # somebody made it meanwhile
        return False
    return True
