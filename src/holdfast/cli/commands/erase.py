"""``holdfast erase``."""

from __future__ import annotations

import asyncio
import sys

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("what", metavar="RUN[@STEP]")
@click.option("--why", default="", metavar="TEXT", help="The reason, which is recorded.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@shared
def command(what: str, *, why: str, yes: bool, dry_run: bool, desk: Desk) -> int:
    """Erase what a run or a step carried, and keep the proof that it happened.

    Arguments, results, answers and inputs go, and are overwritten in the store's files; names,
    decisions, times and hashes stay, so every proof still holds. So do all words that are hashed
    whole with their event: what persons were asked (of an action, that is its arguments, the first
    120 characters of each and 600 of all; of an agent's question, all of it), their notes, the
    texts of errors, and the facts of decisions. The output says in how many events such words stay.
    What was erased cannot be replayed or forked from; a fork of it that has not ended needs it and
    must be cancelled first. Worlds (files), copies in forks, parents and children, backups and
    exports are not touched. Who erased it, when and why is recorded.

    \b
    Examples:
      holdfast erase 7k3 --why "request of 2026-11-02"
      holdfast erase 7k3@4 --yes
    """
    return asyncio.run(_erase(desk, what, why, yes, dry_run))


async def _erase(desk: Desk, what: str, why: str, yes: bool, dry: bool) -> int:
    import msgspec

    from holdfast.runtime.maintenance import erase
    from holdfast.runtime.refs import find
    from holdfast.values.errors import Misuse

    screen = desk.screen
    async with desk.store() as store:
        row, step = await find(store, what)
        place = f"{row.run}@{step}" if step else f"run {row.run}"
        found = erase(store, row.run, step, by=desk.user, why=why, dry=True)
        if not dry and found.payloads:
            if not yes and not sys.stdin.isatty():
                raise Misuse("erasing cannot be undone: say --yes where nobody can be asked")
            text = f"Erase {found.payloads} payloads of {place}? This cannot be undone"
            if not yes and not click.confirm(text, err=True):
                screen.note("nothing was erased")
                return 0
            found = erase(store, row.run, step, by=desk.user, why=why)
    if screen.json:
        screen.document({**msgspec.structs.asdict(found), "run": row.run, "step": step, "dry": dry})
        return 0
    verb = "would erase" if dry else "erased"
    screen.say(f"{verb} {found.payloads} payloads of {place}")
    if found.texts:
        screen.note(f"{found.texts} events keep words that are hashed whole: questions to persons "
                    "(with arguments, shortened), notes, errors")  # fmt: skip
    if found.forks:
        screen.note(f"forks of it have steps of their own: {', '.join(found.forks)}")
    if found.spared:
        screen.note("other processes are running: `holdfast gc` in an hour deletes the rest")
    return 0
