"""Whatever is not understood is refused at load, in one line with file and line (INVARIANT G4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.gate import default_policy, load_policy_file, parse_policy
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound

HEAD = "version: 1\nrules:\n"


def _rule(body: str) -> str:
    return f"{HEAD}  - id: r\n    when: {{tool: t}}\n    then: allow\n{body}"


def _when(body: str) -> str:
    return f"{HEAD}  - id: r\n    then: allow\n    when:\n      {body}\n"


def _arg(body: str) -> str:
    return _when(f"args: {{{body}}}")


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
    (HEAD + "  - {id: r, then: deny}\n", "3: rule 'r' has no 'when'"),
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
        "3: then: 'verify' needs checks, which do not exist yet: use 'escalate'",
    ),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: alow}\n",
        "3: unknown decision 'alow': did you mean 'allow'?",
    ),
    (
        HEAD + "  - {id: r, when: {tool: t}, then: approve}\n",
        "3: unknown decision 'approve': did you mean 'escalate'?",
    ),
    (HEAD + "  - {id: r, when: {tool: t}, then: [deny]}\n", "3: then must be a string, not a list"),
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
    (_when("role: 010"), "6: " + DISAGREE.format("010")),
    (_when("role: 12:30"), "6: " + DISAGREE.format("12:30")),
    (_when("role: 2026-01-01"), "6: " + DISAGREE.format("2026-01-01")),
    (_when("role: 1e3"), "6: " + DISAGREE.format("1e3")),
    (_when("role: .inf"), "6: " + DISAGREE.format(".inf")),
    # arguments
    (_when("args: {}"), "6: args is empty"),
    (_when("args: [a]"), "6: args must be a mapping, not a list"),
    (_arg("a: {}"), "6: the condition on a is empty"),
    (_arg("a: [1]"), "6: a must be one value or operators, not a list; write {in: [...]}"),
    (_arg("a: null"), None),
    (_arg("a..b: 1"), "6: argument 'a..b' must be names joined by dots, as in 'items.0.sku'"),
    (_arg("a: {lte: 5}"), "6: unknown operator 'lte' for a: did you mean 'le'?"),
    (_arg("a: {'>=': 5}"), "6: unknown operator '>=' for a: did you mean 'ge'?"),
    (_arg("a: {le: '5'}"), "6: le takes a number, not the string '5'"),
    (_arg("a: {le: true}"), "6: le takes a number, not the boolean true"),
    (_arg("a: {le: 1_000}"), "6: " + DISAGREE.format("1_000")),
    (_arg("a: {eq: [1]}"), "6: eq takes a string, number or boolean, not a list"),
    (_arg("a: {in: EUR}"), "6: in must be a list, not the string 'EUR'"),
    (_arg("a: {in: []}"), "6: in is an empty list"),
    (_arg("a: {in: [1, '1']}"), "6: in mixes types: number, string"),
    (_arg("a: {in: [NO, SE]}"), "6: " + DISAGREE.format("NO")),
    (_arg("a: {absent: 1}"), "6: absent takes true or false, not the number 1"),
    (_arg("a: {starts_with: ''}"), "6: starts_with is empty"),
    (_arg("a: {contains: ''}"), "6: contains is empty"),
    (
        _arg("a: {matches: '(a'}"),
        "6: matches '(a': the pattern ends too early (character 3)",
    ),
    (
        _arg("a: {matches: '(?=a)'}"),
        (
            "6: matches '(?=a)': of the groups that start with '(?' only '(?:...)' exists "
            "(character 2)"
        ),
    ),
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
    assert default_policy().hash[:12] == "014faad4f71a"


def test_rules_keep_what_was_written() -> None:
    (rule,) = parse_policy(_when("args: {a: {le: 5}, b: x}"), "p.yaml").rules
    assert rule.when == {"args": {"a": {"le": 5}, "b": {"eq": "x"}}}
    assert rule.line == 3


def test_load_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + _rule("").encode())
    assert load_policy_file(path).source == str(path)
    with pytest.raises(NotFound, match="there is no such policy file"):
        load_policy_file(tmp_path / "none.yaml")
    with pytest.raises(Misuse, match="cannot be read"):
        load_policy_file(tmp_path)
    path.write_bytes(b"version: 1\n\xff")
    with pytest.raises(Misuse, match=r"p\.yaml:2: the policy is not UTF-8 text"):
        load_policy_file(path)
    path.write_bytes(b"\xff" * (limits.POLICY_MAX_CHARS * 5))
    with pytest.raises(Misuse):
        load_policy_file(path)
