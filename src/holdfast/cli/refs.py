"""Names on the command line: of new runs, NAME=VALUE, and values."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from holdfast.values.errors import Conflict, LeaseLost, Misuse


def run_name(name: str | None) -> str:
    """What ``--name`` gives, checked; "" if it is not given."""
    from holdfast.values.ids import check_name

    return "" if name is None else check_name(name, "run")


@contextmanager
def naming(name: str) -> Generator[None]:
    """Say plainly that the name of a run to be made is taken."""
    try:
        yield
    except LeaseLost:
        raise
    except Conflict as error:
        if not name:
            raise
        raise Conflict(
            f"the name {name} is taken: there is such a run already; choose another"
        ) from error


def value_of(text: str) -> Any:
    """A value: JSON if it is JSON, else the text itself."""
    import msgspec

    if any("\ud800" <= char <= "\udfff" for char in text):
        raise Misuse(f"{text!r} is not UTF-8")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def pair(text: str, option: str) -> tuple[str, Any]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Misuse(f"{option} {text!r}: say NAME=VALUE")
    return name, value_of(value)
