"""Names on the command line: RUN, RUN@STEP, NAME=VALUE, and values."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.values.errors import Conflict, LeaseLost, Misuse, NotFound


async def find_run(store: Store, text: str) -> RunRow:
    """The run with this id, or the only one whose id begins so."""
    from holdfast.runtime.maintenance import ids_with_prefix

    if not text:
        raise Misuse("an empty text names no run; `holdfast ps` lists them")
    try:
        return await store.run(text)
    except NotFound:
        found = ids_with_prefix(store, text, 1000)
    # the children of a run are named after it: the run itself is meant
    found = [one for one in found if not any(one.startswith(f"{other}.") for other in found)]
    if not found:
        raise NotFound(f"run {text!r} is not in this store; `holdfast ps` lists them")
    if len(found) > 1:
        more = ", …" if len(found) > 3 else ""
        raise Misuse(f"{text!r} could be {', '.join(found[:3])}{more}: say more of the id")
    return await store.run(found[0])


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


def split(text: str) -> tuple[str, str]:
    """RUN@STEP in its two parts; the step is "" if there is none."""
    run, at, step = text.partition("@")
    if at and not step:
        raise Misuse(f"{text!r}: say RUN or RUN@STEP")
    return run, step


async def find(store: Store, text: str) -> tuple[RunRow, str]:
    """The run, and the step's key, that RUN or RUN@STEP names."""
    run, step = split(text)
    return await find_run(store, run), step


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
