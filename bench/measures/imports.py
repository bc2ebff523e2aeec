"""Taking a directory in: 100,000 small files, and 1 GB in ten; beside ``git add`` and a commit."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

from bench.ground import Ground
from bench.measures.worlds import plant
from bench.postgres import took_ms
from bench.report import Figure, median


async def measure(ground: Ground) -> list[Figure]:
    return [
        await _one(ground, "100k files, 330 MB", ground.size(100_000, 10_000), 3_300, 5.0),
        await _one(ground, "1 GB in ten files", 10, ground.size(100_000_000, 10_000_000), None),
    ]


async def _one(ground: Ground, name: str, files: int, size: int, most: float | None) -> Figure:
    tree = plant(ground.folder("tree"), files, size)
    times: list[float] = []
    for _ in range(3):
        async with ground.runtime("imports") as runtime:
            start = time.perf_counter()
            await runtime.take_in(tree)
            times.append(time.perf_counter() - start)
    peers: dict[str, float] = {}
    if ground.with_peers:
        peers["git add and commit"] = await asyncio.to_thread(_git, tree)
    shutil.rmtree(tree)
    value = median(times)
    return Figure(
        f"import, {name}", value, "s", f"<= {most:g} s" if most else "",
        None if most is None else value <= most, peers, note=f"best {min(times):.1f} s",
    )  # fmt: skip


def _git(tree: Path) -> float:
    git = ["git", "-C", str(tree), "-c", "user.name=b", "-c", "user.email=b@b"]
    subprocess.run([*git, "init", "-q"], check=True)

    def work() -> None:
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)

    return took_ms(work) / 1e3
