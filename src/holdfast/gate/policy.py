"""A policy as a value: rules and what they rest on, and which of them apply to whom.

It is made by `holdfast.gate.parse`; how its verdicts come about stands in `holdfast.gate.judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from holdfast.gate.agents import AgentCard, card_of
from holdfast.gate.budgets import Budget
from holdfast.gate.cel import Condition
from holdfast.gate.checks import Check
from holdfast.gate.facts import GROUPS
from holdfast.gate.pattern import Names, names_of
from holdfast.gate.proposal import EFFECTS, KINDS, Proposal
from holdfast.gate.risk import RiskTable
from holdfast.gate.routes import Route
from holdfast.gate.tools import UNKNOWN_TOOL, ToolFacts
from holdfast.gate.verdict import PENDING, STOPPED, Decision
from holdfast.values import limits

DECISIONS: Final = ("allow", "verify", "escalate", "deny")
"""What a rule may decide."""

_GROUP_OF: Final = {name: group for group, names in GROUPS.items() for name in names}
_EVERYTHING: Final = frozenset(GROUPS)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``when``: names as written; ``condition``: its ``if``; ``line`` where it starts in
    the file ``source``."""

    id: str
    then: Decision
    reason: str
    way: str
    approvers: tuple[str, ...]
    checks: tuple[str, ...]
    when: Mapping[str, tuple[str, ...]]
    condition: Condition | None
    line: int
    source: str
    names: tuple[tuple[str, Names], ...] = field(repr=False)
    """(field of the proposal, test) for each of tool, effect, agent, role and kind in ``when``."""


class Engine(msgspec.Struct, frozen=True):
    """The section ``engine``: who judges instead of these rules. ``opa``: where an Open Policy
    Agent listens (``http://host:port`` or ``unix:/path``); ``path``: of its decision document;
    ``seconds``: it is given that long, and then the verdict is deny."""

    opa: str
    path: str = "holdfast/verdict"
    seconds: float = limits.OPA_SECONDS


class Reviewing(msgspec.Struct, frozen=True):
    """The section ``review``: how reviewers are measured. ``seeded``: the share of questions that a
    case known to be bad is put behind; ``again``: of approved calls that somebody looks at again
    afterwards."""

    seeded: float = 0.0
    again: float = 0.0

    def __bool__(self) -> bool:
        return self.seeded > 0 or self.again > 0


NO_REVIEW: Final = Reviewing()
"""Nobody is measured."""


class Alarming(msgspec.Struct, frozen=True):
    """The section ``anomalies``: how many alarms there may be, ``alarms_a_day`` in a store and
    ``of_agent`` of each agent."""

    alarms_a_day: int = limits.ANOMALY_A_DAY_ITEMS
    of_agent: int = limits.ANOMALY_OF_AGENT_ITEMS

    def __bool__(self) -> bool:
        return self != ALARMING


ALARMING: Final = Alarming()
"""Alarms as often as is usual."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to judge about one agent, role, kind, tool and effect, facts and arguments
    apart. ``problem``: why it is no proposal at all."""

    problem: str = ""
    role: str = ""
    effect: str = ""
    rules: tuple[Rule, ...] = ()
    standing: tuple[str, str, str] | None = None
    """A denial that stands before all rules: reserved id, reason, way."""
    conditional: bool = False
    """Some rule has a condition."""
    uses: frozenset[str] = frozenset()
    """What conditions mention: facts and names."""
    args: frozenset[str] | None = frozenset()
    """The arguments they mention; None for all."""
    needs: frozenset[str] = frozenset()
    settled: Any = None
    """The verdict itself, once it is known, if it depends on nothing else."""


def _no_routes() -> dict[str, Route]:
    return {}


def _no_checks() -> dict[str, Check]:
    return {}


def _no_plans() -> dict[tuple[str, ...], Plan]:
    return {}


def _no_found() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """An immutable set of rules. Two policies that say the same have the same ``hash``.

    ``hash`` is the SHA-256 of the canonical form: comments and layout do not count, the order of
    rules does (it decides whose reason is shown among equally strict ones). ``otherwise`` is the
    decision when no rule matches. ``source`` names the file or folder that the policy came from.
    ``keeps`` (``facts: all``): every fact is kept with every verdict, also those that no rule looks
    at, so that later policies can be tried on them. The other sections are described where their
    entries are declared.
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
    engine: Engine | None = None
    keeps: bool = False
    review: Reviewing = NO_REVIEW
    anomalies: Alarming = ALARMING
    plans: dict[tuple[str, ...], Plan] = field(default_factory=_no_plans, repr=False)
    """What `plan` has worked out already; bounded, and never changes a verdict."""
    _tools: dict[str, ToolFacts] = field(default_factory=_no_found, repr=False)
    _cards: dict[str, AgentCard | None] = field(default_factory=_no_found, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def tool(self, name: str) -> ToolFacts:
        """What the policy says of tool ``name``: its first entry that matches, or nothing known."""
        return _first(self._tools, name, lambda: _match(self.tools, "tool", name) or UNKNOWN_TOOL)

    def agent(self, name: str) -> AgentCard | None:
        """The first entry of ``agents`` that matches ``name``; None if nobody answers for it."""
        return _first(self._cards, name, lambda: card_of(self.agents, name))

    def needs(self, proposal: Proposal) -> frozenset[str]:
        """Which groups of facts (`holdfast.gate.facts.GROUPS`) the rules that apply to the names of
        ``proposal`` look at. Facts of others may be left at their defaults."""
        return self.plan(proposal).needs

    def reads(self, proposal: Proposal) -> bool:
        """Whether a rule that applies to the names of ``proposal`` looks at arguments."""
        return self.plan(proposal).args != frozenset()

    def plan(self, proposal: Proposal) -> Plan:
        """Apply the part of every rule that looks at names only, and remember the result."""
        # INVARIANT G6: a remembered plan depends on its five names only, so it changes no verdict
        names = (proposal.kind, proposal.tool, proposal.effect, proposal.role, proposal.agent)
        plan = self.plans.get(names)
        if plan is None:
            problem = _problem(proposal, names)
            if problem:
                return Plan(problem)
            plan = self.remember(proposal, _plan(proposal, self))
        return plan

    def remember(self, proposal: Proposal, plan: Plan) -> Plan:
        """Keep ``plan`` for proposals with these names."""
        if len(self.plans) >= limits.GATE_MEMO_ENTRIES:
            self.plans.clear()
        names = (proposal.kind, proposal.tool, proposal.effect, proposal.role, proposal.agent)
        self.plans[names] = plan
        return plan


def _first(found: dict[str, Any], name: str, find: Callable[[], Any]) -> Any:
    if name not in found:
        if len(found) >= limits.GATE_MEMO_ENTRIES:
            found.clear()
        found[name] = find()
    return found[name]


def _match(entries: tuple[Any, ...], names: str, name: str) -> Any:
    return next((each for each in entries if names_of(getattr(each, names)).match(name)), None)


def _problem(proposal: Proposal, names: tuple[Any, ...]) -> str:
    """Why ``proposal`` is not a proposal at all, or nothing."""
    if not all(isinstance(name, str) for name in names):
        return "agent, role, kind, tool and effect must be strings"
    if max(map(len, names)) > limits.PATTERN_INPUT_CHARS:
        return f"a name is longer than {limits.PATTERN_INPUT_CHARS:,} characters"
    if proposal.kind not in KINDS:
        return f"its kind {proposal.kind[:40]!r} is unknown"
    if proposal.effect not in EFFECTS:
        return f"its effect {proposal.effect[:40]!r} is unknown"
    return ""


def _plan(proposal: Proposal, policy: Policy) -> Plan:
    # INVARIANT G11: what a policy says of a tool makes its effect stricter, never milder
    effect = max(proposal.effect, policy.tool(proposal.tool).effect or "read", key=EFFECTS.index)
    card = policy.agent(proposal.agent) if policy.agents else None
    role = (card.role if card else "") or proposal.role
    seen = {
        "agent": proposal.agent, "role": role, "kind": proposal.kind, "tool": proposal.tool,
        "effect": effect,
    }  # fmt: skip
    rules = tuple(
        rule for rule in policy.rules if all(test.match(seen[name]) for name, test in rule.names)
    )
    conditions = [rule.condition for rule in rules if rule.condition is not None]
    uses = frozenset[str]().union(*(each.uses for each in conditions))
    roots = [each.args for each in conditions]
    needs = {_GROUP_OF[name] for name in uses if name in _GROUP_OF}
    if policy.agents:
        needs.add("agent")
    return Plan(
        role=role, effect=effect, rules=rules, uses=uses, conditional=bool(conditions),
        standing=_standing(proposal.agent, effect, card, policy),
        args=None if None in roots else frozenset[str]().union(*filter(None, roots)),
        needs=_EVERYTHING if policy.risk or policy.keeps else frozenset(needs),
    )  # fmt: skip


def _standing(
    agent: str, effect: str, card: AgentCard | None, policy: Policy
) -> tuple[str, str, str] | None:
    # INVARIANT G12: with a list of agents, one that is not on it may only read; a stopped one
    # nothing
    if not policy.agents:
        return None
    if card is None:
        if effect == "read":
            return None
        reason = f"agent {agent[:80]!r} is pending: nobody answers for it yet, so it may only read"
        return (PENDING, reason, "ask for its registration, or only read")
    if card.stopped:
        return (STOPPED, f"agent {agent[:80]!r} is stopped: {card.stopped}", "")
    return None
