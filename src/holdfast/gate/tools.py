"""Tool facts of a policy: what a tool's calls mean, as the owner of the policy says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from holdfast.gate.labels import Label
from holdfast.gate.pattern import compile_glob


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


def target_of(tools: Iterable[ToolFacts], tool: str) -> str:
    """The argument that says to whom or what a tool's calls go, "" if the policy names none."""
    for facts in tools:
        if any(text == tool or compile_glob(text).matches(tool) for text in facts.tool):
            return facts.target
    return ""
