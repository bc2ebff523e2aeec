"""``python -m bench [NAME ...] [--quick] [--json FILE] [--no-peers]``: measure, print, sum up."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
import time
from pathlib import Path

from bench.ground import Ground
from bench.measures import NAMES
from bench.report import Figure, as_json, machine, markdown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "name", nargs="*", help=f"which measures, all by default: {' '.join(NAMES)}"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute in all")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    parser.add_argument("--no-peers", action="store_true", help="leave DBOS out")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.name) - set(NAMES)):
        parser.error(f"no such measure: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    where = machine()
    figures: list[Figure] = []
    failed: list[str] = []
    ground = Ground(asked.quick, peers=not asked.no_peers)
    try:
        for name in [one for one in NAMES if one in asked.name or not asked.name]:
            module = importlib.import_module(f"bench.measures.{name}")
            start = time.perf_counter()
            try:
                found = asyncio.run(module.measure(ground))
            except Exception as error:  # the other measures are still worth having
                failed.append(name)
                print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
                if os.environ.get("BENCH_DEBUG"):
                    raise
                continue
            took, load = time.perf_counter() - start, os.getloadavg()[0]
            for figure in found:
                print(figure.line(), flush=True)
            print(f"    {name} took {took:.1f} s, load {load:.1f}", file=sys.stderr, flush=True)
            figures += found
    finally:
        ground.close()
    where["load_after"] = round(os.getloadavg()[0], 2)
    print("\n" + markdown(figures, where))
    if asked.json:
        Path(asked.json).write_text(as_json(figures, where) + "\n")
    missed = [one.measure for one in figures if one.reached is False]
    if missed:
        print(f"\nNOT reached: {len(missed)}: " + "; ".join(missed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
