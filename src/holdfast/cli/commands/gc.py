"""``holdfast gc``."""

from __future__ import annotations

import asyncio

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.option("--older-than", type=click.FloatRange(0), default=None, metavar="DAYS",
              help="Also delete runs that ended longer ago.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--compact", is_flag=True, help="Give the space back to the disk.")
@shared
def command(*, older_than: float | None, dry_run: bool, compact: bool, desk: Desk) -> None:
    """Delete old ended runs, and content that nothing refers to.

    Without --older-than no run is deleted, only content that no run needs. A run stays as long as
    any run stays that is tied to it, by a fork or as parent and child. Other processes may work on
    the store meanwhile. What a killed `world mount` left on the disk goes, too.

    \b
    Example: holdfast gc --older-than 30 --dry-run
    """
    asyncio.run(_gc(desk, older_than, dry_run, compact))


async def _gc(desk: Desk, days: float | None, dry: bool, compact: bool) -> None:
    import msgspec

    from holdfast.cli.mounting import MOUNT
    from holdfast.runtime.maintenance import collect
    from holdfast.world.temporary import sweep

    before = 0 if days is None else desk.now_ms() - int(days * 86_400_000)
    async with desk.store() as store:
        found = collect(
            store, ended_before=before, dry=dry, compact=compact, progress=desk.progress
        )
        if not dry:
            sweep(MOUNT, store.directory / "checkouts")
    screen = desk.screen
    screen.erase()
    if screen.json:
        screen.document({**msgspec.structs.asdict(found), "dry": dry})
    else:
        verb = "would delete" if dry else "deleted"
        screen.say(f"{verb} {found.runs} runs, {found.events} events, {found.blobs} blobs "
                   f"({found.bytes:,} bytes)")  # fmt: skip
