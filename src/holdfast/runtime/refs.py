"""RUN and RUN@STEP: how people name runs and steps, wherever they do."""

from __future__ import annotations

from holdfast.journal.store import Store
from holdfast.journal.views import RunRow
from holdfast.runtime.maintenance import ids_with_prefix
from holdfast.values.errors import Misuse, NotFound


async def find_run(store: Store, text: str) -> RunRow:
    """The run with this id, or the only one whose id begins so."""
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
