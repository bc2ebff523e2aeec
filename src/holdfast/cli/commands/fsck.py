"""``holdfast fsck``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("file", required=False)
@click.option("--salvage", "target", metavar="OUT", help="Write what is sound to a new archive.")
@shared
def command(file: str | None, *, target: str | None, desk: Desk) -> int:
    """Check the integrity of a store, without a running system.

    FILE is a journal or a store's directory (default: the store). Every event's hash, every link
    of every chain and all content is proven; nothing is ever rewritten. The exit code is 6 if
    something is wrong. With --salvage, what is sound goes into a new archive, which
    `holdfast import` reads.

    \b
    Examples:
      holdfast fsck
      holdfast fsck broken/journal.db --salvage rescued.holdfast
    """
    from holdfast.runtime.maintenance import check, salvage

    place = Path(file) if file else desk.settings.directory
    if target is None:
        return _tell(desk, check(place, progress=desk.progress), {})
    found = salvage(place, target, progress=desk.progress)
    saved = {
        "archive": target, "runs": found.runs, "events": found.events, "blobs": found.blobs,
        "cut": found.cut, "gone": found.gone, "lost": found.lost,
    }  # fmt: skip
    return _tell(desk, found.report, saved)


def _tell(desk: Desk, report: Any, saved: dict[str, Any]) -> int:
    from holdfast.cli.failing import complain

    screen = desk.screen
    screen.erase()
    if screen.json:
        screen.document({
            "path": str(report.path), "sound": report.sound, "runs": report.runs,
            "events": report.events, "blobs": report.blobs, "wrong": report.wrong,
            "problems": [
                {"kind": one.kind, "place": one.place, "text": one.text}
                for one in report.problems
            ],
            "salvaged": saved or None,
        })  # fmt: skip
    else:
        screen.say(f"{report.path}: {report.runs} runs, {report.events} events, "
                   f"{report.blobs} blobs")  # fmt: skip
        for one in report.problems:
            screen.say((f"{one.kind} ", "red"), f"{one.place}: {one.text}")
        if saved:
            screen.say(f"saved {saved['runs']} runs, {saved['events']} events, "
                       f"{saved['blobs']} blobs to {saved['archive']}")  # fmt: skip
            for run, position in saved["cut"].items():
                screen.say(("cut ", "yellow"), f"run {run} ends before #{position}")
            for run in saved["gone"]:
                screen.say(("gone ", "red"), f"run {run}")
    if report.sound:
        if not screen.json:
            screen.say(("sound", "green"))
        return 0
    hint = "" if saved else "; `holdfast fsck --salvage OUT` saves what is sound"
    complain(f"{report.path}: {report.wrong} problems{hint}")
    return 6
