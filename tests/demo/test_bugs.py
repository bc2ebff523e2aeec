"""Planting: smallest edits, chosen by the seed, that keep comments and format."""

import ast
from itertools import islice

import pytest

from examples.repair.bugs import plant, plants

SOURCE = '''"""A module."""


def clip(values, low, high=10, strict=False):  # keep this comment
    """Not touched: 1 < 2."""
    total = 0
    for value in values[low:high]:
        if not strict and value <= high:  # and this one
            total += value
            low = value
    return max(total, low)
'''


def test_a_seed_always_plants_the_same_bug():
    assert plant({"a.py": SOURCE}, 3) == plant({"a.py": SOURCE}, 3)
    assert len({plant({"a.py": SOURCE}, seed).new_source for seed in range(20)}) > 5


def test_every_bug_is_valid_python_on_one_line_and_keeps_the_comments():
    for planted in plants({"a.py": SOURCE}, 0):
        ast.parse(planted.new_source)
        assert planted.new_source != SOURCE
        assert planted.new_source.count("# ") == 2
        assert "Not touched: 1 < 2." in planted.new_source
        before, after = SOURCE.split("\n"), planted.new_source.split("\n")
        assert before[planted.line - 1] == planted.before_line
        if len(before) == len(after):
            changed = [
                n for n, pair in enumerate(zip(before, after, strict=True), 1) if len({*pair}) == 2
            ]
            assert changed == [planted.line]
            assert after[planted.line - 1] == planted.after_line


def test_all_kinds_of_slip_occur():
    said = " ".join(planted.description for planted in plants({"a.py": SOURCE}, 0))
    words = ["comparison", "`not` was dropped", "`and` became `or`", "default", "off by one"]
    for word in [*words, "swapped", "was lost", "`+=` became `-=`"]:
        assert word in said


def test_skip_goes_on_to_the_next_bug_of_the_seed():
    first, second = islice(plants({"a.py": SOURCE}, 5), 2)
    assert plant({"a.py": SOURCE}, 5, skip=1) == second != first


def test_nothing_to_plant_is_said():
    with pytest.raises(ValueError, match="no place for a bug"):
        plant({"empty.py": "x = 1\n"}, 0)
