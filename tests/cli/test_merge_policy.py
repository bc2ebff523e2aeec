"""INVARIANT E82: merges from the command line are judged as those in runs are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import invoke, rows
from tests.cli.terminal import Terminal

POLICY = """
version: 1
name: merges
otherwise: allow
rules:
  - id: merges
    when: {kind: merge}
    then: %s
    reason: somebody looks at merges
"""


@pytest.fixture
def parted(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A branch, and a fork of it that changed a file; the policy's path."""
    source = place / "project"
    source.mkdir()
    (source / "a.txt").write_text("one\n", "utf-8")
    invoke("world", "init", "project", "--name", "main")
    invoke("fork", "main", "--no-run", "--name", "idea")
    policy = place / "policy.yaml"
    policy.write_text(POLICY % "allow", "utf-8")
    (source / "a.txt").write_text("two\n", "utf-8")
    invoke("world", "mount", "idea", "--keep", "--", "sh", "-c", "echo two > a.txt")
    (source / "a.txt").write_text("one\n", "utf-8")
    monkeypatch.setenv("HOLDFAST_POLICY", str(policy))
    return policy


def test_allowed_needs_nothing(parted: Path):
    before = len(rows())
    invoke("world", "merge", "idea", "main")
    assert len(rows()) == before


def test_denied_is_recorded_and_nothing_moves(parted: Path):
    parted.write_text(POLICY % "deny", "utf-8")
    for into in (["main"], []):
        done = invoke("world", "merge", "idea", *into, code=3)
        assert "somebody looks at merges" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "+two" in invoke("world", "diff", "main", "idea").stdout
    assert (parted.parent / "project" / "a.txt").read_text("utf-8") == "one\n"
    (asked, *_) = [row for row in rows() if row["agent"] == "holdfast.merge"]
    assert asked["run"].startswith("main.merge-")
    assert "idea" in invoke("show", asked["run"]).stdout
    parted.write_text(POLICY % "allow", "utf-8")
    invoke("world", "merge", "idea", "main")


def test_escalated_is_asked_in_the_inbox_and_then_made(parted: Path):
    parted.write_text(POLICY % "escalate", "utf-8")
    done = invoke("world", "merge", "idea", code=10)
    assert "then say the same again" in done.stderr
    (asked,) = [row for row in rows() if row["agent"] == "holdfast.merge"]
    assert asked["status"] == "waiting"
    invoke("world", "merge", "idea", code=10)  # it is the same question
    invoke("approve", asked["run"])
    home = parted.parent / "project" / "a.txt"
    assert home.read_text("utf-8") == "one\n"
    invoke("world", "merge", "idea")
    assert home.read_text("utf-8") == "two\n"


def test_denied_by_a_person_is_asked_again_another_time(parted: Path):
    parted.write_text(POLICY % "escalate", "utf-8")
    invoke("world", "merge", "idea", "main", code=10)
    (first,) = [row["run"] for row in rows() if row["agent"] == "holdfast.merge"]
    invoke("deny", first)
    invoke("world", "merge", "idea", "main", code=3)
    invoke("world", "merge", "idea", "main", code=10)
    runs = [row["run"] for row in rows() if row["agent"] == "holdfast.merge"]
    assert sorted(runs) == [first, f"{first}-1"]
    invoke("world", "discard", "main")  # what asked for it goes with it
    assert not [row for row in rows() if row["agent"] == "holdfast.merge"]


def test_escalated_is_asked_at_the_terminal(parted: Path, place: Path):
    parted.write_text(POLICY % "escalate", "utf-8")
    policy = str(parted)
    terminal = Terminal("world", "merge", "idea", "main", cwd=place, HOLDFAST_POLICY=policy)
    terminal.until("approve, deny [why] or later?")
    terminal.type("approve")
    assert terminal.end() == 0, terminal.shown
    invoke("world", "export", "main", "out")
    assert (place / "out" / "a.txt").read_text("utf-8") == "two\n"
