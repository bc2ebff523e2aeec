"""JSON as people write it (comments, trailing commas), changed at one spot and nowhere else.

A text is read into nodes that know where they stand; an edit replaces the text of one node, or puts
in or takes out one member of an object. Everything else stays, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from holdfast.values.errors import Misuse

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"-?[0-9][0-9.eE+\-]*|true|false|null")
_DEPTH = 100


class Node(msgspec.Struct):
    """A value and where it stands: ``start`` to ``end``. ``members``: of an object, by name (the
    last of two with one name counts); ``keys``: where their names begin."""

    value: Any
    start: int
    end: int
    members: dict[str, Node] = {}
    keys: dict[str, int] = {}


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def wrong(self, what: str) -> Misuse:
        line = self.text.count("\n", 0, self.at) + 1
        return Misuse(f"line {line}: {what}")

    def space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def sign(self, wanted: str) -> bool:
        self.space()
        if self.text.startswith(wanted, self.at):
            self.at += 1
            return True
        return False

    def value(self, depth: int = 0) -> Node:
        if depth > _DEPTH:
            raise self.wrong("it is nested too deep")
        self.space()
        start = self.at
        if self.sign("{"):
            return self.object(start, depth)
        if self.sign("["):
            items: list[Any] = []
            while not self.sign("]"):
                items.append(self.value(depth + 1).value)
                self.comma("]")
            return Node(items, start, self.at)
        match = _STRING.match(self.text, self.at) or _WORD.match(self.text, self.at)
        if match is None:
            raise self.wrong("a value is missing" if start < len(self.text) else "it ends too soon")
        found = self.literal(match[0])
        self.at = match.end()
        return Node(found, start, self.at)

    def literal(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise self.wrong(f"{text[:20]!r} is no value") from None

    def object(self, start: int, depth: int) -> Node:
        members: dict[str, Node] = {}
        keys: dict[str, int] = {}
        while not self.sign("}"):
            self.space()
            at = self.at
            match = _STRING.match(self.text, at)
            if match is None:
                raise self.wrong("the name of a member is missing")
            self.at = match.end()
            if not self.sign(":"):
                raise self.wrong("a ':' is missing")
            name = str(self.literal(match[0]))
            members[name], keys[name] = self.value(depth + 1), at
            self.comma("}")
        plain = {name: one.value for name, one in members.items()}
        return Node(plain, start, self.at, members, keys)

    def comma(self, end: str) -> None:
        if self.sign(","):
            return
        self.space()
        if not self.text.startswith(end, self.at):
            raise self.wrong(f"a ',' or '{end}' is missing")


def read(text: str) -> Node:
    """The nodes of a text; `Misuse` names the line of what is wrong."""
    reader = _Reader(text)
    found = reader.value()
    reader.space()
    if reader.at != len(text):
        raise reader.wrong("something follows after the end")
    return found


def find(node: Node, path: tuple[str, ...]) -> Node | None:
    """The node at a path of member names, None if there is none."""
    for name in path:
        if name not in node.members:
            return None
        node = node.members[name]
    return node


def put(text: str, path: tuple[str, ...], value: Any) -> str:
    """The text with ``value`` at a path: in place of what stands there, or as a new last member.
    Objects on the way are made. `Misuse` if something else stands in the way."""
    here = read(text)
    for depth, name in enumerate(path):
        if not isinstance(here.value, dict):
            raise Misuse(f"{'.'.join(path[:depth]) or 'the file'}: is no object")
        inner = here.members.get(name)
        if inner is None:
            for below in reversed(path[depth + 1 :]):
                value = {below: value}
            return _added(text, here, name, value)
        here = inner
    return text[: here.start] + _written(value, _indent(text, here.start)) + text[here.end :]


def _added(text: str, node: Node, name: str, value: Any) -> str:
    """The text with one more member at the end of an object."""
    if node.keys:
        last = max(node.keys, key=lambda one: node.keys[one])
        first = min(node.keys.values())
        end = node.members[last].end
        inline = "\n" not in text[node.start : first]
        indent = _indent(text, first)
        space = " " if inline else f"\n{indent}"
        member = f"{json.dumps(name, ensure_ascii=False)}: {_written(value, indent)}"
        return f"{text[:end]},{space}{member}{text[end:]}"
    outer = _indent(text, node.start)
    indent = outer + _step(text)
    member = f"{json.dumps(name, ensure_ascii=False)}: {_written(value, indent)}"
    inside = text[node.start + 1 : node.end - 1].rstrip()
    return f"{text[: node.start + 1]}{inside}\n{indent}{member}\n{outer}{text[node.end - 1 :]}"


def take_out(text: str, path: tuple[str, ...]) -> str:
    """The text without the member at a path; unchanged if there is none."""
    above = find(read(text), path[:-1])
    name = path[-1]
    if above is None or name not in above.members:
        return text
    start, end = above.keys[name], above.members[name].end
    follows = _SPACE.match(text, end)
    after = follows.end() if follows else end
    if text[after] == ",":  # it goes with the comma behind it, up to the next member
        follows = re.compile(r"[ \t]*\r?\n?[ \t]*").match(text, after + 1)
        later = any(at > end for at in above.keys.values())
        stop = follows.end() if follows and later else after + 1
        return text[:start] + text[stop:] if later else _joined(text, start, after + 1)
    before = _before(text, above, start)
    return text[:before] + text[end:] if before >= 0 else _joined(text, start, end)


def saying(text: str, value: dict[str, Any]) -> str:
    """The text, an object's, changed where it says something else than ``value`` and nowhere else:
    comments and layout stay.

    INVARIANT D194: it then says ``value``, whatever stood there."""
    for path, new in _differences(read(text).value, value, ()):
        text = take_out(text, path) if new is _GONE else put(text, path, new)
    if json.dumps(read(text).value, sort_keys=True) != json.dumps(value, sort_keys=True):
        return _written(value, "") + "\n"  # names that stand there twice
    return text


_GONE = object()


def _differences(
    before: dict[str, Any], after: dict[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in before:
        if name not in after:
            yield (*path, name), _GONE
    for name, new in after.items():
        old = before.get(name, _GONE)
        if isinstance(old, dict) and isinstance(new, dict) and old and new:
            yield from _differences(old, new, (*path, name))
        elif old is _GONE or json.dumps(old) != json.dumps(new):
            yield (*path, name), new


def _before(text: str, above: Node, start: int) -> int:
    """Where the member before one ends, -1 if there is none."""
    ends = [one.end for name, one in above.members.items() if above.keys[name] < start]
    return max(ends, default=-1)


def _joined(text: str, start: int, end: int) -> str:
    """The text without what stands between, nor the blank before it."""
    return text[:start].rstrip(" \t\r\n") + text[end:]


def _indent(text: str, at: int) -> str:
    """The blank that the line begins with on which something stands."""
    line = text.rfind("\n", 0, at) + 1
    match = re.compile(r"[ \t]*").match(text, line)
    return match[0] if match else ""


def _step(text: str) -> str:
    """What the text indents by."""
    match = re.search(r"\n([ \t]+)\S", text)
    return match[1] if match else "  "


def _written(value: Any, indent: str) -> str:
    """A value as text: objects on lines of their own, everything else on one."""
    if isinstance(value, dict) and value:
        inner = indent + "  "
        parts = [f"{inner}{json.dumps(str(name), ensure_ascii=False)}: {_written(one, inner)}"
                 for name, one in value.items()]  # fmt: skip
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return json.dumps(value, ensure_ascii=False)
