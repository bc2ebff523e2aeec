"""One call of a model as all dialects are read into: what was asked, and what was answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call, disjoint but for ``reasoning``, which is part of ``output``, and
    ``cache_write_1h``, of ``cache_write``. ``input``: those that neither came from the provider's
    cache nor were written to it."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0

    @property
    def total(self) -> int:
        """All tokens that were read and written."""
        return self.input + self.output + self.cache_read + self.cache_write


class Asked(msgspec.Struct, frozen=True):
    """A request. ``messages``: the conversation in order, in the dialect's own form; ``tools``: the
    menu; ``parameters``: all else but model and stream; ``max_output``: tokens, 0 if unsaid."""

    dialect: str
    model: str
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    parameters: dict[str, Any] = {}
    max_output: int = 0
    answers: int = 1
    stream: bool = False


class Call(NamedTuple):
    """A call of a tool that an answer asks for; ``arguments`` as the dialect has them (text or
    object)."""

    id: str
    name: str
    arguments: Any


class Answered(msgspec.Struct, frozen=True):
    """A response. ``usage`` is None where the response says none; ``verbatim`` is the provider's
    own object; ``error`` the text of an error body."""

    model: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    usage: Usage | None = None
    verbatim: Any = None
    error: str = ""


def pieces(text: str, size: int) -> Iterator[str]:
    """``text`` in pieces of ``size`` characters; none for an empty one."""
    for start in range(0, len(text), size):
        yield text[start : start + size]
