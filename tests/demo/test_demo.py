"""The demo on the real engine, with real processes that are really killed."""

import asyncio
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

import holdfast
from examples.repair import __main__ as front
from examples.repair import folder, git, library, play, reading, suite
from examples.repair.bugs import Planted
from examples.repair.showing import Screen

CORE = '''"""A small library."""


def chunks(values, size):
    """Split into lists of at most `size`."""
    found = []
    start = 0
    while start < len(values):
        found.append(values[start:start + size])
        start += size
    return found


def middle(low, value, high):
    if value < low:
        return low
    if value > high:
        return high
    return value


def total(values, first=0):
    found = first
    for value in values:
        found += value
    return found
'''
TESTS = """from lib.core import chunks, middle, total

def test_even():
    assert chunks([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]

def test_rest():
    assert chunks([1, 2, 3], 2) == [[1, 2], [3]]

def test_empty():
    assert chunks([], 2) == []

def test_middle():
    assert [middle(1, n, 3) for n in (0, 1, 2, 3, 4)] == [1, 1, 2, 3, 3]

def test_total():
    assert (total([1, 2]), total([], 5)) == (3, 5)
"""
KILL = """#!/bin/sh
kill -9 $(tail -n 1 {count} | cut -d ' ' -f 3)
"""


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in ("OPENAI", "ANTHROPIC"):
        for what in ("API_KEY", "BASE_URL", "MODEL"):
            monkeypatch.delenv(f"{provider}_{what}", raising=False)


def stage(tmp_path: Path, seed: int) -> folder.Place:
    """A demo that is ready to begin: the library is there, the seed's bug is in it."""
    place = folder.fresh(tmp_path / "demo", seed, keep=False)
    write_library(place, CORE, TESTS)
    folder.plant(place, "lib 1.0", library.sources(place.library, ("lib/*.py",)), seed)
    return place


def write_library(place: folder.Place, core: str, tests: str) -> None:
    (place.library / "lib").mkdir(parents=True)
    (place.library / "lib/__init__.py").write_text("")
    (place.library / "lib/core.py").write_text(core)
    (place.library / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (place.library / "test_core.py").write_text(tests)


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


def published_passes(place: folder.Place, tmp_path: Path) -> bool:
    git.git("clone", "--quiet", str(place.repository), str(tmp_path / "check"))
    return suite.perform(tmp_path / "check", suite.Run()).green


@pytest.mark.parametrize(("seed", "kill_after"), [(0, 1), (3, 3), (8, 5)])
def test_killed_on_the_way_it_repairs_and_publishes_all_the_same(
    tmp_path: Path, seed: int, kill_after: int
):
    place = stage(tmp_path, seed)
    code, told = perform(place, kill_after)
    assert code == 0, told
    assert "got SIGKILL and is dead" in told
    assert "no step was repeated" in told
    assert "REPAIRED lib/core.py" in told
    assert folder.planting(place).bug.description in told.partition("The outcome")[2]
    assert folder.planting(place).bug.description not in told.partition("The outcome")[0]
    assert len(commits(place)) == 2
    assert published_passes(place, tmp_path)


def test_a_person_who_says_no_is_heard(tmp_path: Path):
    place = stage(tmp_path, 3)
    code, told = perform(place, answer="deny")
    assert code == 3
    assert "nothing was published" in told
    assert told.count("publish: refused by demo") == 2  # as it came, and in the outcome
    assert commits(place) == ["lib 1.0, as found"]


def test_what_is_not_found_is_said_to_be_not_found(tmp_path: Path):
    place = folder.fresh(tmp_path / "demo", 0, keep=False)
    core = "def middle(low, value, high):\n    return low\n"
    tests = "from lib.core import middle\n\ndef test_it():\n    assert middle(1, 2, 3) == 'x'\n"
    write_library(place, core, tests)
    git.make_bare(place.repository, copied(place, tmp_path), "as found")
    folder.write_order(place, ("lib/core.py",), None)
    bug = Planted("lib/core.py", 2, "lib/core.py:2: all wrong", "", "    return low", core)
    made = folder.Planting(0, "lib", bug, core, 1, "1 of 1 tests fail")
    place.secret.write_text(json.dumps(asdict(made)))
    code, told = perform(place)
    assert code == 1
    assert "NOT FOUND: no candidate passes the tests" in told
    assert "REPAIRED" not in told
    assert commits(place) == ["as found"]


def copied(place: folder.Place, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(place.library), str(copy)], check=True)
    return copy


def test_killed_right_after_the_push_it_looks_and_publishes_nothing_twice(tmp_path: Path):
    place = stage(tmp_path, 3)
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


@pytest.mark.parametrize("seed", [6])
def test_killed_again_and_again_at_any_moment_it_gets_there(tmp_path: Path, seed: int):
    place = stage(tmp_path, seed)
    dice = random.Random(seed)
    kills = 0
    how = "begin"
    while kills < 3:
        with play.worker(place, how) as process:
            try:
                assert process.wait(dice.uniform(0.4, 1.6)) == 0
                break
            except subprocess.TimeoutExpired:
                process.kill()
        kills += 1
        how = "go-on" if began(place) else "begin"
    code, told = perform(place, resume=True)
    assert code == 0, told
    assert len(commits(place)) == 2
    assert_nothing_recorded_was_repeated(place, kills)


def began(place: folder.Place) -> bool:
    async def look() -> bool:
        async with holdfast.Runtime(holdfast.Settings(store=str(place.store))) as runtime:
            try:
                await runtime.store.run(place.run)
            except holdfast.NotFound:
                return False
            return True

    return asyncio.run(look())


def assert_nothing_recorded_was_repeated(place: folder.Place, kills: int) -> None:
    async def recorded() -> int:
        async with holdfast.Runtime(holdfast.Settings(store=str(place.store))) as runtime:
            journal = reading.Journal(runtime.store, place.run)
            await journal.news()
            return journal.performed_steps()

    keys = Counter(line.split()[1] for line in place.count.read_text().splitlines())
    assert len(keys) == asyncio.run(recorded())
    in_flight_at_most = 2 * kills  # two candidates run at a time
    assert keys.total() - len(keys) <= in_flight_at_most


# ---- with a model ----------------------------------------------------------------------------

KEY = "sk-this-is-the-secret-of-somebody"


class Provider(BaseHTTPRequestHandler):
    """Answers as a model would: with the edit that undoes the bug."""

    edit: dict[str, object] = {}  # noqa: RUF012
    keys: list[str] = []  # noqa: RUF012

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.keys.append(self.headers["authorization"])
        content = json.dumps([self.edit])
        raw = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format, *args):  # noqa: A002
        pass


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    Provider.keys = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_with_a_key_candidates_come_from_the_model_and_no_record_has_the_key(
    tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_BASE_URL", provider)
    place = stage(tmp_path, 6)
    bug = folder.planting(place).bug
    Provider.edit = {
        "path": bug.path, "line": bug.line, "old": bug.after_line, "new": bug.before_line,
    }  # fmt: skip
    code, told = perform(place)
    assert code == 0, told
    assert "the candidate came from the model" in told
    assert Provider.keys == [f"Bearer {KEY}"]
    assert KEY not in told
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert any(path.name == "journal.db" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_model_that_cannot_be_reached_is_said_and_mutations_take_over(
    tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    code, told = perform(stage(tmp_path, 6))
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


@pytest.fixture(scope="module")
def toolz() -> None:
    try:
        library.fetch(library.TOOLZ, folder.ROOT / ".cache")
    except library.LibraryUnavailable as error:
        pytest.skip(str(error))


def demo(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.repair", *words], cwd=folder.ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("toolz")
def test_the_whole_demo_on_the_real_library(tmp_path: Path):
    process = demo("--dir", str(tmp_path / "demo"))
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "it restores the original text" in told
    assert "no step was repeated" in told
    assert "the demo itself answers, because nobody is at a terminal: approve" in told


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("toolz")
def test_interrupted_it_says_how_to_go_on_and_that_works(tmp_path: Path):
    place = ("--dir", str(tmp_path / "demo"))
    process = demo("--seed", "3", "--no-kill", *place)
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
