"""What a call can use at most, before it is made: what budgets reserve."""

from __future__ import annotations

from typing import Any

from holdfast.models.exchange import Asked, Usage
from holdfast.values import limits


def worst(asked: Asked, size: int) -> Usage:
    """Tokens that a request of ``size`` bytes may use: all of it read anew, and the longest answer
    it allows."""
    output = (asked.max_output or limits.ANSWER_TOKENS) * asked.answers
    pictures, held = 0, 0
    if size > limits.PICTURE_LOOK_BYTES:
        pictures, held = _pictures([asked.messages, asked.parameters])
    read = max(0, size - held) // limits.TOKEN_MIN_BYTES + pictures * limits.PICTURE_TOKENS
    return Usage(input=read + 1, output=output)


def _pictures(value: Any) -> tuple[int, int]:
    """How many pictures and files stand in a request as base64, and how many bytes they are."""
    count = held = 0
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list | tuple):
            left.extend(one)
        elif isinstance(one, str) and len(one) > limits.PICTURE_LOOK_BYTES // 16:
            if " " in one or "\n" in one:
                continue  # text; base64 has none
            count, held = count + 1, held + len(one)
    return count, held
