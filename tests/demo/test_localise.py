"""Localisation: Ochiai's measure, its ties, and what is left when the import is broken."""

import pytest

from examples.repair.localise import IMPORT_SCORE, Suspect, choose_tests, rank, suspects
from examples.repair.suite import Report


def lines(*numbers: int) -> frozenset[tuple[str, int]]:
    return frozenset(("a.py", number) for number in numbers)


def report(outcomes: dict[str, str]) -> Report:
    return Report(outcomes, {}, (), {}, finished=True)


def test_ochiai_by_hand():
    coverage = {
        "bad": (False, lines(1, 2)),
        "worse": (False, lines(1, 2, 3)),
        "good": (True, lines(1, 3, 4)),
    }
    ranked = rank(coverage)
    assert [suspect.line for suspect in ranked] == [2, 1, 3]
    assert [suspect.score for suspect in ranked] == pytest.approx([1.0, (2 / 3) ** 0.5, 0.5])


def test_ties_are_broken_by_file_and_line_and_no_failure_means_no_suspect():
    places = frozenset({("b.py", 1), ("a.py", 9), ("a.py", 2)})
    assert [(s.path, s.line) for s in rank({"bad": (False, places)})] == sorted(places)
    assert rank({"good": (True, places)}) == []
    assert rank({}) == []


def test_the_tests_to_trace_are_failing_ones_and_neighbours():
    outcomes = {f"a.py::t{n}": "passed" for n in range(100)} | {"b.py::other": "passed"}
    chosen = choose_tests(report(outcomes | {"a.py::bad": "failed"}), passing=10)
    assert chosen[0] == "a.py::bad"
    assert len(chosen) == 11
    assert all(test.startswith("a.py") for test in chosen)


def test_lines_of_the_import_come_last_unless_the_import_is_broken():
    seen = {"bad": lines(5), "": lines(1, 5)}
    traced = Report({"bad": "failed"}, {}, (), seen, finished=True)
    assert suspects(traced) == [Suspect("a.py", 5, 1.0), Suspect("a.py", 1, IMPORT_SCORE)]
    broken = Report({}, {}, ("test_a.py",), {"": lines(1, 2)}, finished=True)
    assert [suspect.line for suspect in suspects(broken)] == [2, 1]
    assert choose_tests(broken) == ("test_a.py",)
