"""``holdfast version``."""

from __future__ import annotations

import platform

import click

from holdfast import __version__
from holdfast.cli.desk import Desk, json_only


@click.command()
@json_only
def command(desk: Desk) -> None:
    """Print the version.

    \b
    Example: holdfast version --json
    """
    if desk.screen.json:
        from holdfast.journal.events import FORMAT

        version = {"holdfast": __version__, "format": FORMAT, "python": platform.python_version()}
        desk.screen.document(version)
    else:
        desk.screen.say(f"holdfast {__version__}")
