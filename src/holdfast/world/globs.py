"""Patterns that say which paths something applies to, in the language of ``.gitignore``.

A pattern without a slash matches a file or directory name at any depth (``*.pyc``,
``node_modules``); one with a slash matches the whole path from the top (``build/*.o``; a leading
slash is dropped, so that ``/dist`` means only the one at the top). ``*`` and ``?`` match within a
name, ``**`` between slashes across directories, ``[a-z]`` and ``[!a-z]`` one character, and a
backslash takes what follows for itself. A trailing slash is ignored. There is no negation.

Patterns may come with a hostile tree, and what matches them holds the interpreter: so none takes
time that grows with more than the product of its length, the path's and the path's depth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from holdfast.values.errors import Misuse

_DEEP = "(?>(?:[^/]*/)*?"  # any directories, and what follows them up to the next **
_BELOW = "(?>(?:[^/]*/)+?"  # at least one, where the slash is escaped
_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~",
    "punct": "!-/:-@\\[-`{-~", "space": " \\t\\n\\r", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A function that says whether any of ``patterns`` matches a relative path (not its parents).

    Raises `Misuse` for a pattern that cannot match anything: an empty one, a set that is not
    closed or runs backwards, such as ``[z-a]``, a backslash at the end.
    """
    sources: list[str] = []
    for pattern in patterns:
        body = pattern.rstrip("/")
        if not body.strip("/"):
            raise Misuse(f"pattern {pattern!r} matches nothing: name a file, a directory or a glob")
        try:
            sources.append(_source(body.lstrip("/"), "/" in body, backwards=False))
        except ValueError as error:
            raise Misuse(f"pattern {pattern!r} cannot be understood: {error}") from None
    if not sources:
        return _never
    compiled = re.compile("|".join(sources), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def rule(pattern: bytes) -> Callable[[bytes, bool], bool] | None:
    """How git understands a line's pattern, byte by byte: a function of a path and whether it is a
    directory's; None for a pattern that can match nothing."""
    text = pattern.decode("latin-1")
    body = text.removesuffix("/")
    try:
        source = _source(body.removeprefix("/"), "/" in body, backwards=True)
    except ValueError:
        return None
    # INVARIANT W66: a pattern of a tree takes no more than its length times the path's, and depth
    matches = re.compile(source.encode("latin-1"), re.DOTALL).fullmatch
    if body == text:
        return lambda path, is_dir: matches(path) is not None
    return lambda path, is_dir: is_dir and matches(path) is not None


def _never(path: str) -> bool:
    return False


def _source(body: str, anchored: bool, *, backwards: bool) -> str:
    """A regular expression for a pattern; ValueError if it is wrong.

    What stands between two stars has one length, and what stands between two ``**`` has one number
    of names. So the first place where such a part fits leaves the most to what follows, and no
    other need be tried: each is in an atomic group, and nothing is ever gone back on.
    """
    found = ["" if anchored else "(?>(?:.*/)?)"]
    inner: list[str] = []  # what follows the last star of a name, up to the next
    starred = deep = False
    at = 0
    while at < len(body):
        if body[at] == "*":
            end = at + len(body[at:]) - len(body[at:].lstrip("*"))
            if _is_deep(body, at, end):
                found += [*inner, ")" * deep]
                if end == len(body):
                    return "".join([*found, ".*"])
                found.append(_DEEP if body[end] == "/" else _BELOW)
                inner, deep, end = [], True, body.index("/", end) + 1
            else:
                found += [f"(?>[^/]*?{''.join(inner)})"] if starred else inner
                inner, starred = [], True
            at = end
            continue
        one, at = _character(body, at, backwards)
        inner.append(one)
        if one == "/":
            found += [f"(?>[^/]*{''.join(inner)})"] if starred else inner
            inner, starred = [], False
    return "".join([*found, "[^/]*" * starred, *inner, r"\Z", ")" * deep])


def _is_deep(body: str, at: int, end: int) -> bool:
    """Whether stars match across directories. Git does not look at what precedes the first special
    character of a pattern: ``a**/b`` matches ``ax/b``, and ``ab``, too."""
    alone = at == 0 or body[at - 1] == "/" or not re.search(r"[*?\[\\]", body[:at])
    return end - at > 1 and alone and (end == len(body) or body.startswith(("/", "\\/"), end))


def _character(body: str, at: int, backwards: bool) -> tuple[str, int]:
    """What matches one character, and where the next begins."""
    one = body[at]
    if one == "[":
        return _set(body, at + 1, backwards)
    if one == "?":
        return "[^/]", at + 1
    if one == "\\":
        at += 1
        if at == len(body):
            raise ValueError("a backslash at the end")
        one = body[at]
    return "/" if one == "/" else re.escape(one), at + 1


def _set(body: str, at: int, backwards: bool) -> tuple[str, int]:
    negated = body[at : at + 1] in ("!", "^")
    at += negated
    parts: list[str] = []
    last = ""  # what a range would begin with
    first = True
    while first or body[at : at + 1] != "]":
        first = False
        closed = body.find("]", at + 2)
        if body.startswith("[:", at) and closed > at + 2 and body[closed - 1] == ":":
            name = body[at + 2 : closed - 1]
            if name not in _CLASSES:
                raise ValueError(f"there is no class {name!r}")
            parts.append(_CLASSES[name])
            last, at = "", closed + 1
        elif last and body[at : at + 1] == "-" and body[at + 1 : at + 2] not in ("", "]"):
            high, at = _member(body, at + 1)
            if last <= high:
                parts.append(f"{re.escape(last)}-{re.escape(high)}")
            elif not backwards:
                raise ValueError(f"the range {last}-{high} runs backwards")
            last = ""
        else:
            last, at = _member(body, at)
            parts.append(re.escape(last))
    inside = "".join(parts)
    return f"[^/{inside}]" if negated else f"(?!/)[{inside}]", at + 1


def _member(body: str, at: int) -> tuple[str, int]:
    at += body[at : at + 1] == "\\"
    if at >= len(body):
        raise ValueError("a set is not closed by ]")
    return body[at], at + 1
