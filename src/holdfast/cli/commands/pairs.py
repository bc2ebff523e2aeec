"""``holdfast pairs``."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from holdfast.cli.desk import Desk, shared


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", default="", metavar="FILE", help="Write them there instead of stdout.")
@click.option("--outcome", default="", metavar="EXPR",
              help="When an outcome is good: a condition, as in docs/compare.md.")  # fmt: skip
@shared
def command(runs: tuple[str, ...], *, out: str, outcome: str, desk: Desk) -> None:
    """Export (wrong, right) trajectories of forks for training, as JSON lines.

    Of each RUN and its forks: for each that came to a worse outcome, the better ones that share
    most of its past. One line a pair, in the form that preference training reads: prompt, chosen
    and rejected are lists of messages (role, content, tool_calls); runs that ask no model are told
    as calls of tools. Which is better is said by --outcome, else by scores (`holdfast score`).

    They hold what the journal holds, as it is stored; what was erased is left out, and said.

    \b
    Examples:
      holdfast pairs 7k3 --out pairs.jsonl
      holdfast pairs 7k3 --outcome 'status == "done" && value.paid == 12'
    """
    asyncio.run(_pairs(desk, runs, out, outcome))


async def _pairs(desk: Desk, names: tuple[str, ...], out: str, outcome: str) -> None:
    from holdfast.explain.outcome import wanted_of
    from holdfast.explain.text import json_text
    from holdfast.runtime.pairing import pairs_of
    from holdfast.runtime.refs import find_run

    wanted = wanted_of(outcome)
    async with desk.store() as store:
        rows = [await find_run(store, name) for name in names]
        found, left = await pairs_of(store, [row.run for row in rows], wanted)
    if out:
        _write(out, "".join(json_text(one) + "\n" for one in found))
    elif desk.screen.json:
        desk.screen.document(_plain(found))
    else:
        for one in found:
            desk.screen.say(json_text(one))
    erased = sum(one.erased for one in found)
    for text, count in left.items():
        desk.screen.note((f"left out: {count}, because {text}", "dim"))
    if erased:
        desk.screen.note((f"{erased} erased payloads are left out of them", "yellow"))
    desk.screen.note(f"{len(found)} pairs{f' in {out}' if out else ''}")


def _plain(found: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(found)


def _write(out: str, text: str) -> None:
    from pathlib import Path

    from holdfast.values.errors import Outside

    try:
        Path(out).write_text(text, "utf-8")
    except OSError as error:
        raise Outside(f"--out {out}: {error.strerror or error}") from None
