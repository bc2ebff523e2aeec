"""The whole repair, without an engine, of a small library made here."""

from pathlib import Path

from examples.repair import evaluate, library, suite
from tests.demo.support import HOPELESS, HOPELESS_TESTS, write_library


def test_a_planted_bug_is_found(tmp_path: Path):
    root = write_library(tmp_path)
    tree = library.sources(root, ("lib/*.py",))
    planted, report = evaluate.plant_noticed(root, tree, 3)
    assert not report.green
    broken = {**tree, planted.path: planted.new_source}
    found = evaluate.repair(root, broken, report, seconds=60)
    assert found.candidate is not None
    repaired = found.candidate.new_source(broken[found.candidate.path])
    (root / found.candidate.path).write_text(repaired)
    assert suite.perform(root, suite.Run()).green


def test_what_no_candidate_repairs_is_said_to_be_not_found(tmp_path: Path):
    root = write_library(tmp_path, HOPELESS, HOPELESS_TESTS)
    report = suite.perform(root, suite.Run())
    found = evaluate.repair(root, library.sources(root, ("lib/*.py",)), report, seconds=60)
    assert found.candidate is None
    assert found.tried == found.offered == 1
