"""Figures, and how they are printed: a line each, a Markdown table, JSON."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Figure:
    """One measured figure. ``peers``: name -> figure in the same unit; ``reached``: None if the
    project set no target for it."""

    measure: str
    value: float
    unit: str
    target: str = ""
    reached: bool | None = None
    peers: dict[str, float] = field(default_factory=dict)
    more_is_better: bool = False
    note: str = ""

    @property
    def word(self) -> str:
        return {True: "reached", False: "NOT reached", None: ""}[self.reached]

    def ratios(self) -> str:
        """Against each peer: "6.1 x DBOS" says six times as good; the floor as a fraction."""
        parts: list[str] = []
        for name, other in self.peers.items():
            if not other or not self.value:
                continue
            times = self.value / other if self.more_is_better else other / self.value
            parts.append(f"{times:.2f} of {name}" if name == "raw" else f"{short(times)} x {name}")
        return ", ".join(parts)

    def line(self) -> str:
        parts = [f"{self.measure}: {short(self.value)} {self.unit}"]
        parts += [f"{name} {short(other)}" for name, other in self.peers.items()]
        if ratios := self.ratios():
            parts.append(f"({ratios})")
        if self.target:
            parts.append(f"to reach {self.target}: {self.word}")
        if self.note:
            parts.append(f"[{self.note}]")
        return "  ".join(parts)


def short(value: float) -> str:
    """Three significant digits, thousands with commas."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def machine() -> dict[str, object]:
    """Where this was measured."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()}",
        "load_1_5_15": [round(one, 2) for one in load],
        "command": "python -m bench " + " ".join(sys.argv[1:]),
    }


def markdown(figures: Sequence[Figure], where: dict[str, object]) -> str:
    lines = [
        "| measure | Holdfast | peers | ratio | to reach | |",
        "|---|---|---|---|---|---|",
    ]
    for one in figures:
        peers = ", ".join(f"{name} {short(other)}" for name, other in one.peers.items())
        note = f" ({one.note})" if one.note else ""
        lines.append(
            f"| {one.measure}{note} | {short(one.value)} {one.unit} | {peers} | {one.ratios()} | "
            f"{one.target} | {one.word} |"
        )
    lines += ["", ", ".join(f"{key}: {value}" for key, value in where.items())]
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], where: dict[str, object]) -> str:
    return json.dumps({"machine": where, "figures": [asdict(one) for one in figures]}, indent=1)
