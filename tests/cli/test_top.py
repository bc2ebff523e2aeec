"""``holdfast top``: at a real terminal, and without one."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.cli.desk import Desk
from holdfast.cli.screen import Screen, cells
from holdfast.cli.topping import Top
from holdfast.explain.watching import Watch
from holdfast.journal.events import Plan, RunEnded, RunStarted, StepSettled
from holdfast.stores.memory import MemoryStore
from tests.cli.support import invoke
from tests.cli.terminal import Terminal
from tests.explain.family import recorded
from tests.stores.scenes import Scene


class Raw(Terminal):
    """A pseudo-terminal of a size, typed at key by key."""

    def __init__(self, *args: str, cwd: Path, lines: int = 24, columns: int = 80) -> None:
        super().__init__(*args, cwd=cwd)
        self.resize(lines, columns)
        self.seen = b""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait(self, done: Callable[[bytes], bool]) -> None:
        """Read until what was shown since the last key is enough."""
        deadline = time.monotonic() + 60
        while not done(self.seen):
            ready, _, _ = select.select([self.main], [], [], 0.1)
            try:
                self.seen += os.read(self.main, 65536) if ready else b""
            except OSError:  # the other side is closed
                break
            assert time.monotonic() < deadline, self.seen
        assert done(self.seen), self.seen

    def see(self, text: str) -> None:
        self.wait(lambda seen: text.encode() in seen)

    def key(self, key: str) -> None:
        self.seen = b""
        os.write(self.main, key.encode())

    def cooked(self) -> bool:
        """Whether lines are read and shown as terminals do by default."""
        usual = termios.ICANON | termios.ECHO
        return termios.tcgetattr(self.main)[3] & usual == usual


@pytest.fixture
def asked(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("COLUMNS", "LINES"):  # some runners of tests set them: then nothing is resized
        monkeypatch.delenv(name, raising=False)
    invoke("run", "agents.py:shop", "-q", "--no-input", code=10)
    (one,) = json.loads(invoke("inbox", "--json").stdout)
    return f"{one['run']}@{one['step']}"


@pytest.fixture
def top(asked: str, place: Path) -> Iterator[Raw]:
    terminal = Raw("top", cwd=place)
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait()


def left(top: Raw) -> None:
    """INVARIANT X169: the screen and the cursor are as they were."""
    top.wait(lambda seen: b"\x1b[?1049l" in seen and b"\x1b[?25h" in seen)


def test_x168_a_question_is_answered_with_two_keys(asked: str, top: Raw):
    top.see("1 asked")
    top.key("a")
    top.see("select a question first")
    top.key("\x1b[B")
    top.see("\x1b[7m")  # it is shown as selected
    top.key("a")
    top.see(f"approve {asked}?")
    top.key("n")
    top.see("not answered")
    assert len(json.loads(invoke("inbox", "--json").stdout)) == 1
    top.key("a")
    top.see(f"approve {asked}?")
    top.key("y")
    top.see(f"{asked}: approve")
    assert json.loads(invoke("inbox", "--json").stdout) == []
    top.key("q")
    left(top)
    assert top.end() == 0


def test_a_run_is_shown_and_what_happens_comes_in(asked: str, top: Raw, place: Path):
    top.see("1 asked")
    top.key("j")
    top.key("\r")
    top.see("approval.asked")
    invoke("deny", asked)
    top.see("approval.given")
    top.key("\x1b")
    top.see("0 asked")
    invoke("run", "agents.py:number", "-q", "--no-input", code=10)
    top.see("How many?")
    assert b"\x1b]0;owned" not in top.seen
    top.key("q")
    assert top.end() == 0


@pytest.mark.parametrize(("number", "code"), [
    (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129),
])  # fmt: skip
def test_x169_the_terminal_is_as_it_was(top: Raw, number: signal.Signals, code: int):
    top.see("1 asked")
    assert not top.cooked()
    os.kill(top.process.pid, number)
    left(top)
    assert top.process.wait(timeout=30) == code
    assert top.cooked()
    os.close(top.main)


def test_it_takes_another_size(top: Raw):
    top.see("1 asked")
    top.seen = b""
    top.resize(10, 40)
    # a page of ten lines: drawn whole, from the first column of each
    top.wait(lambda seen: any(part.count(b"\n") == 9 for part in seen.split(b"\x1b[H")))
    top.key("q")
    assert top.end() == 0


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (200, 60)])
async def test_every_page_fits(size: tuple[int, int]):
    store = MemoryStore()
    await recorded(store)
    top = Top(Desk(Screen()), store)
    top.now = await Watch(store).look(1_700_000_100_000)
    for key in ("other", "down", "enter", "back", "a", "d", "y"):
        await top.press(key)
        page = await top.page(*size)
        assert len(page) == size[1]
        for line in page:
            text = "".join(part if isinstance(part, str) else part[0] for part in line)
            assert cells(text) <= size[0]


def test_without_a_terminal(asked: str):
    for words in (["top"], ["top", "--once"]):
        assert asked in invoke(*words).stdout
    found = json.loads(invoke("top", "--json").stdout)
    assert [f"{one['run']}@{one['step']}" for one in found["questions"]] == [asked]
    assert found["runs"][0]["status"] == "waiting"


async def test_spend_is_that_of_the_events():
    store = MemoryStore()
    scene = Scene(store)
    await scene.add("r", RunStarted("a"), args={})
    used = {"tokens": 5.0, "money": 0.25}
    await scene.add("r", StepSettled("1", Plan("t"), usage=used), value=1)
    watch = Watch(store)
    (one,) = (await watch.look(scene.at)).runs
    assert (one.tokens, one.money, one.last) == (5.0, 0.25, "@1 tool t → 1")
    await scene.add("r", StepSettled("2", Plan("t"), usage=used), value=2)
    now = await watch.look(scene.at)
    assert (now.runs[0].tokens, now.runs[0].money, now.rate) == (10.0, 0.5, 0.1)
    await scene.add("r", RunEnded("done"))
    assert (await watch.look(scene.at)).runs == ()
