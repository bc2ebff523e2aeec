"""Policies from YAML texts, checked to the last word and compiled, or refused.

Whatever is not understood is refused when the policy is loaded, never skipped when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar, cast

import msgspec

from holdfast.gate.agents import Limits, read_agents
from holdfast.gate.budgets import Budget, read_budget
from holdfast.gate.cel import RULE, Condition, compile_condition
from holdfast.gate.checks import Check, read_check
from holdfast.gate.pattern import names_of, read_globs, words
from holdfast.gate.policy import (
    ALARMING,
    DECISIONS,
    NO_REVIEW,
    Alarming,
    Engine,
    Policy,
    Reviewing,
    Rule,
)
from holdfast.gate.proposal import EFFECTS, KINDS
from holdfast.gate.reading import (
    Item,
    Reader,
    clip,
    entry,
    fields,
    number,
    read,
    suggest,
    whole,
)
from holdfast.gate.risk import read_risk
from holdfast.gate.routes import Route, check_routes, read_route
from holdfast.gate.tools import ToolFacts, read_tool
from holdfast.gate.verdict import RESERVED, Decision
from holdfast.values import canon, limits

T = TypeVar("T")

_MEANT: Final = {
    **dict.fromkeys(("ask", "approve", "approval", "review", "confirm"), "escalate"),
    **dict.fromkeys(("block", "refuse", "reject", "forbid", "no", "never"), "deny"),
    **dict.fromkeys(("permit", "accept", "pass", "ok", "yes"), "allow"),
    **dict.fromkeys(("check", "test", "preview"), "verify"),
}
_LISTS: Final = ("rules", "tools", "agents", "routes", "budgets", "checks")
_ONCE: Final = ("name", "otherwise", "facts", "risk", "engine", "review", "anomalies")
_RULE: Final = ("id", "when", "if", "then", "reason", "way", "approvers", "checks")
_WHEN: Final[dict[str, Reader]] = {
    "tool": read_globs,
    "effect": words(*EFFECTS),
    "agent": read_globs,
    "role": read_globs,
    "kind": words(*KINDS),
}


def parse_policy(text: str, source: str) -> Policy:
    """The policy that ``text`` states; ``source`` (a file name) stands in errors.

    Raises `Misuse`, in one line ``source:line: what is wrong``, for anything that is not
    understood: a policy is loaded whole or not at all.
    """
    return parse_files([(text, source)], source)


def parse_files(files: Sequence[tuple[str, str]], source: str) -> Policy:
    """The policy that several files, each (text, name), state together; raises `Misuse` as
    `parse_policy` does. The order of the files is the order of their rules."""
    # INVARIANT G4: unknown fields, names, types, effects, kinds and decisions are refused here
    tops = [_top(text, name) for text, name in files]
    once = _once(tops)
    found: dict[str, list[Item]] = {
        section: [each for top in tops if section in top for each in top[section].items(section)]
        for section in _LISTS
    }
    for section, entries in found.items():
        most = limits.POLICY_RULES if section == "rules" else limits.POLICY_ENTRIES
        if len(entries) > most:
            entries[most].refuse(f"a policy has at most {most} {section}")
    if not any("rules" in top for top in tops):
        tops[0]["version"].refuse("the policy has no 'rules'")
    routes = _by_name(found["routes"], read_route, "route", "name")
    check_routes(routes, _places(found["routes"], "name"))
    checks = _by_name(found["checks"], read_check, "check", "name")
    budgets = _by_name(found["budgets"], read_budget, "budget", "id")
    tools = tuple(read_tool(each) for each in found["tools"])
    agents, limited = read_agents(found["agents"])
    _add_limits(budgets, limited)
    for place in (*found["budgets"], *(item for item, _ in limited)):
        asked = place.mapping("a budget").get("approvers")
        if asked is not None:
            _known_people(asked, asked.texts("approvers"), routes)
    risk = read_risk(once["risk"]) if "risk" in once else None
    engine = _engine(once["engine"]) if "engine" in once else None
    review = _review(once["review"]) if "review" in once else NO_REVIEW
    anomalies = _anomalies(once["anomalies"]) if "anomalies" in once else ALARMING
    rules = _rules(found["rules"], routes, checks)
    for rule, place in zip(rules, found["rules"], strict=True):
        _fits(rule, place, tools, risk is not None)
    name = once["name"].name("the policy's name") if "name" in once else "policy"
    otherwise = _otherwise(once["otherwise"]) if "otherwise" in once else "deny"
    keeps = "facts" in once and once["facts"].word("facts", ("used", "all"), {}) == "all"
    form: dict[str, Any] = {
        "version": 1, "name": name, "otherwise": otherwise, **({"facts": "all"} if keeps else {}),
        "rules": [form_of(rule) for rule in rules],
        **_sections(tools=tools, agents=agents, routes=tuple(routes.values()), risk=risk,
                    budgets=tuple(budgets.values()), checks=tuple(checks.values()), engine=engine,
                    review=review, anomalies=anomalies),
    }  # fmt: skip
    return Policy(
        name, canon.digest(canon.encode(form)), rules, otherwise, source, tools, agents, routes,
        risk, tuple(budgets.values()), checks, engine, keeps, review, anomalies,
    )  # fmt: skip


def form_of(rule: Rule) -> list[Any]:
    """The canonical form of a rule: what its policy's hash is made of."""
    condition = rule.condition.text if rule.condition else ""
    return [
        rule.id, dict(rule.when), condition, rule.then, rule.reason, rule.way, rule.approvers,
        rule.checks,
    ]  # fmt: skip


def _sections(**sections: Any) -> dict[str, Any]:
    """The sections that say something, as plain data."""
    return {name: msgspec.to_builtins(value) for name, value in sections.items() if value}


def _top(text: str, source: str) -> Mapping[str, Item]:
    root = read(text, source)
    top = fields(root, ("version", *_ONCE, *_LISTS), "the policy", ("version",))
    version = top["version"]
    if type(version.value) is not int or version.value != 1:
        version.refuse(f"version must be 1, not {version.describe()}")
    return top


def _once(tops: list[Mapping[str, Item]]) -> dict[str, Item]:
    """What may stand in one of the files only."""
    found: dict[str, Item] = {}
    for name in _ONCE:
        for top in tops:
            if name in top:
                if name in found:
                    first = found[name]
                    top[name].refuse_key(f"{name} also stands in {first.source}:{first.key_line}")
                found[name] = top[name]
    return found


def _by_name(items: list[Item], read_one: Callable[[Item], T], what: str, key: str) -> dict[str, T]:
    found: dict[str, T] = {}
    places: dict[str, Item] = {}
    for item in items:
        value = read_one(item)
        name = cast(str, getattr(value, key))
        if name in found:
            _taken(item, places[name], f"{what} {key} {name!r}", what)
        found[name], places[name] = value, item
    return found


def _taken(item: Item, first: Item, name: str, what: str) -> NoReturn:
    same = item.source == first.source
    where = f"on line {first.line}" if same else f"at {first.source}:{first.line}"
    item.refuse(f"{name} is taken by the {what} {where}")


def _add_limits(budgets: dict[str, Budget], limited: Limits) -> None:
    """Add the limits of agents to the budgets: each is one."""
    for item, limit in limited:
        if limit.id in budgets:
            item.refuse(f"there is a budget {limit.id!r} already: give this limit its own 'id'")
        budgets[limit.id] = limit


def _places(items: list[Item], key: str) -> dict[str, Item]:
    return {str(item.mapping("an entry")[key].value): item for item in items}


def _engine(item: Item) -> Engine:
    readers: dict[str, Reader] = {
        "opa": Item.text, "path": Item.text, "seconds": number(0.001, 10)
    }  # fmt: skip
    engine = Engine(**entry(item, readers, "'engine'", ("opa",)))
    if not engine.opa.startswith(("http://", "https://", "unix:/")):
        item.mapping("'engine'")["opa"].refuse(
            f"opa is {clip(engine.opa)}: write http://host:port, https://host:port or unix:/path"
        )
    return engine


def _review(item: Item) -> Reviewing:
    readers: dict[str, Reader] = {
        "seeded": number(0, limits.SEEDED_PERCENT / 100),
        "again": number(0, 1),
    }
    return Reviewing(**entry(item, readers, "'review'"))


def _anomalies(item: Item) -> Alarming:
    most = limits.ANOMALY_ALARMS_ITEMS
    readers: dict[str, Reader] = {"alarms_a_day": whole(0, most), "of_agent": whole(0, most)}
    return Alarming(**entry(item, readers, "'anomalies'"))


# Rules -----------------------------------------------------------------------------------------


def _rules(
    items: list[Item], routes: Mapping[str, Route], checks: Mapping[str, Check]
) -> tuple[Rule, ...]:
    rules: dict[str, Rule] = {}
    places: dict[str, Item] = {}
    for item in items:
        rule = _rule(item, routes, checks)
        if rule.id in rules:
            _taken(item, places[rule.id], f"rule id {rule.id!r}", "rule")
        rules[rule.id], places[rule.id] = rule, item
    return tuple(rules.values())


def _rule(item: Item, routes: Mapping[str, Route], checks: Mapping[str, Check]) -> Rule:
    label = "a rule"
    if isinstance(item.value, Mapping) and "id" in item.value:
        label = f"rule {clip(str(item.value['id'].value))}"
    entries = fields(item, _RULE, label, ("id", "then"))
    rule_id = entries["id"].name("a rule's id")
    if rule_id in RESERVED:
        entries["id"].refuse(f"the rule id {rule_id!r} is reserved")
    then = cast(Decision, entries["then"].word("decision", DECISIONS, _MEANT))
    if "when" not in entries and "if" not in entries:
        item.refuse(f"{label} has neither 'when' nor 'if'")
    when: dict[str, tuple[str, ...]] = {}
    if "when" in entries:
        when = _when(entries["when"], f"'when' of {label}")
    condition = compile_condition(entries["if"], "if", RULE) if "if" in entries else None
    return Rule(
        rule_id, then, _sentence(entries, "reason"), _sentence(entries, "way"),
        _approvers(entries, then, routes), _checks(entries, item, then, checks), when, condition,
        item.line, item.source, tuple((name, names_of(texts)) for name, texts in when.items()),
    )  # fmt: skip


def _when(item: Item, what: str) -> dict[str, tuple[str, ...]]:
    if isinstance(item.value, Mapping) and "args" in item.value:
        item.value["args"].refuse_key(
            f"{what} has names only: write a condition on arguments as 'if', as in "
            "'if: args.amount <= 50'"
        )
    return entry(item, _WHEN, what)


def _sentence(entries: Mapping[str, Item], name: str) -> str:
    return entries[name].sentence(name) if name in entries else ""


def _approvers(
    entries: Mapping[str, Item], then: Decision, routes: Mapping[str, Route]
) -> tuple[str, ...]:
    if "approvers" not in entries:
        return ()
    item = entries["approvers"]
    approvers = item.texts("approvers")
    if then != "escalate":
        item.refuse_key(f"approvers need 'then: escalate', not {then!r}")
    _known_people(item, approvers, routes)
    return approvers


def _known_people(item: Item, names: Iterable[str], routes: Mapping[str, Route]) -> None:
    """With routes, whoever approves is a route or a person of one: a misspelled name would leave
    an escalation that nobody can answer."""
    people = {person for route in routes.values() for person in route.people}
    for name in names:
        if routes and name not in routes and name not in people:
            item.refuse(
                f"approvers: {clip(name)} is no route and in no route: "
                f"{suggest(name, (*routes, *sorted(people)))}"
            )


def _checks(
    entries: Mapping[str, Item], rule: Item, then: Decision, checks: Mapping[str, Check]
) -> tuple[str, ...]:
    if "checks" not in entries:
        if then == "verify":
            rule.refuse("'then: verify' needs 'checks'")
        return ()
    item = entries["checks"]
    names = item.texts("checks")
    if then != "verify":
        item.refuse_key(f"checks need 'then: verify', not {then!r}")
    for name in names:
        if name not in checks:
            known = suggest(name, checks) if checks else "the policy has no section 'checks'"
            item.refuse(f"unknown check {clip(name)}: {known}")
    return names


def _otherwise(item: Item) -> Decision:
    word = item.word("decision", DECISIONS, _MEANT)
    if word == "verify":
        item.refuse("otherwise cannot be 'verify': only a rule names checks; use 'escalate'")
    return cast(Decision, word)


# What a condition says against what else the policy says ---------------------------------------


def _fits(rule: Rule, place: Item, tools: tuple[ToolFacts, ...], with_risk: bool) -> None:
    """Refuse conditions on risk without a risk section, and on arguments that the rule's tools do
    not have or that are of another type."""
    condition = rule.condition
    if condition is None:
        return
    item = place.mapping("a rule")["if"]
    if "risk" in condition.uses and not with_risk:
        item.refuse("if: 'risk' needs the section 'risk', which this policy does not have")
    for name in rule.when.get("tool", ()):
        found = next((tool for tool in tools if names_of(tool.tool).match(name)), None)
        if found is not None and found.args and "*" not in name and "?" not in name:
            _fits_tool(condition, name, found.args, item)


def _fits_tool(condition: Condition, tool: str, args: Mapping[str, str], item: Item) -> None:
    for name in sorted(condition.args or ()):
        if name not in args:
            item.refuse(f"if: {tool} has no argument {clip(name)}: {suggest(name, args)}")
    for path, kinds in condition.wants:
        if len(path) == 1 and args[path[0]] not in kinds:
            item.refuse(
                f"if: args.{path[0]} of {tool} is a {args[path[0]]}, here it is used as a "
                f"{' or '.join(sorted(kinds))}"
            )
        if len(path) > 1 and args[path[0]] not in ("mapping", "list"):
            item.refuse(f"if: args.{path[0]} of {tool} is a {args[path[0]]}, nothing is inside it")
