"""How results are made fit to be given: clean, masked, and in pages."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from holdfast.explain.text import clean, cut, one_line
from holdfast.values import limits
from holdfast.values.canon import encode
from holdfast.values.errors import Misuse, TooLarge
from holdfast.values.masking import masked

Run = Annotated[str, msgspec.Meta(description="A run's id, or a beginning of it that no other has")]
Ref = Annotated[str, msgspec.Meta(description=(
    "A version of a world: RUN is how it is now, RUN@STEP how it was after that step, RUN@0 how it "
    "began, RUN#N how it was at its event N"))]  # fmt: skip
Step = Annotated[str, msgspec.Meta(description="A step of the run, such as 7 or 3.2")]
Cursor = Annotated[str, msgspec.Meta(description=(
    "Where to go on: what the page before gave as `next`; empty at first"))]  # fmt: skip
Next = Annotated[str, msgspec.Meta(description=(
    "Give this as `cursor` for what follows; empty: there is no more"))]  # fmt: skip
Rows = Annotated[int, msgspec.Meta(ge=1, le=limits.SERVE_ROWS, description="Entries of one page")]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments: one that is not known is refused."""


class Given(msgspec.Struct):
    """A result, or a part of one."""


class Page(Given):
    """A part of a long text: characters ``start`` to ``end`` of ``total``."""

    text: str
    start: int
    end: int
    total: int
    next: Next = ""


def page(text: str, cursor: str) -> Page:
    """The page of ``text``, which is clean, that begins at ``cursor``."""
    start = place(cursor)
    if start > len(text):
        raise Misuse(f"cursor {cursor!r}: the text has {len(text):,} characters")
    end = min(len(text), start + limits.SERVE_PAGE_CHARS)
    more = str(end) if end < len(text) else ""
    return Page(text=text[start:end], start=start, end=end, total=len(text), next=more)


def place(cursor: str) -> int:
    """A cursor that is a number; `Misuse` for anything else."""
    if not cursor:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Misuse(f"cursor {cursor[:40]!r}: give what the page before gave as next")
    return int(cursor)


def brief(text: str, room: int = limits.SERVE_BRIEF_CHARS) -> str:
    """A text on one short line, masked."""
    return cut(masked(one_line(text)), room)


def whole(text: str) -> str:
    """A long text, cleaned and masked, to be given in pages."""
    return masked(clean(text))


def fit(found: Any) -> Any:
    """INVARIANT D96: a result as it is given: nothing in it commands a terminal, and it is small
    enough; `TooLarge` else."""
    found = _clean(found)
    if len(encode(found)) > limits.SERVE_RESULT_BYTES:
        raise TooLarge("the result is too large for one page: ask for fewer rows")
    return found


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): _clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value
