"""Tool facts of a policy: what a tool's calls mean, as the owner of the policy says it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from holdfast.gate.labels import CONFIDENTIALITY, INTEGRITY, Label, parse_label
from holdfast.gate.pattern import read_globs
from holdfast.gate.proposal import EFFECTS
from holdfast.gate.reading import (
    Item,
    Reader,
    clip,
    entry,
    mapping_of,
    number,
    suggest,
    whole,
    word,
)
from holdfast.values import limits


class ToolFacts(msgspec.Struct, frozen=True, gc=False):
    """What a policy says of one tool; the first entry of ``tools`` whose names match counts, whole.

    ``tool``: names or globs. ``effect``: what it does, for tools that do not say it ("" as
    declared; a declared effect counts if it is stricter). ``output``: the label of what it returns,
    None to work it out. ``endorses``: its output is as trusted as ``output`` says whatever went in;
    otherwise labels of its arguments are joined in. ``derives``: its output is made from what it
    was given (a model, a summary), so a value found there has its origin earlier, or nowhere.
    ``deciding``: arguments that decide what happens, None to work them out; ``content``: arguments
    that carry text or files out, None to work them out. ``target``: the argument that says to whom
    or what; ``amount``: the one that says how much. ``clearance``: what the place where its content
    goes may see. ``harm``: cost of one wrong call, in money; ``harm_per``: as many times the amount
    again. ``args``: types by argument (string, number, boolean, list, mapping), for checking rules.
    ``pin``: SHA-256 of its definition; others need approval. ``cost``: money reserved before a
    call; ``tokens`` likewise. ``undo``, ``preview``: names of tools.
    """

    tool: tuple[str, ...]
    effect: str = ""
    output: Label | None = None
    endorses: bool = False
    derives: bool = False
    deciding: tuple[str, ...] | None = None
    content: tuple[str, ...] | None = None
    target: str = ""
    amount: str = ""
    clearance: str = "internal"
    harm: float = 0.0
    harm_per: float = 0.0
    args: Mapping[str, str] = {}
    pin: str = ""
    cost: float = 0.0
    tokens: int = 0
    undo: str = ""
    preview: str = ""


UNKNOWN_TOOL = ToolFacts(("*",), output=None)
"""A tool that no entry names: everything about it is worked out or taken as unknown."""


ARGUMENT_TYPES: Final = ("string", "number", "boolean", "list", "mapping")


def _label(item: Item, what: str) -> Label:
    text = item.text(what)
    try:
        return parse_label(text)
    except ValueError:
        item.refuse(
            f"{what} is {clip(text)}: write INTEGRITY/CONFIDENTIALITY, one of "
            f"{', '.join(INTEGRITY)} and one of {', '.join(CONFIDENTIALITY)}"
        )


def _names(item: Item, what: str) -> tuple[str, ...]:
    """A list that may be empty: "none" is not the same as "work it out"."""
    return () if item.value == () else item.texts(what)


def _pin(item: Item, what: str) -> str:
    text = item.text(what)
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        item.refuse(f"{what} must be a SHA-256 in 64 small hex digits, not {clip(text)}")
    return text


_READERS: Final[dict[str, Reader]] = {
    "tool": read_globs,
    "effect": word(*EFFECTS),
    "output": _label,
    "endorses": Item.flag,
    "derives": Item.flag,
    "deciding": _names,
    "content": _names,
    "target": Item.text,
    "amount": Item.text,
    "clearance": word(*CONFIDENTIALITY),
    "harm": number(0, limits.AMOUNT_MAX_ITEMS),
    "harm_per": number(0, limits.AMOUNT_MAX_ITEMS),
    "args": mapping_of(word(*ARGUMENT_TYPES)),
    "pin": _pin,
    "cost": number(0, limits.AMOUNT_MAX_ITEMS),
    "tokens": whole(0, limits.AMOUNT_MAX_ITEMS),
    "undo": Item.text,
    "preview": Item.text,
}


def read_tool(item: Item) -> ToolFacts:
    """One entry of ``tools``; raises `Misuse` with its line for what is not understood."""
    found = ToolFacts(**entry(item, _READERS, "a tool", ("tool",)))
    for field in ("deciding", "content"):
        _known(item, found, field, getattr(found, field) or ())
    for field in ("target", "amount"):
        _known(item, found, field, filter(None, [getattr(found, field)]))
    return found


def _known(item: Item, tool: ToolFacts, field: str, names: Iterable[str]) -> None:
    """Arguments that are named must be among the declared ones, if any are."""
    for name in names:
        if tool.args and name.partition(".")[0] not in tool.args:
            item.mapping("a tool")[field].refuse(
                f"{field}: {tool.tool[0]} has no argument {clip(name)}: {suggest(name, tool.args)}"
            )
