"""Verdicts as data: every file in `cases`, and every example of the manual."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
import yaml

from holdfast.gate import DEFAULT_POLICY, Proposal, Verdict, judge, parse_policy
from holdfast.gate.cel import FACTS

HERE = Path(__file__).parent
MANUAL = HERE.parents[1] / "docs" / "policy.md"


def _cases() -> list[Any]:
    found: list[Any] = []
    for path in sorted((HERE / "cases").glob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        found += [
            pytest.param(document, case, id=f"{path.stem}-{case['name']}")
            for case in document.get("cases", ())
        ]
    return found


@pytest.mark.parametrize(("document", "case"), _cases())
def test_verdict(document: dict[str, Any], case: dict[str, Any]) -> None:
    text = document["policy"]
    policy = DEFAULT_POLICY if text == "default" else parse_policy(text, "case.yaml")
    fields = {**document["base"], **case.get("with", {})}
    if isinstance(fields["args"], dict):
        fields["args"] = {**fields["args"], **case.get("args", {})}
        for name in case.get("without", ()):
            del fields["args"][name]
    verdict = judge(Proposal(**fields), policy)
    assert verdict.policy == policy.hash[:12]
    found = msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(verdict)))
    assert {name: found[name] for name in case["verdict"]} == case["verdict"]


def _table() -> list[Any]:
    document = yaml.safe_load((HERE / "cases" / "conditions.yaml").read_text("utf-8"))
    return document["table"]


def _judge_x(condition: str, value: Any) -> Verdict:
    rule = {"id": "r", "if": condition, "then": "escalate"}
    text = yaml.safe_dump({"version": 1, "otherwise": "allow", "rules": [rule]})
    proposal = Proposal("a", "r", "tool", "t", "read", {"x": value, "other": _Bomb()})
    return judge(proposal, parse_policy(text, "x.yaml"))


def _expect(verdict: Verdict, outcome: str) -> None:
    if outcome in ("yes", "no"):
        assert verdict.decision == ("escalate" if outcome == "yes" else "allow"), verdict.reason
    else:  # INVARIANT G3: what cannot be evaluated denies and names the rule
        assert verdict.decision == "deny"
        assert verdict.reason == f"rule 'r' cannot be evaluated: {outcome}"


@pytest.mark.parametrize("row", _table(), ids=str)
def test_condition(row: dict[str, Any]) -> None:
    """INVARIANT G10, with G3: another type is never taken for "unequal" or "not given"."""
    _expect(_judge_x(row["if"], row["x"]), row["is"])


class _Currency(Enum):
    EUR = "EUR"


class _Address(msgspec.Struct):
    country: str


class _Model:
    def model_dump(self) -> dict[str, Any]:
        return {"currency": _Currency.EUR}


class _Bomb:
    def model_dump(self) -> dict[str, Any]:
        raise RecursionError("secret value")


class _Word(str):
    """A class of text, as some libraries return it."""


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("condition", "value", "outcome"),
    [
        ("args.x <= 0.1", Decimal("0.1"), "yes"),
        ("args.x == 0.1", Decimal("0.1"), "yes"),
        ("args.x <= 1", Decimal("NaN"), "args.x is not a number (NaN)"),
        ("args.x <= 1", 10**400, "args.x is too large a number"),
        ("args.x <= 1", 2**63 - 1, "no"),
        ("args.x <= 1.0", [float("nan")], "args.x is not a number (NaN)"),
        ('args.x == "EUR"', _Currency.EUR, "yes"),
        ('args.x == "EUR"', _Word("EUR"), "yes"),
        ('"EUR" in args.x', {_Currency.EUR}, "yes"),
        ('args.x.startsWith("/work")', PurePosixPath("/work/a"), "yes"),
        ('args.x.country == "FR"', _Address("FR"), "yes"),
        ('args.x.currency == "EUR"', _Model(), "yes"),
        ('args.x[0] == "a"', ("a",), "yes"),
        ("has(args.x.y)", "text", "the condition ends in an error (INVALID_ARGUMENT)"),
        ('args.x == "a"', b"a", "args.x is a byte string, not a string"),
        ('args.x == "a"', "a" * 500_000, "no"),
        ('args.x == "a"', "\ud800", "args.x is no valid text"),
        ('args.x == "a"', _Bomb(), "args.x cannot be looked at (RecursionError)"),
        ('args.x == "a"', object(), "args.x cannot be looked at (TypeError)"),
        ("args.x.size() > 0", {1: 2}, "args.x has a key that is no text"),
        ("args.x.size() > 0", _deep(100), "yes"),
        ("args.x.size() > 0", _deep(100_000), "args.x is nested too deeply"),
        ("args.size() > 9", 1, "args.other cannot be looked at (RecursionError)"),
    ],
)
def test_python_values(condition: str, value: Any, outcome: str) -> None:
    """Only arguments that a rule mentions are looked at."""
    _expect(_judge_x(condition, value), outcome)


def test_manual_examples_load() -> None:
    blocks = re.findall(
        r"^```yaml\n(.*?)^```$", MANUAL.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) >= 3
    for block in blocks:
        parse_policy(block, "docs/policy.md")


def test_manual_names_every_fact_and_function() -> None:
    manual = MANUAL.read_text("utf-8")
    own = ("domain", "inside")
    assert [name for name in (*FACTS, *own) if f"`{name}" not in manual] == []
