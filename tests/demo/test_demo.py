"""The demo on the real engine, with real processes that are really killed."""

import asyncio
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Protocol

import pytest
from rich.console import Console

import holdfast
from examples.repair import __main__ as front
from examples.repair import folder, git, library, model, play, reading, suite
from examples.repair.bugs import Planted
from examples.repair.showing import Screen
from tests.demo.support import HOPELESS, HOPELESS_TESTS, Provider, write_library

KILL = """#!/bin/sh
kill -9 $(tail -n 1 {count} | cut -d ' ' -f 3)
"""


class Stage(Protocol):
    def __call__(self, seed: int) -> folder.Place: ...


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Demos that are ready to begin, made once: the library is there, the seed's bug is in it."""

    @cache
    def make(seed: int) -> folder.Place:
        place = folder.fresh(tmp_path_factory.mktemp("planted") / "demo", seed, keep=False)
        write_library(place.library)
        folder.plant(place, "lib 1.0", library.sources(place.library, ("lib/*.py",)), seed)
        return place

    return make


@pytest.fixture
def stage(tmp_path: Path, planted: Stage) -> Stage:
    """A demo of this test's own that is ready to begin."""

    def make(seed: int) -> folder.Place:
        made = planted(seed)
        shutil.copytree(made.folder, tmp_path / "demo")
        place = folder.Place(tmp_path / "demo", made.run)
        folder.write_order(place, ("lib/core.py",), model.wire())
        return place

    return make


def perform(
    place: folder.Place, kill_after: int = 0, answer: str = "approve", *, resume: bool = False
) -> tuple[int, str]:
    """Play it; the exit code and what was shown."""
    out = io.StringIO()
    screen = Screen(Console(file=out, highlight=False, soft_wrap=True, markup=False, width=200))
    wishes = play.Wishes(kill_after, answer)
    how = play.resumed if resume else play.whole
    return asyncio.run(how(screen, place, wishes)), out.getvalue()


def commits(place: folder.Place) -> list[str]:
    return git.git("log", "--format=%s", "main", at=place.repository).splitlines()


@pytest.mark.parametrize(("seed", "kill_after"), [(0, 1), (8, 3)])
def test_killed_on_the_way_it_repairs_and_publishes_all_the_same(
    tmp_path: Path, stage: Stage, seed: int, kill_after: int
):
    place = stage(seed)
    code, told = perform(place, kill_after)
    assert code == 0, told
    assert "got SIGKILL and is dead" in told
    assert "no step was repeated" in told
    assert "REPAIRED lib/core.py" in told
    assert folder.planting(place).bug.description in told.partition("The outcome")[2]
    assert folder.planting(place).bug.description not in told.partition("The outcome")[0]
    assert "it changes what its preview said" in told
    assert "1 came home with the merge" in told
    assert len(commits(place)) == 2
    git.git("clone", "--quiet", str(place.repository), str(tmp_path / "check"))
    assert suite.perform(tmp_path / "check", suite.Run()).green
    assert not (tmp_path / "check/notes.db").exists()


def test_a_person_who_says_no_is_heard(stage: Stage):
    place = stage(0)
    code, told = perform(place, answer="deny")
    assert code == 3
    assert "nothing was published" in told
    assert told.count("publish: refused by demo") == 2  # as it came, and in the outcome
    assert commits(place) == ["lib 1.0, as found"]


def test_what_is_not_found_is_said_to_be_not_found(tmp_path: Path):
    place = folder.fresh(tmp_path / "demo", 0, keep=False)
    write_library(place.library, HOPELESS, HOPELESS_TESTS)
    copy = write_library(tmp_path / "copy", HOPELESS, HOPELESS_TESTS)
    git.make_bare(place.repository, copy, "as found")
    folder.write_order(place, ("lib/core.py",), None)
    bug = Planted("lib/core.py", 2, "lib/core.py:2: all wrong", "", "    return values", HOPELESS)
    made = folder.Planting(0, "lib", bug, HOPELESS, 1, "1 of 1 tests fail")
    place.secret.write_text(json.dumps(asdict(made)))
    code, told = perform(place)
    assert code == 1
    assert "NOT FOUND: no candidate passes the tests" in told
    assert "REPAIRED" not in told
    assert commits(place) == ["as found"]


def test_killed_right_after_the_push_it_looks_and_publishes_nothing_twice(stage: Stage):
    place = stage(0)
    hook = place.repository / "hooks/post-receive"  # runs when the commit is there for all to see
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(KILL.format(count=place.count.resolve()))
    hook.chmod(0o755)
    with pytest.raises(holdfast.Outside, match="ended with -9"):
        perform(place)
    assert len(commits(place)) == 2
    code, told = perform(place, resume=True)
    assert code == 0, told
    assert "found by looking" in told
    assert len(commits(place)) == 2
    calls = [line.split()[0] for line in place.count.read_text().splitlines()]
    assert calls.count("publish") == 1


@pytest.mark.parametrize("seed", [8])
def test_killed_again_and_again_at_any_moment_it_gets_there(stage: Stage, seed: int):
    place = stage(seed)
    dice = random.Random(seed)
    found: list[tuple[int, frozenset[str]]] = []
    how = "begin"
    for _ in range(3):
        with play.worker(place, how) as process:
            try:
                assert process.wait(dice.uniform(0.4, 1.6)) == 0
                break
            except subprocess.TimeoutExpired:
                process.kill()
        recorded = recorded_now(place)
        how = "begin" if recorded is None else "go-on"
        found.append((len(performed(place)), recorded or frozenset()))
    code, told = perform(place, resume=True)
    assert code == 0, told
    assert len(commits(place)) == 2
    for count, recorded in found:  # as each process that came upon the dead one's journal saw it
        assert recorded.issubset(performed(place)[:count])
        assert recorded.isdisjoint(performed(place)[count:])


def performed(place: folder.Place) -> list[str]:
    """The keys under which tools were performed, in that order."""
    lines = place.count.read_text().splitlines() if place.count.exists() else []
    return [line.split()[1] for line in lines]


def recorded_now(place: folder.Place) -> frozenset[str] | None:
    """The keys of the calls that the journal has outcomes of; None if the run has not begun."""

    async def look() -> frozenset[str] | None:
        async with holdfast.Runtime(holdfast.Settings(store=str(place.store))) as runtime:
            try:
                await runtime.store.run(place.run)
            except holdfast.NotFound:
                return None
            journal = reading.Journal(runtime, place.run)
            await journal.news()
            return journal.recorded()

    return asyncio.run(look())


# ---- with a model ----------------------------------------------------------------------------

KEY = "sk-this-is-the-secret-of-somebody"


def test_with_a_key_candidates_come_from_the_model_and_no_record_has_the_key(
    stage: Stage, provider: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", provider + "/v1")
    place = stage(0)
    bug = folder.planting(place).bug
    edit = {"path": bug.path, "line": bug.line, "old": bug.after_line, "new": bug.before_line}
    Provider.answer = json.dumps([edit])
    code, told = perform(place)
    assert code == 0, told
    assert "the candidate came from the model" in told
    assert [headers["authorization"] for _, headers, _ in Provider.asked] == [f"Bearer {KEY}"]
    assert KEY not in told
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert any(path.name == "journal.db" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_model_that_cannot_be_reached_is_said_and_mutations_take_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    code, told = perform(stage(0))
    assert code == 0, told
    assert "ask_model: http://127.0.0.1:9/chat/completions: " in told
    assert "the candidate came from mutations: none of the model's did" in told


# ---- the command -----------------------------------------------------------------------------


def test_a_folder_that_is_not_the_demos_own_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert front.main(["--dir", str(tmp_path)]) == 2
    assert "not empty and not of this demo" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert front.main(["--dir", str(tmp_path / "nothing"), "--resume"]) == 2


def test_without_a_library_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def unavailable(pin: library.Pin, cache: Path) -> Path:
        raise library.LibraryUnavailable("toolz is not cached and could not be downloaded: offline")

    monkeypatch.setattr(library, "fetch", unavailable)
    assert front.main(["--dir", str(tmp_path / "demo")]) == 5
    assert capsys.readouterr().out.count("offline") == 1


def test_earlier_runs_are_kept_on_request_only(tmp_path: Path):
    assert folder.fresh(tmp_path / "demo", 3, keep=False).run == "repair-3"
    assert folder.fresh(tmp_path / "demo", 3, keep=True).run == "repair-3-2"
    assert folder.fresh(tmp_path / "demo", 4, keep=False).run == "repair-4"
    assert [path.name for path in (tmp_path / "demo").iterdir() if path.is_dir()] == ["repair-4"]
    assert folder.latest(tmp_path / "demo").run == "repair-4"


def demo(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.repair", *words], cwd=folder.ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_demo_on_the_real_library(tmp_path: Path):
    try:
        library.fetch(library.TOOLZ, folder.ROOT / ".cache")
    except library.LibraryUnavailable as error:
        pytest.skip(str(error))
    process = demo("--dir", str(tmp_path / "demo"))
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "it restores the original text" in told
    assert "no step was repeated" in told
    assert "the demo itself answers, because nobody is at a terminal: approve" in told


def test_interrupted_it_says_how_to_go_on_and_that_works(stage: Stage):
    place = ("--dir", str(stage(0).folder))
    process = demo("--resume", *place)
    assert process.stdout is not None
    seen = ""
    while "run_tests" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    os.kill(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert f"-m examples.repair --resume --dir {place[1]}" in told
    process = demo("--resume", "--answer", "approve", *place)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "recorded already" in told
