"""The launcher as a process: exit codes, signals, and what is left when it is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.standin import StandIn
from tests.cli.support import command, environment
from tests.cli.terminal import Terminal
from tests.launch.support import KEY, PAYS, WORKER, Project, keyed

WAIT = 60.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def begin(project: Project, *words: str, env: dict[str, str] | None = None) -> Any:
    """`holdfast run` as a process of its own."""
    made = {**environment(), "XDG_STATE_HOME": str(project.copies), **(env or {})}
    project.copies.mkdir(exist_ok=True)
    return subprocess.Popen(
        command("run", *words), cwd=project.path, env=made, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(project: Project, *words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    with begin(project, *words, env=env) as process:
        out, err = process.communicate(timeout=WAIT)
    return process.returncode, out, err


def until(holds: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT
    while not (found := holds()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def listed(project: Project) -> list[Any]:
    done = subprocess.run(
        command("ps", "--json"), cwd=project.path, env=environment(), capture_output=True,
        text=True, check=True, timeout=WAIT,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return found[0] if found and isinstance(found[0], list) else found


def gone(pid: int) -> bool:
    """Whether a process is no more, or only its parent has not noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_summary_and_what_to_go_on_with(project: Project):
    with StandIn([*PAYS], key=KEY) as server:
        code, out, err = run(
            project, "--json", "--name", "seven", "--", sys.executable, WORKER, "pay bob",
            env=keyed(server),
        )  # fmt: skip
    assert code == 0, err
    said = json.loads(out)
    assert (said["run"], said["exit"], said["status"]) == ("seven", 0, "done")
    assert (said["calls"], said["allowed"], said["would_ask"], said["denied"]) == (4, 3, 1, 0)
    assert said["decisions"][0]["what"] == "ledger.pay(to='bob')"
    assert said["tools"] == {"ledger.pay": 1}
    assert said["built_in"] == {"pay": 1, "write": 1}
    assert said["models"]["calls"] == 3
    assert said["models"]["output"] >= 9
    verbs = ("diff", "merge", "discard")
    assert said["commands"] == [f"holdfast world {one} seven" for one in verbs]
    assert {one["path"] for one in said["files"]} == {"made.txt", "said.json", "environment.json"}
    env = {**environment(), "XDG_STATE_HOME": str(project.copies)}
    done = subprocess.run(command("world", "merge", "seven"), cwd=project.path, env=env, text=True,
                          capture_output=True, check=False, timeout=WAIT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (project.path / "made.txt").read_text("utf-8") == "a\nb\n"
    assert (project.path / ".mcp.json").read_bytes() == project.before[".mcp.json"]


def test_exit_codes_are_as_of_shells(project: Project):
    (project.path / "plain").write_text("no program", "utf-8")
    code, _, err = run(project, "--", "no-such-command-here", "x")
    assert (code, "command not found" in err) == (127, True)
    assert run(project, "--", "./plain")[0] == 126
    assert run(project, "--sandbox", "--", "no-such-command-here")[0] == 127
    assert run(project, "--sandbox", "--", "./plain")[0] == 126
    code, _, err = run(project, "--sandbox", "--server", "lodger", "--", "true")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "--server lodger" in err
    assert "they name: ledger" in err
    assert not (project.path / ".holdfast").exists()  # nothing was begun
    code, out, err = run(project, "--", "sh", "-c", "echo said; echo b > b.db; kill -9 $$")
    assert (code, out) == (137, "said\n")
    assert "exit 137" in err
    assert "changed 1 file (+1 -0)" in err
    assert "holdfast world merge" in err
    assert "b.db" not in project.look()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_the_commands(project: Project, number: signal.Signals):
    mark = project.copies.parent / "ready"
    script = (
        f"trap 'echo bye > bye.txt; exit 7' {number.name[3:]}; touch {mark}\n"
        "while :; do sleep 0.05; done"
    )
    with begin(project, "--json", "--", "sh", "-c", script) as process:
        until(mark.exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 7, err
    assert [one["path"] for one in json.loads(out)["files"]] == ["bye.txt"]


def test_a_command_that_ignores_term_is_ended_when_asked_twice(project: Project):
    """D84"""
    place = project.copies.parent
    script = (
        "import os, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: open({str(place / 'heard')!r}, 'w'))\n"
        f"open({str(place / 'ready')!r}, 'w')\n"
        "while True: time.sleep(0.05)\n"
    )
    with begin(project, "--", sys.executable, "-c", script) as process:
        until((place / "ready").exists)
        process.send_signal(signal.SIGTERM)
        until((place / "heard").exists)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT)
    assert process.returncode == 137
    (row,) = listed(project)
    assert row["status"] == "done"


def test_a_killed_launcher_leaves_no_process_and_an_open_run(project: Project):
    """D80"""
    pids = project.copies.parent / "pids"
    # one child of its own session that its parent does not wait for, and one that ignores signals
    script = (
        "import os, signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open('notes.txt', 'a').write('two')\n"
        "far = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{far.pid}} .')\n"
        "while True: time.sleep(0.05)\n"
    )
    with begin(project, "--", sys.executable, "-c", script) as process:
        until(lambda: pids.exists() and pids.read_text("utf-8").endswith("."))
        process.kill()
        process.communicate(timeout=WAIT)
    for pid in map(int, pids.read_text("utf-8").split()[:2]):
        until(lambda pid=pid: gone(pid))
    (row,) = listed(project)
    assert row["status"] == "running"
    left = {k: v for k, v in project.look().items() if not k.startswith(".holdfast")}
    assert left == project.before
    # the run is gone on with under its name, from the world that it has
    code, _, err = run(project, "--name", row["run"], "--", "cat", "notes.txt")
    assert code == 0, err
    # D89: where a run that was only gone on with says that it comes from is not believed again
    said = project.copies / "holdfast" / "said"
    assert len(list(said.iterdir())) == 1
    launches = project.copies / "holdfast" / "launches"
    assert not any(launches.iterdir())  # what the killed one had left was swept


def test_what_a_command_leaves_running_ends_with_it(project: Project):
    """D80"""
    pids = project.copies.parent / "pids"
    script = f"setsid sleep 600 & echo $! > {pids}; sync {pids}"
    assert run(project, "--", "sh", "-c", script)[0] == 0
    assert gone(int(pids.read_text("utf-8")))


def test_a_launcher_inside_of_a_launched_command_is_part_of_it(project: Project):
    """D87"""
    inner = [sys.executable, "-m", "holdfast.cli", "run"]
    code, out, err = run(project, "--", *inner, "--", "sh", "-c", "echo $HOLDFAST_RUN; exit 5")
    assert code == 5, err
    (row,) = listed(project)
    assert out.strip() == row["run"]
    code, _, err = run(project, "--", *inner, "--enforce", "--", "touch", "it")
    assert code not in (0, 5)
    assert "inside of run" in err
    assert "it" not in project.look()


def test_options_of_commands_are_not_agents(project: Project):
    code, _, err = run(project, "--enforce", "agents.py:shop")
    assert code == 2
    assert "--enforce is for commands" in err
    code, _, err = run(project, "--network", "x.org", "--", "true")
    assert code == 2
    assert "--sandbox" in err
    assert run(project, "--quiet")[0] == 2


def test_arguments_of_agents_may_stand_behind_two_dashes(project: Project):
    (project.path / "one.py").write_text(
        "import holdfast\n\n@holdfast.agent\nasync def twice(n: int):\n    return n * 2\n", "utf-8"
    )
    code, out, err = run(project, "one.py:twice", "--", "-3")
    assert (code, out) == (0, "-6\n"), err


def test_at_a_terminal_the_command_has_the_keyboard(project: Project):
    script = "echo ready; read x; echo got $x; echo z > z.txt"
    state = str(project.copies.parent / "state")
    terminal = Terminal("run", "--", "sh", "-c", script, cwd=project.path, XDG_STATE_HOME=state)
    terminal.until("ready")
    terminal.type("word")
    terminal.until("got word")
    terminal.until("q quit")
    terminal.type("d")
    terminal.until("+z")
    terminal.until("q quit")
    terminal.type("m")
    terminal.until("merged")
    assert terminal.end() == 0
    assert (project.path / "z.txt").read_text("utf-8") == "z\n"
