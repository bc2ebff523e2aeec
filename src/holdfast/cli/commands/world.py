"""``holdfast world``: branches, which are runs, and the versions of their worlds."""

from __future__ import annotations

import click

from holdfast.cli.commands import world_look, world_move, world_out


@click.group()
def command() -> None:
    """Look at, merge, rewind and move the worlds that runs work in.

    A world is a branch, and a branch is a run: REF is a run's id, REF@STEP its world after a step,
    REF#N its world at event N, as `holdfast world log` lists them.

    \b
    Example: holdfast world log 7k3
    """


for one in (
    world_move.init, world_look.ls, world_look.tree, world_look.log, world_look.diff,
    world_move.merge, world_move.rewind, world_move.discard, world_out.mount, world_out.export,
):  # fmt: skip
    command.add_command(one)
