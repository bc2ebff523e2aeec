"""Policies with an engine outside at the command line: it is asked, or that it was not is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.decider import Decider
from tests.cli.support import invoke, newest

RULES = "rules:\n- {id: huge, when: {tool: pay}, if: args.amount > 100, then: deny}\n"


def policy(place: Path, address: str, otherwise: str = "allow") -> str:
    text = f"version: 1\notherwise: {otherwise}\nfacts: all\n{RULES}"
    engine = f"engine: {{opa: '{address}', seconds: 5}}\n" if address else ""
    (place / "policy.yaml").write_text(text + engine, encoding="utf-8")
    return "policy.yaml"


def action(place: Path, amount: int = 5) -> str:
    document = {"agent": "a", "tool": "pay", "args": {"amount": amount, "to": "bob"}}
    (place / "action.json").write_text(json.dumps(document), encoding="utf-8")
    return "action.json"


def escalates(document: dict[str, Any]) -> Any:
    return {"decision": "escalate", "rules": ["theirs"], "reason": "it says so"}


def test_explain_asks_it(place: Path):
    with Decider(escalates) as decider:
        told = invoke("policy", "explain", policy(place, decider.address), action(place)).stdout
        assert told.startswith("escalate by theirs")
        assert decider.address in told
        found = invoke("policy", "explain", "policy.yaml", "action.json", "--json").stdout
        document = json.loads(found)
        assert document["verdict"]["decision"] == "escalate"
        assert document["engine"]["rules"] == ["theirs"]
        assert decider.asked[0]["args"] == {"amount": 5, "to": "bob"}


def test_explain_says_that_it_could_not(place: Path):
    nowhere = f"unix:{place}/nobody.sock"
    told = invoke("policy", "explain", policy(place, nowhere), action(place), code=5).stdout
    assert told.startswith("deny by outside")
    assert "no answer" in told
    found = json.loads(
        invoke("policy", "explain", "policy.yaml", "action.json", "--json", code=5).stdout
    )
    assert found["engine"] is None
    assert "cannot be asked" in found["no_answer"]


def test_cases_say_that_it_was_not_asked(place: Path):
    for verb in ("check", "test"):
        (place / "p" / "tests").mkdir(parents=True, exist_ok=True)
        policy(place / "p", "http://127.0.0.1:1")
        (place / "p" / "tests" / "cases.yaml").write_text(
            "cases:\n- {name: x, tool: pay, args: {amount: 500}, decision: deny,"
            " optional: [tool, args.amount, kind, effect]}\n", encoding="utf-8",
        )  # fmt: skip
        assert "the engine outside is not asked" in invoke("policy", verb, "p", code=None).stderr


@pytest.mark.parametrize("json_", [False, True])
def test_g84_backtest_asks_it_or_does_not_guess(place: Path, json_: bool):
    """INVARIANT G84"""
    invoke("run", "agents.py:shop", "--policy", policy(place, ""), "amount=7")
    run = newest()
    form = ["--json"] if json_ else []
    words = ["policy", "backtest", "policy.yaml", *form]
    with Decider(escalates) as decider:
        policy(place, decider.address)
        told = invoke(*words)
        assert "escalate" in told.stdout
        assert len(decider.asked) == 1
    policy(place, f"unix:{place}/nobody.sock")
    told = invoke(*words, code=5)
    assert "engine opa: it cannot be asked" in (told.stdout if json_ else told.stderr)
    if json_:
        found = json.loads(told.stdout)
        assert (found["judged"], found["changes"], sum(found["unjudged"].values())) == (0, [], 1)
    assert run


def test_g84_what_our_rules_deny_needs_no_answer(place: Path):
    """G84: exact where nothing that it could say would change anything."""
    invoke("run", "agents.py:shop", "--policy", policy(place, ""), "amount=700", code=1)
    policy(place, f"unix:{place}/nobody.sock")
    told = json.loads(invoke("policy", "backtest", "policy.yaml", "--json").stdout)
    assert (told["judged"], told["changes"], told["unjudged"]) == (1, [], {})
