"""What a tool seems to do, from its name and its arguments; hints only ever make it stricter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.cli.scanning.listing import Seen
from holdfast.gate.proposal import EFFECTS

_READS = frozenset(
    "get list read search find query fetch show view describe count check status lookup head tail "
    "stat tree diff log browse inspect explain preview validate compare resolve suggest "
    "summarize".split()
)
_REPEATS = frozenset("set put upsert replace save ensure sync enable disable rename".split())
_ACTS = frozenset(
    "send post create delete remove pay transfer refund publish push merge write update insert "
    "execute run deploy install drop kill stop start cancel approve buy order book charge commit "
    "upload move edit add append submit email call invite grant revoke reset restart open "
    "checkout".split()
)
_TARGET = re.compile(
    r"(?:^|_)(?:to|recipients?|emails?|addresse?s?|urls?|uri|host|channel|phone|user|account|"
    r"destination|dest|webhook|iban|payee|receiver)(?:_id)?\Z"
)
_AMOUNT = re.compile(r"(?:^|_)(?:amount|price|sum|total|quantity|value_cents|cents|cost)\Z")
_CONTENT = re.compile(
    r"(?:^|_)(?:body|text|message|content|contents|subject|note|notes|html|markdown|description|"
    r"attachments?|comment|payload|summary)\Z"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TYPES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
          "array": "list", "object": "mapping"}  # fmt: skip


class Facts(msgspec.Struct, frozen=True):
    """Drafted facts of a tool, in the words of a policy; ``why``: where its effect comes from."""

    effect: str
    why: str
    args: Mapping[str, str] = {}
    target: str = ""
    amount: str = ""
    deciding: tuple[str, ...] = ()
    content: tuple[str, ...] = ()


def words_of(name: str) -> list[str]:
    """``getUserInfo`` and ``get-user_info`` are get, user, info."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
    return [part.lower() for part in parts]


def effect_of(tool: Seen) -> tuple[str, str]:
    """What a tool does, and what says so. INVARIANT D105: a hint of the server alone never makes it
    less than its name says; what no word tells is taken for ``once``."""
    parts = words_of(tool.own)
    hints = tool.definition.get("annotations")
    hints = hints if isinstance(hints, dict) else {}
    verb = next((one for one in parts if one in _READS | _REPEATS | _ACTS), "")
    acts = next((one for one in parts if one in _ACTS), "")
    if verb in _READS and not acts:
        effect, why = "read", f"its name says {verb!r}"
    elif verb in _REPEATS and not acts:
        effect, why = "idempotent", f"its name says {verb!r}"
    else:
        effect, why = "once", f"its name says {acts!r}" if acts else "nothing tells what it does"
        if hints.get("readOnlyHint") is True:
            why += ", its own hint says that it only reads"
    hinted = "read"
    if hints.get("readOnlyHint") is False:
        hinted = "idempotent" if hints.get("idempotentHint") is True else "once"
    if hints.get("destructiveHint") is True:
        hinted = "once"
    if EFFECTS.index(hinted) > EFFECTS.index(effect):
        effect, why = hinted, f"{why}, its own hints say more"
    return effect, why


def facts_of(tool: Seen) -> Facts:
    """Everything that is drafted of a tool."""
    effect, why = effect_of(tool)
    schema = tool.definition.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    known = properties if isinstance(properties, dict) else {}
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in known):
        return Facts(effect, why)  # names that no rule can say: the policy works it out
    types = {name: _type(one) for name, one in known.items()}
    numbers = [name for name, kind in types.items() if kind == "number"]
    target = _first(_TARGET, list(types))
    amount = _first(_AMOUNT, numbers)
    content = tuple(
        name for name, kind in types.items()
        if _CONTENT.search(name.lower()) and kind in ("string", "list", "mapping", "")
        and name != target
    )  # fmt: skip
    deciding = tuple(name for name in types if name not in content)
    if effect == "read":
        deciding = tuple(name for name in deciding if name == target)
        content = ()
    args = {name: kind for name, kind in types.items() if kind}
    return Facts(effect, why, args if len(args) == len(types) else {}, target, amount, deciding,
                 content)  # fmt: skip


def _first(pattern: re.Pattern[str], names: list[str]) -> str:
    return next((name for name in names if pattern.search("_".join(words_of(name)))), "")


def _type(schema: Any) -> str:
    """The type of an argument in the policy's words, "" if it may be several."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(kind, list):
        several = [one for one in kind if one != "null"]
        kind = several[0] if len(several) == 1 else None
    return _TYPES.get(kind, "") if isinstance(kind, str) else ""
