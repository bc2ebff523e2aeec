"""Whatever is not understood is refused at load, in one line with file and line (INVARIANT G4)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.gate import default_policy, load_policy_file, parse_policy
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound

HEAD = "version: 1\nrules:\n"


TOOLS = "tools: [{tool: pay, args: {amount: number, to: string}}]\n"
OTHER = "version: 1\nrules: []\n{}\n"


def _rule(body: str) -> str:
    return f"{HEAD}  - id: r\n    when: {{tool: t}}\n    then: allow\n{body}"


def _when(body: str) -> str:
    return f"{HEAD}  - id: r\n    then: allow\n    when:\n      {body}\n"


def _if(condition: str) -> str:
    return f"{HEAD}  - id: r\n    then: allow\n    if: '{condition}'\n"


DISAGREE = (
    "YAML readers disagree on what {!r} is: put it in quotes for text, "
    "or write a plain decimal number, true or false"
)

TABLE = [
    # the file
    ("", "1: the policy is empty; start with 'version: 1'"),
    ("# only a comment\n", "1: the policy is empty; start with 'version: 1'"),
    ("null\n", "1: the policy must be a mapping, not nothing"),
    ("- a\n", "1: the policy must be a mapping, not a list"),
    ("hello\n", "1: the policy must be a mapping, not the string 'hello'"),
    ("{}\n", "1: the policy is empty"),
    ("version: 1\n\trules: []\n", None),
    ("version: 1\nrules: [\n", None),
    ("version: 1\nrules: []\n---\nversion: 1\n", None),
    ("version: 1\nname: \x07\n", "2: not YAML: a control character"),
    ('version: 1\nname: "\\UFFFFFFFF"\n', None),
    ('version: 1\nname: "\\uD800"\n', "2: '\\ud800' is not valid Unicode"),
    ("x" * (limits.POLICY_MAX_CHARS + 1), None),
    ("a: " + "[" * 100_000, "1: nested deeper than 12 levels"),
    ("a: &x [b]\nc: *x\n", "1: anchors and aliases are not allowed in a policy; write it out"),
    ("a: *x\n", "1: anchors and aliases are not allowed in a policy; write it out"),
    ("a: !!python/name:os.system\n", None),
    ("version: 1\nversion: 1\nrules: []\n", "2: 'version' stands here twice (first on line 1)"),
    ("version: 1\n? [a]\n: b\n", "2: a key must be a plain word"),
    # the top
    ("rules: []\n", "1: the policy has no 'version'"),
    ("version: 1\n", "1: the policy has no 'rules'"),
    ("version: 2\nrules: []\n", "1: version must be 1, not the number 2"),
    ("version: true\nrules: []\n", "1: version must be 1, not the boolean true"),
    ("version: '1'\nrules: []\n", "1: version must be 1, not the string '1'"),
    ("version: 1\nrule: []\n", "2: unknown field 'rule' in the policy: did you mean 'rules'?"),
    ("version: 1\nrules: {}\n", "2: rules must be a list, not a mapping"),
    ("version: 1\nrules:\n", "2: rules must be a list, not nothing"),
    (
        "version: 1\notherwise: block\nrules: []\n",
        "2: unknown decision 'block': did you mean 'deny'?",
    ),
    (
        "version: 1\nname: a b\nrules: []\n",
        (
            "2: the policy's name is 'a b': use 1 to 80 letters, digits, '_', '-' or '.', "
            "starting with a letter, digit or '_'"
        ),
    ),
    # rules
    (HEAD + "  - then\n", "3: a rule must be a mapping, not the string 'then'"),
    (HEAD + "  - {when: {tool: t}, then: deny}\n", "3: a rule has no 'id'"),
    (HEAD + "  - {id: r, then: deny}\n", "3: rule 'r' has neither 'when' nor 'if'"),
    (HEAD + "  - {id: r, when: {tool: t}}\n", "3: rule 'r' has no 'then'"),
    (HEAD + "  - {id: 5, when: {tool: t}, then: deny}\n", None),
    (
        HEAD + "  - {id: otherwise, when: {tool: t}, then: deny}\n",
        "3: the rule id 'otherwise' is reserved",
    ),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: deny}\n" * 2,
        "4: rule id 'r' is taken by the rule on line 3",
    ),
    (_rule("    reson: x\n"), "6: unknown field 'reson' in rule 'r': did you mean 'reason'?"),
    (_rule("    reason: 5\n"), "6: reason must be a string, not the number 5"),
    (_rule("    reason:\n"), "6: reason must be a string, not nothing"),
    (_rule("    reason: ''\n"), "6: reason is empty"),
    (
        _rule('    way: "\\e[31m"\n'),
        "6: way contains a character that cannot be printed",
    ),
    (_rule(f"    way: {'x' * 501}\n"), "6: way has 501 characters, at most 500 fit"),
    (_rule("    approvers: [a]\n"), "6: approvers need 'then: escalate', not 'allow'"),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: verify}\n",
        "3: 'then: verify' needs 'checks'",
    ),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: verify, checks: c}\n",
        "3: unknown check 'c': the policy has no section 'checks'",
    ),
    (_rule("    checks: [a]\n"), "6: checks need 'then: verify', not 'allow'"),
    (
        "version: 1\notherwise: verify\nrules: []\n",
        "2: otherwise cannot be 'verify': only a rule names checks; use 'escalate'",
    ),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: alow}\n",
        "3: unknown decision 'alow': did you mean 'allow'?",
    ),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: approve}\n",
        "3: unknown decision 'approve': did you mean 'escalate'?",
    ),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: [deny]}\n",
        "3: decision must be a string, not a list",
    ),
    # when
    (HEAD + "  - {id: r, when: {}, then: deny}\n", "3: 'when' of rule 'r' is empty"),
    (
        HEAD + "  - {id: r, when: t, then: deny}\n",
        "3: 'when' of rule 'r' must be a mapping, not the string 't'",
    ),
    (
        _when("efect: once"),
        "6: unknown field 'efect' in 'when' of rule 'r': did you mean 'effect'?",
    ),
    (_when("amount: 5"), None),
    (_when("effect: onse"), "6: unknown effect 'onse': did you mean 'once'?"),
    (_when("effect: 'on*'"), None),
    (_when("kind: tol"), "6: unknown kind 'tol': did you mean 'tool'?"),
    (_when("effect: write"), "6: unknown effect 'write': known: read, world, idempotent, once"),
    (_when("tool: []"), "6: tool is an empty list"),
    (_when("tool: 5"), "6: tool must be a string, not the number 5"),
    (_when("tool:"), "6: tool must be a string, not nothing"),
    (_when("tool: [a, a]"), "6: tool lists 'a' twice"),
    (_when("tool: [[a]]"), "6: tool must be a string, not a list"),
    (
        _when("tool: 'rm[_-]all'"),
        (
            "6: tool 'rm[_-]all': only '*' and '?' are special in a name pattern; "
            "brackets do not exist"
        ),
    ),
    (_when("role: no"), "6: " + DISAGREE.format("no")),
    (f"{HEAD}  - when: {{tool: t}}\n    id: no\n    then: allow\n", "4: " + DISAGREE.format("no")),
    (_when("role: 010"), "6: " + DISAGREE.format("010")),
    (_when("role: 12:30"), "6: " + DISAGREE.format("12:30")),
    (_when("role: 2026-01-01"), "6: " + DISAGREE.format("2026-01-01")),
    (_when("role: 1e3"), "6: " + DISAGREE.format("1e3")),
    (_when("role: .inf"), "6: " + DISAGREE.format(".inf")),
    # conditions
    (
        _when("args: {a: 1}"),
        (
            "6: 'when' of rule 'r' has names only: write a condition on arguments as 'if', as in "
            "'if: args.amount <= 50'"
        ),
    ),
    (_rule("    if: true\n"), "6: if must be a CEL expression in a string, not the boolean true"),
    (_if(""), "5: if: the condition is empty"),
    (_if(" "), "5: if: the condition is empty"),
    (_if("x" * 2001), "5: if: 2001 characters, at most 2000 fit: write two rules"),
    (_if("clls > 3"), "5: if: character 1: unknown name 'clls': did you mean 'calls'?"),
    (
        _if("calls > 3 && agnt == tool"),
        "5: if: character 14: unknown name 'agnt': did you mean 'agent'?",
    ),
    (_if("args.a.startswith(agent)"), None),
    (_if("len(args.a) > 3"), "5: if: character 4: unknown function 'len': did you mean 'size'?"),
    (_if('calls > "3"'), "5: if: character 7: '>' does not go with (int, string)"),
    (
        _if("calls > 1.5"),
        (
            "5: if: character 7: '>' does not go with (int, double): write a decimal number with "
            "its point (1.0) beside one that has one"
        ),
    ),
    (_if("calls + 1"), "5: if: a condition must be true or false, this is of type int"),
    (_if("agent"), "5: if: a condition must be true or false, this is of type string"),
    (_if("args.a =="), None),
    (_if("(" * 500 + "true" + ")" * 500), None),
    (_if('args["a"] == 1'), '5: if: write .a instead of ["a"]'),
    (_if('args.a.b["c"] == 1'), '5: if: write .c instead of ["c"]'),
    (_if('args.a[0]["c"] == 1'), '5: if: write .c instead of ["c"]'),
    (_if('args.a.map(x, x)["c"] == 1'), '5: if: write .c instead of ["c"]'),
    # G63: words that a name of closed words can never be
    (_if('worst == "untrused"'), "5: if: worst is never 'untrused': did you mean 'untrusted'?"),
    (_if('worst == "Untrusted"'), "5: if: worst is never 'Untrusted': did you mean 'untrusted'?"),
    (_if('"wrld" != effect'), "5: if: effect is never 'wrld': did you mean 'world'?"),
    (_if('agent == "a" || (kind) == ("tol")'), "5: if: kind is never 'tol': did you mean 'tool'?"),
    (
        _if('clearance == "public" && carries == r"confidental"'),
        "5: if: carries is never 'confidental': did you mean 'confidential'?",
    ),
    (
        _if('confidentiality == "top"'),
        "5: if: confidentiality is never 'top': known: public, internal, confidential, secret",
    ),
    (
        _if('integrity in ["person", "untrustd"]'),
        "5: if: integrity is never 'untrustd': did you mean 'untrusted'?",
    ),
    (
        _if('origin.to == "untrustd"'),
        "5: if: an entry of origin is never 'untrustd': did you mean 'untrusted'?",
    ),
    (
        _if('origin.exists(name, origin[name] in ["referred", "untrustd"])'),
        "5: if: an entry of origin is never 'untrustd': did you mean 'untrusted'?",
    ),
    (_if(".calls == 1"), "5: if: a name cannot start with a dot"),
    (_if('agent.matches("a+)")'), '5: if: "a+)" is no pattern: unexpected ): a+)'),
    (
        _if("risk > 0.5"),
        "5: if: 'risk' needs the section 'risk', which this policy does not have",
    ),
    (
        _if("args.amunt > 5").replace("if:", "when: {tool: pay}\n    if:") + TOOLS,
        "6: if: pay has no argument 'amunt': did you mean 'amount'?",
    ),
    (
        _if("args.amount > 5 && args.to == 5").replace("if:", "when: {tool: pay}\n    if:") + TOOLS,
        "6: if: args.to of pay is a string, here it is used as a number",
    ),
    (
        _if("args.to.name == tool").replace("if:", "when: {tool: pay}\n    if:") + TOOLS,
        "6: if: args.to of pay is a string, nothing is inside it",
    ),
    # other sections
    (OTHER.format("tools: [{tool: t, efect: once}]"), None),
    (
        OTHER.format("tools: [{tool: t, effect: onse}]"),
        "3: unknown effect 'onse': did you mean 'once'?",
    ),
    (
        OTHER.format("tools: [{tool: t, output: trusted}]"),
        (
            "3: output is 'trusted': write INTEGRITY/CONFIDENTIALITY, one of person, trusted, "
            "untrusted and one of public, internal, confidential, secret"
        ),
    ),
    (
        OTHER.format("tools: [{tool: t, args: {a: string}, target: b}]"),
        "3: target: t has no argument 'b': known: a",
    ),
    (
        OTHER.format("tools: [{tool: t, args: {a: text}}]"),
        "3: unknown args.a 'text': known: string, number, boolean, list, mapping",
    ),
    (OTHER.format("tools: [{tool: t, harm: -1}]"), "3: harm must be from 0 to 1e+12, not -1"),
    (OTHER.format("tools: [{tool: t, pin: abc}]"), None),
    (OTHER.format("agents: [{owner: ann}]"), "3: an agent has no 'agent'"),
    (OTHER.format("agents: [{agent: a, autonomy: 5}]"), "3: autonomy must be from 0 to 4, not 5"),
    (OTHER.format("agents: [{agent: a, key: abc}]"), None),
    (
        OTHER.format("routes: [{name: a, people: [b]}, {name: b, people: [a, c]}]"),
        "3: routes lead in a circle: a -> b -> a",
    ),
    (
        OTHER.format("routes: [{name: a, people: [b], needs: 2}]"),
        "3: route 'a' needs 2 people and names 1",
    ),
    (
        OTHER.format("routes: [{name: a, people: [b]}, {name: a, people: [b]}]"),
        "3: route name 'a' is taken by the route on line 3",
    ),
    (
        HEAD + "  - {id: r, if: 'true', then: escalate, approvers: [finanse]}\n"
        "routes: [{name: finance, people: [ann]}]\n",
        "3: approvers: 'finanse' is no route and in no route: did you mean 'finance'?",
    ),
    (
        OTHER.format("budgets: [{id: b, unit: euros, limit: 5, scope: run}]"),
        "3: unknown unit 'euros': known: money, tokens, calls, seconds, runs",
    ),
    (OTHER.format("budgets: [{id: b, unit: money, scope: run}]"), "3: a budget has no 'limit'"),
    (
        OTHER.format("budgets: [{id: b, unit: money, limit: 5, scope: run, alert: 2}]"),
        "3: alert must be from 0.01 to 1, not 2",
    ),
    (
        OTHER.format("checks: [{name: c, kind: tool}]"),
        "3: a check of kind 'tool' has no 'use'",
    ),
    (
        OTHER.format("checks: [{name: c, kind: condition, that: result.a == 1, use: x}]"),
        "3: a check of kind 'condition' takes no 'use'",
    ),
    (
        OTHER.format("checks: [{name: c, kind: condition, that: calls == 1}]"),
        "3: that: character 1: unknown name 'calls': known: args, result, changes",
    ),
    (OTHER.format("risk: {weights: {a: -1}}"), "3: weights.a must be from 0 to 100, not -1"),
    (OTHER.format("engine: {opa: localhost}"), None),
]


@pytest.mark.parametrize(("text", "message"), TABLE, ids=range(len(TABLE)))
def test_refused(text: str, message: str | None) -> None:
    with pytest.raises(Misuse) as caught:
        parse_policy(text, "p.yaml")
    said = str(caught.value)
    assert said.startswith("p.yaml:")
    assert said.split(":")[1].isdigit()
    assert "\n" not in said
    assert len(said) < 400
    if message is not None:
        assert said == "p.yaml:" + message


@pytest.mark.parametrize(
    "condition",
    [
        'args.a in ["EUR"]',
        'agent in ["bot"] && ["a"].exists(x, x == role)',
        'worst in ["", "nowhere"] && effect in ["once"]',
        'origin.size() == 1 && origin.all(name, origin[name] == "person")',
        '"to" in origin && origin.to != "person" && args.kind == "tol"',
        'effect == "on" + "ce" || "on" + "ce" == effect',
    ],
)
def test_conditions_that_only_look_wrong_are_taken(condition: str) -> None:
    """G63: lists of one are lists, and only what a name can never be is refused."""
    (rule,) = parse_policy(_if(condition), "p.yaml").rules
    assert rule.condition is not None
    (again,) = parse_policy(_if(rule.condition.text), "p.yaml").rules
    assert again.condition is not None
    assert again.condition.text == rule.condition.text


def test_hash_is_of_the_meaning() -> None:
    one = parse_policy(_rule(""), "a.yaml")
    same = parse_policy(
        "# note\nrules: [{then: 'allow', when: {tool: [t]}, id: r}]\nversion: 1\notherwise: deny\n",
        "b.yaml",
    )
    other = parse_policy(_rule("    reason: x\n"), "a.yaml")
    assert one == same
    assert one.hash == same.hash
    assert len(one.hash) == 64
    assert one != other


def test_hash_is_stable() -> None:
    """Recorded verdicts carry it: a change here is a format change."""
    assert default_policy().hash[:12] == "49778a75a74d"


def test_rules_keep_what_was_written() -> None:
    (rule,) = parse_policy(_when("tool: t\n    if: args.a<=5 // few"), "p.yaml").rules
    assert rule.when == {"tool": ("t",)}
    assert rule.condition is not None
    assert rule.condition.text == "args.a <= 5"
    assert (rule.source, rule.line) == ("p.yaml", 3)


def test_load_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + _rule("").encode())
    assert load_policy_file(path).source == str(path)
    with pytest.raises(NotFound, match="there is no such policy file"):
        load_policy_file(tmp_path / "none.yaml")
    path.write_bytes(b"version: 1\n\xff")
    with pytest.raises(Misuse, match=r"p\.yaml:2: the policy is not UTF-8 text"):
        load_policy_file(path)
    path.write_bytes(b"\xff" * (limits.POLICY_MAX_CHARS * 5))
    with pytest.raises(Misuse):
        load_policy_file(path)


def test_a_folder_is_one_policy(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "cases.yaml").write_text("no policy")
    (tmp_path / "b.yaml").write_text(TOOLS.replace("tools", "version: 1\ntools"))
    (tmp_path / "a.yaml").write_text(_if("args.amount > 5").replace("id: r", "id: x"))
    policy = load_policy_file(tmp_path)
    assert [rule.id for rule in policy.rules] == ["x"]
    assert policy.tool("pay").args == {"amount": "number", "to": "string"}
    (tmp_path / "c.yaml").write_text("# more\n" + _if("calls > 5").replace("id: r", "id: x"))
    with pytest.raises(Misuse) as caught:
        load_policy_file(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/c.yaml:4: rule id 'x' is taken by the rule at {tmp_path}/a.yaml:3"
    )
    (tmp_path / "c.yaml").write_text("version: 1\nname: one\n")
    (tmp_path / "d.yaml").write_text("version: 1\nname: two\n")
    with pytest.raises(Misuse, match=r"d.yaml:2: name also stands in .*c.yaml:2"):
        load_policy_file(tmp_path)
    (tmp_path / "d.yml").write_text("")
    with pytest.raises(Misuse, match="rename it"):
        load_policy_file(tmp_path)


def test_a_folder_without_a_policy(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no policy in this folder"):
        load_policy_file(tmp_path)
    (tmp_path / "a.yaml").write_text("version: 1\nname: x\n")
    with pytest.raises(Misuse, match="has no 'rules'"):
        load_policy_file(tmp_path)


def test_a_policy_of_names_needs_no_conditions() -> None:
    """Nor does whatever only imports the gate: the CEL library is loaded with the first `if`."""
    code = (
        "import sys; from holdfast.gate import parse_policy, judge, Proposal\n"
        f"policy = parse_policy({_rule('')!r}, 'p.yaml')\n"
        "judge(Proposal('a', '', 'tool', 't', 'read', {}), policy)\n"
        "sys.exit('cel_expr_python' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
