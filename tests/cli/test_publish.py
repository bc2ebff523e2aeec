"""fork holds, publish performs or drops what is held; ps and show say what is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import documents, invoke

HOLDING = """
import holdfast


def log(line):
    with open("log", "a") as file:
        file.write(line + "\\n")


@holdfast.tool(effect="idempotent")
async def tell(text: str) -> None:
    if text == "bad":
        raise ValueError("no such reader")
    log(f"told {text}")


@holdfast.tool(effect="idempotent", preview=lambda n: n)
async def book(n: int) -> int:
    log(f"booked {n}")
    return n + 1


@holdfast.tool(effect="idempotent")
async def order(n: int) -> int:
    log(f"ordered {n}")
    return n * 2


@holdfast.agent
async def writer(texts: list[str], n: int = 0) -> int:
    if holdfast.run_id() == "old":
        return 0
    for text in texts:
        await tell(text)
    return await order(n) if n else await book(1)
"""


@pytest.fixture(autouse=True)
def _programs(place: Path) -> None:
    (place / "holding.py").write_text(HOLDING, "utf-8")


def log(place: Path) -> list[str]:
    file = place / "log"
    return file.read_text("utf-8").splitlines() if file.exists() else []


def test_a_fork_is_published(place: Path):
    invoke("run", "holding.py:writer", 'texts=["a"]', "--name", "old")
    done = invoke("fork", "old", "--name", "new")
    assert "held" in done.stderr
    assert done.stdout.strip() == "1"
    assert log(place) == []
    assert "holds 2: holdfast publish new" in invoke("ps").stdout
    shown = invoke("show", "new").stdout
    assert 'new@1  tell(text="a")' in shown
    assert "preview 1" in shown
    assert len(json.loads(invoke("show", "new", "--json").stdout)["held"]) == 2
    said = invoke("publish", "new").stdout
    assert log(place) == ["told a", "booked 1"]
    assert "published new@1  tell" in said
    assert "preview 1, published 2" in said
    assert "nothing was held" in invoke("publish", "new").stderr


def test_a_fork_that_waits_goes_on_with_the_real_outcome(place: Path):
    invoke("run", "holding.py:writer", 'texts=["a"]', "n=4", "--name", "old")
    done = invoke("fork", "old", "--name", "new", code=10)
    assert "order waits to be published" in done.stderr
    assert "holdfast publish new" in done.stderr
    assert "waits to be published" in invoke("ps").stdout
    invoke("publish", "new")
    assert log(place) == ["told a", "ordered 4"]
    rows = {row["run"]: row for row in documents(invoke("ps", "--json").stdout)}
    assert rows["new"]["status"] == "done"
    assert invoke("resume", "new").stdout.strip() == "8"


def test_publishing_stops_where_something_fails_and_goes_on_behind_it(place: Path):
    invoke("run", "holding.py:writer", 'texts=["a", "bad", "b"]', "--name", "old")
    invoke("fork", "old", "--name", "new")
    said = invoke("publish", "new", code=5).stdout
    assert "error new@2  tell: no such reader" in said
    assert "still held new@3  tell" in said
    assert log(place) == ["told a"]
    invoke("publish", "new")
    assert log(place) == ["told a", "told b", "booked 1"]


def test_what_is_held_can_be_dropped_and_a_live_fork_holds_nothing(place: Path):
    invoke("run", "holding.py:writer", 'texts=["a"]', "--name", "old")
    invoke("fork", "old", "--name", "new")
    assert "discarded new@1  tell" in invoke("publish", "new", "--discard").stdout
    assert "holds nothing" in invoke("publish", "new", "--discard").stderr
    assert log(place) == []
    done = invoke("fork", "old", "--name", "live", "--live")
    assert "live" in done.stderr
    assert log(place) == ["told a", "booked 1"]
