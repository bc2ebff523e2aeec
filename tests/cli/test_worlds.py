"""`holdfast world`, `conflicts`, `resolve`: branches and versions, with and without programs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import documents, invoke, rows

PROGRAM = """
import holdfast
from holdfast.tools import world


@holdfast.agent
async def edits(texts: list[str]) -> None:
    for number, text in enumerate(texts):
        await world.write("src/file.txt", text)
        await world.write(f"{number}.txt", text)
"""


@pytest.fixture
def project(place: Path) -> Path:
    (place / "agents.py").write_text(PROGRAM)
    folder = place / "project"
    folder.mkdir()
    (folder / "base.txt").write_text("base\n")
    return place


def said(*args: str, code: int = 0) -> Any:
    return json.loads(invoke(*args, "--json", code=code).stdout)


def edited(name: str, *texts: str) -> None:
    invoke("run", "agents.py:edits", "--args", json.dumps([list(texts)]), "--name", name,
           "--world", "project")  # fmt: skip


def files(ref: str, path: str = "") -> list[str]:
    shown = invoke("world", "ls", ref, *([path] if path else []), "--json").stdout
    return [one["name"] for one in documents(shown)]


def test_versions_are_listed_compared_exported_and_rewound(project: Path):
    edited("w", "one\n", "two\n")
    versions = documents(invoke("world", "log", "w", "--json").stdout)
    assert [(one["version"], one["step"], one["files"]) for one in versions] == [
        ("w#0", "", 1), ("w#1", "1", 1), ("w#2", "2", 1), ("w#3", "3", 1), ("w#4", "4", 1),
    ]  # fmt: skip
    assert files("w") == ["0.txt", "1.txt", "base.txt", "src"]
    assert files("w@2") == files("w#2") == ["0.txt", "base.txt", "src"]
    assert files("w", "src") == ["file.txt"]
    assert "-one" in invoke("world", "diff", "w@2", "w").stdout
    assert len(said("world", "diff", "w")["changes"]) == 3
    assert said("world", "rewind", "w@2")["merged"]
    assert files("w") == ["0.txt", "base.txt", "src"]
    assert said("world", "rewind", "w#4")["merged"]  # nothing is lost
    assert files("w") == ["0.txt", "1.txt", "base.txt", "src"]
    assert "rewind to w@2 by ann" in invoke("world", "log", "w").stdout
    invoke("world", "export", "w@2", "out")
    assert (project / "out" / "src" / "file.txt").read_text() == "one\n"
    assert "not empty" in invoke("world", "export", "w", "out", code=2).stderr
    for wrong in ("w", "w#x", "w#99", "w@99", "nobody"):
        invoke("world", "rewind", wrong, code=2)


def test_a_branch_without_a_program(project: Path):
    assert invoke("world", "init", "project", "--name", "main").stdout == "main\n"
    assert "is taken" in invoke("world", "init", "project", "--name", "main", code=4).stderr
    (row,) = rows()
    assert (row["agent"], row["status"]) == ("world", "branch")
    assert "branch" in invoke("ps").stdout
    assert "no program" in invoke("resume", "main", code=2).stderr
    assert "no program" in invoke("replay", "main", code=2).stderr
    assert "no program" in invoke("cancel", "main", code=2).stderr
    assert "no run is in flight" in invoke("resume", "--all").stderr
    assert "no run is in flight" in invoke("replay", "--all").stderr
    invoke("gc", "--older-than", "0")
    assert json.loads(invoke("fsck", "--json").stdout)["sound"]
    assert files("main") == ["base.txt"]
    invoke("fork", "main", "--name", "side", "--no-run")
    assert {one["run"]: one["status"] for one in rows()} == {"main": "branch", "side": "branch"}
    invoke("world", "mount", "side", "--keep", "--", "sh", "-c", "echo new > new.txt")
    assert files("side") == ["base.txt", "new.txt"]
    invoke("world", "merge", "side", "main")
    assert files("main") == ["base.txt", "new.txt"]
    assert not (project / "project" / "new.txt").exists()
    invoke("world", "merge", "side")  # into the directory that the branch was taken in from
    assert (project / "project" / "new.txt").read_text() == "new\n"
    tree = documents(invoke("world", "tree", "--json").stdout)
    assert [one["depth"] for one in tree] == [0, 1, 2]
    assert [one["run"] for one in tree[:2]] == ["main", "side"]
    assert tree[2]["run"].startswith("side.mount-")
    assert "side" in invoke("world", "tree", "main").stdout
    assert "main" in invoke("world", "ls").stdout
    assert "is a part of main" in invoke("world", "discard", "side", code=2).stderr
    invoke("world", "discard", "main")
    assert rows() == []


def test_what_is_ignored_stays_out_and_stays_there(project: Path):
    (project / "project" / "big").mkdir()
    (project / "project" / "big" / "x").write_text("x")
    invoke("world", "init", "project", "--name", "main", "--ignore", "big")
    assert files("main") == ["base.txt"]
    invoke("fork", "main", "--name", "side", "--no-run")
    invoke("world", "mount", "side", "--keep", "--", "rm", "base.txt")
    invoke("world", "merge", "side")
    assert [one.name for one in (project / "project").iterdir()] == ["big"]
    assert (project / "project" / "big" / "x").exists()


def test_a_mount_is_dropped_unless_kept(project: Path, monkeypatch: pytest.MonkeyPatch):
    invoke("world", "init", "project", "--name", "main")
    assert invoke("world", "mount", "main", "--", "sh", "-c", "rm base.txt; exit 3", code=3)
    assert files("main") == ["base.txt"]
    assert not list((project / ".holdfast" / "checkouts").glob("*"))
    assert invoke("world", "mount", "main", "--", "no-such-x", code=127)
    (project / "shell").write_text("#!/bin/sh\nls; echo new > new.txt; exit 4\n")
    (project / "shell").chmod(0o755)
    monkeypatch.setenv("SHELL", str(project / "shell"))
    assert "no sandbox" in invoke("world", "mount", "main", "--keep", code=4).stderr
    assert files("main") == ["base.txt", "new.txt"]


def conflicting() -> None:
    """`main` and its fork `side` have changed two files differently, and one file alike."""
    invoke("world", "init", "project", "--name", "main")
    invoke("fork", "main", "--name", "side", "--no-run")
    for name, word in (("side", "side"), ("main", "main")):
        code = f"echo {word} > base.txt; echo {word} > made.txt; echo same > same.txt"
        invoke("world", "mount", name, "--keep", "--", "sh", "-c", code)


def test_conflicts_are_listed_and_resolved(project: Path):
    conflicting()
    done = said("world", "merge", "side", "main", "--check", "test -e same.txt", code=4)
    assert done["conflicts"] == [
        {"path": "base.txt", "kind": "content"}, {"path": "made.txt", "kind": "add/add"},
    ]  # fmt: skip
    assert "refused: 2 conflicts" in invoke("world", "log", "main").stdout
    found = said("conflicts", "main")
    assert (found["source"], found["left"]) == ("side", 2)
    shown = invoke("conflicts", "main", "--show", "base.txt").stdout
    assert "main" in shown
    assert "side" in shown
    assert "is not in conflict" in invoke("resolve", "main", "same.txt", "--ours", code=2).stderr
    assert "say one of" in invoke("resolve", "main", "base.txt", code=2).stderr
    assert said("resolve", "main", "base.txt", "--theirs")["left"] == ["made.txt"]
    assert [one["decided"] for one in said("conflicts", "main")["conflicts"]] == ["theirs", ""]
    (project / "merged").write_text("both\n")
    assert said("resolve", "main", "made.txt", "--file", "merged")["merged"]
    invoke("world", "export", "main", "out")
    assert (project / "out" / "base.txt").read_text() == "side\n"
    assert (project / "out" / "made.txt").read_text() == "both\n"
    assert "no merge" in invoke("conflicts", "main", code=2).stderr
    shown = invoke("log", "main").stdout
    assert "resolved" in shown


def test_a_check_is_kept_until_the_last_conflict_is_decided(project: Path):
    conflicting()
    invoke("world", "merge", "side", "main", "--check", "grep -q side base.txt", code=4)
    invoke("resolve", "main", "made.txt", "--base")
    refused = invoke("resolve", "main", "base.txt", "--ours", code=3)
    assert "check 'grep -q side base.txt' failed" in refused.stderr
    assert said("conflicts", "main")["left"] == 0
    invoke("resolve", "main", "base.txt", "--theirs")
    assert files("main") == ["base.txt", "same.txt"]


def test_what_the_screens_say_of_hostile_names(project: Path):
    (project / "project" / "a\x1b[31m\nb").write_text("x")
    invoke("world", "init", "project", "--name", "main")
    invoke("fork", "main", "--name", "side", "--no-run")
    invoke("world", "mount", "side", "--keep", "--", "sh", "-c", "rm -f a*; touch '\x1b[2J'")
    for words in (["world", "ls", "main"], ["world", "diff", "side"], ["world", "log", "side"],
                  ["world", "merge", "side", "main"]):  # fmt: skip
        done = invoke(*words)
        assert "\x1b" not in done.stdout + done.stderr


def test_no_name_forges_a_line(project: Path):
    invoke("world", "init", "project", "--name", "main")
    for name in ("side", "more"):
        invoke("fork", "main", "--name", name, "--no-run")
        make = f"echo {name} > 'x\nadded    nothing'"
        invoke("world", "mount", name, "--keep", "--", "sh", "-c", make)
    done = invoke("world", "merge", "side", "main")
    assert len(done.stdout.splitlines()) == 1
    done = invoke("world", "merge", "more", "main", code=4)
    assert len(done.stdout.splitlines()) == 1
    assert not any(line.startswith("added") for line in done.stderr.splitlines())


def test_merges_that_cannot_be(project: Path):
    edited("one", "x\n")
    edited("two", "x\n")
    assert "share no past" in invoke("world", "merge", "one", "two", code=2).stderr
    assert "into itself" in invoke("world", "merge", "one", "one", code=2).stderr
    assert "no directory to write to" in invoke("world", "merge", "one", code=2).stderr


def test_versions_become_commits_and_commits_worlds(project: Path):
    edited("w", "one\n", "two\n")

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "--git-dir", "repo", *words], check=True, capture_output=True, text=True
        ).stdout

    done = said("world", "export", "w@2", "--git", "repo")
    assert done["commits"] == 3
    done = said("world", "export", "w", "--git", "repo", "--branch", "w")
    assert done["commits"] == 2
    assert git("show", "w:src/file.txt") == "two\n"
    assert git("show", "w~2:src/file.txt") == "one\n"
    assert "Run: w\nStep: 4" in git("log", "-1", "--format=%B", "w")
    invoke("world", "init", "repo", "--git", "w~2", "--name", "back")
    assert files("back") == files("w@2")
    assert "no directory" in invoke("world", "merge", "back", code=2).stderr
    for wrong in (["w"], ["w", "d", "--git", "r"], ["w", "d", "--branch", "b"]):
        invoke("world", "export", *wrong, code=2)


def test_gc_sweeps_what_a_killed_mount_left(place: Path):
    invoke("world", "init", "--name", "main")
    checkouts = place / ".holdfast" / "checkouts"
    for name in ("mount-dead", "mount-other"):
        (checkouts / name / "world").mkdir(parents=True)
    (checkouts / "mount-dead" / ".owner").write_text("")
    invoke("gc", "--dry-run")
    assert (checkouts / "mount-dead").exists()
    invoke("gc")
    assert [path.name for path in checkouts.iterdir()] == ["mount-other"]
