"""Patterns that say which paths something applies to: a small part of gitignore's language.

A pattern without a slash matches a file or directory name at any depth (``*.pyc``,
``node_modules``); one with a slash matches the whole path from the top (``build/*.o``; a leading
slash is dropped, so that ``/dist`` means only the one at the top). ``*`` and ``?`` match within a
name, ``**`` across directories, ``[a-z]`` and ``[!a-z]`` one character. A trailing slash is
ignored. There is no negation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from holdfast.values.errors import Misuse

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^\]/]+\]|.", re.DOTALL)
_SIMPLE = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A function that says whether any of ``patterns`` matches a relative path (not its parents).

    Raises `Misuse` for an empty pattern or a set that runs backwards, such as ``[z-a]``.
    """
    sources = [_source(pattern) for pattern in patterns]
    if not sources:
        return _never
    compiled = re.compile("|".join(sources), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _never(path: str) -> bool:
    return False


def _source(pattern: str) -> str:
    body = pattern.rstrip("/")
    anchored = "/" in body
    body = body.lstrip("/")
    if not body:
        raise Misuse(f"pattern {pattern!r} matches nothing: name a file, a directory or a glob")
    source = "".join(_translate(token) for token in _TOKEN.findall(body))
    try:
        re.compile(source)
    except re.error as error:
        raise Misuse(f"pattern {pattern!r} cannot be understood: {error}") from None
    return source if anchored else f"(?:.*/)?{source}"


def _translate(token: str) -> str:
    if token in _SIMPLE:
        return _SIMPLE[token]
    if len(token) == 1:
        return re.escape(token)
    negated = token[1] == "!"
    inside = re.escape(token[2 if negated else 1 : -1]).replace(r"\-", "-")
    return f"[^/{inside}]" if negated else f"[{inside}]"
