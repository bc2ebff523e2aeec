"""YAML to plain values that know their line, refusing whatever could mean two things.

A policy is read by people first. So everything that makes YAML surprising is refused with a line
number instead of being interpreted: anchors and aliases (which also keeps a small file small in
memory), tags, duplicate keys, several documents, and unquoted scalars that YAML 1.1 and 1.2 read
differently (``no``, ``010``, ``12:30``, ``2026-01-01``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from holdfast.values import limits
from holdfast.values.errors import Misuse

Plain = None | bool | int | float | str
"""What a scalar may be."""

_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+][0-9]+)?")
_WORDS: Final[dict[str, Plain]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG: Final = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Item:
    """One value of the file: a scalar, list or mapping, with the line where it stands.

    ``key_line`` is the line of its key, if it is the value of one.
    """

    value: Plain | tuple[Item, ...] | Mapping[str, Item]
    line: int
    source: str
    key_line: int = 0

    def refuse(self, message: str) -> NoReturn:
        """Raise `Misuse` for this value."""
        raise Misuse(f"{self.source}:{self.line}: {message}")

    def refuse_key(self, message: str) -> NoReturn:
        """Raise `Misuse` for this value's key."""
        raise Misuse(f"{self.source}:{self.key_line or self.line}: {message}")

    def mapping(self, what: str) -> Mapping[str, Item]:
        """The entries of a mapping that is not empty; ``what`` names it in the error."""
        if not isinstance(self.value, Mapping):
            self.refuse(f"{what} must be a mapping, not {self.describe()}")
        if not self.value:
            self.refuse(f"{what} is empty")
        return self.value

    def items(self, what: str) -> tuple[Item, ...]:
        """The items of a list; ``what`` names it in the error."""
        if not isinstance(self.value, tuple):
            self.refuse(f"{what} must be a list, not {self.describe()}")
        return self.value

    def text(self, what: str) -> str:
        """A printable string that is not empty; ``what`` names it in the error."""
        if not isinstance(self.value, str):
            self.refuse(f"{what} must be a string, not {self.describe()}")
        if not self.value:
            self.refuse(f"{what} is empty")
        if not self.value.isprintable():  # control characters could fool the terminal of a reviewer
            self.refuse(f"{what} contains a character that cannot be printed")
        return self.value

    def texts(self, what: str) -> tuple[str, ...]:
        """One string or a list of them, at least one, none twice."""
        if not isinstance(self.value, tuple):
            return (self.text(what),)
        found: list[str] = []
        for item in self.value:
            text = item.text(what)
            if text in found:
                item.refuse(f"{what} lists {clip(text)} twice")
            found.append(text)
        if not found:
            self.refuse(f"{what} is an empty list")
        return tuple(found)

    def number(self, what: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``; ``what`` names it in the error."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"{what} must be a number, not {self.describe()}")
        if not low <= value <= high:
            self.refuse(f"{what} must be from {low:g} to {high:g}, not {value:g}")
        return float(value)

    def whole(self, what: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``; ``what`` names it in the error."""
        if type(self.value) is not int:
            self.refuse(f"{what} must be a whole number, not {self.describe()}")
        if not low <= self.value <= high:
            self.refuse(f"{what} must be from {low} to {high}, not {self.value}")
        return self.value

    def flag(self, what: str) -> bool:
        """True or false; ``what`` names it in the error."""
        if not isinstance(self.value, bool):
            self.refuse(f"{what} must be true or false, not {self.describe()}")
        return self.value

    def word(self, what: str, known: Iterable[str], meant: Mapping[str, str] | None = None) -> str:
        """One of the ``known`` words; ``what`` names it in the error."""
        text = self.text(what)
        if text not in known:
            self.refuse(f"unknown {what} {clip(text)}: {suggest(text, known, meant)}")
        return text

    def name(self, what: str) -> str:
        """An identifier; ``what`` names it in the error."""
        text = self.text(what)
        bare = text.replace("-", "_").replace(".", "_").replace("_", "a")
        if not (text.isascii() and bare.isalnum()) or text[0] in "-." or len(text) > 80:
            self.refuse(
                f"{what} is {clip(text)}: use 1 to 80 letters, digits, '_', '-' or '.', "
                "starting with a letter, digit or '_'"
            )
        return text

    def sentence(self, what: str) -> str:
        """A text of a line or two; a folded one may span lines in the file."""
        item = self
        if isinstance(self.value, str):
            item = Item(" ".join(self.value.split()), self.line, self.source)
        text = item.text(what)
        if len(text) > limits.POLICY_TEXT_CHARS:
            self.refuse(
                f"{what} has {len(text)} characters, at most {limits.POLICY_TEXT_CHARS} fit"
            )
        return text

    def plain(self) -> Any:
        """The value without its places: scalars, lists and dictionaries."""
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        if isinstance(self.value, Mapping):
            return {name: item.plain() for name, item in self.value.items()}
        return self.value

    def describe(self) -> str:
        """The value in a few words, for errors."""
        match self.value:
            case None:
                return "nothing"
            case bool(value):
                return f"the boolean {str(value).lower()}"
            case int(value) | float(value):
                return f"the number {value}"
            case str(value):
                return f"the string {clip(value)}"
            case tuple():
                return "a list"
            case _:
                return "a mapping"


Reader = Callable[[Item, str], Any]
"""Reads the value of a field; it is given the field's name for errors."""


def fields(
    item: Item, known: Iterable[str], what: str, needed: tuple[str, ...] = ()
) -> Mapping[str, Item]:
    """The entries of a mapping that has no others than ``known``, and all of ``needed``."""
    entries = item.mapping(what)
    names = tuple(known)
    for name, value in entries.items():
        if name not in names:
            value.refuse_key(f"unknown field {clip(name)} in {what}: {suggest(name, names)}")
    for name in needed:
        if name not in entries:
            item.refuse(f"{what} has no {name!r}")
    return entries


def entry(
    item: Item, readers: Mapping[str, Reader], what: str, needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """An entry of a section: each field read by its reader; others are refused."""
    found = fields(item, readers, what, needed)
    return {name: readers[name](value, name) for name, value in found.items()}


def number(low: float, high: float) -> Reader:
    """Reads a number of this range."""
    return lambda item, what: item.number(what, low, high)


def whole(low: int, high: int) -> Reader:
    """Reads a whole number of this range."""
    return lambda item, what: item.whole(what, low, high)


def word(*known: str) -> Reader:
    """Reads one of these words."""
    return lambda item, what: item.word(what, known)


def mapping_of(read_value: Reader) -> Reader:
    """Reads a mapping of any keys to values of one sort."""

    def read_mapping(item: Item, what: str) -> dict[str, Any]:
        return {
            name: read_value(value, f"{what}.{name}") for name, value in item.mapping(what).items()
        }

    return read_mapping


def clip(text: str) -> str:
    """``text`` quoted for an error, cut if it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def suggest(word: str, known: Iterable[str], meant: Mapping[str, str] | None = None) -> str:
    """The end of an error about an unknown word: the nearest known one, or all of them."""
    words = list(known)
    close = (meant or {}).get(word.lower()) or next(
        iter(difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)), None
    )
    return f"did you mean {close!r}?" if close else f"known: {', '.join(words)}"


class _Loader(yaml.SafeLoader):
    """PyYAML's composer, stopped at the first construct that a policy does not need."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = cast(Any, self.peek_event())
        line: int = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:  # an alias has one too
            raise _Stop(line, "anchors and aliases are not allowed in a policy; write it out")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            raise _Stop(line, f"tags are not allowed in a policy: {clip(tag)}")
        self.depth += 1
        if self.depth > limits.POLICY_DEPTH:
            raise _Stop(line, f"nested deeper than {limits.POLICY_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Stop(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read(text: str, source: str) -> Item:
    """The root of the YAML document ``text``; raises `Misuse` with ``source:line`` otherwise."""
    if len(text) > limits.POLICY_MAX_CHARS:
        raise Misuse(
            f"{source}:1: a policy has at most {limits.POLICY_MAX_CHARS:,} characters, "
            f"this one has {len(text):,}"
        )
    try:
        node = _Loader(text).get_single_node()
    except _Stop as stop:
        raise Misuse(f"{source}:{stop.line}: {stop}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f"{error.context}, " if error.context else ""
        line = mark.line + 1 if mark else 1
        raise Misuse(_one_line(f"{source}:{line}: not YAML: {context}{error.problem}")) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Misuse(f"{source}:{line}: not YAML: a control character") from None
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
    ) as error:  # \U escapes beyond Unicode
        raise Misuse(_one_line(f"{source}:1: not YAML: {error}")) from None
    if node is None:
        raise Misuse(f"{source}:1: the policy is empty; start with 'version: 1'")
    return _item(node, source, 0)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _item(node: Node, source: str, key_line: int) -> Item:
    line = node.start_mark.line + 1
    if isinstance(node, ScalarNode):
        return Item(_scalar(node, source), line, source, key_line)
    if isinstance(node, SequenceNode):
        return Item(tuple(_item(child, source, 0) for child in node.value), line, source, key_line)
    assert isinstance(node, MappingNode)
    entries: dict[str, Item] = {}
    for key, value in node.value:
        at = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise Misuse(f"{source}:{at}: a key must be a plain word")
        name = str(key.value)
        if name in entries:
            first = entries[name].key_line
            raise Misuse(f"{source}:{at}: {clip(name)} stands here twice (first on line {first})")
        entries[name] = _item(value, source, at)
    return Item(entries, line, source, key_line)


def _scalar(node: ScalarNode, source: str) -> Plain:
    """Only what YAML 1.1 (PyYAML's tag) and YAML 1.2 (the patterns here) read alike."""
    text = str(node.value)
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise Misuse(f"{source}:{node.start_mark.line + 1}: {clip(text)} is not valid Unicode")
    if node.style is not None:
        return text
    value: Plain = text
    kind = "str"
    if text in _WORDS:
        value = _WORDS[text]
        kind = "null" if value is None else "bool"
    elif _INT.fullmatch(text):
        value, kind = int(text), "int"
    elif _FLOAT.fullmatch(text) and len(text) <= 40 and abs(float(text)) < 1e300:
        value, kind = float(text), "float"
    if node.tag != _TAG + kind or (kind == "str" and _looks_like_number(text)):
        raise Misuse(
            f"{source}:{node.start_mark.line + 1}: YAML readers disagree on what {clip(text)} is: "
            "put it in quotes for text, or write a plain decimal number, true or false"
        )
    return value


def _looks_like_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
