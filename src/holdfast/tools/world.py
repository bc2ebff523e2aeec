"""Tools on the world of a run: files, and commands that run in a sandbox that holds it.

Each change commits in the same append as the step's outcome: a step that is recorded has happened
to the world, one that is not recorded has not. Use as ``from holdfast.tools import world``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.engine import scope
from holdfast.engine.declare import Tool, tool
from holdfast.engine.meaning import tool_facts
from holdfast.sandbox.spec import Limits
from holdfast.tools.command import Result, check_command, environment_of, result_of, secrets_of
from holdfast.tools.view import Matches, View
from holdfast.tools.workplace import Asked, interpreter, workplace
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound
from holdfast.world import (
    check_path,
    export_dir,
    read_file,
    write_file,
)
from holdfast.world import entry as entry_of
from holdfast.world import remove as remove_entry


def _view() -> View:
    here = scope.world_call()
    return View(here.stage, here.root)


# INVARIANT G89: what a world tool returns of its own is trusted, what went in is joined to it, and
# what is read from a world has no label of its own
_OURS = tool_facts(output="trusted/public")
"""What these tell of themselves, nothing or a count, nobody else wrote."""


@tool(effect="read", name="world.read")
async def read(path: str, offset: int = 0, limit: int = 0) -> str:
    """The text of a file, or ``limit`` lines of it from line ``offset`` (0 is the first)."""
    return _view().read(path, offset, limit)


@tool(effect="world", name="world.write", facts=_OURS)
async def write(path: str, text: str, executable: bool = False) -> None:
    """Make ``text`` the content of a file; directories above it are made as needed."""
    here = scope.world_call()
    here.root = write_file(here.stage, here.root, check_path(path), text.encode(), executable)


@tool(effect="world", name="world.edit", facts=_OURS)
async def edit(path: str, old: str, new: str, every: bool = False) -> int:
    """Replace ``old`` by ``new`` in a file and return how often. It must occur exactly once, or at
    least once with ``every``; else nothing is changed."""
    here = scope.world_call()
    text = View(here.stage, here.root).text(path)
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


@tool(effect="world", name="world.remove", facts=_OURS)
async def remove(path: str) -> None:
    """Remove a file, or a directory with all that it holds."""
    here = scope.world_call()
    here.root = remove_entry(here.stage, here.root, check_path(path))


@tool(effect="read", name="world.list")
async def list(path: str = "") -> Sequence[str]:  # noqa: A001 - the tool's name is world.list
    """Names in a directory, sorted; directories end in ``/``."""
    return _view().list(path)


@tool(effect="read", name="world.glob")
async def glob(pattern: str) -> Sequence[str]:
    """Paths of files that match a pattern such as ``src/**/*.py``, sorted."""
    return _view().glob(pattern)


@tool(effect="read", name="world.grep")
async def grep(pattern: str, files: str = "**") -> Matches:
    """Lines that a regular expression finds in text files that match a glob."""
    return _view().grep(pattern, files)


# Looking into the past ------------------------------------------------------------------------
@tool(effect="read", name="world.at.read")
async def _read_at(step: str, path: str, offset: int, limit: int) -> str:
    return _past(step).read(path, offset, limit)


@tool(effect="read", name="world.at.list")
async def _list_at(step: str, path: str) -> Sequence[str]:
    return _past(step).list(path)


@tool(effect="read", name="world.at.glob")
async def _glob_at(step: str, pattern: str) -> Sequence[str]:
    return _past(step).glob(pattern)


@tool(effect="read", name="world.at.grep")
async def _grep_at(step: str, pattern: str, files: str) -> Matches:
    return _past(step).grep(pattern, files)


def _past(step: str) -> View:
    here = scope.world_call()
    root = here.root_at(step)
    here.looked, here.saw = True, root  # a fork whose past is another looks again
    return View(here.stage, root)


class At:
    """A run's world as it was after a step, read only; see `at`. Each look is a step."""

    def __init__(self, step: str) -> None:
        self._step = step

    async def read(self, path: str, offset: int = 0, limit: int = 0) -> str:
        """As `read`."""
        return await _read_at(self._step, path, offset, limit)

    async def list(self, path: str = "") -> Sequence[str]:
        """As `list`."""
        return await _list_at(self._step, path)

    async def glob(self, pattern: str) -> Sequence[str]:
        """As `glob`."""
        return await _glob_at(self._step, pattern)

    async def grep(self, pattern: str, files: str = "**") -> Matches:
        """As `grep`."""
        return await _grep_at(self._step, pattern, files)


def at(step: str) -> At:
    """The run's world as it was after ``step`` (its key, such as "3.2"; "start": at the beginning
    of the segment), for reading. `NotFound` if that step has no outcome yet."""
    return At(step)


def _effect_of_run(bound: Mapping[str, Any]) -> str:
    """INVARIANT E45: a command that reaches a network leaves the world, and is judged, held and
    never repeated unasked as whatever else does."""
    return "once" if bound["network"] else "world"


@tool(effect="world", name="world.run")
async def run(
    command: Sequence[str],
    seconds: float = limits.COMMAND_SECONDS,
    environment: dict[str, str] | None = None,
    *,
    cwd: str = "",
    readable: Sequence[str] = (),
    network: Sequence[str] = (),
    secrets: Sequence[str] = (),
    use: Limits | None = None,
) -> Result:
    """Run a command (a list of words, no shell) in a sandbox that holds the world, and keep what it
    changes there.

    It sees its world, the system's programs, this Python and ``readable`` host paths; it reaches no
    network but ``network`` ("host[:port]", "*.example.org"), with which its effect is ``once`` and
    a fork that holds effects refuses it. Its environment is clean but for ``environment`` and
    ``secrets``: names of variables of this process, whose values are never recorded. ``cwd``: a
    directory of the world. ``use``: what it may use. At the time limit it is killed, and the result
    says so. The exit code is part of the result, not an error.
    """
    values = secrets_of(secrets)
    asked = Asked(
        check_command(command), cwd, environment_of(environment), values,
        tuple(dict.fromkeys((*interpreter(), *readable))), tuple(network),
        replace(use or Limits(), seconds=seconds),
    )  # fmt: skip
    here = scope.world_call()
    place = workplace(here.caches)
    ended, left = await place.run(here, asked)
    return result_of(ended, left, values, place.checkout)


run.effect_of = _effect_of_run


def export(directory: Path) -> None:
    """For tools of your own: write the world of the running step into an empty directory."""
    here = scope.world_call()
    export_dir(here.stage, here.root, directory)


def content(path: str) -> bytes:
    """For tools of your own: a file of the world of the running step; `NotFound`."""
    here = scope.world_call()
    if entry_of(here.stage, here.root, path) is None:
        raise NotFound(f"{path}: is not in this world")
    return read_file(here.stage, here.root, path)


CHECKING: dict[str, Tool[..., Any]] = {one.name: one for one in (read, list, grep, run)}
"""What the checks of a policy may call, though no program names it."""
