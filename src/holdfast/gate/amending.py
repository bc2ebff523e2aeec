"""A policy's files with one more rule, and with those that asked leaving out what it allows.

The texts are changed where it must be and nowhere else: comments and layout stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from holdfast.gate.proposing import Rule, text_of
from holdfast.values.errors import Misuse

File = tuple[str, str]
"""Text and name."""
_Edit = tuple[int, int, int, str]
"""File, beginning and end of what is replaced, and by what."""


def amended(files: Sequence[File], rule: Rule) -> list[File]:
    """``files``, which together are a policy, with ``rule`` added and with what it is about left
    out by the rules that it names as having asked. `Misuse` if one of these is not there."""
    places: dict[str, tuple[int, MappingNode]] = {}
    lists: dict[int, SequenceNode] = {}
    for number, (text, _) in enumerate(files):
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        rules = _value(root, "rules")
        if isinstance(rules, SequenceNode):
            lists[number] = rules
            for node in rules.value:
                named = _value(node, "id")
                if isinstance(named, ScalarNode):
                    places[str(named.value)] = number, node
    missing = [name for name in rule.asked if name not in places]
    if missing or not lists:
        raise Misuse(f"{files[0][1]}: there is no rule {missing[0] if missing else ''!r} there")
    edits = [_without(files, *places[name], rule) for name in rule.asked]
    at = places[rule.asked[0]] if rule.asked else None
    number = at[0] if at else next(iter(lists))
    edits.append(_added(files[number][0], number, lists[number], at[1] if at else None, rule))
    texts = [text for text, _ in files]
    for number, start, stop, new in sorted(edits, key=lambda edit: edit[1], reverse=True):
        texts[number] = texts[number][:start] + new + texts[number][stop:]
    return [(text, name) for text, (_, name) in zip(texts, files, strict=True)]


def _value(node: Any, key: str) -> Any:
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _without(files: Sequence[File], number: int, node: MappingNode, rule: Rule) -> _Edit:
    """The rule ``node`` with a condition that leaves out what ``rule`` is about."""
    text, condition = files[number][0], _value(node, "if")
    if condition is not None:
        start, stop = condition.start_mark.index, condition.end_mark.index
        said = text[start:stop]
        both = f"({str(condition.value).strip()}) && {rule.exception}"
        return number, start, stop, text_of(both) + said[len(said.rstrip()) :]
    key, named = next(pair for pair in node.value if pair[0].value == "id")
    if node.flow_style:
        stop = named.end_mark.index
        return number, stop, stop, f", if: {text_of(rule.exception)}"
    stop = _line_end(text, named.end_mark.index)
    return number, stop, stop, f"\n{' ' * key.start_mark.column}if: {text_of(rule.exception)}"


def _added(
    text: str, number: int, rules: SequenceNode, before: MappingNode | None, rule: Rule
) -> _Edit:
    """``rule`` as one more of ``rules``, before one of them (None: the first, if there is one)."""
    if not rules.value or rules.flow_style:
        flow = "{" + ", ".join(f"{name}: {said}" for name, said in rule.lines()) + "}"
        inside = rules.start_mark.index + 1
        return number, inside, inside, flow + (", " if rules.value else "")
    node = before or rules.value[0]
    start = text.rfind("\n", 0, text.rfind("-", 0, node.start_mark.index + 1)) + 1
    while (above := text[text.rfind("\n", 0, start - 1) + 1 : start]).strip().startswith("#"):
        if start == 0:
            break
        start -= len(above)
    margin = " " * rules.start_mark.column
    first, *rest = (f"{name}: {said}" for name, said in rule.lines())
    lines = [f"{margin}- {first}", *(f"{margin}  {line}" for line in rest), ""]
    return number, start, start, "\n".join(lines)


def _line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return len(text) if found < 0 else found - (text[found - 1] == "\r")
