"""The whole repair, without an engine, of a small library made here."""

from pathlib import Path

import pytest

from examples.repair import evaluate, library, suite

CORE = '''"""A small library."""


def chunks(values, size):
    """Split into lists of at most `size`."""
    found = []
    start = 0
    while start < len(values):
        found.append(values[start:start + size])
        start += size
    return found


def middle(low, value, high):
    if value < low:
        return low
    if value > high:
        return high
    return value
'''
TESTS = """from lib.core import chunks, middle

def test_even():
    assert chunks([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]

def test_rest():
    assert chunks([1, 2, 3], 2) == [[1, 2], [3]]

def test_empty():
    assert chunks([], 2) == []

def test_middle():
    assert [middle(1, n, 3) for n in (0, 1, 2, 3, 4)] == [1, 1, 2, 3, 3]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/__init__.py").write_text("")
    (tmp_path / "lib/core.py").write_text(CORE)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "test_core.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize("seed", [0, 3])
def test_a_planted_bug_is_found(root: Path, seed: int):
    tree = library.sources(root, ("lib/*.py",))
    planted, report = evaluate.plant_noticed(root, tree, seed)
    assert not report.green
    broken = {**tree, planted.path: planted.new_source}
    found = evaluate.repair(root, broken, report, seconds=30)
    assert found.candidate is not None
    repaired = found.candidate.new_source(broken[found.candidate.path])
    (root / found.candidate.path).write_text(repaired)
    assert suite.perform(root, suite.Run()).green


def test_what_no_candidate_repairs_is_said_to_be_not_found(root: Path):
    (root / "test_core.py").write_text(
        "from lib.core import middle\n\ndef test_it():\n    assert middle(1, 2, 3) == 'x'\n"
    )
    (root / "lib/core.py").write_text("def middle(low, value, high):\n    return low\n")
    report = suite.perform(root, suite.Run())
    found = evaluate.repair(root, library.sources(root, ("lib/*.py",)), report, seconds=4)
    assert found.candidate is None
    assert found.tried > 0
