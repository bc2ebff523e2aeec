"""Arguments that a person changes before they approve: what was typed, told at once if it cannot
fit."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.cli.desk import Desk
from holdfast.cli.refs import pair
from holdfast.engine.inbox import Question
from holdfast.values.errors import HoldfastError, Misuse

EXACT = ":"
"""At the end of a name (``to:=["a"]``): the value is JSON, and of whatever kind."""
_KINDS: dict[type, str] = {
    bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "mapping",
}  # fmt: skip


def declared(desk: Desk, question: Question) -> Mapping[str, str]:
    """The types of the arguments of a tool, where the policy that is set says them."""
    plan = question.asked.plan
    with contextlib.suppress(HoldfastError):  # a policy that cannot be read now stops no answer
        if plan is not None and desk.settings.policy:
            from holdfast.gate import load_policy_file

            return load_policy_file(desk.settings.policy).tool(plan.name).args
    return {}


def edited(question: Question, pairs: Sequence[str], types: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of an action with these NAME=VALUE in place of what they were. ``types``: as
    the policy declares them. `Misuse` for what is no argument, or is not of the kind that is
    declared, else that it was."""
    now = question.edited if question.edited is not None else question.args
    if not pairs or not isinstance(now, dict):
        raise Misuse("say which argument changes, NAME=VALUE")
    changes: dict[str, Any] = {}
    for text in pairs:
        name, value = pair(text, "change")
        exact = name.endswith(EXACT)
        name = name.removesuffix(EXACT)
        if name not in now:
            raise Misuse(f"it has no argument {name!r}; it has {', '.join(now)}")
        changes[name] = (
            _json(text, name) if exact else _fitting(text, value, now[name], types.get(name, ""))
        )
        said = _kind(changes[name])
        if name in types and said not in (types[name], ""):
            raise Misuse(f"{text}: {name} is a {types[name]} (the policy says), not a {said}")
    return {**now, **changes}


def _fitting(text: str, value: Any, old: Any, declared_as: str) -> Any:
    """The value as the argument takes it, if that can be told from what it was."""
    wanted, said = declared_as or _kind(old), _kind(value)
    if wanted == "string" and said != "string":
        return text.partition("=")[2]  # text that looks like JSON is text all the same
    if said and wanted and said != wanted:
        raise Misuse(
            f"{text}: that was a {wanted} and would be a {said}; if the tool takes that, say"
            f" {text.partition('=')[0]}:=JSON"
        )
    return value


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "")


def _json(text: str, name: str) -> Any:
    try:
        return msgspec.json.decode(text.partition("=")[2])
    except msgspec.DecodeError:
        raise Misuse(f"{text}: what follows {name}:= must be JSON") from None
