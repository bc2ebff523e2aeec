"""A policy: rules from a YAML text, checked to the last word and compiled, or refused.

Whatever is not understood is refused when the policy is loaded, never skipped when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from holdfast.gate.agents import AgentCard
from holdfast.gate.budgets import Budget
from holdfast.gate.checks import Check
from holdfast.gate.conditions import Condition, compile_condition
from holdfast.gate.pattern import BadPattern, Pattern, compile_glob
from holdfast.gate.proposal import EFFECTS, KINDS
from holdfast.gate.reading import Item, clip, read, suggest
from holdfast.gate.risk import RiskTable
from holdfast.gate.routes import Route
from holdfast.gate.tools import ToolFacts
from holdfast.gate.verdict import KILLED, MALFORMED, OTHERWISE, Decision, Verdict
from holdfast.values import canon, limits

DECISIONS: Final = ("allow", "escalate", "deny")
"""What a rule may decide. ``verify`` is a decision too, but nothing performs checks yet, so a
policy that promises them is refused."""

_MEANT: Final = {
    **dict.fromkeys(("ask", "approve", "approval", "review", "confirm"), "escalate"),
    **dict.fromkeys(("block", "refuse", "reject", "forbid", "no", "never"), "deny"),
    **dict.fromkeys(("permit", "accept", "pass", "ok", "yes"), "allow"),
}
_TOP: Final = ("version", "name", "otherwise", "rules")
_RULE: Final = ("id", "when", "then", "reason", "way", "approvers")
_WHEN: Final = ("tool", "effect", "agent", "role", "kind", "args")


@dataclass(frozen=True, slots=True)
class Names:
    """A test on a name: one of ``exact``, or one of ``globs``."""

    exact: frozenset[str]
    globs: tuple[Pattern, ...] = ()

    def match(self, name: str) -> bool:
        """Whether ``name`` is meant."""
        return name in self.exact or any(glob.matches(name) for glob in self.globs)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``when`` is its condition as written; ``line`` where it starts in the file."""

    id: str
    then: Decision
    reason: str
    way: str
    approvers: tuple[str, ...]
    when: Mapping[str, Any]
    line: int
    names: tuple[tuple[str, Names], ...] = field(repr=False)
    """(field of the proposal, test) for each of tool, effect, agent, role and kind in ``when``."""
    conditions: tuple[Condition, ...] = field(repr=False)


Plan = tuple[Rule, ...] | Verdict
"""The rules that apply to an agent, role, kind, tool and effect; or the verdict itself, if none of
them looks at arguments."""


def _no_routes() -> dict[str, Route]:
    return {}


def _no_checks() -> dict[str, Check]:
    return {}


def _no_plans() -> dict[tuple[str, ...], Plan]:
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """An immutable set of rules. Two policies that say the same have the same ``hash``.

    ``hash`` is the SHA-256 of the canonical form: comments and layout do not count, the order of
    rules does (it decides whose reason is shown among equally strict ones). ``otherwise`` is the
    decision when no rule matches. ``source`` names the file or folder that the policy came from.
    The other sections are described where their entries are declared.
    """

    name: str
    hash: str
    rules: tuple[Rule, ...]
    otherwise: Decision
    source: str
    tools: tuple[ToolFacts, ...] = ()
    agents: tuple[AgentCard, ...] = ()
    routes: dict[str, Route] = field(default_factory=_no_routes)
    risk: RiskTable | None = None
    budgets: tuple[Budget, ...] = ()
    checks: dict[str, Check] = field(default_factory=_no_checks)
    plans: dict[tuple[str, ...], Plan] = field(default_factory=_no_plans, repr=False)
    """What `judge` has worked out already; bounded, and never changes a verdict."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)


def parse_policy(text: str, source: str) -> Policy:
    """The policy that ``text`` states; ``source`` (a file name) stands in errors.

    Raises `Misuse`, in one line ``source:line: what is wrong``, for anything that is not
    understood: a policy is loaded whole or not at all.
    """
    # INVARIANT G4: unknown fields, operators, effects, kinds and decisions are refused here
    root = read(text, source)
    top = _fields(root, _TOP, "the policy", ("version", "rules"))
    version = top["version"].value
    if type(version) is not int or version != 1:
        top["version"].refuse(f"version must be 1, not {top['version'].describe()}")
    name = _name(top["name"], "the policy's name") if "name" in top else "policy"
    otherwise = _decision(top["otherwise"], "otherwise") if "otherwise" in top else "deny"
    entries = top["rules"].items("rules")
    if len(entries) > limits.POLICY_RULES:
        top["rules"].refuse(f"a policy has at most {limits.POLICY_RULES} rules")
    rules: dict[str, Rule] = {}
    for entry in entries:
        rule = _rule(entry)
        if rule.id in rules:
            entry.refuse(f"rule id {rule.id!r} is taken by the rule on line {rules[rule.id].line}")
        rules[rule.id] = rule
    form = {
        "version": 1,
        "name": name,
        "otherwise": otherwise,
        "rules": [
            [rule.id, rule.when, rule.then, rule.reason, rule.way, rule.approvers]
            for rule in rules.values()
        ],
    }
    digest = canon.digest(canon.encode(form))
    return Policy(name, digest, tuple(rules.values()), otherwise, source)


def _fields(
    item: Item, known: tuple[str, ...], what: str, needed: tuple[str, ...]
) -> Mapping[str, Item]:
    entries = item.mapping(what)
    for name, value in entries.items():
        if name not in known:
            value.refuse_key(f"unknown field {clip(name)} in {what}: {suggest(name, known)}")
    for name in needed:
        if name not in entries:
            item.refuse(f"{what} has no {name!r}")
    return entries


def _rule(item: Item) -> Rule:
    label = "a rule"
    if isinstance(item.value, Mapping) and "id" in item.value:
        label = f"rule {clip(str(item.value['id'].value))}"
    entries = _fields(item, _RULE, label, ("id", "when", "then"))
    rule_id = _name(entries["id"], "a rule's id")
    if rule_id in (OTHERWISE, MALFORMED, KILLED):
        entries["id"].refuse(f"the rule id {rule_id!r} is reserved")
    then = _decision(entries["then"], "then")
    when = _fields(entries["when"], _WHEN, f"'when' of {label}", ())
    written: dict[str, Any] = {}
    names: list[tuple[str, Names]] = []
    for name, value in when.items():
        if name != "args":
            written[name] = value.texts(name)
            names.append((name, _NAMES[name](value, name)))
    conditions: tuple[Condition, ...] = ()
    if "args" in when:
        args = when["args"].mapping("args")
        conditions = tuple(compile_condition(path, want) for path, want in args.items())
        written["args"] = {each.path: dict(each.wants) for each in conditions}
    approvers: tuple[str, ...] = ()
    if "approvers" in entries:
        approvers = entries["approvers"].texts("approvers")
        if then != "escalate":
            entries["approvers"].refuse_key(f"approvers need 'then: escalate', not {then!r}")
    reason, way = (_sentence(entries.get(name), name) for name in ("reason", "way"))
    return Rule(rule_id, then, reason, way, approvers, written, item.line, tuple(names), conditions)


def _decision(item: Item, what: str) -> Decision:
    word = item.text(what)
    if word == "verify":
        item.refuse(f"{what}: 'verify' needs checks, which do not exist yet: use 'escalate'")
    if word not in DECISIONS:
        item.refuse(f"unknown decision {clip(word)}: {suggest(word, DECISIONS, _MEANT)}")
    return cast(Decision, word)


def _name(item: Item, what: str) -> str:
    text = item.text(what)
    plain = text.isascii() and text.replace("-", "_").replace(".", "_").replace("_", "a").isalnum()
    if not plain or text[0] in "-." or len(text) > 80:
        item.refuse(
            f"{what} is {clip(text)}: use 1 to 80 letters, digits, '_', '-' or '.', "
            "starting with a letter, digit or '_'"
        )
    return text


def _sentence(item: Item | None, what: str) -> str:
    if item is None:
        return ""
    if isinstance(item.value, str):  # a folded text may span lines in the file
        item = Item(" ".join(item.value.split()), item.line, item.source)
    text = item.text(what)
    if len(text) > limits.POLICY_TEXT_CHARS:
        item.refuse(f"{what} has {len(text)} characters, at most {limits.POLICY_TEXT_CHARS} fit")
    return text


def _globs(item: Item, what: str) -> Names:
    exact: set[str] = set()
    globs: list[Pattern] = []
    for text in item.texts(what):
        try:
            pattern = compile_glob(text)
        except BadPattern as error:
            item.refuse(f"{what} {clip(text)}: {error}")
        if "*" in text or "?" in text:
            globs.append(pattern)
        else:
            exact.add(text)
    return Names(frozenset(exact), tuple(globs))


def _words(known: tuple[str, ...]) -> Callable[[Item, str], Names]:
    def read_words(item: Item, what: str) -> Names:
        words = item.texts(what)
        for word in words:
            if word not in known:
                item.refuse(f"unknown {what} {clip(word)}: {suggest(word, known)}")
        return Names(frozenset(words))

    return read_words


_NAMES: Final[dict[str, Callable[[Item, str], Names]]] = {
    "tool": _globs,
    "agent": _globs,
    "role": _globs,
    "kind": _words(KINDS),
    "effect": _words(EFFECTS),
}
