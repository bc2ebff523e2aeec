"""How often is the planted bug found? `python -m examples.repair.evaluate --seeds 0-19`.

Runs the parts of the demo without the engine, in temporary folders, and prints one line per seed.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from examples.repair import bugs, library, localise, suite
from examples.repair.candidates import Candidate, ordered

AT_ONCE = 2
"""Runs of the tests side by side."""


@dataclass(frozen=True, slots=True)
class Found:
    """How one attempt at a repair went."""

    candidate: Candidate | None
    tried: int
    offered: int
    verified: int
    """Candidates that passed the failing tests, so that the whole suite was run on them."""


def plant_noticed(
    root: Path, tree: Mapping[str, str], seed: int
) -> tuple[bugs.Planted, suite.Report]:
    """Plant the first bug of a seed that the suite notices, into the library below `root`."""
    for planted in bugs.plants(tree, seed):
        (root / planted.path).write_text(planted.new_source, "utf-8")
        report = suite.perform(root, suite.Run())
        if not report.green:
            return planted, report
        (root / planted.path).write_text(tree[planted.path], "utf-8")
    raise ValueError("the suite notices none of the bugs of this seed")


def find_suspects(root: Path, report: suite.Report) -> list[localise.Suspect]:
    """Trace the failing tests and their neighbours; the suspicious lines."""
    tests = localise.choose_tests(report)
    return localise.suspects(suite.perform(root, suite.Run(tests=tests, trace=True)))


def repair(root: Path, sources: Mapping[str, str], report: suite.Report, seconds: float) -> Found:
    """Try candidates side by side until one passes the whole suite or time is up."""
    offered = ordered(find_suspects(root, report), sources)
    first = suite.judge(report)
    tried = verified = 0
    until = time.monotonic() + seconds

    def survives(made: Candidate) -> bool:
        return _green(root, made, sources[made.path], first)

    waiting: Iterator[Candidate] = iter(offered)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while time.monotonic() < until:
            batch = list(islice(waiting, 2 * AT_ONCE))
            if not batch:
                break
            tried += len(batch)
            for made, good in zip(batch, pool.map(survives, batch), strict=True):
                if not good:
                    continue
                verified += 1
                if _green(root, made, sources[made.path], suite.Run(first_failure=True)):
                    return Found(made, tried, len(offered), verified)
    return Found(None, tried, len(offered), verified)


def _green(root: Path, made: Candidate, source: str, run: suite.Run) -> bool:
    """Whether a copy of the library with this edit passes."""
    with tempfile.TemporaryDirectory(prefix="repair-") as scratch:
        copy = Path(scratch) / "tree"
        shutil.copytree(root, copy)
        (copy / made.path).write_text(made.new_source(source), "utf-8")
        return suite.perform(copy, run).green


def evaluate(archive: Path, pin: library.Pin, seed: int, seconds: float) -> bool:
    """One seed: plant, repair, print how it went; returns whether a repair was found."""
    with tempfile.TemporaryDirectory(prefix="repair-") as scratch:
        root = library.unpack(archive, pin, Path(scratch) / "library")
        tree = library.sources(root, pin.sources)
        began = time.monotonic()
        planted, report = plant_noticed(root, tree, seed)
        planting = time.monotonic() - began
        began = time.monotonic()
        found = repair(root, {**tree, planted.path: planted.new_source}, report, seconds)
        took = time.monotonic() - began
    print(f"seed {seed}: {planted.description}; {report.why}")
    counts = f"{found.tried} of {found.offered} candidates tried, {found.verified} verified"
    times = f"{counts}, {took:.1f} s (and {planting:.1f} s to plant)"
    if found.candidate is None:
        print(f"    NOT FOUND: {times}", flush=True)
        return False
    repaired = found.candidate.new_source(planted.new_source)
    same = found.candidate.path == planted.path and repaired == tree[planted.path]
    verdict = "restores the original text" if same else "differs from the original text"
    where = f"{found.candidate.path}:{found.candidate.line}"
    print(
        f"    passes the suite; {verdict}: {where}: {found.candidate.description}; {times}",
        flush=True,
    )
    return True


def main(arguments: list[str]) -> int:
    """Evaluate a range of seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0-19", help="first-last")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for one repair")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="for the archive")
    options = parser.parse_args(arguments)
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    archive = library.fetch(library.TOOLZ, options.cache)
    found = sum(evaluate(archive, library.TOOLZ, seed, options.seconds) for seed in seeds)
    print(f"{found} of {len(seeds)} planted bugs were repaired")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
