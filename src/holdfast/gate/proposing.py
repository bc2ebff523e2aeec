"""From an approval to a rule: what a policy would have to say to allow an action without asking.

Only a text, for a person to review and put under version control; nothing here changes a policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.gate.verdict import OTHERWISE, Verdict
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Misuse

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def propose(agent: str, tool: str, args: Mapping[str, Any], verdict: Verdict, why: str) -> str:
    """The lines that would allow ``agent`` this very call of ``tool``, as additions (``+``) to the
    policy that asked. ``why``: who approved it, and where, for the rule's reason.

    The deciding arguments are those whose origins were judged; all, if none were. `Misuse` if one
    of them is too long, or no text, number, truth value or list of these: a rule that leaves it
    open would allow more than was approved.
    """
    # INVARIANT E69: a proposed rule names the agent, the tool and every deciding value: it allows
    # what was approved and nothing else
    origin = verdict.facts.get("origin")
    names = sorted(origin) if isinstance(origin, Mapping) and origin else sorted(args)
    values = [f"{_place(name)} == {_literal(name, args.get(name))}" for name in names]
    same = " && ".join([f"agent == {_text(agent)}", f"tool == {_text(tool)}", *values])
    asked = [rule for rule in verdict.rules if rule != OTHERWISE]
    lines = [
        f"# Asked by {', '.join(asked) or OTHERWISE} of policy {verdict.policy}. For review:",
        "# nothing changes until a policy says so.",
        f"+ - id: allow-{_slug(tool)}-{digest(same.encode())[:8]}",
        f"+   when: {{agent: {_text(agent)}, tool: {_text(tool)}}}",
        *([f"+   if: {_text(' && '.join(values))}"] if values else []),
        "+   then: allow",
        f"+   reason: {_text(why[: limits.POLICY_TEXT_CHARS])}",
    ]
    if asked:
        lines.append("# The strictest rule wins, so what asked must leave this out. Add to each")
        lines.append("# (joined with && to the condition that it has):")
    for rule in asked:
        lines += [f"  - id: {rule}", f"+   if: {_text(f'!({same})')}"]
    return "\n".join(lines) + "\n"


def _slug(tool: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", tool)[:40]


def _place(name: str) -> str:
    return f"args.{name}" if _NAME.fullmatch(name) else f"args[{_text(name)}]"


def _literal(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(name, item) for item in value)}]"
    if isinstance(value, str) and len(value) <= limits.POLICY_TEXT_CHARS:
        return _text(value)
    if isinstance(value, bool | int) or (isinstance(value, float) and abs(value) < 1e300):
        return msgspec.json.encode(value).decode()
    raise Misuse(
        f"argument {name!r} is too long for a rule, or no text, number, truth value or list of "
        "these: write the rule by hand, and say what of it may differ"
    )


def _text(text: str) -> str:
    """A string as YAML, JSON and CEL read it alike: in double quotes, ASCII only."""
    return '"' + "".join(_letter(char) for char in text) + '"'


def _letter(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if " " <= char <= "~":
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"
