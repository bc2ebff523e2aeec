"""diff, what-if, score and pairs."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec

from holdfast.api.console.render import templates
from holdfast.explain import telling
from holdfast.explain.because import Why
from holdfast.journal.events import Draft, RunEnded, RunStarted
from holdfast.journal.store import Batch
from holdfast.stores.sqlite import SqliteStore
from tests.cli.support import documents, invoke, rows, start

PROGRAM = """
import asyncio
from pathlib import Path

import holdfast

EVIL = "\\x1b]0;owned\\x07\\x1b[31m[bold]red[/bold]\\u202e"


@holdfast.tool(effect="read")
async def price(n: int) -> int:
    if n == 13:
        if Path("seen").exists():
            Path("here").touch()
            await asyncio.sleep(600)
        Path("seen").touch()
    return n * 10


@holdfast.tool(effect="once")
async def send(to: str, text: str) -> None:
    with open("sent", "a") as file:
        file.write(f"{to} {text}\\n")


@holdfast.tool(effect="read")
def evil(n: int) -> str:
    return f"{n}{EVIL}"


@holdfast.agent
async def offer(n: int) -> int:
    cost = await price(n)
    await send("ann", f"it costs {cost}")
    return cost


@holdfast.agent
async def hostile(n: int) -> str:
    return evil(n)
"""

ALLOW = """
version: 1
name: all
rules:
  - {id: all, when: {effect: [read, world, idempotent, once]}, then: allow}
"""


def program(place: Path) -> None:
    (place / "offers.py").write_text(PROGRAM, "utf-8")
    (place / "all.yaml").write_text(ALLOW, "utf-8")


def run(name: str, n: int) -> None:
    invoke("run", "offers.py:offer", str(n), "--name", name, "--policy", "all.yaml")


def findings(run: str) -> list[Any]:
    said = documents(invoke("log", run, "--json").stdout)
    return [one for one in said if one["kind"] == "finding.added"]


def test_what_if_compares_holds_and_keeps_what_it_found(place: Path):
    """X20: the tool that sends is not called in any fork."""
    program(place)
    run("old", 1)
    said = invoke("what-if", "old@1", "--set", "result=5", "--times", "3", "--policy", "all.yaml")
    assert "3 of 3 forks ended otherwise" in said.stdout
    assert "@1: result = 5" in said.stdout
    assert (place / "sent").read_text() == "ann it costs 10\n"
    (found,) = findings("old")
    assert (found["body"]["type"], found["body"]["about"]) == ("caused", 1)
    assert {"step": "1", "flips": 3, "of": 3}.items() <= found["value"].items()
    assert all(row["holds"] for row in rows() if row["fork_of"])


def test_what_if_says_what_it_is_asked_wrongly(place: Path):
    program(place)
    run("old", 1)
    for words, part in (
        (("old@1", "--observation", "2=3"), "one thing at a time"),
        (("old@1", "--outcome", "valu == 1"), "did you mean 'value'"),
        (("old@1", "--message", "x"), "say N=TEXT"),
        (("old@1", "--message", "0=x"), "asks no model"),
        (("old@9",), "has no step"),
        (("nobody@1",), "is not in this store"),
    ):
        said = invoke("what-if", *words, "--policy", "all.yaml", code=None)
        assert said.exit_code
        assert part in said.stderr


def test_what_had_no_effect_is_not_called_a_cause(place: Path):
    """X47: on the terminal and in the console."""
    program(place)
    run("old", 1)
    invoke("what-if", "old@2", "--fresh", "--policy", "all.yaml")
    said = invoke("why", "old@2").stdout
    assert "no effect seen  old@2" in said
    assert "caused" not in said
    found = msgspec.convert(json.loads(invoke("why", "old@2", "--json").stdout), Why)
    shown = templates.get_template("why_part.html").render(why=found)
    assert "no effect seen" in shown
    assert "caused" not in shown
    flipped = msgspec.structs.replace(found.caused[0], flips=1)
    found = msgspec.structs.replace(found, caused=(flipped,))
    assert "caused" in templates.get_template("why_part.html").render(why=found)


def test_why_a_run_ended_is_dated_with_its_end(place: Path):
    begun, ended = 86_400_000, 93_784_000

    async def past() -> None:
        store = SqliteStore(place / ".holdfast", grow=True)
        drafts = (
            Draft(RunStarted("clerk"), begun, args=b"{}"),
            Draft(RunEnded("done", steps=0), ended, value=b'"the sum"'),
        )
        await store.append((Batch("r", drafts, expect=-1, lease="me"),), {})
        await store.close()

    asyncio.run(past())
    said = invoke("why", "r").stdout
    assert telling.clock(ended) in said
    assert telling.clock(begun) not in said
    assert "what it ended with" in said
    assert "arguments" not in said


def test_forms_of_asking(place: Path):
    program(place)
    run("old", 1)
    flips = []
    for words in (
        ("old", "--observation", "1=7"), ("old", "--without", "1"), ("old", "--set", "input.n=2"),
        ("old@2", "--fresh"), ("old@2", "--set", "args.to=eve", "--outcome",
                               'steps.exists(s, s.name == "send" && s.args.to == "eve")'),
    ):  # fmt: skip
        said = invoke("what-if", *words, "--json", "--policy", "all.yaml").stdout
        flips.append(json.loads(said)["flips"])
    assert flips == [1, 1, 1, 0, 1]
    assert (place / "sent").read_text() == "ann it costs 10\n"


def test_what_is_killed_leaves_no_finding(place: Path):
    """X23: SIGKILL after the first fork of three, while the second runs."""
    program(place)
    run("old", 1)
    process = start("what-if", "old@1", "--set", "args.n=13", "--times", "3", "--policy",
                    "all.yaml", cwd=place)  # fmt: skip
    try:
        until = time.monotonic() + 50
        while not (place / "here").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert len(rows()) == 3
    assert not findings("old")
    assert (place / "sent").read_text() == "ann it costs 10\n"
    invoke("fsck")
    assert (
        "1 of 1" in invoke("what-if", "old@1", "--set", "result=5", "--policy", "all.yaml").stdout
    )
    assert len(findings("old")) == 1


def test_scores_and_pairs(place: Path):
    program(place)
    run("old", 1)
    invoke("fork", "old@1", "--set", "result=5", "--name", "new", "--policy", "all.yaml")
    invoke("score", "old", "bad", "--note", "too dear")
    assert documents(invoke("score", "new", "good", "--json").stdout) == [
        {"run": "new", "good": True, "score": None, "note": ""}
    ]
    assert "bad (ann)" in invoke("diff", "old", "new").stdout
    invoke("score", "old", "best", code=2)
    said = invoke("pairs", "old", "--out", "pairs.jsonl")
    assert "1 pairs in pairs.jsonl" in said.stderr
    (pair,) = documents((place / "pairs.jsonl").read_text("utf-8"))
    assert {"prompt", "chosen", "rejected"} <= pair.keys()
    assert pair["chosen"][0]["tool_calls"][0]["function"]["arguments"]["text"] == "it costs 5"
    assert pair["rejected"][0]["tool_calls"][0]["function"]["arguments"]["text"] == "it costs 10"
    assert documents(invoke("pairs", "old").stdout) == [pair]


def test_nothing_hostile_reaches_the_terminal(place: Path):
    program(place)
    invoke("run", "offers.py:hostile", "1", "--name", "one")
    invoke("run", "offers.py:hostile", "2", "--name", "two")
    for words in (("diff", "one", "two"), ("diff", "one", "two", "--json"),
                  ("what-if", "one", "--set", "input.n=3"), ("what-if", "one", "--json"),
                  ("what-if", "one@1", "--set", "result=\x1b[2J\u202e"),
                  ("pairs", "one", "--outcome", "args.n == 3")):  # fmt: skip
        said = invoke(*words)
        for text in (said.stdout, said.stderr):
            assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "\\x1b]0;owned" in invoke("diff", "one", "two").stdout
