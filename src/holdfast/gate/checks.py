"""Checks: what a ``verify`` verdict runs before an action may happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.gate.cel import (
    CHECKED,
    Scene,
    compile_condition,
    compile_text,
    condition_text,
    plain,
)
from holdfast.gate.reading import Item, Reader, entry, mapping_of, word

FALSE: Final = "its condition is false"
"""Why a check has not passed whose condition could be evaluated."""

CHECK_KINDS: Final = ("condition", "preview", "tool", "command", "fork")


class Check(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``checks``, named in a rule's ``checks``.

    ``kind`` condition: only ``that``. preview: the tool's own preview; its result is ``result``.
    tool: call the tool ``use`` (a second source, a cheaper model) with ``give`` (its argument:
    ours, in dotted form); it returns ``result``. command: ``command`` (a list of words) in the
    sandbox on the world, must exit with 0. fork: perform the action on a branch of the world that
    is dropped again; ``changes`` (paths) and ``result`` are there. ``that``: a CEL condition over
    ``args``, ``result`` and ``changes``. ``fails``: what a failed check means, escalate or deny.
    """

    name: str
    kind: str
    that: str = ""
    use: str = ""
    give: dict[str, str] = {}
    command: tuple[str, ...] = ()
    fails: str = "escalate"


def _command(item: Item, what: str) -> tuple[str, ...]:
    words = tuple(each.text(what) for each in item.items(what))
    if not words:
        item.refuse(f"{what} is an empty list")
    return words


_READERS: Final[dict[str, Reader]] = {
    "name": Item.name,
    "kind": word(*CHECK_KINDS),
    "that": condition_text,
    "use": Item.text,
    "give": mapping_of(Item.text),
    "command": _command,
    "fails": word("escalate", "deny"),
}
_NEEDS: Final = {
    "condition": ("that",),
    "preview": ("that",),
    "tool": ("use",),
    "command": ("command",),
    "fork": (),
}
_MAY: Final = {
    "condition": (),
    "preview": (),
    "tool": ("that", "give"),
    "command": (),
    "fork": ("that", "command"),
}
"""What a kind of check needs, and what it may have besides."""


def read_check(item: Item) -> Check:
    """One entry of ``checks``; raises `Misuse` with its line for what is not understood."""
    found = entry(item, _READERS, "a check", ("name", "kind"))
    kind = found["kind"]
    for name in _NEEDS[kind]:
        if name not in found:
            item.refuse(f"a check of kind {kind!r} has no {name!r}")
    for name in found.keys() - {"name", "kind", "fails", *_NEEDS[kind], *_MAY[kind]}:
        item.mapping("a check")[name].refuse_key(f"a check of kind {kind!r} takes no {name!r}")
    if "that" in found:
        compile_condition(item.mapping("a check")["that"], "that", CHECKED)
    return Check(**found)


def passes(
    check: Check, args: Mapping[str, Any], result: Any, changes: Sequence[str]
) -> tuple[bool, str]:
    """Whether what a check found is good, and why not. ``args``: of the action, plain; ``result``
    and ``changes`` as `Check` says. Never raises: what cannot be evaluated has not passed."""
    if not check.that:
        # what a tool says is only a yes if it is just that
        said = result is True or check.kind != "tool"
        return said, "" if said else f"{check.use} did not answer yes"
    try:
        condition = compile_text(check.that, CHECKED)
        values = {"result": plain(result), "changes": list(changes)}
        holds = Scene(CHECKED, values, args, condition.args).holds(condition)
    except Exception as error:  # noqa: BLE001 - a result may be anything
        holds = f"it cannot be evaluated ({type(error).__name__})"
    if holds is True:
        return True, ""
    return False, FALSE if holds is False else holds
