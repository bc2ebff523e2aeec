"""Running the tests of a small library: outcomes, traces, hangs, crashes, broken imports."""

from pathlib import Path

import pytest

from examples.repair import suite

LIBRARY = "def first(values):\n    for value in values:\n        return value\n    return None\n"
TESTS = """import os, time, pytest
from lib.core import first

def test_good():
    print("noise on standard output")
    assert first([1]) == 1

def test_bad():
    assert first([]) == 1

@pytest.fixture
def broken():
    raise RuntimeError("no fixture")

def test_error(broken):
    pass

def test_skipped():
    pytest.skip("later")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/__init__.py").write_text("")
    (tmp_path / "lib/core.py").write_text(LIBRARY)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "test_core.py").write_text(TESTS)
    return tmp_path


def test_outcomes_and_lines(root: Path):
    report = suite.perform(root, suite.Run(trace=True))
    assert report.outcomes == {
        "test_core.py::test_good": "passed",
        "test_core.py::test_bad": "failed",
        "test_core.py::test_error": "error",
        "test_core.py::test_skipped": "skipped",
    }
    assert report.finished
    assert not report.green
    assert report.why == "2 of 4 tests fail: test_core.py::test_bad"
    assert "assert first([]) == 1" in report.messages["test_core.py::test_bad"]
    good, bad = (report.lines[f"test_core.py::test_{name}"] for name in ("good", "bad"))
    assert good == {("lib/core.py", 1), ("lib/core.py", 2), ("lib/core.py", 3)}
    assert bad == {("lib/core.py", 1), ("lib/core.py", 2), ("lib/core.py", 4)}
    assert report.lines[""] - {("lib/__init__.py", 1)} == {("lib/core.py", 1)}
    assert not list(root.rglob("*.pyc"))


def test_selected_tests_and_first_failure(root: Path):
    run = suite.Run(tests=("test_core.py::test_good",))
    assert suite.perform(root, run).green
    stopped = suite.perform(root, suite.Run(first_failure=True))
    assert stopped.failing == ("test_core.py::test_bad",)
    assert "test_core.py::test_error" not in stopped.outcomes


def test_a_test_that_hangs_fails_and_the_rest_runs(root: Path):
    hang = "\n\ndef test_hang():\n    while True:\n        pass\n"
    (root / "test_core.py").write_text(TESTS + hang + "\ndef test_last():\n    pass\n")
    report = suite.perform(root, suite.Run(test_seconds=0.3))
    assert report.outcomes["test_core.py::test_hang"] == "failed"
    assert "longer than 0.3 s" in report.messages["test_core.py::test_hang"]
    assert report.outcomes["test_core.py::test_last"] == "passed"


def test_a_run_stuck_in_c_ends_itself_and_the_test_has_crashed(root: Path):
    stuck = "\n\ndef test_stuck():\n    sum(iter(int, 1))\n"
    (root / "test_core.py").write_text(TESTS + stuck)
    report = suite.perform(root, suite.Run(seconds=8))  # starting takes seconds on a busy machine
    assert report.outcomes["test_core.py::test_stuck"] == "crashed"
    assert "test_core.py::test_stuck" in report.failing
    assert not report.finished


def test_a_process_that_dies_and_a_broken_import(root: Path):
    (root / "test_core.py").write_text(
        TESTS.replace("time, pytest", "pytest\nimport time")
        + "\ndef test_exit():\n    os._exit(0)\n"
    )
    assert suite.perform(root, suite.Run()).outcomes["test_core.py::test_exit"] == "crashed"
    (root / "lib/core.py").write_text("limit = 1\nstep = limit // 0\n" + LIBRARY)
    report = suite.perform(root, suite.Run(trace=True))
    assert report.broken == ("test_core.py",)
    assert report.why == "test_core.py cannot be imported"
    assert report.lines[""] >= {("lib/core.py", 1), ("lib/core.py", 2)}


def test_torn_and_foreign_lines_of_a_report_are_passed_over():
    text = '{"event": "start", "test": "t"}\nnoise\n[1]\n{"event": "end", "te'
    report = suite.read(text)
    assert report.outcomes == {"t": "crashed"}
    assert not report.finished
    assert suite.read("").why == "the run ended early"


def test_the_command_is_a_list_of_words():
    words = suite.command(suite.Run(tests=("a.py::t",), trace=True, first_failure=True))
    assert words[-2:] == ["-x", "a.py::t"]
    assert "--trace" in words
    assert words.index("--trace") < words.index("--") < words.index("-q")
