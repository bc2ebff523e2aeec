"""Whose words a conversation has: the person's, apart from what programs put among them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from holdfast.models import sse
from holdfast.models.dialects import Dialect
from holdfast.models.plain import dicts, string
from holdfast.values import limits

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9_.-]{0,63})(?:\s[^<>]{0,200})?>")


def spoken(dialect: Dialect, messages: tuple[dict[str, Any], ...]) -> Iterator[str]:
    """The texts of a conversation that stand as a person's, oldest first.

    INVARIANT D30: what stands between a tag and its end (``<system-reminder>...``) was put there by
    a program, and is nobody's words; nor is a text too long to have been typed or pasted by one.
    """
    for text in dialect.said(messages):
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


class Heard:
    """What one client's programs and models said, so that it does not come back as a person's."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._told: deque[str] = deque()
        self._held = 0

    def tell(self, texts: Iterable[str]) -> None:
        """Texts that came from tools and models: results, answers, arguments of calls."""
        for text in texts:
            mark = hash(text)
            if text and mark not in self._known:
                self._known.add(mark)
                self._told.append(text)
                self._held += len(text)
        while self._held > limits.HEARD_CHARS:
            gone = self._told.popleft()
            self._known.discard(hash(gone))
            self._held -= len(gone)

    def take(self, dialect: Dialect, messages: Iterable[dict[str, Any]]) -> list[str]:
        """Of messages, in order, the texts that are a person's, and new.

        INVARIANT D37: what a tool or a model said is no person's, whole or in parts, nor is what
        repeats a long text of theirs: the prompt that one model writes for another is its own.
        """
        found: list[str] = []
        for message in messages:
            for text in spoken(dialect, (message,)):
                mark = hash((text,))
                if mark not in self._known:
                    self._known.add(mark)
                    if not any(_repeats(text, one) for one in self._told):
                        found.append(text)
            self.tell(strings_in(_foreign(message)))
        return found


def _repeats(text: str, told: str) -> bool:
    return text in told or (len(told) >= limits.HEARD_WHOLE_CHARS and told in text)


def _foreign(message: dict[str, Any]) -> Any:
    """What of a message no person wrote: answers, calls and results of tools."""
    role = message.get("role")
    if role in ("system", "developer"):
        return None
    if role == "user" or (role is None and "parts" in message):
        parts = dicts(message.get("content", message.get("parts")))
        return [one for one in parts if not (_TEXTS & {string(one.get("type"))} and "text" in one)]
    return message


_TEXTS = frozenset({"", "text", "input_text"})


def strings_in(value: Any) -> Iterator[str]:
    """All texts inside a value, those of JSON inside texts too."""
    left: list[Any] = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
            if one[:1] in ("{", "["):
                left.append(sse.decoded(one.encode("utf-8", "replace")))
        elif isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
