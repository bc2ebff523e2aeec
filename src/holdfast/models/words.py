"""Whose words a conversation has: the person's, apart from what programs put among them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from holdfast.models.dialects import Dialect
from holdfast.models.exchange import Asked
from holdfast.values import limits

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9_.-]{0,63})(?:\s[^<>]{0,200})?>")


def spoken(dialect: Dialect, asked: Asked) -> Iterator[str]:
    """The texts of a request that stand as a person's, oldest first.

    INVARIANT D30: what stands between a tag and its end (``<system-reminder>...``) was put there by
    a program, and is nobody's words; nor is a text too long to have been typed or pasted by one.
    """
    for text in dialect.said(asked.messages):
        if len(text) <= limits.SPOKEN_CHARS and (bare := untagged(text).strip()):
            yield bare


def untagged(text: str) -> str:
    """``text`` without its elements, from an opening tag to the next closing one of its name."""
    if "<" not in text:
        return text
    tags = list(_TAG.finditer(text))
    ends: dict[str, list[int]] = {}
    for tag in tags:
        if tag[1]:
            ends.setdefault(tag[2], []).append(tag.end())
    kept: list[str] = []
    at = 0
    for tag in tags:
        if tag[1] or tag.start() < at:
            continue
        closing = ends.get(tag[2], [])
        place = bisect_left(closing, tag.end() + 1)
        if place < len(closing):
            kept.append(text[at : tag.start()])
            at = closing[place]
    return "".join([*kept, text[at:]])
