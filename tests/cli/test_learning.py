"""Risk and back-tests on real runs: what persons answered teaches, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.gate import load_policy_file
from tests.cli.support import documents, invoke, newest

ASKS = """
version: 1
name: shop
facts: all
otherwise: allow
rules:
  - {id: money, when: {tool: pay}, then: escalate}
"""
RISKY = """
version: 1
name: risky
otherwise: allow
risk: {review: 0.5, sample: 1}
rules:
  - {id: never, when: {tool: never}, then: deny}
"""


def shop(amount: int, answer: str) -> str:
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", f"amount={amount}",
           code=10)  # fmt: skip
    run = newest()
    invoke(answer, run)
    invoke("resume", run, "--policy", "policy.yaml", "--no-input", code=None)
    return run


@pytest.fixture
def answered(place: Path) -> list[str]:
    """Two small payments that were approved, and two large ones that were refused."""
    (place / "policy.yaml").write_text(ASKS, encoding="utf-8")
    runs = [shop(amount, "approve") for amount in (5, 7)]
    return runs + [shop(amount, "deny") for amount in (900, 950)]


def test_a_back_test_says_what_would_change(answered: list[str], place: Path):
    (place / "open.yaml").write_text(
        "version: 1\notherwise: allow\nrules:\n"
        "  - {id: large, when: {tool: pay}, if: args.amount > 100, then: deny}\n",
        encoding="utf-8",
    )
    found = documents(invoke("policy", "backtest", "open.yaml", "--json").stdout)[0]
    pays = [one for one in found["changes"] if one["tool"] == "pay"]
    assert [(one["now"], one["answer"]) for one in pays] == [
        *[("allow", "approve")] * 2, *[("deny", "deny")] * 2,
    ]  # fmt: skip
    assert (found["agrees"], found["differs"], found["weaker"]) == (4, 0, 0)
    assert found["unjudged"] == {}
    text = invoke("policy", "backtest", "open.yaml").stdout
    assert "as persons answered: 4, against them: 0" in text
    assert "escalate -> allow" in text


def test_what_a_person_refused_must_not_pass_unseen(answered: list[str], place: Path):
    (place / "all.yaml").write_text(
        "version: 1\notherwise: allow\nrules:\n  - {id: none, when: {tool: never}, then: deny}\n",
        encoding="utf-8",
    )
    text = invoke("policy", "backtest", "all.yaml", code=1).stdout
    assert "2 that were stopped would be allowed" in text
    assert "a person refused" in text
    invoke("policy", "backtest", "all.yaml", "--accept-weaker")
    assert "policy" in invoke("policy", "backtest", "none.yaml", code=2).stderr


def test_rules_are_suggested_from_answers(answered: list[str], place: Path):
    found = documents(invoke("policy", "suggest", "--least", "2", "--json").stdout)
    assert {(one["tool"], one["answer"], one["count"]) for one in found} == {
        ("pay", "approve", 2), ("pay", "deny", 2),
    }  # fmt: skip
    approve = next(one for one in found if one["answer"] == "approve")
    assert "args.amount >= 5 && args.amount <= 7" in approve["condition"]
    # the lines say how the policy must read: it loads, and agrees with every answer
    added = [line[2:] for line in approve["rule"].splitlines() if line.startswith("+ ")]
    exception = yaml.safe_load(added.pop())["if"]
    policy: dict[str, Any] = yaml.safe_load(ASKS)
    policy["rules"] = [{**policy["rules"][0], "if": exception}, *yaml.safe_load("\n".join(added))]
    (place / "next.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    load_policy_file("next.yaml")
    tested = documents(invoke("policy", "backtest", "next.yaml", "--json").stdout)[0]
    assert (tested["agrees"], tested["differs"], tested["weaker"]) == (2, 0, 0)
    assert "nothing to suggest" in invoke("policy", "suggest").stderr


def test_risk_is_shown_and_learned_for_review(answered: list[str], place: Path):
    assert "leaking" in invoke("risk", "show").stdout
    invoke("risk", "fit", "--write", "risk.yaml")
    written = yaml.safe_load((place / "risk.yaml").read_text("utf-8"))
    assert written["risk"]["version"]
    assert "exists" in invoke("risk", "fit", "--write", "risk.yaml", code=2).stderr
    whole = {
        "version": 1,
        "rules": [{"id": "a", "when": {"tool": "x"}, "then": "allow"}],
        **written,
    }
    (place / "whole.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    assert load_policy_file("whole.yaml").risk is not None


def test_nothing_is_learned_from_one_sort_of_answer(place: Path):
    (place / "policy.yaml").write_text(ASKS, encoding="utf-8")
    shop(5, "approve")
    assert "none of them refused" in invoke("risk", "fit", code=2).stderr


def test_risk_asks_and_says_why_and_samples_what_passes(place: Path):
    (place / "policy.yaml").write_text(RISKY, encoding="utf-8")
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", "amount=7", code=10)
    asked = documents(invoke("inbox", "--json").stdout)[0]
    assert "risk" in str(asked)
    assert "expected loss" in str(asked)
    (place / "policy.yaml").write_text(RISKY.replace("0.5", "1000"), encoding="utf-8")
    invoke("run", "agents.py:shop", "--policy", "policy.yaml", "--no-input", "amount=7")
    looked = documents(invoke("inbox", "--review", "--json").stdout)
    assert len(looked) == 1
