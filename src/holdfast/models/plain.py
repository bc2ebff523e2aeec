"""Reading decoded JSON that others wrote: each takes anything and gives the type it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.values import limits


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; empty for anything else."""
    if not isinstance(value, list):
        return []
    return [one for one in value if isinstance(one, dict)]


def string(value: Any) -> str:
    """``value`` if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> int:
    """``value`` if it is a whole number of tokens, else 0: negative and absurd ones are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= limits.AMOUNT_MAX_ITEMS else 0


def strings(content: Any, *types: str) -> Iterator[str]:
    """The texts of a message's content: a text, or a list of texts and of parts of these types."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, dict) and part.get("type", types[0]) in types:
                yield string(part.get("text"))
