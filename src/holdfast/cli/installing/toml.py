"""TOML changed in place: comments and layout stay."""

from __future__ import annotations

from typing import Any

from holdfast.values.errors import Misuse

try:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError
except ModuleNotFoundError as missing:
    raise Misuse(f"this client needs {missing.name}: pip install 'holdfast[proxy]'") from None


def read(text: str) -> dict[str, Any]:
    """What the text says; `Misuse` for what is no TOML."""
    try:
        return dict(tomlkit.parse(text).unwrap())
    except TOMLKitError as error:
        raise Misuse(str(error)) from None


def put(text: str, path: tuple[str, ...], value: Any) -> str:
    """The text with ``value`` at a path, whose tables are made as needed."""
    document = tomlkit.parse(text)
    here: Any = document
    for depth, name in enumerate(path[:-1]):
        if name not in here:
            here[name] = tomlkit.table(is_super_table=depth == 0)
        here = here[name]
        if not isinstance(here, dict):
            raise Misuse(f"{'.'.join(path[: depth + 1])}: is no table")
    here[path[-1]] = value
    return tomlkit.dumps(document)


def take_out(text: str, path: tuple[str, ...]) -> str:
    """The text without what stands at a path; unchanged if there is nothing."""
    document = tomlkit.parse(text)
    here: Any = document
    for name in path[:-1]:
        if not isinstance(here, dict) or name not in here:
            return text
        here = here[name]
    if path[-1] in here:
        del here[path[-1]]
    return tomlkit.dumps(document)
