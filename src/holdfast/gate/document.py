"""What a policy engine is given and what it must answer, as documents.

The input document is a `Proposal` with all its `Facts`; the output document is a verdict without
what the gate adds itself. An engine outside of this process gets and gives the same. Their JSON
Schemas are docs/policy-input.schema.json and docs/policy-output.schema.json.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.gate.closed import strange_fact
from holdfast.gate.facts import Facts
from holdfast.gate.proposal import Proposal
from holdfast.gate.verdict import Decision
from holdfast.values.errors import Misuse


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One action and everything that is known about it. ``args`` are as JSON holds them; ``facts``
    are all there, also those at their default, so that none can be taken for missing."""

    agent: str
    tool: str
    role: str = ""
    kind: Literal["tool", "ask", "wait", "spawn", "model", "merge"] = "tool"
    effect: Literal["read", "world", "idempotent", "once"] = "once"
    args: dict[str, Any] = {}
    facts: Facts = Facts()


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The decision. ``rules``: ids of all rules that matched, strictest first, at least one;
    ``reason``, ``way``: sentences for agent and person; ``approvers``: who may answer an
    escalation; ``checks``: names of checks that a ``verify`` runs."""

    decision: Decision
    rules: tuple[str, ...]
    reason: str = ""
    way: str = ""
    approvers: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


def read_input(content: bytes | str, source: str) -> tuple[Proposal, Facts]:
    """The action and facts of an input document; raises `Misuse` naming ``source`` and field."""
    try:
        found = msgspec.json.decode(content, type=Input)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"{source}: not an input document: {error}") from None
    wrong = strange_fact(msgspec.to_builtins(found.facts))[1]
    if wrong:
        raise Misuse(f"{source}: not an input document: facts: {wrong}")
    args = (found.agent, found.role, found.kind, found.tool, found.effect, found.args)
    return Proposal(*args), found.facts


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schemas of both documents, by name."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema(kind)}
        for name, kind in (("input", Input), ("output", Output))
    }


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    schema = _settle(msgspec.json.schema(kind))
    if kind is Input:
        facts = schema["$defs"]["Facts"]
        facts["required"] = list(facts["properties"])
        facts["additionalProperties"] = False
        schema["$defs"]["Input"]["required"] = list(schema["$defs"]["Input"]["properties"])
    return schema


def _settle(schema: Any) -> Any:
    """The schema in one form: words in order, descriptions on one line."""
    if isinstance(schema, dict):
        settled = {name: _settle(each) for name, each in schema.items()}
        if isinstance(settled.get("enum"), list):
            settled["enum"] = sorted(settled["enum"])
        if isinstance(settled.get("description"), str):
            settled["description"] = " ".join(settled["description"].split())
        return settled
    return [_settle(each) for each in schema] if isinstance(schema, list) else schema


def input_document(proposal: Proposal, facts: Facts, args: dict[str, Any]) -> dict[str, Any]:
    """The input document of an action; ``args``: its arguments, made plain."""
    return {
        "agent": proposal.agent, "role": proposal.role, "kind": proposal.kind,
        "tool": proposal.tool, "effect": proposal.effect, "args": args,
        "facts": msgspec.structs.asdict(facts),
    }  # fmt: skip
