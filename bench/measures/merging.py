"""Merging two branches: 200 changed files, ten of them on both sides, and one database."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

from bench.ground import Ground, rounds
from bench.measures.worlds import plant
from bench.postgres import took_ms
from bench.report import Figure, median
from holdfast.stores.sqlite import SqliteStore
from holdfast.world import Stage, apply, import_dir, merge, put_file
from holdfast.world.pages import open_database

DATABASE = "stock.db"


async def measure(ground: Ground) -> list[Figure]:
    return await asyncio.to_thread(_measure, ground)


def _measure(ground: Ground) -> list[Figure]:
    folder = ground.folder("merging")
    tree = plant(folder / "tree", ground.size(10_000, 2_000), 3_300)
    lines = [f"line {number}\n" for number in range(200)]
    for number in range(10):
        (tree / f"both{number}").write_text("".join(lines))
    _database(tree / DATABASE, 20_000)
    store = SqliteStore(folder / ".holdfast", grow=True)
    stage = Stage(store.get, store.put_now)
    try:
        base = import_dir(stage, tree)
        ours, theirs = _side(stage, base, 0, lines), _side(stage, base, 1, lines)
        store.put_now(stage.take())
        times: list[float] = []
        for _ in rounds(ground.size(15, 5)):
            fresh = Stage(store.get, store.put_now)

            def work(fresh: Stage = fresh) -> None:
                found = merge(fresh, base, ours, theirs)
                assert [one.path for one in found.conflicts] == ["both0", DATABASE]
                store.put_now(fresh.take())

            times.append(took_ms(work))
    finally:
        asyncio.run(store.close())
    ms = median(times)
    return [
        Figure("merge of two branches, 200 changed files and a database, durable", ms, "ms",
               "<= 100 ms", ms <= 100, note="exactly the two planted conflicts"),
    ]  # fmt: skip


def _database(path: Path, rows: int) -> None:
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER)")
    dice = random.Random(1)
    conn.executemany(
        "INSERT INTO item VALUES(?,?,?)", ((n, str(dice.random()), n) for n in range(rows))
    )
    conn.commit()
    conn.close()


def _side(stage: Stage, base: str, side: int, lines: list[str]) -> str:
    """A branch: 95 files of its own and ten that the other changes too, and rows of the database.

    One file and one row are changed differently by both; everything else merges.
    """
    edits = {
        f"d{number % 20:04}/f{number % 20 * 100 + 2 * (number // 20) + side}":
            put_file(stage, b"changed %d" % side)
        for number in range(95)
    }  # fmt: skip
    for number in range(10):
        mine = list(lines)
        mine[0 if number == 0 else 20 + 100 * side] = f"side {side}\n"
        edits[f"both{number}"] = put_file(stage, "".join(mine).encode())
    with open_database(stage, base, DATABASE, write=True) as opened:
        with opened.conn:
            for number in range(200):
                column = ("name", "amount")[side]
                opened.conn.execute(
                    f"UPDATE item SET {column} = {side} WHERE id = ?", (number * 50,)
                )
            opened.conn.execute("UPDATE item SET name = ? WHERE id = 7", (f"side {side}",))
        return apply(stage, base, {**edits, **opened.save()})
