"""``holdfast skills``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, json_only, shared

_SHOWN = 12
"""Digits of a version in a table; --json has all."""


@click.group()
def command() -> None:
    """Check skills, list their versions, and report what came of using them.

    \b
    Examples:
      holdfast skills check skills
      holdfast skills report
    """


@command.command("check")
@click.argument("folders", nargs=-1, required=True)
@json_only
def check_command(*, folders: tuple[str, ...], desk: Desk) -> int:
    """Check folders of skills: the format, what is dangerous in them, what looks odd.

    FOLDERS are skills, or folders of skills. `error`: it is not loaded; `look`: a person should
    look at it before trusting the skill. Nothing of a skill is executed. A skill without findings
    may still be hostile: read it. Exit code 1 with an error.

    \b
    Example: holdfast skills check skills
    """
    from holdfast.explain.text import one_line
    from holdfast.tools.skills import check

    found = [(folder, check(folder)) for place in folders for folder in _folders(place)]
    bad = any(one.skill is None for _, one in found)
    if desk.screen.json:
        desk.screen.document([
            {"folder": str(folder), "version": one.skill.version if one.skill else "",
             "findings": [{"level": "error" if each.error else "look", "where": each.where,
                           "text": each.text} for each in one.found]}
            for folder, one in found
        ])  # fmt: skip
        return int(bad)
    for folder, one in found:
        version = one.skill.version[:_SHOWN] if one.skill else "not fit to be used"
        desk.screen.say((one_line(str(folder)), "bold"), f"  {version}")
        for each in one.found:
            level = ("error", "red") if each.error else ("look ", "yellow")
            desk.screen.say("  ", level, f"  {one_line(str(each))}")
    return int(bad)


def _folders(place: str) -> list[Any]:
    """Folders to check: what names itself no skill is checked as one."""
    from pathlib import Path

    from holdfast.tools.skills import folders
    from holdfast.values.errors import NotFound

    try:
        return folders(place)
    except NotFound:
        if Path(place).is_dir():
            return [Path(place)]
        raise


@command.command("list")
@click.argument("folders", nargs=-1)
@click.option("--pins", is_flag=True, help="Print what a policy's tools say to pin them.")
@json_only
def list_command(*, folders: tuple[str, ...], pins: bool, desk: Desk) -> None:
    """List the skills in folders (default: skills), with their versions.

    A version is the hash of all files. With --pins: entries for `tools` of a policy; under it
    the fact `schema_changed` is true for another version, and a rule can ask a person.

    \b
    Example: holdfast skills list skills --pins
    """
    from holdfast.engine.described import journal_name
    from holdfast.explain.text import one_line
    from holdfast.tools.skills import skills

    found = skills(*(folders or ("skills",)))
    if desk.screen.json:
        desk.screen.document([
            {"name": one.name, "version": one.version, "description": one.card.description,
             "folder": one.folder, "files": len(one.files), "looks": len(one.found)}
            for one in found.values()
        ])  # fmt: skip
    elif pins:
        for one in found.values():
            names = ", ".join(journal_name(f"skills.{verb}", one.name) for verb in _VERBS)
            click.echo(f"  - {{tool: [{names}], pin: {one.version}}}")
    else:
        desk.screen.table(["NAME", "VERSION", "FILES", "DESCRIPTION"], [
            [(one_line(one.name), "bold"), one.version[:_SHOWN], str(len(one.files)),
             one_line(one.card.description)] for one in found.values()
        ])  # fmt: skip


_VERBS = ("activate", "read")


@command.command("show")
@click.argument("folder")
@json_only
def show_command(*, folder: str, desk: Desk) -> None:
    """Show one skill: what it says of itself, its files, and what to look at.

    What it would like to use (allowed-tools) is its own wish; only a policy allows anything.

    \b
    Example: holdfast skills show skills/release-notes
    """
    from holdfast.explain.text import one_line
    from holdfast.tools.skills import check
    from holdfast.values.errors import Misuse

    skill, findings = check(folder)
    if skill is None:
        raise Misuse(f"skill {folder}: {next(one for one in findings if one.error)}")
    card = skill.card
    if desk.screen.json:
        desk.screen.document({
            "name": card.name, "version": skill.version, "description": card.description,
            "license": card.license, "compatibility": card.compatibility,
            "metadata": dict(card.metadata), "allowed_tools": list(card.allowed_tools),
            "files": {path: len(content) for path, content in skill.files.items()},
            "findings": [str(one) for one in findings],
        })  # fmt: skip
        return
    desk.screen.say((one_line(card.name), "bold"), f"  {skill.version}")
    for title, text in (
        ("description", card.description), ("license", card.license),
        ("compatibility", card.compatibility), ("would use", " ".join(card.allowed_tools)),
        *(sorted(card.metadata.items())),
    ):  # fmt: skip
        if text:
            desk.screen.say((f"  {one_line(title)}: ", "dim"), one_line(text))
    for path, content in skill.files.items():
        desk.screen.say(f"  {len(content):>9,}  {one_line(path)}")
    for one in findings:
        desk.screen.say(("  look ", "yellow"), one_line(str(one)))


@command.command("report")
@click.argument("name", required=False, default="")
@click.option("--since", default="", metavar="TIME", help="Count since: 30d, 2026-01-01.")
@click.option("--runs", is_flag=True, help="One line for each run, not for each version.")
@shared
def report_command(*, name: str, since: str, runs: bool, desk: Desk) -> None:
    """Report which versions of skills were used, in which runs, and what came of these.

    NAME: only that skill. Counts are of what happened after the skill was first read in a run:
    calls of tools, those refused or failed, and what persons answered. That one came after the
    other does not say that it came from it.

    \b
    Example: holdfast skills report release-notes --runs
    """
    found = asyncio.run(_uses(desk, since))
    found = [one for one in found if not name or one.skill == name]
    _tell(desk, found, runs=runs)


async def _uses(desk: Desk, since: str) -> list[Any]:
    from holdfast.cli.since import since_ms
    from holdfast.explain.skilled import uses
    from holdfast.runtime.maintenance import every_event

    after = since_ms(since, desk.now_ms())
    async with desk.store() as store:
        found = uses(every_event(store, await store.last_seq()), store.get)
    return [one for one in found if one.last >= after]


def _tell(desk: Desk, found: list[Any], *, runs: bool) -> None:
    import msgspec

    from holdfast.explain.skilled import by_version
    from holdfast.explain.telling import clock
    from holdfast.explain.text import one_line

    screen = desk.screen
    lines: list[Any] = found if runs else by_version(found)
    if screen.json:
        screen.document([msgspec.to_builtins(one) for one in lines])
        return
    if not lines:
        screen.note("no run has read a skill")
        return
    after = ["CALLS", "REFUSED", "FAILED", "APPROVED", "DENIED"]
    if runs:
        screen.table(["SKILL", "VERSION", "STEP", "AGENT", "ENDED", *after], [
            [(one_line(one.skill), "bold"), one.version[:_SHOWN], one.step, one_line(one.agent),
             one.ended or "open", *_after(one)] for one in lines
        ])  # fmt: skip
        return
    screen.table(
        ["SKILL", "VERSION", "SINCE", "RUNS", "DONE", "FAILED", "OPEN", "NOT GIVEN", *after],
        [
            [(one_line(one.skill), "bold"), one.version[:_SHOWN], (clock(one.since), "dim"),
             str(one.runs), str(one.done), str(one.failed + one.cancelled), str(one.open),
             str(one.refused), *_after(one)] for one in lines
        ],
    )  # fmt: skip


def _after(one: Any) -> list[str]:
    return [
        str(count)
        for count in (
            one.calls, one.calls_refused, one.calls_failed, one.approved, one.denied,
        )
    ]  # fmt: skip
