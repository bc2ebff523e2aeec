"""`holdfast try`: the directory is safe, an interrupted try goes on or leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import call, command, documents, environment, invoke, rows, start
from tests.cli.terminal import Terminal

CODE = """
import os
number = os.environ["HOLDFAST_ATTEMPT"]
open("made.txt", "w").write(number + "\\n")
open("a.txt", "a").write("more\\n" * int(number))
"""
GOOD = "import sys; sys.exit(open('made.txt').read() != '2\\n')"


@pytest.fixture
def project(place: Path) -> Path:
    """A working copy with everything that must be safe: history, ignored and untracked files."""
    (place / "agents.py").unlink()
    (place / "a.txt").write_text("one\n")
    (place / ".gitignore").write_text("ignored/\n")
    (place / "ignored").mkdir()
    (place / "ignored" / "cache.bin").write_bytes(os.urandom(5000))
    (place / "link").symlink_to("a.txt")
    (place / "empty").mkdir()
    (place / "script.sh").write_text("#!/bin/sh\n")
    (place / "script.sh").chmod(0o750)
    (place / "readonly").mkdir()
    (place / "readonly" / "x").write_text("x")
    (place / "readonly").chmod(0o555)
    (place / "program.py").write_text(CODE)
    (place / "good.py").write_text(GOOD)
    for words in (["init", "-q"], ["add", "a.txt", ".gitignore"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


def fingerprint(directory: Path) -> str:
    """Everything in a directory but the store: names, kinds, rights, times, content."""
    found = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if name.parts[0] == ".holdfast":
            continue
        status = path.lstat()
        found.update(f"{name} {status.st_mode:o} {status.st_mtime_ns} {status.st_ino}".encode())
        if path.is_symlink():
            found.update(str(path.readlink()).encode())
        elif path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def tried(*args: str, code: int = 0) -> dict[str, Any]:
    words = ["try", "--json", *args, "--", sys.executable, "program.py"]
    return json.loads(invoke(*words, code=code).stdout)


def test_the_directory_is_untouched_until_a_merge(project: Path):
    before = fingerprint(project)
    found = tried("-n", "3", "--check", f"{sys.executable} good.py", "--name", "t")
    assert fingerprint(project) == before
    assert [(one["run"], one["check"]) for one in found["attempts"]] == [
        ("t.2", 0), ("t.1", 1), ("t.3", 1),
    ]  # fmt: skip
    assert found["attempts"][0]["added"] == 3
    assert "+more" in invoke("world", "diff", "t.2").stdout
    assert fingerprint(project) == before
    inode = (project / "script.sh").stat().st_ino
    merged = json.loads(invoke("world", "merge", "t.2", "--json").stdout)
    assert merged["changed"] == [
        {"path": "a.txt", "kind": "changed"}, {"path": "made.txt", "kind": "added"}
    ]  # fmt: skip
    assert (project / "a.txt").read_text() == "one\nmore\nmore\n"
    assert (project / "script.sh").stat().st_ino == inode
    (project / "made.txt").unlink()
    (project / "a.txt").write_text("one\n")
    invoke("world", "discard", "t")
    assert rows() == []
    assert not list((project / ".holdfast" / "checkouts").glob("*"))


def test_people_work_on_meanwhile(project: Path):
    tried("-n", "2", "--name", "t")
    (project / "mine.txt").write_text("mine\n")
    (project / "a.txt").write_text("zero\none\n")
    invoke("world", "merge", "t.1", "--check", "test -e mine.txt")
    assert (project / "a.txt").read_text() == "zero\none\nmore\n"
    assert (project / "mine.txt").read_text() == "mine\n"
    before = fingerprint(project)
    done = invoke("world", "merge", "t.2", code=4)
    assert done.stdout.splitlines() == [
        "conflict a.txt  content", "conflict made.txt  add/add"
    ]  # fmt: skip
    assert "holdfast resolve t a.txt" in done.stderr
    assert fingerprint(project) == before
    assert "next made.txt" in invoke("resolve", "t", "a.txt", "--theirs").stderr
    assert fingerprint(project) == before
    (project / "last.txt").write_text("typed just now\n")
    invoke("resolve", "t", "made.txt", "--ours")
    assert (project / "a.txt").read_text() == "one\nmore\nmore\n"
    assert (project / "made.txt").read_text() == "1\n"
    assert (project / "last.txt").exists()


def test_a_check_that_fails_in_the_candidate_changes_nothing(project: Path):
    tried("-n", "1", "--name", "t")
    before = fingerprint(project)
    done = invoke("world", "merge", "t.1", "--check", "false", code=3)
    assert done.stderr.splitlines()[-1].startswith("holdfast: check 'false' failed")
    assert fingerprint(project) == before
    invoke("world", "merge", "t.1", "--check", "test -e made.txt")
    assert (project / "made.txt").exists()


def test_no_fork_succeeded(project: Path):
    done = invoke("try", "-n", "2", "--name", "t", "--", "false", code=1)
    assert "t.1" in done.stdout
    assert "127" in invoke("try", "-n", "1", "--", "no-such-program-x", code=1).stdout


def test_the_check_is_words_and_no_shell(project: Path):
    found = tried("-n", "1", "--check", "echo a | false; echo 7", "--score")
    assert found["attempts"][0]["check"] == 0
    assert found["attempts"][0]["score"] == 7
    assert "No closing quotation" in invoke("try", "--check", "echo '", "--", "true", code=2).stderr
    assert invoke("try", "-n", "2", code=2).stderr


def test_how_to_go_on_is_printed(project: Path):
    done = invoke("try", "-n", "2", "--name", "t", "--", sys.executable, "program.py")
    titles = ["FORK", "EXIT", "CHECK", "FILES", "LINES", "TIME", "SANDBOX"]
    assert done.stdout.splitlines()[0].split() == titles
    for line in ("holdfast world diff t.1", "holdfast world merge t.1", "holdfast world discard t"):
        assert line in done.stderr
    again = invoke("attempts")
    assert again.stdout == done.stdout
    assert "is no try" in invoke("attempts", "t.1", code=2).stderr


def test_a_store_inside_the_directory_is_no_part_of_it(project: Path):
    words = ["try", "-n", "1", "--name", "t", "--store", "inner/state", "--", "ls", "-a", "inner"]
    invoke(*words)
    found = invoke("show", "t.1@2", "--json", "--store", "inner/state")
    assert "state" not in json.loads(found.stdout)["value"]["stdout"]


# Interrupted -----------------------------------------------------------------------------------

GATED = """
import os, sys, time
while os.environ["HOLDFAST_ATTEMPT"] == "2" and not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
open("made.txt", "w").write(os.environ["HOLDFAST_ATTEMPT"])
"""


def begun(project: Path, gate: Path) -> subprocess.Popen[str]:
    """A try of two forks, of which the second waits; back when the first is done."""
    (project / "gated.py").write_text(GATED)
    going = start(
        "try", "-n", "2", "--name", "t", "--read", str(gate.parent), "--", sys.executable,
        "gated.py", str(gate), cwd=project,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and going.poll() is None:
        shown = call("ps", "--json", cwd=project, code=None)
        if shown.returncode == 0 and any(
            row["run"] == "t.1" and row["status"] == "done" for row in documents(shown.stdout)
        ):
            return going
    going.kill()
    raise AssertionError(going.communicate())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_try_goes_on(project: Path, tmp_path_factory: Any, how: signal.Signals):
    gate = tmp_path_factory.mktemp("gate") / "open"
    going = begun(project, gate)
    before = fingerprint(project)
    going.send_signal(how)
    _, err = going.communicate(timeout=60)
    assert going.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert "holdfast resume t" in err
        assert "holdfast world discard t" in err
    assert fingerprint(project) == before
    gate.touch()
    call("resume", "t", cwd=project)
    found = json.loads(call("attempts", "t", "--json", cwd=project).stdout)
    assert [one["status"] for one in found["attempts"]] == ["done", "done"]
    call("world", "merge", "t.2", cwd=project)
    assert (project / "made.txt").read_text() == "2"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_try_leaves_nothing(
    project: Path, tmp_path_factory: Any, how: signal.Signals
):
    gate = tmp_path_factory.mktemp("gate") / "open"
    going = begun(project, gate)
    before = fingerprint(project)
    refused = call("world", "discard", "t", cwd=project, code=4)
    assert "a process runs it" in refused.stderr
    going.send_signal(how)
    going.communicate(timeout=60)
    call("world", "discard", "t", cwd=project)
    gate.touch()
    assert fingerprint(project) == before
    assert json.loads(call("ps", "--json", cwd=project).stdout) == []
    assert not list((project / ".holdfast" / "checkouts").glob("*"))
    assert json.loads(call("fsck", "--json", cwd=project).stdout)["sound"]


DIES = """
import os, sys
from holdfast.cli import main
from holdfast.world import exchange

left = int(sys.argv.pop(1))
real = exchange.Tree._turn


def turn(self, *args):
    global left
    left -= 1
    if left == 0:
        os._exit(9)
    return real(self, *args)


exchange.Tree._turn = turn
main()
"""


@pytest.mark.parametrize("turn", [1, 2])
def test_a_merge_that_dies_while_it_writes_is_finished_by_the_next_merge(project: Path, turn: int):
    """INVARIANT C9."""
    tried("-n", "1", "--name", "t")
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(turn), "world", "merge", "t.1"],
        cwd=project, env=environment(), check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    assert list(project.glob(".holdfast-*"))  # it died between the two
    half = fingerprint(project)
    assert "was interrupted" in call("ps", cwd=project).stderr
    assert "was interrupted" in call("world", "ls", "t", cwd=project).stderr
    assert "merge into it again" in call("world", "discard", "t", cwd=project, code=4).stderr
    assert fingerprint(project) == half  # reading commands write nothing
    shown = call("world", "merge", "t.1", cwd=project)
    assert "finished an interrupted merge" in shown.stderr
    assert (project / "a.txt").read_text() == "one\nmore\n"
    assert (project / "made.txt").read_text() == "1\n"
    assert not list(project.glob(".holdfast-*"))
    assert call("ps", cwd=project).stderr == ""


def moved(project: Path, elsewhere: Path) -> None:
    """A store comes to another place, as by a clone."""
    (project / ".holdfast").rename(elsewhere / ".holdfast")


def test_a_store_from_elsewhere_names_no_directory_and_no_check(
    project: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANT C12."""
    tried("-n", "2", "--name", "t", "--check", "true")
    (project / "a.txt").write_text("mine\n")
    invoke("world", "merge", "t.1", code=4)
    before = fingerprint(project)
    clone, other = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("other")
    moved(project, clone)
    monkeypatch.chdir(clone)
    assert "say where to write" in invoke("world", "merge", "t.2", code=3).stderr
    assert "not believed" in invoke("resolve", "t", "a.txt", "--ours", code=3).stderr
    assert fingerprint(project) == before
    started = len(rows())
    invoke("world", "merge", "t.2", "--directory", str(other), code=4)
    assert len(rows()) == started  # no check was run
    invoke("resolve", "t", "a.txt", "--theirs")
    assert (other / "a.txt").read_text() == "one\nmore\nmore\n"
    assert fingerprint(project) == before


def test_a_store_brings_no_writing_along(project: Path, tmp_path_factory: Any):
    """INVARIANT C9."""
    outside = tmp_path_factory.mktemp("outside")
    tried("-n", "1", "--name", "t")
    folder = project / ".holdfast" / "writing"
    folder.mkdir()
    before, after = (json.loads(invoke("world", "log", "t.1", "--json").stdout)[n]
                     ["world"] for n in (0, -1))  # fmt: skip
    name = hashlib.sha256(str(outside).encode()).hexdigest()[:16] + ".intent"
    rest = json.dumps([str(outside), str((project / ".holdfast").resolve()), before, after])
    (folder / name).write_text("commit  " + rest)
    for words in (["ps"], ["world", "ls"], ["world", "merge", "t.1"]):
        assert "interrupted" not in invoke(*words).stderr
    assert list(outside.iterdir()) == []


AT_ONCE = """
import sys
from holdfast.cli import landing, main

real = landing.write_back
gate = sys.argv[-1]
landing.write_back = lambda *args: (open(gate, "w").close(), sys.stdin.read(), real(*args))[2]
del sys.argv[-1]
main()
"""


def test_two_merges_into_one_directory_take_turns(project: Path, tmp_path_factory: Any):
    """INVARIANT C13: the second does not come between what the first landed and wrote."""
    tried("-n", "2", "--name", "t")
    gate = tmp_path_factory.mktemp("gate") / "landed"
    going = subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, "world", "merge", "t.1", str(gate)],
        cwd=project, env=environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not gate.exists() and going.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    versions = invoke("world", "log", "t").stdout
    refused = invoke("world", "merge", "t.2", code=4)
    assert "wait for it" in refused.stderr
    assert invoke("world", "log", "t").stdout == versions
    _, err = going.communicate("", timeout=60)
    assert going.returncode == 0, err
    assert (project / "made.txt").read_text() == "1\n"
    assert "changes in" not in invoke("world", "log", "t").stdout


# At a terminal ---------------------------------------------------------------------------------


def test_at_a_terminal_it_is_offered(project: Path):
    words = ["try", "-n", "2", "--name", "t", "--", sys.executable, "program.py"]
    terminal = Terminal(*words, cwd=project)
    terminal.until("q quit: ")
    terminal.type("d 1")
    terminal.until("+more")
    terminal.until("q quit: ")
    terminal.type("z")
    terminal.until("say d N, m N, x or q; N is one of 1, 2")
    terminal.until("q quit: ")
    terminal.type("m 2")
    terminal.until("merged t.2 into")
    assert terminal.end() == 0
    assert (project / "made.txt").read_text() == "2\n"
    terminal = Terminal("attempts", "t", cwd=project)
    terminal.until("q quit: ")
    terminal.type("x")
    terminal.until("discarded t")
    assert terminal.end() == 0
    assert rows() == []


def test_the_command_line_of_a_try_reads_as_one():
    assert command("try", "--help")[-2:] == ["try", "--help"]
    text = invoke("try", "--help").stdout
    assert "there is no shell" in text
    assert "HOLDFAST_ATTEMPT" in text


def test_what_git_ignores_can_be_left_out(place: Path):
    (place / ".gitignore").write_text("*.log\n/big/\n", "utf-8")
    (place / "big").mkdir()
    (place / "big" / "file").write_text("big", "utf-8")
    (place / "a.log").write_text("a", "utf-8")
    invoke("try", "--gitignore", "-n", "1", "--name", "t", "--", "sh", "-c", "ls -a > seen")
    invoke("world", "merge", "t.2" if "t.2" in invoke("world", "ls").stdout else "t.1")
    seen = (place / "seen").read_text("utf-8").split()
    assert ".gitignore" in seen
    assert not {"big", "a.log"} & set(seen)
    assert (place / "a.log").read_text("utf-8") == "a"
    invoke("world", "init", "--gitignore", "--name", "main")
    names = invoke("world", "ls", "main").stdout
    assert "seen" in names
    assert "big" not in names


def test_the_table_does_not_let_a_failure_read_as_success(place: Path):
    """A command that failed while its check passed, and one that is not there, are said plainly."""
    done = invoke("try", "-n", "1", "--check", "true", "--", "sh", "-c", "exit 3", code=1)
    assert "1 fork of" in done.stderr
    assert "the command failed, though the check passed" in done.stdout
    missing = invoke("try", "-n", "2", "--", "no-such-command", code=1)
    assert "2 forks of" in missing.stderr
    assert "command not found (exit 127)" in missing.stdout
    check = invoke("try", "-n", "1", "--check", "no-such-check", "--", "true", code=1)
    assert "the check's command was not found" in check.stdout
