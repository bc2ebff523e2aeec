"""Candidates: each slip of the planter is undone by some edit; all are valid."""

import ast

import pytest

from examples.repair.bugs import plants
from examples.repair.candidates import candidates, ordered
from examples.repair.localise import Suspect
from tests.demo.test_bugs import SOURCE


def texts(source: str, line: int) -> list[str]:
    return [made.new_source(source) for made in candidates("a.py", source, line)]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("if a <= b:", "if a < b:"),
        ("if a is not None:", "if a is None:"),
        ("if a not  in b:", "if a in b:"),
        ("if a == b:", "if a is b:"),
        ("if (a) > (b):", "if (a) >= (b):"),
        ("if a and b:", "if a or b:"),
        ("if a or b:", "if a or not b:"),
        ("if not a:", "if a:"),
        ("if a:", "if not a:"),
        ("if f(a)[1:]:", "if f(a)[2:]:"),
        ("if b[a:]:", "if b[a + 1:]:"),
        ("if b[:a - 1]:", "if b[:a]:"),
        ("if range(a):", "if range(a + 1):"),
        ("if f(a, b=True):", "if f(a, b=False):"),
        ("if f(b, a):", "if f(a, b):"),
        ("if a - b:", "if a + b:"),
        ("if a // b:", "if a * b:"),
        ("if f(a):", "if f(b):"),
        ("if f'{a}' == 'ä' and b > 1:", "if f'{a}' == 'ä' and b > 2:"),
    ],
)
def test_the_right_line_is_among_the_candidates(wrong: str, right: str):
    frame = "def f(a, b=None):\n    {}\n        return 1\n"
    assert frame.format(right) in texts(frame.format(wrong), 2)


def test_defaults_and_lost_updates_are_repaired_too():
    assert "def f(a, b=None):\n    return a\n" in texts("def f(a, b=False):\n    return a\n", 1)
    lost = "def f(a):\n    n = 0\n    for b in a:\n        if b:\n            break\n    return n\n"
    right = lost.replace("            break\n", "            break\n        n += 1\n")
    assert right in texts(lost, 4)


def test_each_planted_bug_of_a_source_can_be_undone():
    for planted in plants({"a.py": SOURCE}, 0):
        near = range(planted.line - 2, planted.line + 2)
        undone = [text for line in near for text in texts(planted.new_source, line)]
        assert SOURCE in undone, planted.description


def test_all_are_valid_and_distinct():
    for line in range(1, SOURCE.count("\n") + 1):
        found = texts(SOURCE, line)
        assert len(found) == len(set(found))
        assert SOURCE not in found
        for text in found:
            ast.parse(text)


def test_no_statement_no_candidates():
    assert candidates("a.py", SOURCE, 2) == []
    assert candidates("a.py", SOURCE, 999) == []


def test_order_is_by_suspicion_and_plausibility_without_repetition():
    suspects = [Suspect("a.py", 8, 1.0), Suspect("a.py", 6, 0.3), Suspect("gone.py", 1, 1.0)]
    found = ordered(suspects, {"a.py": SOURCE})
    assert found[0].line == 8
    assert found[0].cost == 1
    assert {made.line for made in found} == {6, 7, 8, 11}
    assert len({made.new_source(SOURCE) for made in found}) == len(found)
    assert ordered(suspects, {"a.py": SOURCE}, most=3) == found[:3]
