"""Starting, watching, answering, resuming: what a user does all day."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.cli.support import call, documents, invoke, newest, rows, start


def test_run_prints_the_result_and_nothing_else_on_stdout(place: Path):
    done = call("run", "agents.py:add", "1", "b=40", "word=7", cwd=place)
    assert json.loads(done.stdout) == {"sum": 41, "word": "7"}
    assert "this is not the result" in done.stderr
    assert "nor is this" in done.stderr


def test_run_speaks_json(place: Path):
    done = call("run", "agents.py:add", "--args", '{"a": 5}', "--name", "mine", "--json", cwd=place)
    (document,) = documents(done.stdout)
    assert (document["run"], document["status"]) == ("mine", "done")
    assert document["result"] == {"sum": 7, "word": "w"}


def test_arguments_by_place_as_json(place: Path):
    done = invoke("run", "agents.py:add", "--args", '[1, 2, "z"]')
    assert json.loads(done.stdout)["word"] == "z"


def test_a_module_is_found_from_here(place: Path):
    (place / "shopping.py").write_text((place / "agents.py").read_text("utf-8"), "utf-8")
    done = call("run", "shopping:add", "1", cwd=place)
    assert json.loads(done.stdout)["sum"] == 3
    call("replay", newest(), cwd=place)


def test_a_failed_run_is_one_line_and_code_1(place: Path):
    done = invoke("run", "agents.py:bad", "--json", code=1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("holdfast: run ")
    assert "ValueError: oh no" in done.stderr
    assert documents(done.stdout)[0]["error"]["type"] == "ValueError"


def test_a_question_waits_with_code_10_and_says_how_to_answer(place: Path):
    done = invoke("run", "agents.py:colour", code=10)
    run = newest()
    assert not done.stdout
    assert f"holdfast answer {run} VALUE" in done.stderr
    assert "choice red" in done.stderr
    assert "Which colour?" in invoke("ps", "--status", "waiting").stdout
    assert "offers 'red', 'green'" in invoke("answer", run, "blue", code=2).stderr
    answered = invoke("answer", run[:6], "green", "--note", "why not")
    assert f"holdfast resume {run}" in answered.stderr
    assert json.loads(invoke("resume", run).stdout) == "green"
    (step,) = documents(invoke("show", f"{run}@1", "--json").stdout)
    given = step["approvals"][1]
    assert (given["by"], given["note"], given["value"]) == ("ann", "why not", "green")
    assert invoke("answer", run, "green", code=2).stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "value"), [(["42"], 42), (["--text", "42"], "42"), (["many"], "many")]
)
def test_an_answer_is_json_or_text(place: Path, words: list[str], value: object):
    invoke("run", "agents.py:number", code=10)
    invoke("answer", newest(), *words)
    assert json.loads(invoke("resume", newest()).stdout) == value


def test_an_action_is_approved_or_denied(place: Path):
    invoke("run", "agents.py:shop", code=10)
    paid = newest()
    told = documents(invoke("approve", paid, "--json").stdout)
    assert told == [
        {"run": paid, "step": "1", "decision": "approve", "by": "ann", "taken_up": False}
    ]
    assert json.loads(invoke("resume", paid).stdout) == "paid 3 to bob"
    invoke("run", "agents.py:shop", "9", code=10)
    refused = newest()
    assert "asks for approval" in invoke("answer", refused, "yes", code=2).stderr
    invoke("deny", refused, "--note", "too much")
    assert "too much" in invoke("resume", refused, code=1).stderr
    assert "escalate" in invoke("show", f"{paid}@1").stdout


def test_two_questions_at_once_need_the_step(place: Path):
    invoke("run", "agents.py:two", code=10)
    run = newest()
    assert "say which question" in invoke("answer", run, "1", code=2).stderr
    keys = [wait["key"] for wait in rows()[0]["waits"]]
    for key in keys:
        invoke("answer", f"{run}@{key}", key, "--text")
    assert json.loads(invoke("resume", run).stdout) == keys


def test_a_signal_and_a_stop(place: Path):
    invoke("run", "agents.py:signalled", code=10)
    first = newest()
    invoke("signal", first, "go", '{"x": 1}')
    assert json.loads(invoke("resume", first).stdout) == {"x": 1}
    invoke("run", "agents.py:signalled", code=10)
    invoke("cancel", newest())
    assert "cancelled" in invoke("resume", newest(), code=1).stderr
    assert "not for people" in invoke("signal", first, "$cancel", code=2).stderr


def test_children_wait_and_resume_with_their_parent(place: Path):
    assert json.loads(invoke("run", "agents.py:family", "3").stdout) == [2, 3, 4]
    invoke("run", "agents.py:worried", code=10)
    child = newest()
    parent = rows("--limit", "2")[1]["run"]
    assert rows()[0]["parent"] == parent
    assert child in invoke("show", parent, "--tree").stdout
    invoke("answer", child, "red")
    assert json.loads(invoke("resume", parent).stdout) == "red"


def test_ps_pages_and_filters(place: Path):
    for number in range(3):
        invoke("run", "agents.py:add", str(number))
    invoke("run", "agents.py:bad", code=1)
    assert [row["status"] for row in rows()] == ["failed", "done", "done", "done"]
    assert len(rows("--agent", "add")) == 3
    assert len(rows("--status", "failed")) == 1
    page = rows("--limit", "2")
    assert [row["number"] for row in rows("--before", str(page[-1]["number"]))] == [2, 1]
    assert len(rows("--all", "--limit", "1")) == 4
    assert "more: --before" in invoke("ps", "--limit", "1").stderr


def test_a_unique_beginning_of_an_id_is_enough(place: Path):
    for name in ("abc1", "abc2", "xyz"):
        invoke("run", "agents.py:add", "1", "--name", name)
    assert "abc1, abc2" in invoke("show", "abc", code=2).stderr
    assert invoke("show", "x").stdout.startswith("run xyz")
    invoke("run", "agents.py:family", "--name", "kin")
    assert invoke("show", "ki").stdout.startswith("run kin")


def test_log_is_in_commit_order_and_whole(place: Path):
    invoke("run", "agents.py:add", "300")
    invoke("run", "agents.py:add", "1")
    events = documents(invoke("log", "--json").stdout)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[1]["value"] == {"n": 300, "text": "x" * 300}
    one = documents(invoke("log", newest(), "--json").stdout)
    assert {event["run"] for event in one} == {newest()}
    assert documents(invoke("log", "--since", "7", "--json").stdout)[0]["seq"] == 8
    assert len(invoke("log").stdout.splitlines()) == len(events)


def test_log_follows_what_others_commit(place: Path):
    invoke("run", "agents.py:add", "1")
    tail = start("log", "-f", "--json", "--since", "0", cwd=place)
    try:
        assert tail.stdout is not None
        seen = [json.loads(tail.stdout.readline()) for _ in range(4)]
        assert seen[-1]["kind"] == "run.ended"
        invoke("run", "agents.py:add", "2", "--name", "later")
        seen = [json.loads(tail.stdout.readline()) for _ in range(4)]
        assert {event["run"] for event in seen} == {"later"}
    finally:
        tail.send_signal(signal.SIGINT)
        _, errors = tail.communicate(timeout=30)
    assert (tail.returncode, errors) == (130, "")


def _until_steps(run: str, count: int) -> None:
    for _ in range(400):
        found = invoke("show", run, "--json", code=None)
        if found.exit_code == 0 and len(json.loads(found.stdout)["events"]) > count:
            return
        time.sleep(0.05)
    pytest.fail(f"{run} takes no steps")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_suspends_and_resume_repeats_nothing(place: Path, number: int, code: int):
    going = start("run", "agents.py:slow", "--name", "long", "-q", cwd=place)
    _until_steps("long", 20)
    going.send_signal(number)
    out, errors = going.communicate(timeout=30)
    assert (going.returncode, out) == (code, "")
    assert "suspended; resume with: holdfast resume long" in errors
    assert "nobody runs it: holdfast resume long" in invoke("ps").stdout
    again = start("resume", "long", "-q", cwd=place)
    _until_steps("long", len(documents(invoke("log", "--json").stdout)) + 20)
    again.kill()  # not even asked: the next one goes on all the same
    again.communicate()
    invoke("cancel", "long")
    invoke("resume", "long", code=1)
    keys = [
        event["body"]["key"]
        for event in documents(invoke("log", "--json").stdout)
        if event["kind"] == "step.settled"
    ]
    assert len(keys) == len(set(keys))


def test_resume_stay_serves_what_others_leave(place: Path):
    names = [f"asks{number}" for number in range(5)]
    for name in names:
        invoke("run", "agents.py:colour", "--name", name, code=10)
    server = start("resume", "--stay", cwd=place)
    try:
        assert server.stderr is not None
        assert "serving" in server.stderr.readline()
        # an answer is told within a moment whether it was taken up: on a busy machine not each is
        told = [documents(invoke("answer", name, "red", "--json").stdout)[0] for name in names]
        assert any(one["taken_up"] for one in told)
        for _ in range(1200):
            if all(row["status"] == "done" for row in rows()):
                break
            time.sleep(0.05)
        assert [row["status"] for row in rows()] == ["done"] * len(names)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
    assert server.returncode == 0


def test_git_does_not_see_the_store(place: Path):
    invoke("run", "agents.py:add", "1")
    assert (place / ".holdfast" / ".gitignore").read_text() == "*\n"


def test_resume_all_takes_up_who_waits_for_another(place: Path):
    """A parent that was left waiting goes on when its child, resumed beside it, has ended."""
    invoke("run", "agents.py:worried", "--name", "parent", code=10)
    (child,) = [row["run"] for row in rows() if row["run"] != "parent"]
    invoke("answer", child, "red")
    done = invoke("resume", "--all", "--json")
    assert {row["status"] for row in documents(done.stdout)} == {"done"}


def test_resume_all(place: Path):
    invoke("run", "agents.py:colour", "--name", "one", code=10)
    invoke("run", "agents.py:colour", "--name", "two", code=10)
    invoke("answer", "one", "red")
    done = invoke("resume", "--all", "--json", code=10)
    assert {row["run"]: row["status"] for row in documents(done.stdout)} == {
        "one": "done",
        "two": "waiting",
    }
