"""200 worlds open at once: the memory of each; what processes share is divided among them."""

from __future__ import annotations

from pathlib import Path

from bench.ground import Ground
from bench.measures.worlds import Branch, plant
from bench.report import Figure


async def measure(ground: Ground) -> list[Figure]:
    count = ground.size(200, 50)
    tree = plant(ground.folder("tree"), 1_000, 3_300)
    async with ground.runtime("openworlds") as runtime:
        root = await runtime.take_in(tree)
        first = Branch(runtime, root, "first")
        await first.run("true")
        before = _memory()
        branches = [first.fork() for _ in range(count)]
        for branch in branches:
            await branch.run("true")
        each = (_memory() - before) / count
        for branch in branches:
            branch.end()
    return [
        Figure(f"memory of an open world, {count} at once", each, "MB", "<= 2 MB", each <= 2),
    ]  # fmt: skip


def _memory() -> float:
    """Proportional memory of this process and all below it, in MB."""
    total, left = 0, ["self"]
    while left:
        process = Path("/proc") / left.pop()
        try:
            for line in (process / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
            for thread in (process / "task").iterdir():
                left += (thread / "children").read_text().split()
        except OSError:
            continue  # it has ended
    return total * 1024 / 1e6
