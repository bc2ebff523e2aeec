"""A running process follows the files of its policy."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from holdfast.runtime.policies import Policies
from holdfast.testing.clock import VirtualClock
from holdfast.values.errors import Misuse, NotFound

TEXT = "version: 1\nname: {}\nrules: []\n"


def _write(path: Path, text: str, stamp: int) -> None:
    """With a time of its own: two writes may fall into one tick of the file system."""
    path.write_text(text)
    os.utime(path, ns=(stamp, stamp))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path / "a.yaml", TEXT.format("one"), 1)
    return tmp_path


def test_a_new_version_counts_after_a_second(folder: Path) -> None:
    clock = VirtualClock()
    policies = Policies(folder, clock)
    _write(folder / "a.yaml", TEXT.format("two"), 2)
    assert policies().name == "one"
    clock.advance(1)
    assert policies().name == "two"
    _write(folder / "b.yaml", "version: 1\notherwise: allow\n", 3)
    clock.jump(-3600)
    assert policies().otherwise == "allow"


def test_a_bad_version_changes_nothing_and_is_told_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """INVARIANT G14."""
    clock = VirtualClock()
    policies = Policies(folder, clock)
    before = policies()
    _write(folder / "a.yaml", "version: 1\nrulez: []\n", 2)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.advance(2)
            assert policies() is before
    (told,) = caplog.messages
    assert before.hash[:12] in told
    assert f"{folder}/a.yaml:2: unknown field 'rulez'" in told
    (folder / "a.yaml").unlink()
    clock.advance(2)
    assert policies() is before
    _write(folder / "a.yaml", TEXT.format("three"), 3)
    clock.advance(2)
    assert policies().name == "three"


def test_there_must_be_a_policy_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Policies(tmp_path / "none.yaml", VirtualClock())
    (tmp_path / "bad.yaml").write_text("version: 2\n")
    with pytest.raises(Misuse):
        Policies(tmp_path / "bad.yaml", VirtualClock())
