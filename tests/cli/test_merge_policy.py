"""INVARIANT E82: merges from the command line are judged as those in runs are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.engine.landing import Change, begin_branch, land
from holdfast.journal.events import Draft, RunEnded, RunStarted
from holdfast.journal.store import Batch
from holdfast.runtime.maintenance import open_store
from holdfast.runtime.settings import Settings
from holdfast.stores.memory import MemoryStore
from holdfast.values.errors import Misuse
from holdfast.world import EMPTY
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


LONG = "production-branch-of-the-payments-team-aaaa-"


def asked() -> list[str]:
    """The runs that asked about merges, oldest first."""
    found = [row for row in rows() if row["agent"] == "holdfast.merge"]
    return [row["run"] for row in sorted(found, key=lambda row: row["started"])]


def append(run: str, text: str) -> None:
    invoke("world", "mount", run, "--keep", "--", "sh", "-c", f"echo {text} >> b.txt")


def test_an_approval_is_for_one_branch_and_used_once(parted: Path):
    """INVARIANT E91"""
    one, two = LONG + "one", LONG + "two"
    invoke("fork", "main", "--no-run", "--name", one)
    invoke("fork", "main", "--no-run", "--name", two)
    parted.write_text(POLICY % "escalate", "utf-8")
    invoke("world", "merge", "idea", one, code=10)
    (first,) = asked()
    assert one in invoke("show", first).stdout
    invoke("approve", first)
    invoke("world", "merge", "idea", two, code=10)
    assert len(asked()) == 2
    assert "+two" in invoke("world", "diff", two, "idea").stdout
    invoke("world", "merge", "idea", one)
    assert "+two" not in invoke("world", "diff", one, "idea").stdout
    invoke("world", "rewind", f"{one}#0")  # it is what it was when that was approved
    invoke("world", "merge", "idea", one, code=10)
    assert f"{first}-1" in asked()
    assert "+two" in invoke("world", "diff", one, "idea").stdout


def test_an_approval_is_for_the_branch_as_it_was(parted: Path):
    """E91: also for what its directory held when it was asked."""
    home = parted.parent / "project"
    (home / "b.txt").write_text("b\n", "utf-8")
    parted.write_text(POLICY % "escalate", "utf-8")
    invoke("world", "merge", "idea", code=10)
    invoke("approve", asked()[-1])
    (home / "b.txt").write_text("c\n", "utf-8")
    invoke("world", "merge", "idea", code=10)
    assert (home / "a.txt").read_text("utf-8") == "one\n"
    assert len(asked()) == 2
    for run in asked():
        invoke("approve", run, code=None)
    invoke("world", "merge", "idea")
    assert (home / "a.txt").read_text("utf-8") == "two\n"
    assert (home / "b.txt").read_text("utf-8") == "c\n"


async def test_what_moved_since_it_was_approved_does_not_land():
    """E91: between the look at an approval and the landing, too."""
    store = MemoryStore()
    await begin_branch(store, "main", EMPTY, now_ms=1, note={})
    with pytest.raises(Misuse, match="moved after this merge was approved"):
        await land(store, "main", Change(EMPTY, EMPTY, onto="0" * 64), owner="me",
                   now_ms=lambda: 2)  # fmt: skip
    done = await land(store, "main", Change(EMPTY, EMPTY, onto=EMPTY), owner="me",
                      now_ms=lambda: 3)  # fmt: skip
    assert done.root == EMPTY


def test_a_run_of_somebody_elses_with_that_name_is_no_approval(parted: Path):
    """E91"""
    parted.write_text(POLICY % "escalate", "utf-8")
    invoke("world", "merge", "idea", "main", code=10)
    (name,) = asked()
    invoke("deny", name)

    async def take() -> None:
        store = open_store(Settings())
        begun = Draft(RunStarted("bot"), 1, args=b"{}")
        ended = Draft(RunEnded("done"), 2, value=b"true")
        await store.append((Batch(f"{name}-1", (begun, ended), expect=-1),), {})
        await store.close()

    asyncio.run(take())
    invoke("world", "merge", "idea", "main", code=3)
    invoke("world", "merge", "idea", "main", code=10)
    assert asked()[-1] == f"{name}-2"


def test_what_was_decided_about_conflicts_is_approved_too(parted: Path):
    """E91"""
    invoke("world", "mount", "main", "--keep", "--", "sh", "-c", "echo three > a.txt")
    parted.write_text(POLICY % "escalate", "utf-8")
    invoke("world", "merge", "idea", "main", code=10)
    invoke("approve", asked()[-1])
    invoke("world", "merge", "idea", "main", code=4)
    invoke("resolve", "main", "a.txt", "--theirs", code=10)
    assert len(asked()) == 2
    assert "a.txt" in invoke("show", asked()[-1]).stdout
    for run in asked():
        invoke("approve", run, code=None)
    invoke("resolve", "main", "a.txt", "--theirs")
    assert not invoke("world", "diff", "main", "idea").stdout


def test_escalated_is_asked_at_the_terminal(parted: Path, place: Path):
    parted.write_text(POLICY % "escalate", "utf-8")
    policy = str(parted)
    terminal = Terminal("world", "merge", "idea", "main", cwd=place, HOLDFAST_POLICY=policy)
    terminal.until("approve, deny [why] or later?")
    terminal.type("approve")
    assert terminal.end() == 0, terminal.shown
    invoke("world", "export", "main", "out")
    assert (place / "out" / "a.txt").read_text("utf-8") == "two\n"
