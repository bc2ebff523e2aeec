"""From an approval to a rule: what a policy would have to say to allow an action without asking.

Only a text, for a person to review and put under version control; nothing here changes a policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.gate.verdict import RESERVED, Verdict
from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Misuse

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Rule(msgspec.Struct, frozen=True):
    """A rule to be reviewed, about one agent, one tool and a condition on its arguments ("": none).
    ``asked``: the rules that asked, and would again; ``told``: these, and those of Holdfast's own;
    ``policy``: the beginning of the hash of their policy."""

    agent: str
    tool: str
    condition: str
    then: str
    reason: str
    asked: tuple[str, ...]
    told: tuple[str, ...]
    policy: str

    @property
    def same(self) -> str:
        """The condition that says what it is about, in whatever rule it stands."""
        named = f"agent == {text_of(self.agent)} && tool == {text_of(self.tool)}"
        return named + (f" && {self.condition}" if self.condition else "")

    @property
    def exception(self) -> str:
        """What the rules that asked must leave out."""
        return f"!({self.same})"

    def lines(self) -> list[tuple[str, str]]:
        """Its fields, as YAML."""
        name = f"{self.then}-{_slug(self.tool)}-{digest(self.same.encode())[:8]}"
        return [
            ("id", name),
            ("when", f"{{agent: {text_of(self.agent)}, tool: {text_of(self.tool)}}}"),
            *([("if", text_of(self.condition))] if self.condition else []),
            ("then", self.then),
            ("reason", text_of(self.reason)),
        ]

    def text(self) -> str:
        """It as additions (``+``) to a policy, with what the rules that asked must leave out."""
        first, *rest = (f"{name}: {said}" for name, said in self.lines())
        lines = [
            f"# Asked by {', '.join(self.told)} of policy {self.policy}. For review:",
            "# nothing changes until a policy says so.",
            f"+ - {first}",
            *(f"+   {line}" for line in rest),
        ]
        if self.asked and self.then == "allow":
            lines.append(
                "# The strictest rule wins, so what asked must leave this out. Add to each"
            )
            lines.append("# (joined with && to the condition that it has):")
            for rule in self.asked:
                lines += [f"  - id: {rule}", f"+   if: {text_of(self.exception)}"]
        return "\n".join(lines) + "\n"


def propose(agent: str, tool: str, args: Mapping[str, Any], verdict: Verdict, why: str) -> Rule:
    """The rule that would allow ``agent`` this very call of ``tool``. ``why``: who approved it, and
    where, for the rule's reason.

    The deciding arguments are those whose origins were judged; all, if none were. `Misuse` if one
    of them is too long, or no text, number, truth value or list of these: a rule that leaves it
    open would allow more than was approved.
    """
    # INVARIANT E69: a proposed rule names the agent, the tool and every deciding value: it allows
    # what was approved and nothing else
    origin = verdict.facts.get("origin")
    names = sorted(origin) if isinstance(origin, Mapping) and origin else sorted(args)
    values = [f"{place(name)} == {literal(name, args.get(name))}" for name in names]
    return rule_of(agent, tool, " && ".join(values), verdict, "allow", why)


def rule_of(agent: str, tool: str, condition: str, verdict: Verdict, then: str, why: str) -> Rule:
    """A rule about one agent, one tool and a condition on its arguments ("": none), made from the
    ``verdict`` of a policy that asked."""
    asked = tuple(rule for rule in verdict.rules if rule not in RESERVED)
    return Rule(agent, tool, condition, then, why[: limits.POLICY_TEXT_CHARS], asked, verdict.rules,
                verdict.policy)  # fmt: skip


def _slug(tool: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", tool)[:40]


def place(name: str, of: str = "args") -> str:
    """How a condition names an argument, or what another mapping has for it."""
    return f"{of}.{name}" if _NAME.fullmatch(name) else f"{of}[{text_of(name)}]"


def literal(name: str, value: Any) -> str:
    """How a condition says the value of an argument; `Misuse` for one that has no such form."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(literal(name, item) for item in value)}]"
    if isinstance(value, str) and len(value) <= limits.POLICY_TEXT_CHARS:
        return text_of(value)
    if isinstance(value, bool | int) or (isinstance(value, float) and abs(value) < 1e300):
        return msgspec.json.encode(value).decode()
    raise Misuse(
        f"argument {name!r} is too long for a rule, or no text, number, truth value or list of "
        "these: write the rule by hand, and say what of it may differ"
    )


def text_of(text: str) -> str:
    """A string as YAML, JSON and CEL read it alike: in double quotes, ASCII only."""
    return '"' + "".join(_letter(char) for char in text) + '"'


def _letter(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if " " <= char <= "~":
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"
