"""What the tests of the command line share: agents to run, and ways to call `holdfast`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from holdfast.cli import main

AGENTS = """
import asyncio
import os

import holdfast

EVIL = "\\x1b]0;owned\\x07\\x1b[31m[bold]red[/bold]\\u202e"


@holdfast.tool(effect="read")
async def look(n: int) -> dict:
    await asyncio.sleep(0.001)
    return {"n": n, "text": "x" * n}


@holdfast.tool(effect="read")
def evil(word: str) -> str:
    return word + EVIL


@holdfast.tool(effect="once")
async def pay(amount: int, to: str) -> str:
    return f"paid {amount} to {to}"


@holdfast.agent
async def add(a: int, b: int = 2, word: str = "w") -> dict:
    print("this is not the result")
    os.system("echo nor is this")
    first = await look(a)
    second = await look(b)
    return {"sum": first["n"] + second["n"], "word": word}


@holdfast.agent
async def shop(amount: int = 3):
    return await pay(amount, "bob")


@holdfast.agent
async def colour():
    return await holdfast.ask("Which colour?", choices=["red", "green"])


@holdfast.agent
async def number():
    return await holdfast.ask("How many?" + EVIL)


@holdfast.agent
async def two():
    return await holdfast.gather(holdfast.ask("one?"), holdfast.ask("two?"))


@holdfast.agent
async def signalled():
    return await holdfast.wait_for("go")


@holdfast.agent
async def bad():
    await look(1)
    raise ValueError("oh no\\n" + EVIL)


@holdfast.agent
async def hostile():
    return evil("word" + EVIL)


@holdfast.agent
async def family(n: int = 2):
    children = [await holdfast.spawn(add, i) for i in range(n)]
    return [(await child.result())["sum"] for child in children]


@holdfast.agent
async def worried():
    child = await holdfast.spawn(colour)
    return await child.result()


@holdfast.agent
async def slow(n: int = 200_000):
    for i in range(n):
        await look(i % 7)
    return n


@holdfast.agent
async def odd():
    return object()


@holdfast.agent
async def large():
    return "x" * (65 * 1024 * 1024)


not_an_agent = 3
"""


def environment() -> dict[str, str]:
    """A child process's environment: nothing of ours but a short linger."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # else each command compiles every module anew
    env |= {"HOLDFAST_LINGER": "0.05", "HOLDFAST_USER": "ann"}
    return env


def invoke(*args: str, code: int | None = 0) -> Result:
    """A command in this process; ``code``: the exit code that it must have."""
    result = CliRunner().invoke(main, list(args), prog_name="holdfast")
    if code is not None:
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
    return result


def command(*args: str) -> list[str]:
    """A command line for a process of its own."""
    return [sys.executable, "-m", "holdfast.cli", *args]


def call(*args: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    done = subprocess.run(
        command(*args), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=60,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if code is not None:
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def start(*args: str, cwd: Path) -> subprocess.Popen[str]:
    """A command in a process of its own that goes on."""
    return subprocess.Popen(
        command(*args), cwd=cwd, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def documents(text: str) -> list[Any]:
    """One JSON array, or JSON lines; fails on anything else."""
    found = [json.loads(line) for line in text.splitlines()]
    return found[0] if len(found) == 1 and isinstance(found[0], list) else found


def rows(*args: str) -> list[Any]:
    """What ``ps --json`` says."""
    return documents(invoke("ps", "--json", *args).stdout)


def newest() -> str:
    """The id of the newest run."""
    return rows("--limit", "1")[0]["run"]
