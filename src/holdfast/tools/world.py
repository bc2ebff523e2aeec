"""Tools on the world of a run: files, and commands that run in a checkout of it.

Each change commits in the same append as the step's outcome: a step that is recorded has happened
to the world, one that is not recorded has not. Use as ``from holdfast.tools import world``.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic.dataclasses import dataclass

from holdfast.engine import scope
from holdfast.engine.declare import tool
from holdfast.tools.command import Result, execute
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound
from holdfast.world import (
    CopyCheckout,
    check_path,
    export_dir,
    list_dir,
    read_file,
    walk,
    write_file,
)
from holdfast.world import entry as entry_of
from holdfast.world import remove as remove_entry
from holdfast.world.globs import matcher


def _here() -> scope.Call:
    call = scope.call.get()
    if call is None:
        raise Misuse("world tools work inside a run only: start the agent with a runtime")
    return call


def _text(path: str) -> str:
    here = _here()
    content = read_file(here.stage, here.root, check_path(path))
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Misuse(f"{path}: is not UTF-8 text ({len(content):,} bytes)") from None


@tool(effect="read", name="world.read")
async def read(path: str, offset: int = 0, limit: int = 0) -> str:
    """The text of a file, or ``limit`` lines of it from line ``offset`` (0 is the first)."""
    text = _text(path)
    if offset or limit:
        lines = text.splitlines(keepends=True)
        text = "".join(lines[offset : offset + limit if limit else None])
    if len(text) > limits.READ_TEXT_BYTES:
        raise Misuse(f"{path}: has {len(text):,} characters; read a part with offset and limit")
    return text


@tool(effect="world", name="world.write")
async def write(path: str, text: str, executable: bool = False) -> None:
    """Make ``text`` the content of a file; directories above it are made as needed."""
    here = _here()
    here.root = write_file(here.stage, here.root, check_path(path), text.encode(), executable)


@tool(effect="world", name="world.edit")
async def edit(path: str, old: str, new: str, every: bool = False) -> int:
    """Replace ``old`` by ``new`` in a file and return how often. It must occur exactly once, or at
    least once with ``every``; else nothing is changed."""
    here = _here()
    text = _text(path)
    count = text.count(old) if old else 0
    if count == 0:
        raise Misuse(f"{path}: the text to replace does not occur in it")
    if count > 1 and not every:
        raise Misuse(f"{path}: the text to replace occurs {count} times; give more of it, or every")
    found = entry_of(here.stage, here.root, path)
    here.root = write_file(
        here.stage,
        here.root,
        path,
        text.replace(old, new).encode(),
        found is not None and found.executable,
    )
    return count


@tool(effect="world", name="world.remove")
async def remove(path: str) -> None:
    """Remove a file, or a directory with all that it holds."""
    here = _here()
    here.root = remove_entry(here.stage, here.root, check_path(path))


@tool(effect="read", name="world.list")
async def list(path: str = "") -> Sequence[str]:  # noqa: A001 - the tool's name is world.list
    """Names in a directory, sorted; directories end in ``/``."""
    here = _here()
    found = list_dir(here.stage, here.root, path)
    return [name + ("/" if entry.kind == "dir" else "") for name, entry in found]


@tool(effect="read", name="world.glob")
async def glob(pattern: str) -> Sequence[str]:
    """Paths of files that match a pattern such as ``src/**/*.py``, sorted."""
    here = _here()
    wanted = matcher([pattern])
    return [path for path, _ in walk(here.stage, here.root) if wanted(path)]


@dataclass(frozen=True)
class Match:
    """One line found by `grep`; ``line`` counts from 1."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Matches:
    """What `grep` found; ``more``: there were more than the limit."""

    matches: tuple[Match, ...]
    more: bool


@tool(effect="read", name="world.grep")
async def grep(pattern: str, files: str = "**") -> Matches:
    """Lines that a regular expression finds in text files that match a glob."""
    here = _here()
    try:
        wanted, expression = matcher([files]), re.compile(pattern)
    except re.error as error:
        raise Misuse(f"grep {pattern!r}: {error}") from None
    found: list[Match] = []  # type: ignore[valid-type] # the builtin, shadowed by the tool
    for path, entry in walk(here.stage, here.root):
        if entry.kind != "file" or not wanted(path) or entry.size > limits.FILE_WHOLE_BYTES:
            continue
        content = read_file(here.stage, here.root, path)
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if expression.search(line):
                if len(found) == limits.GREP_MATCHES:
                    return Matches(tuple(found), True)
                found.append(Match(path, number, line[:500]))
    return Matches(tuple(found), False)


@tool(effect="world", name="world.run")
async def run(
    command: Sequence[str],
    seconds: float = limits.COMMAND_SECONDS,
    environment: dict[str, str] | None = None,
) -> Result:
    """Run a command (a list of words, no shell) in a checkout of the world and keep what it
    changes.

    Its environment is clean but for ``environment``. At the time limit it is killed, and the result
    says so. The exit code is part of the result, not an error.
    """
    here = _here()
    checkout = await asyncio.to_thread(_checkout, here)
    result = await execute(command, checkout.path, seconds, environment or {})
    here.root = await asyncio.to_thread(checkout.snapshot)
    return result


def _checkout(here: scope.Call) -> CopyCheckout:
    """The run's own checkout, equal to its world. It is a cache: anything there may be deleted.

    INVARIANT W8: it belongs to one lease. A command that outlived its killed process may still
    write into the checkout of the lease before, so that is never used again.
    """
    place = Path(here.caches or tempfile.gettempdir()) / "checkouts" / here.run
    for stale in place.glob("*"):
        if stale.name.partition(".")[0] != str(here.epoch):
            shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    checkout = CopyCheckout(here.stage, place / str(here.epoch), place / f"{here.epoch}.index")
    checkout.sync(here.root)
    return checkout


def export(directory: Path) -> None:
    """For tools of your own: write the world of the running step into an empty directory."""
    here = _here()
    export_dir(here.stage, here.root, directory)


def content(path: str) -> bytes:
    """For tools of your own: a file of the world of the running step; `NotFound`."""
    here = _here()
    if entry_of(here.stage, here.root, path) is None:
        raise NotFound(f"{path}: is not in this world")
    return read_file(here.stage, here.root, path)
