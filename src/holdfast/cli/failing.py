"""How errors leave: exactly one line on stderr, and a documented exit code (docs/errors.md)."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

import click

from holdfast.explain.text import one_line
from holdfast.values.errors import HoldfastError

WAITS = 10
"""Exit code: nothing failed, a run waits for a person, a signal or a time."""
UNEXPECTED = 70
"""Exit code: an error that Holdfast did not foresee, its own fault until shown otherwise."""
INTERRUPTED = 130
"""Exit code: Ctrl-C; what ran was suspended cleanly."""
UNREAD = 141
"""Exit code: nobody reads the output any more."""
TERMINATED = 143
"""Exit code: asked to stop by SIGTERM; what ran was suspended cleanly."""


def complain(message: str) -> None:
    """One line on stderr."""
    click.echo(f"holdfast: {one_line(message)}", err=True)


def report(error: BaseException) -> int:
    """Say what went wrong; the exit code."""
    if os.environ.get("HOLDFAST_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, HoldfastError):
        complain(str(error) or type(error).__name__)
        return error.exit_code
    code, text = _foreign(error)
    complain(text)
    return code


def _foreign(error: BaseException) -> tuple[int, str]:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return 5, f"{where}{error.strerror}"
    if type(error).__module__ == "sqlite3":
        damaged = any(word in str(error) for word in ("malformed", "not a database"))
        hint = "; check it with `holdfast fsck`" if damaged else ""
        return 6 if damaged else 5, f"the store cannot be read: {error}{hint}"
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    return UNEXPECTED, f"unexpected {text} (HOLDFAST_DEBUG=1 shows the traceback; please report it)"


def usage(error: click.ClickException) -> int:
    """A command line that click does not understand."""
    hint = ""
    context = getattr(error, "ctx", None)
    if context is not None:
        hint = f"; see `{context.command_path} --help`"
    complain(error.format_message().rstrip(".") + hint)
    return error.exit_code


def interrupt() -> NoReturn:
    """Leave at once, as a second Ctrl-C asks; the journal is safe whenever a process dies."""
    os._exit(INTERRUPTED)
