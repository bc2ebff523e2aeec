"""``holdfast policy``."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.desk import Desk, json_only


@click.group()
def command() -> None:
    """Work with policy files.

    \b
    Example: holdfast policy check policy.yaml
    """


@command.command()
@click.argument("file")
@json_only
def check(file: str, *, desk: Desk) -> None:
    """Load a policy file and print its rules, or what is wrong with it.

    \b
    Example: holdfast policy check policy.yaml
    """
    from holdfast.gate import load_policy_file

    policy = load_policy_file(file)
    screen = desk.screen
    if screen.json:
        screen.document({
            "name": policy.name, "hash": policy.hash, "otherwise": policy.otherwise,
            "rules": [_document(rule) for rule in policy.rules],
        })  # fmt: skip
        return
    screen.say((f"policy {policy.name}", "bold"), f"  {len(policy.rules)} rules",
               (f"  hash {policy.hash[:12]}", "dim"))  # fmt: skip
    rows = [
        [(str(rule.line), "dim"), (rule.id, "bold"), rule.then, _when(rule), rule.reason]
        for rule in policy.rules
    ]
    screen.table(["LINE", "RULE", "THEN", "WHEN", "REASON"], rows)
    screen.say(("otherwise ", "dim"), policy.otherwise)


def _document(rule: Any) -> dict[str, Any]:
    return {
        "id": rule.id, "line": rule.line, "when": dict(rule.when), "then": rule.then,
        "reason": rule.reason, "way": rule.way, "approvers": list(rule.approvers),
    }  # fmt: skip


def _when(rule: Any) -> str:
    parts: list[str] = []
    for name, want in rule.when.items():
        shown = ", ".join(want) if isinstance(want, tuple) else str(want)
        parts.append(f"{name}: {shown}")
    return "; ".join(parts) or "always"
