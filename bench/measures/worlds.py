"""Worlds as directories: fork, first command, commands in an open world, snapshots, long chains,
reading in the sandbox; beside `git worktree add`, `cp -r` and a commit by scanning."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.ground import Ground
from bench.report import Figure, median
from holdfast.engine import scope
from holdfast.tools import workplace, world
from holdfast.values.ports import SystemDice
from holdfast.world import CopyCheckout, Stage

READ = """
import os, sys, time
start = time.perf_counter()
count = 0
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            file.read()
        count += 1
        if count == 10_000:
            break
    if count == 10_000:
        break
again = time.perf_counter()
for _ in range(200):
    with open(os.path.join(folder, name), "rb") as file:
        file.read()
print((time.perf_counter() - again) / 200 * 1e6)
"""


class Branch:
    """A run's world, without an engine: what is measured is the world alone, and its commit."""

    def __init__(self, runtime, root: str, name: str) -> None:
        self.runtime, self.root, self.name = runtime, root, name
        self.stage = Stage(runtime.store.get)

    async def run(self, *command: str, **asked):
        call = scope.Call(
            self.name, "1", b"", attempt=1, stage=self.stage, root=self.root,
            caches=self.runtime.host.caches, epoch=1, root_at=lambda step: self.root,
        )  # fmt: skip
        token = scope.call.set(call)
        try:
            done = await world.run(list(command), **asked)
        finally:
            scope.call.reset(token)
        assert done.exit == 0, done
        self.root = call.root
        if self.stage.new:
            await self.runtime.store.put(self.stage.take())
        return done

    def fork(self) -> Branch:
        return Branch(self.runtime, self.root, SystemDice().take(8).hex())

    def end(self) -> None:
        workplace.ended(self.runtime.host.caches, self.name)


def plant(folder: Path, files: int, size: int) -> Path:
    """Files in directories of a hundred; what is in them compresses as code does, about."""
    for number in range(files):
        place = folder / f"d{number // 100:04}"
        if number % 100 == 0:
            place.mkdir(parents=True)
        text = f"{number} ".encode() * (size // (2 * len(f"{number} ")))
        (place / f"f{number}").write_bytes(text + os.urandom(size // 2))
    return folder


def took(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def said(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


async def measure(ground: Ground) -> list[Figure]:
    figures: list[Figure] = []
    sizes = [
        ("1k files", 1_000, 3_300), ("100k files", ground.size(100_000, 10_000), 3_300),
        ("1 GB in ten files", 10, ground.size(100_000_000, 10_000_000)),
    ]  # fmt: skip
    for name, files, size in sizes:
        tree = plant(ground.folder("tree"), files, size)
        async with ground.runtime("worlds") as runtime:
            figures += await forks(ground, runtime, name, tree)
            if files > 1_000:
                figures += await changes(ground, runtime, name, tree)
                figures += await chain(ground, runtime, name, tree)
                figures += await reading(ground, runtime, tree)
        shutil.rmtree(tree)
    return figures


async def forks(ground: Ground, runtime, name: str, tree: Path) -> list[Figure]:
    start = time.perf_counter()
    root = await runtime.take_in(tree)
    imported = time.perf_counter() - start
    first = Branch(runtime, root, "first")
    start = time.perf_counter()
    await first.run("true")
    base = time.perf_counter() - start
    forked: list[float] = []
    opened: list[float] = []
    for _ in range(ground.size(60, 20)):
        branch = first.fork()
        start = time.perf_counter()
        await branch.run("/bin/true")
        forked.append((time.perf_counter() - start) * 1e3)
        for _ in range(3):
            start = time.perf_counter()
            await branch.run("/bin/true")
            opened.append((time.perf_counter() - start) * 1e3)
        branch.end()
    peers: dict[str, float] = {}
    if ground.with_peers:
        copy = tree.with_name(tree.name + "-copy")
        peers["cp -r"] = took(lambda: subprocess.run(["cp", "-r", tree, copy], check=True))
        await asyncio.to_thread(shutil.rmtree, copy)
        git = ["git", "-C", str(tree), "-c", "user.name=b", "-c", "user.email=b@b"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
            took(lambda: subprocess.run([*git, *words], check=True))  # noqa: B023
        peers["git worktree"] = took(
            lambda: subprocess.run([*git, "worktree", "add", "-q", copy], check=True)
        )
        await asyncio.to_thread(shutil.rmtree, copy)
        await asyncio.to_thread(shutil.rmtree, tree / ".git")
    value, held = median(forked), median(opened)
    return [
        Figure(f"fork and first command, {name}", value, "ms", "<= 10 ms", value <= 10, peers,
               note=f"import {imported:.1f} s and base {base:.1f} s once"),
        Figure(f"command in an open world, {name}", held, "ms", "<= 5 ms", held <= 5),
    ]  # fmt: skip


async def changes(ground: Ground, runtime, name: str, tree: Path) -> list[Figure]:
    """The snapshot alone: reading an upper that holds so many changed files."""
    figures: list[Figure] = []
    root = await runtime.take_in(tree)
    scanned = CopyCheckout(Stage(runtime.store.get), tree, tree.with_name(tree.name + ".index"))
    if ground.with_peers:
        scanned.snapshot()
    place = workplace.workplace(runtime.host.caches)
    real = place._read
    for count, most in ((1, 1.0), (10, 3.0)):
        read: list[float] = []

        def timed(world, stage, read=read):
            start = time.perf_counter()
            found = real(world, stage)
            read.append((time.perf_counter() - start) * 1e3)
            return found

        place._read = timed
        for turn in range(ground.size(20, 8)):
            branch = Branch(runtime, root, f"change{count}-{turn}")
            files = " ".join(f"d0000/f{number}" for number in range(count))
            await branch.run("sh", "-c", f"for f in {files}; do echo {turn} > $f; done")
            branch.end()
        place._read = real
        peers: dict[str, float] = {}
        if ground.with_peers:
            (tree / "d0000" / "f0").write_text(str(count))
            peers["stat scan"] = took(scanned.snapshot)
        value = median(read)
        what = f"snapshot, {count} changed of {name}"
        figures.append(Figure(what, value, "ms", f"<= {most:g} ms", value <= most, peers))
    return figures


async def chain(ground: Ground, runtime, name: str, tree: Path) -> list[Figure]:
    """Fork, command, snapshot, a thousand times; what a branch took, and reading at the end."""
    steps = ground.size(1_000, 200)
    branch = Branch(runtime, await runtime.take_in(tree), "chain")
    await branch.run("true")
    store = runtime.settings.directory / "journal.db"
    before, each = disk(store.parent), []
    for step in range(steps):
        nxt = branch.fork()
        start = time.perf_counter()
        await nxt.run("sh", "-c", f"echo {step} > d0000/f{step % 100}")
        each.append((time.perf_counter() - start) * 1e3)
        branch.end()
        branch = nxt
    part = steps // 5
    first, last = sum(each[:part]) / part, sum(each[-part:]) / part
    bytes_each = (disk(store.parent) - before) / steps / 1024
    at_end = float((await branch.run(sys.executable, "-c", READ, ".")).stdout)
    native = float(said(sys.executable, "-c", READ, str(tree)))
    ratio = last / first
    return [
        Figure(f"chain of {steps:,}, last fifth to first fifth, {name}", ratio, "x", "<= 1.1",
               ratio <= 1.1, note=f"{first:.1f} ms and {last:.1f} ms a step"),
        Figure(f"bytes in the store of a branch with one small change, {name}", bytes_each, "kB",
               "<= 12 kB", bytes_each <= 12),
        Figure(f"warm read at depth {steps:,}", at_end, "us", "<= 1.5 x native",
               at_end <= 1.5 * native, {"native": native}),
    ]  # fmt: skip


async def reading(ground: Ground, runtime, tree: Path) -> list[Figure]:
    branch = Branch(runtime, await runtime.take_in(tree), "reading")
    await branch.run("true")
    inside: list[float] = []
    native: list[float] = []
    for _ in range(ground.size(7, 3)):
        words = [sys.executable, "-c", READ]
        native.append(took(lambda: said(*words, str(tree))))  # noqa: B023 - used at once
        fork = branch.fork()
        start = time.perf_counter()
        await fork.run(*words, ".")
        inside.append((time.perf_counter() - start) * 1e3)
        fork.end()
    value, floor = median(inside), median(native)
    return [
        Figure("a command that reads 10,000 files, launch included", value, "ms", "<= 2 x native",
               value <= 2 * floor, {"native": floor}),
    ]  # fmt: skip


def disk(store: Path) -> int:
    """Bytes of the journal and what stands beside it, without the caches."""
    return sum(
        path.stat().st_size for path in store.iterdir() if path.is_file() and "wal" not in path.name
    )
