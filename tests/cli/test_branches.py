"""fork, replay, diff, merge; and what keeps a store whole."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import call, documents, invoke, rows


def test_fork_with_an_edit_keeps_what_is_unchanged(place: Path):
    invoke("run", "agents.py:add", "1", "--name", "old")
    done = invoke("fork", "old@1", "--set", "result.n=100", "--name", "new")
    assert json.loads(done.stdout)["sum"] == 102
    assert rows()[0]["fork_of"] == "old"
    found = json.loads(invoke("diff", "old", "new", "--json").stdout)
    assert (found["first"]["pair"], found["same"], found["differ"]) == (0, 1, 1)
    assert found["pairs"][0]["what"] == "outcome"
    assert "First difference" in invoke("diff", "old", "new").stdout


def test_fork_without_running_it(place: Path):
    invoke("run", "agents.py:add", "1", "--name", "old")
    made = invoke("fork", "old@2", "--no-run").stdout.strip()
    assert rows()[0]["run"] == made
    assert json.loads(invoke("resume", made).stdout)["sum"] == 3


def test_replay_shows_where_todays_code_differs(place: Path):
    invoke("run", "agents.py:add", "1", "--name", "old")
    assert "reproduces" in invoke("replay", "old").stdout
    program = (place / "agents.py").read_text("utf-8")
    (place / "agents.py").write_text(program.replace("look(b)", "look(b + 1)"), "utf-8")
    done = call("replay", "old", cwd=place, code=7)
    assert "n = 2" in done.stdout
    assert "n = 3" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    (found,) = documents(call("replay", "old", "--json", cwd=place, code=7).stdout)
    assert found["step"] == "2"


def test_worlds_are_compared_and_merged(place: Path):
    source = place / "project"
    source.mkdir()
    (source / "a.txt").write_text("one\n", "utf-8")
    invoke("run", "agents.py:add", "1", "--name", "old", "--world", "project")
    assert "same" in invoke("world", "diff", "old@0", "old@2").stderr
    (source / "a.txt").write_text("two\n", "utf-8")
    invoke("run", "agents.py:add", "1", "--name", "other", "--world", "project")
    found = json.loads(invoke("world", "diff", "old@0", "other@0", "--json").stdout)
    assert found["changes"] == [{"path": "a.txt", "kind": "changed"}]
    assert "+two" in invoke("world", "diff", "old", "other").stdout
    assert "share no past" in invoke("world", "merge", "old", "other", code=2).stderr
    invoke("fork", "old@2", "--name", "branch")
    merged = json.loads(invoke("world", "merge", "branch", "old", "--json").stdout)
    assert merged["merged"]


def test_export_import_fsck_gc(place: Path):
    invoke("run", "agents.py:add", "300", "--name", "one")
    invoke("run", "agents.py:add", "2", "--name", "two")
    invoke("export", "one", "one.holdfast")
    invoke("import", "one.holdfast", "--store", "other")
    assert [row["run"] for row in documents(invoke("ps", "--json", "--store", "other").stdout)] == [
        "one"
    ]
    assert json.loads(invoke("fsck", "--json").stdout)["sound"]
    assert json.loads(invoke("gc", "--dry-run", "--older-than", "0", "--json").stdout)["runs"] == 2
    assert len(rows()) == 2
    invoke("gc", "--older-than", "0")
    assert rows() == []


def test_fsck_finds_damage_and_saves_the_rest(place: Path):
    import sqlite3

    invoke("run", "agents.py:add", "1", "--name", "one")
    invoke("run", "agents.py:add", "2", "--name", "two")
    with sqlite3.connect(place / ".holdfast" / "journal.db") as conn:
        conn.execute("UPDATE event SET at=at+1 WHERE seq=2")
    conn.close()
    done = invoke("fsck", "--salvage", "rescued.holdfast", code=6)
    assert "one" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    invoke("import", "rescued.holdfast", "--store", "new")
    left = documents(invoke("ps", "--json", "--store", "new").stdout)
    assert {row["run"]: row["status"] for row in left}["two"] == "done"
