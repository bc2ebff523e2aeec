"""A LangGraph thread of 500 steps that adds 1 kB at each: bytes on disk, time of a put."""

from __future__ import annotations

import operator
import random
import sqlite3
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, TypedDict

from bench.ground import Ground
from bench.measures.conversation import noise
from bench.report import Figure, median
from holdfast.stores.sqlite import SqliteStore

_BYTES = 1_000


class _Kept(TypedDict):
    items: Annotated[list[str], operator.add]


async def measure(ground: Ground) -> list[Figure]:
    steps = ground.size(500, 60)
    dice = random.Random(7)
    texts = [noise(dice, _BYTES) for _ in range(steps)]
    size, times = _ours(ground.folder("checkpoints"), texts)
    peers: dict[str, float] = {}
    waits: dict[str, float] = {}
    if ground.with_peers:
        other, taken = _langgraphs(ground.folder("langgraph"), texts)
        peers, waits = {"LangGraph's SqliteSaver": other / steps}, {
            "LangGraph's SqliteSaver": median(taken["put"])
        }  # fmt: skip
    distinct = size / (steps * _BYTES)
    return [
        Figure(f"LangGraph thread of {steps} steps, store per 1 kB step", size / steps, "bytes",
               "<= 5 x distinct", distinct <= 5, peers, note=f"{size:,} bytes in all"),
        Figure("a put of its last states", median(times["put"]), "ms", peers=waits,
               note=f"of a task's writes {median(times['put_writes']):.2f} ms, get at the end "
               f"{median(times['get_tuple'][-1:]):.1f} ms"),
    ]  # fmt: skip


def _ours(folder: Path, texts: list[str]) -> tuple[int, dict[str, list[float]]]:
    from holdfast.adapters.langgraph import Checkpointer

    store = SqliteStore(folder / ".holdfast", grow=True)  # as a runtime opens it
    times = _drive(Checkpointer(store), texts)
    with sqlite3.connect(store.path) as conn:  # the log is moved into the database, as closing does
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return _bytes(folder), times


def _langgraphs(folder: Path, texts: list[str]) -> tuple[int, dict[str, list[float]]]:
    from langgraph.checkpoint.sqlite import SqliteSaver

    conn = sqlite3.connect(folder / "checkpoints.db", check_same_thread=False)
    times = _drive(SqliteSaver(conn), texts)
    conn.close()
    return _bytes(folder), times


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _drive(saver: Any, texts: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each call, of the last fifth of the steps."""
    from langgraph.graph import END, START, StateGraph

    times: defaultdict[str, list[float]] = defaultdict(list)
    for name in ("put", "put_writes", "get_tuple"):
        setattr(saver, name, _timed(getattr(saver, name), times[name]))

    def step(state: _Kept) -> Any:
        return {"items": [texts[len(state["items"])]]}

    graph = StateGraph(_Kept)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    more = len(texts)
    graph.add_conditional_edges("step", lambda now: END if len(now["items"]) >= more else "step")
    built = graph.compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": more + 10}
    done = built.invoke({"items": []}, config, durability="sync")
    assert built.get_state(config).values == done
    return {name: found[-(len(found) // 5) :] or found for name, found in times.items()}


def _timed(call: Any, times: list[float]) -> Any:
    def timed(*args: Any, **more: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*args, **more)
        finally:
            times.append((time.perf_counter() - start) * 1e3)

    return timed
