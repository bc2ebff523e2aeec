"""From words on the command line to an agent program and its arguments."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec

from holdfast.cli.refs import value_of
from holdfast.engine.declare import Agent
from holdfast.runtime import Runtime
from holdfast.values.errors import Misuse

_KEYWORD = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def load(runtime: Runtime, target: str) -> Agent[..., Any]:
    """The agent that FILE.py:NAME (from here) or MODULE:NAME names."""
    place, colon, name = target.rpartition(":")
    if colon and place.endswith(".py"):
        target = f"{Path(place).absolute()}:{name}"
    try:
        program = runtime.programs.load(target)
    except SystemExit as error:
        raise Misuse(f"{place}: ends the process while it is loaded (exit {error.code})") from None
    runtime.programs.add(program)
    return program


def arguments(
    program: Agent[..., Any], texts: tuple[str, ...], json_args: str | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments; a parameter declared as str takes a text as it is."""
    positional, named = _from_json(json_args)
    parameters = list(inspect.signature(program.fn).parameters.values())
    takes_text = {one.name: one.annotation in (str, "str") for one in parameters}
    for text in texts:
        match = _KEYWORD.fullmatch(text)
        if match:
            name, value = match.groups()
            named[name] = value if takes_text.get(name) else value_of(value)
            continue
        place = len(positional)
        as_text = place < len(parameters) and takes_text[parameters[place].name]
        positional.append(text if as_text else value_of(text))
    return tuple(positional), named


def _from_json(text: str | None) -> tuple[list[Any], dict[str, Any]]:
    if text is None:
        return [], {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise Misuse(f"--args: is not JSON: {error}") from None
    if isinstance(value, dict):
        return [], value
    if isinstance(value, list):
        return value, {}
    raise Misuse("--args: say an object (by name) or an array (by place)")
