"""What every command gets: the screen, the settings, the store; and the options they share."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import click

from holdfast.cli.failing import UNREAD
from holdfast.cli.screen import Screen


class Desk:
    """A command's surroundings. ``store``: directory from ``--store``, "" if not given; ``policy``:
    file from ``--policy``."""

    def __init__(self, screen: Screen, store: str = "") -> None:
        self.screen = screen
        self.policy = ""
        self._store = store

    @functools.cached_property
    def settings(self) -> Any:
        """`holdfast.runtime.Settings`: the environment's, with ``--store``."""
        import msgspec

        from holdfast.runtime.settings import from_environment

        found = from_environment()
        return msgspec.structs.replace(found, store=self._store) if self._store else found

    @property
    def user(self) -> str:
        """Who sits here, in the journal."""
        return self.settings.user

    @property
    def named(self) -> bool:
        """Whether somebody said which store, by ``--store`` or HOLDFAST_STORE."""
        return bool(self._store or os.environ.get("HOLDFAST_STORE"))

    def command(self, text: str) -> str:
        """A command to type next, with ``--store`` (to resume, ``--policy`` too) if this one was
        given it."""
        if self.policy and text.startswith("holdfast resume"):
            text += f" --policy {shlex.quote(self.policy)}"
        return f"{text} --store {shlex.quote(self._store)}" if self._store else text

    def now_ms(self) -> int:
        """Wall-clock time."""
        from holdfast.values.ports import SystemClock

        return SystemClock().now_ms()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far long work has come."""
        share = f"{done * 100 // total}%" if total else f"{done:,}"
        self.screen.live(f"{what} {share}")

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[Any]:
        """The store, which must exist."""
        from holdfast.runtime.maintenance import open_store

        store = open_store(self.settings)
        try:
            _tell_interrupted(self, store)
            yield store
        finally:
            await store.close()


def _tell_interrupted(desk: Desk, store: Any) -> None:
    """Say that merges into directories were interrupted while they were written.

    INVARIANT C9: only a command that writes into that directory finishes it, before anything else.
    """
    from holdfast.cli.known import writing
    from holdfast.explain.text import one_line
    from holdfast.world import interrupted

    for directory in interrupted(writing(), str(store.directory.resolve())):
        desk.screen.note(f"a merge into {one_line(directory)} is being written, or was interrupted:"
                         " the next merge into it finishes it")  # fmt: skip


def shared(fn: Callable[..., int | None]) -> Callable[..., int | None]:
    """Add ``--store`` and ``--json``; the command gets a `Desk` as ``desk``."""

    @click.option(
        "--store", metavar="DIR", default="",
        help="The store's directory (default: HOLDFAST_STORE, or .holdfast here).",
    )  # fmt: skip
    @json_only
    @functools.wraps(fn)
    def with_desk(*args: Any, store: str, desk: Desk, **kwargs: Any) -> int | None:
        return fn(*args, desk=Desk(desk.screen, store), **kwargs)

    return with_desk


def json_only(fn: Callable[..., int | None]) -> Callable[..., int | None]:
    """Add ``--json``, for commands that need no store."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, nothing else, on stdout.")
    @functools.wraps(fn)
    def with_screen(*args: Any, as_json: bool, **kwargs: Any) -> int | None:
        try:
            return fn(*args, desk=Desk(Screen(json=as_json)), **kwargs)
        except BrokenPipeError:  # `holdfast log | head`: nobody reads any more
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return UNREAD

    return with_screen
