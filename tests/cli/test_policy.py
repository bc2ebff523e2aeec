"""`holdfast policy`: start, check, test, explain, diff."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import invoke, newest, rows

POLICY = """version: 1
rules:
  - {id: small, when: {tool: pay}, if: args.amount <= 50, then: allow}
  - {id: large, when: {tool: pay}, if: args.amount > 50, then: escalate, way: ask for less}
"""
CASES = """
base: {tool: pay, args: {amount: 5}}
cases:
  - {name: small, decision: allow, rule: small}
  - {name: large, args: {amount: 90}, decision: escalate}
"""


def _write(place: Path, name: str = "p", policy: str = POLICY, cases: str = CASES) -> None:
    folder = place / name
    (folder / "tests").mkdir(parents=True)
    (folder / "policy.yaml").write_text(policy)
    (folder / "tests" / "cases.yaml").write_text(cases)


def test_a_pack_is_copied_and_checks(place: Path):
    assert "support" in invoke("policy", "start").stdout
    assert "holdfast policy check mine" in invoke("policy", "start", "support", "mine").stdout
    assert "0 failed" in invoke("policy", "check", "mine").stdout
    assert "0 failed" in invoke("policy", "test", "mine").stdout
    assert "exists already" in invoke("policy", "start", "support", "mine", code=2).stderr
    assert "read-only" in invoke("policy", "start", "none", code=2).stderr


def test_check_shows_rules_and_what_fails_or_weakens(place: Path):
    _write(place)
    said = invoke("policy", "check", "p").stdout
    assert "args.amount <= 50" in said
    assert "2 cases, 0 failed; 0 losses would weaken a verdict" in said
    _write(place, "weak", POLICY.replace("rules:", "otherwise: allow\nrules:"))
    assert "weaker" in invoke("policy", "check", "weak", code=1).stdout
    found = json.loads(invoke("policy", "check", "weak", "--json", code=1).stdout)
    assert {(each["part"], each["after"]) for each in found["weaker"]} == {("tool", "allow")}
    _write(place, "wrong", POLICY.replace("50", "99"))
    said = invoke("policy", "check", "wrong", code=1).stdout
    assert "wrong/tests/cases.yaml:5: large: allow by small, not escalate" in said
    assert "1 failed" in invoke("policy", "test", "wrong", code=1).stdout


def test_a_policy_without_cases(place: Path):
    (place / "p.yaml").write_text(POLICY)
    assert "0 cases" in invoke("policy", "check", "p.yaml").stdout
    assert "there are no cases" in invoke("policy", "test", "p.yaml", code=2).stderr
    assert "no such file" in invoke("policy", "test", "p.yaml", "--cases", "x", code=2).stderr


def test_an_action_is_explained(place: Path):
    _write(place)
    (place / "a.json").write_text('{"agent": "a", "tool": "pay", "args": {"amount": 70}}')
    said = invoke("policy", "explain", "p", "a.json").stdout
    assert said.startswith("escalate by large")
    assert "if is false" in said
    assert "p/policy.yaml:4" in said
    found = json.loads(invoke("policy", "explain", "p", "a.json", "--json").stdout)
    assert [each["matched"] for each in found["rules"]] == [False, True]
    (place / "a.json").write_text('{"agent": "a"}')
    assert (
        "missing required field `tool`" in invoke("policy", "explain", "p", "a.json", code=2).stderr
    )
    assert "give RUN@STEP" in invoke("policy", "explain", "p", "none.json", code=2).stderr


def test_a_recorded_action_is_explained(place: Path):
    _write(place)
    invoke("run", "agents.py:shop", "90", "--name", "s", "--policy", "p", code=10)
    said = invoke("policy", "explain", "p", "s@1").stdout
    assert said.startswith("escalate by large")
    assert invoke("policy", "explain", "default", "s@1").stdout.startswith("escalate by once")


def test_policies_are_compared(place: Path):
    _write(place)
    _write(place, "q", POLICY.replace("> 50", "> 80").replace("id: small", "id: tiny"))
    (place / "a.jsonl").write_text('{"agent": "a", "tool": "pay", "args": {"amount": 70}}\n\n')
    said = invoke("policy", "diff", "p", "q", "--over", "a.jsonl").stdout
    assert "+ tiny" in said
    assert "- small" in said
    assert "~ large" in said
    assert "a.jsonl:1" in said
    found = json.loads(invoke("policy", "diff", "p", "q", "--over", "a.jsonl", "--json").stdout)
    assert [(each["before"], each["after"]) for each in found["verdicts"]][-1] == (
        "escalate", "deny",
    )  # fmt: skip
    (place / "a.jsonl").write_text("{}\n")
    assert "a.jsonl:1" in invoke("policy", "diff", "p", "q", "--over", "a.jsonl", code=2).stderr


def test_a_run_never_loses_its_policy_by_being_resumed(place: Path) -> None:
    """E92"""
    (place / "strict.yaml").write_text(
        "version: 1\notherwise: allow\nrules:\n"
        "  - {id: pays, when: {tool: pay}, then: escalate, reason: it is money}\n",
        encoding="utf-8",
    )
    invoke("run", "agents.py:shop", "--policy", "strict.yaml", "--no-input", code=10)
    run = newest()
    invoke("approve", run)
    refused = invoke("resume", run, "--no-input", code=2).stderr
    assert "was started under policy" in refused
    assert "--policy FILE" in refused
    done = invoke("resume", run, "--policy", "strict.yaml", "--no-input")
    assert "paid" in done.stdout


def test_no_fork_is_made_that_cannot_go_on_for_want_of_a_policy(place: Path) -> None:
    """E92: so the name stays free; --no-run makes it, as it is resumed later."""
    (place / "strict.yaml").write_text("version: 1\notherwise: allow\nrules: []\n", "utf-8")
    invoke("run", "agents.py:add", "1", "--name", "old", "--policy", "strict.yaml")
    for words in (("fork", "old@1", "--name", "new"), ("what-if", "old@1", "--fresh"),
                  ("bisect", "old", "--outcome", "value == 1")):  # fmt: skip
        refused = invoke(*words, code=2).stderr
        assert "old was started under policy" in refused
        assert [row["run"] for row in rows()] == ["old"]
    invoke("fork", "old@1", "--name", "new", "--policy", "strict.yaml")
    invoke("fork", "old@1", "--name", "later", "--no-run")
    invoke("resume", "later", "--policy", "strict.yaml")


def test_time_passes_under_every_policy(place: Path) -> None:
    """E93"""
    (place / "sleepy.py").write_text(
        "import holdfast\n\n\n@holdfast.agent\nasync def nap():\n    before = holdfast.now()\n"
        "    await holdfast.sleep(0.05)\n    return holdfast.now() > before\n",
        encoding="utf-8",
    )
    (place / "none.yaml").write_text(
        "version: 1\nrules:\n  - {id: x, when: {tool: x}, then: allow}\n", encoding="utf-8"
    )
    assert "rue" in invoke("run", "sleepy.py:nap", "--policy", "none.yaml").stdout


def test_what_nobody_has_is_not_stopped_silently(place: Path) -> None:
    invoke("run", "agents.py:add", "1")
    assert "spelled" in invoke("kill", "tool", "lokk").stderr
    assert "spelled" not in invoke("kill", "tool", "look").stderr
    assert "empty" in invoke("approve", "x", "--digest", "", code=2).stderr
