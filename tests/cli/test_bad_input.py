"""Bad input: one clear line, a documented exit code, and nothing lost."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import call, command, environment, invoke, rows, start


def _newer(place: Path) -> None:
    invoke("run", "agents.py:add", "1")
    conn = sqlite3.connect(place / ".holdfast" / "journal.db")
    conn.execute("PRAGMA user_version=99")
    conn.close()


def _foreign(place: Path) -> None:
    (place / ".holdfast").mkdir()
    (place / ".holdfast" / "journal.db").write_text("these are my notes\n" * 500, "utf-8")


def _foreign_database(place: Path) -> None:
    (place / ".holdfast").mkdir()
    conn = sqlite3.connect(place / ".holdfast" / "journal.db")
    conn.execute("CREATE TABLE notes(text)")
    conn.close()


def _directory(place: Path) -> None:
    (place / ".holdfast" / "journal.db").mkdir(parents=True)


def _file(place: Path) -> None:
    (place / ".holdfast").write_text("a file", "utf-8")


def _ended(place: Path) -> None:
    invoke("run", "agents.py:add", "1", "--name", "ended")


def _bad_policy(place: Path) -> None:
    (place / "policy.yaml").write_text("version: 1\nrules: [{id: x, when: {}, then: maybe}]\n")


def _broken_agent(place: Path) -> None:
    (place / "broken.py").write_text("import holdfast\n1 / 0\n")
    (place / "exits.py").write_text("raise SystemExit(9)\n")


def _nothing(place: Path) -> None:
    pass


Prepare = Callable[[Path], None]
CASES: list[tuple[Prepare, str, int, str]] = [
    (_nothing, "run agents.py:nobody", 2, "there is no agent 'nobody'"),
    (_nothing, "run agents.py:not_an_agent", 2, "is not an agent"),
    (_nothing, "run agents.py", 2, "name an agent as FILE.py:NAME"),
    (_nothing, "run nowhere.py:add", 2, "there is no such file"),
    (_nothing, "run no_such_module_here:add", 2, "is not found"),
    (_broken_agent, "run broken.py:add", 2, "ZeroDivisionError"),
    (_broken_agent, "run exits.py:add", 2, "ends the process while it is loaded"),
    (_nothing, "run agents.py:add", 2, "argument"),
    (_nothing, "run agents.py:add wrong", 2, "not 'wrong'"),
    (_nothing, "run agents.py:add 1 c=2", 2, "'c'"),
    (_nothing, "run agents.py:add --args {", 2, "not JSON"),
    (_nothing, "run agents.py:add --args 3", 2, "object"),
    (_nothing, "run agents.py:add 1 --name ../x", 2, "name"),
    (_nothing, "run agents.py:add 1 --world nowhere", 2, "no such directory"),
    (_nothing, "run agents.py:add 1 --policy none.yaml", 2, "no such policy file"),
    (_bad_policy, "run agents.py:add 1 --policy policy.yaml", 2, "maybe"),
    (_bad_policy, "policy check policy.yaml", 2, "policy.yaml:2"),
    (_nothing, "policy check .", 2, "no policy in this folder"),
    (_nothing, "run agents.py:odd", 1, "cannot be recorded"),
    (_nothing, "run agents.py:large", 1, "over the payload limit"),
    (_nothing, "ps", 2, "there is no store here"),
    (_nothing, "resume --all", 2, "there is no store here"),
    (_nothing, "fsck", 2, ""),
    (_nothing, "import nothing.holdfast", 2, "no such file"),
    (_nothing, "import .", 2, "is not a file"),
    (_nothing, "import agents.py", 6, ""),
    (_nothing, "frobnicate", 2, "No such command"),
    (_nothing, "ps --frobnicate", 2, "--frobnicate"),
    (_nothing, "ps --limit many", 2, "many"),
    (_nothing, "ps --status odd", 2, "odd"),
    (_nothing, "resume", 2, "say which RUN"),
    (_ended, "show nothing", 2, "is not in this store"),
    (_ended, "show ended@99", 2, "no step '99'"),
    (_ended, "show ended@", 2, "RUN@STEP"),
    (_ended, "log nothing", 2, "is not in this store"),
    (_ended, "approve ended", 2, "asks nobody"),
    (_ended, "cancel ended", 2, "is done"),
    (_ended, "signal ended go", 2, "is done"),
    (_ended, "resume nothing", 2, "is not in this store"),
    (_ended, "run agents.py:add 1 --name ended", 4, "ended"),
    (_ended, "fork ended@99", 2, "no step '99'"),
    (_ended, "fork ended@1 --set nonsense", 2, "NAME=VALUE"),
    (_ended, "fork ended@1 --set x=1", 2, "start with result., args. or input."),
    (_ended, "diff ended@1 ended", 2, "holdfast world diff"),
    (_ended, "world merge ended ended", 2, "into itself"),
    (_ended, "world merge ended", 2, "no directory to write to"),
    (_ended, "world merge ended --check '", 2, "No closing quotation"),
    (_ended, "world diff ended@99", 2, "no step '99'"),
    (_ended, "world diff ended#99", 2, "no event #99"),
    (_ended, "world ls ended nowhere", 2, "no such directory"),
    (_ended, "world rewind ended", 2, "say to which version"),
    (_ended, "world init nowhere", 2, "no such directory"),
    (_ended, "conflicts ended", 2, "no merge into it was refused"),
    (_ended, "resolve ended x --ours", 2, "no merge into it was refused"),
    (_ended, "resolve ended x --ours --theirs", 2, "say one of --ours"),
    (_ended, "attempts", 2, "nothing was tried yet"),
    (_ended, "attempts ended", 2, "is no try but add"),
    (_ended, "try --name ended -- true", 4, "is taken"),
    (_ended, "export ended agents.py", 2, "agents.py"),
    (_newer, "ps", 2, "journal format 99"),
    (_newer, "run agents.py:add 1", 2, "journal format 99"),
    (_foreign, "ps", 6, "not a Holdfast journal"),
    (_foreign, "run agents.py:add 1", 6, "not a Holdfast journal"),
    (_foreign, "fsck", 6, ""),
    (_foreign_database, "ps", 6, "another program"),
    (_directory, "ps", 2, "is a directory"),
    (_file, "ps", 2, ""),
    (_file, "run agents.py:add 1", 5, ""),
]


@pytest.mark.parametrize(
    ("prepare", "line", "code", "says"), CASES, ids=[f"{c[0].__name__}: {c[1]}" for c in CASES]
)
def test_one_line_and_an_exit_code(place: Path, prepare: Prepare, line: str, code: int, says: str):
    prepare(place)
    done = invoke(*line.split(), *_json(line), code=code)
    assert done.stderr.startswith("holdfast: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def _json(line: str) -> list[str]:
    return ["--json"] if line.startswith("run ") else []  # else progress is told on stderr too


def test_what_is_wrong_leaves_no_store_behind(place: Path):
    invoke("run", "agents.py:nobody", code=2)
    invoke("run", "agents.py:add", "wrong", code=2)
    invoke("import", "nothing.holdfast", code=2)
    invoke("resume", "--all", code=2)
    assert not (place / ".holdfast").exists()


def test_a_foreign_file_is_left_as_it_is(place: Path):
    _foreign(place)
    before = (place / ".holdfast" / "journal.db").read_bytes()
    for line in ("ps", "run agents.py:add 1", "gc", "fsck", "fsck --salvage out"):
        invoke(*line.split(), code=6)
    assert (place / ".holdfast" / "journal.db").read_bytes() == before


def test_an_unexpected_error_is_one_line_and_code_70(place: Path, monkeypatch: pytest.MonkeyPatch):
    import holdfast.cli.commands.version as version

    def broken(*_: object) -> None:
        raise KeyError("odd\nthing")

    monkeypatch.setattr(version.command, "callback", broken)
    done = invoke("version", code=70)
    assert done.stderr.count("\n") == 1
    assert "HOLDFAST_DEBUG=1" in done.stderr
    monkeypatch.setenv("HOLDFAST_DEBUG", "1")
    assert "Traceback" in invoke("version", code=70).stderr


def test_a_full_disk_under_stdout(place: Path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("version"), cwd=place, env=environment(), stdout=full, check=False,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 5
    assert done.stderr == "holdfast: No space left on device\n"


def test_nobody_reads_the_output(place: Path):
    invoke("run", "agents.py:slow", "2000", "-q")
    with subprocess.Popen(
        command("log"), cwd=place, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as tail:  # fmt: skip
        assert tail.stdout is not None
        assert tail.stderr is not None
        tail.stdout.readline()
        tail.stdout.close()
        assert tail.stderr.read() == ""
    assert tail.returncode == 141


def test_processes_share_a_store_from_its_first_moment(place: Path):
    going = [start("run", "agents.py:add", str(n), "--json", cwd=place) for n in range(4)]
    for one in going:
        out, errors = one.communicate(timeout=60)
        assert one.returncode == 0, (out, errors)
    assert [row["status"] for row in rows()] == ["done"] * 4


def test_a_run_that_another_process_runs_is_left_to_it(place: Path):
    going = start("run", "agents.py:slow", "--name", "long", "-q", cwd=place)
    try:
        while not (place / ".holdfast" / "journal.db").exists() or not rows():
            assert going.poll() is None
        done = call("resume", "long", cwd=place, code=4)
        assert "another process" in done.stderr
    finally:
        going.terminate()
        going.communicate(timeout=30)
