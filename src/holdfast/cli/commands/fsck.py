"""``holdfast fsck``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("file", required=False)
@click.option("--salvage", "target", metavar="OUT", help="Write what is sound to a new archive.")
@click.option("--key", "public", multiple=True, metavar="PUBLIC",
              help="Also hold it against what was signed with this key (any number).")  # fmt: skip
@click.option("--checkpoints", "places", multiple=True, metavar="PLACE",
              help="And against the signed roots that a second place kept.")  # fmt: skip
@shared
def command(
    file: str | None,
    *,
    target: str | None,
    public: tuple[str, ...],
    places: tuple[str, ...],
    desk: Desk,
) -> int:
    """Check the integrity of a store, without a running system.

    FILE is a journal or a store's directory (default: the store). Every event's hash, every link
    of every chain and all content is proven; nothing is ever rewritten. The exit code is 6 if
    something is wrong. With --salvage, what is sound goes into a new archive, which
    `holdfast import` reads.

    Hashes alone do not show that somebody rewrote all of them, or cut off the end. With --key, the
    order and content of all events are held against the roots that the owner of the key signed;
    with --checkpoints, also against those that lie elsewhere (a file, or git:DIR[#BRANCH]), which
    must be all that the journal has since the place began. Where keys were changed, give each of
    them: roots of other keys prove nothing and are only told, but the newest must be of one given.

    \b
    Examples:
      holdfast fsck
      holdfast fsck broken/journal.db --salvage rescued.holdfast
      holdfast fsck journal.db --key cGPb...= --checkpoints /mnt/other/roots
    """
    from holdfast.runtime.maintenance import check, salvage
    from holdfast.values.errors import Misuse

    place = Path(file) if file else desk.settings.directory
    if places and not public:
        raise Misuse("--checkpoints needs --key: without it anybody could have signed them")
    if target is None:
        report = check(place, progress=desk.progress)
        return _tell(desk, report, {}, _roots(report, place, public, places))
    if public:
        raise Misuse("--key and --salvage: one at a time")
    found = salvage(place, target, progress=desk.progress)
    saved = {
        "archive": target, "runs": found.runs, "events": found.events, "blobs": found.blobs,
        "cut": found.cut, "gone": found.gone, "lost": found.lost,
    }  # fmt: skip
    return _tell(desk, found.report, saved)


def _roots(report: Any, place: Path, public: tuple[str, ...], places: tuple[str, ...]) -> Any:
    """What signed roots say of it; problems are added to the report."""
    from holdfast.runtime.maintenance import kept_in, prove_roots, read_public

    if not public:
        return None
    keys = [read_public(one) for one in public]
    return prove_roots(place, keys, report, [(one, kept_in(one)) for one in places])


def _tell(desk: Desk, report: Any, saved: dict[str, Any], proven: Any = None) -> int:
    import msgspec

    from holdfast.cli.failing import complain
    from holdfast.explain.text import one_line

    screen = desk.screen
    screen.erase()
    if screen.json:
        screen.document({
            "path": str(report.path), "sound": report.sound, "runs": report.runs,
            "events": report.events, "blobs": report.blobs, "wrong": report.wrong,
            "hashes_only": report.hashes_only,
            "problems": [
                {"kind": one.kind, "place": one.place, "text": one.text}
                for one in report.problems
            ],
            "salvaged": saved or None,
            "signed": None if proven is None else msgspec.structs.asdict(proven),
        })  # fmt: skip
    else:
        screen.say(f"{report.path}: {report.runs} runs, {report.events} events, "
                   f"{report.blobs} blobs")  # fmt: skip
        for one in report.problems:
            screen.say((f"{one.kind} ", "red"), f"{one.place}: {one.text}")
        if report.hashes_only:
            screen.say(("note ", "yellow"), "a copy of hashes: payloads and worlds are not in it")
        if proven is not None:
            screen.say(f"{proven.roots} signed roots hold; they cover {proven.covered} events, "
                       f"{proven.left} newer ones are not signed yet")  # fmt: skip
            for name, count in proven.places.items():
                screen.say(f"{one_line(name)} keeps {count} signed roots")
            for text in proven.told:
                screen.say(("note ", "yellow"), text)
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
