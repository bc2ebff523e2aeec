"""The published format of Agent Skills: what SKILL.md must say, and what looks odd in it. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

import yaml

from holdfast.values import limits

FIELDS: Final = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
CARD: Final = "SKILL.md"

_Said: TypeAlias = dict[str, str | dict[str, str]]
_TOOL = re.compile(r"[^\s()]+\([^()]*\)|\S+")
_JOINERS: Final = "\u200c\u200d"  # some languages, and emoji, are written with them
_DOUBTFUL: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), what)
    for pattern, what in (
        (r"\b(ignore|disregard|forget|override)\b.{0,40}\b(instructions?|rules|prompts?|polic\w+)",
         "asks to ignore other instructions"),
        (r"\bsystem prompt\b|</?\s*(system|assistant|user)\s*>|\byou are now\b",
         "speaks as if it were the system prompt"),
        ((r"\b(do not|don't|never|without)\b.{0,30}\b(tell|mention|inform|reveal|show|ask)\w*\b"
          r".{0,30}\b(user|person|human|anyone|anybody|permission|approval|confirm\w*)\b"),
         "asks to keep something from persons"),
        ((r"\b(send|post|upload|forward|e-?mail|submit)\b.{0,60}\b(passwords?|tokens?|secrets?|"
          r"credentials?|api[ _-]?keys?|ssh|env)\b"), "speaks of sending secrets away"),
        (r"\b(curl|wget)\b[^\n|]*\|\s*(sudo\s+)?\w*sh\b", "pipes a download into a shell"),
    )
)  # fmt: skip
_GREEDY = re.compile(
    r"\b(always|must)\b.{0,30}\b(use|activate|call|invoke|prefer)\b|\bbefore (any|every)\b",
    re.IGNORECASE,
)


class Finding(NamedTuple):
    """What is wrong with a skill: ``error`` (it is not loaded) or something to look at; the file,
    with a line where that is known."""

    error: bool
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class Card(NamedTuple):
    """What SKILL.md says of its skill. ``allowed_tools``: what it would like to use: a proposal for
    whoever writes the policy, which Holdfast grants nothing by."""

    name: str
    description: str
    license: str = ""
    compatibility: str = ""
    metadata: Mapping[str, str] = {}
    allowed_tools: tuple[str, ...] = ()


class _Wrong(Exception):
    """The front matter is not of the format: the line in SKILL.md, and why."""


def read_card(text: str, folder: str) -> tuple[Card, str, list[Finding]]:
    """The card and the instructions of a SKILL.md that stands in ``folder`` (its name), and all
    that is wrong with them; with an error among that, card and instructions are worth nothing."""
    try:
        front, body = _parted(text)
        said = _mapping(front)
    except _Wrong as wrong:
        line, why = wrong.args
        return Card("", ""), "", [Finding(True, f"{CARD}:{line}", why)]
    plain = {name: one for name, one in said.items() if isinstance(one, str)}
    metadata = said.get("metadata", {})
    card = Card(
        plain.get("name", ""), plain.get("description", "").strip(), plain.get("license", ""),
        plain.get("compatibility", ""), metadata if isinstance(metadata, dict) else {},
        tuple(_TOOL.findall(plain.get("allowed-tools", ""))),
    )  # fmt: skip
    wrong = [Finding(True, CARD, why) for why in _errors(said, card, folder)]
    hidden = unseen("\n".join([front, *plain.values(), *card.metadata, *card.metadata.values()]))
    wrong += [Finding(True, CARD, f"its front matter holds {why}") for why in hidden]
    return card, body, wrong


def _parted(text: str) -> tuple[str, str]:
    """Front matter and body."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        raise _Wrong(1, "must begin with front matter: a line ---")
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() == "---":
            return "\n".join(lines[1:number]) + "\n", "\n".join(lines[number + 1 :]).strip()
        if "---" in line:  # other readers would end it here
            raise _Wrong(number + 1, "has --- inside its front matter")
    raise _Wrong(1, "its front matter has no end: a line ---")


def _mapping(front: str) -> _Said:
    """Front matter as texts by name.

    INVARIANT D110: plain texts and one level of them, whatever YAML could say: no tags, anchors,
    lists, documents, duplicate names.
    """
    try:
        found = list(yaml.parse(front, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or "holds a character that YAML does not allow"
        raise _Wrong(mark.line + 2 if mark else 1, f"is no YAML: {why}") from None
    except (RecursionError, ValueError):
        raise _Wrong(1, "is no YAML that could be read") from None
    begins = [type(one).__name__ for one in found[:3]]
    if begins != ["StreamStartEvent", "DocumentStartEvent", "MappingStartEvent"]:
        raise _Wrong(2, "its front matter must be names and values")
    result, _ = _below(found, 2, 0)
    return result


def _below(found: list[yaml.Event], at: int, depth: int) -> tuple[_Said, int]:
    start = found[at]
    assert isinstance(start, yaml.MappingStartEvent)
    if start.flow_style or start.anchor or start.tag or depth > 1:
        raise _Wrong(_line(start), "only names and texts may stand here, one below the other")
    said: _Said = {}
    at += 1
    while not isinstance(found[at], yaml.MappingEndEvent):
        name = _scalar(found[at])
        if name in said:
            raise _Wrong(_line(found[at]), f"says {name} twice")
        if isinstance(found[at + 1], yaml.MappingStartEvent):
            inner, at = _below(found, at + 1, depth + 1)
            said[name] = {key: one for key, one in inner.items() if isinstance(one, str)}
        else:
            said[name], at = _scalar(found[at + 1]), at + 2
    return said, at + 1


def _scalar(event: yaml.Event) -> str:
    if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
        raise _Wrong(_line(event), "a plain text must stand here")
    return event.value


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return 2 if mark is None else mark.line + 2


def _errors(said: _Said, card: Card, folder: str) -> Iterator[str]:
    for name in said:
        if name not in FIELDS:
            yield f"unknown field {name[:40]!r}: there are {', '.join(FIELDS)}"
        elif isinstance(said[name], dict) != (name == "metadata"):
            must = "names and texts" if name == "metadata" else "a text"
            yield f"{name} must be {must}"
    yield from _name_errors(card.name, folder)
    if not card.description:
        yield "description is missing: say what the skill does and when to use it"
    for name, most in (
        ("description", limits.SKILL_DESCRIPTION_MAX_CHARS),
        ("compatibility", limits.SKILL_COMPATIBILITY_MAX_CHARS),
    ):
        length = len(getattr(card, name))
        if length > most:
            yield f"{name} has {length} characters: at most {most}"


def _name_errors(name: str, folder: str) -> Iterator[str]:
    if not name:
        yield "name is missing"
        return
    if len(name) > limits.SKILL_NAME_MAX_CHARS:
        yield f"name has {len(name)} characters: at most {limits.SKILL_NAME_MAX_CHARS}"
    normal = unicodedata.normalize("NFKC", name)
    if name != normal.lower() or not all(one.isalnum() or one == "-" for one in name):
        yield "name may hold small letters, digits and single hyphens"
    elif name.startswith("-") or name.endswith("-") or "--" in name:
        yield "name may neither begin nor end with a hyphen, nor hold two in a row"
    if unicodedata.normalize("NFKC", folder) != normal:
        yield f"name is {name[:70]!r}, but its folder is {folder[:70]!r}: they must be the same"


def unseen(text: str) -> list[str]:
    """Characters that a reader does not see, or that command a terminal: what there is of them."""
    odd = {one for one in set(text) if one not in "\t\n\r" and not one.isprintable()}
    kinds = {
        "control characters": [one for one in odd if unicodedata.category(one) == "Cc"],
        "invisible characters": [
            one for one in odd if unicodedata.category(one) in ("Cf", "Co", "Cs", "Cn")
            and one not in _JOINERS
        ],
    }  # fmt: skip
    return [
        f"{what} ({', '.join(f'U+{ord(one):04X}' for one in sorted(some)[:5])})"
        for what, some in kinds.items()
        if some
    ]


def doubts(text: str, where: str, *, description: bool = False) -> Iterator[Finding]:
    """What a person should look at in a text of a skill. Signs, not proof: a text can say anything
    in words that no list knows."""
    for pattern, what in _DOUBTFUL:
        hit = pattern.search(text)
        if hit is not None:
            place = where if description else f"{where}:{text.count(chr(10), 0, hit.start()) + 1}"
            yield Finding(False, place, what)
    if description and _GREEDY.search(text):
        yield Finding(False, where, "presses to be used, instead of saying what it is for")
    if description and ("<" in text or ">" in text):
        yield Finding(False, where, "holds tags, which stand in every prompt")
    if not description:
        for what in unseen(text):
            yield Finding(False, where, f"holds {what}")
