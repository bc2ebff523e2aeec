"""A 130 MB SQLite database in a world: fork and first write, reads at depth, five shapes of use.

The shapes are those of BranchBench (arXiv 2604.17180): software engineering, failure reproduction,
data curation, tree search and simulation; the data and the SQL are ours.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from bench.ground import Ground, rounds
from bench.postgres import Postgres, took_ms
from bench.report import Figure, median
from holdfast.stores.sqlite import SqliteStore
from holdfast.world import EMPTY, Stage, apply, import_dir
from holdfast.world.pages import open_database

PATH = "shop.db"


class Versions:
    """Worlds with one database in a store; each change is durable before `change` returns."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / ".holdfast", grow=True)
        self.stage = Stage(self.store.get, self.store.put_now)

    def take_in(self, source: Path) -> str:
        root = import_dir(self.stage, source)
        self.store.put_now(self.stage.take())
        return root

    def change(self, root: str, work: Callable[[apsw.Connection], object]) -> str:
        """The root after ``work``, durable."""
        with open_database(self.stage, root, PATH, write=True, seconds=600) as opened:
            work(opened.conn)
            root = apply(self.stage, root, opened.save())
        self.store.put_now(self.stage.take())
        return root

    def ask(self, root: str, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of a statement on a version."""
        with open_database(self.stage, root, PATH, seconds=600) as opened:
            return list(opened.conn.execute(sql, values))

    def size(self) -> int:
        """Bytes of the store on the disk."""
        return sum(path.stat().st_size for path in self.store.directory.iterdir() if path.is_file())

    def close(self) -> None:
        asyncio.run(self.store.close())


def make(path: Path, rows: int) -> None:
    """Four tables, about 175 bytes a row in the mean."""
    dice = random.Random(5)
    conn = sqlite3.connect(path)
    conn.executescript(
        "CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, city TEXT, balance INTEGER);"
        "CREATE TABLE product(id INTEGER PRIMARY KEY, title TEXT, price INTEGER, note TEXT);"
        "CREATE TABLE purchase(id INTEGER PRIMARY KEY, customer INTEGER, product INTEGER,"
        " amount INTEGER, note TEXT);"
        "CREATE TABLE visit(id INTEGER PRIMARY KEY, customer INTEGER, at INTEGER, page TEXT);"
    )
    words = [str(dice.random()) for _ in range(1000)]

    def text(count: int) -> str:
        return " ".join(dice.choices(words, k=count))

    fill = conn.executemany
    fill("INSERT INTO customer VALUES(?,?,?,?)",
         ((n, text(1), text(1), dice.randrange(9999)) for n in range(rows // 10)))  # fmt: skip
    fill("INSERT INTO product VALUES(?,?,?,?)",
         ((n, text(2), dice.randrange(9999), text(6)) for n in range(rows // 10)))  # fmt: skip
    fill("INSERT INTO purchase VALUES(?,?,?,?,?)",
         ((n, dice.randrange(rows // 10), dice.randrange(rows // 10), 1, text(10))
          for n in range(rows // 2)))  # fmt: skip
    fill("INSERT INTO visit VALUES(?,?,?,?)",
         ((n, dice.randrange(rows // 10), n, text(3)) for n in range(rows * 3 // 10)))  # fmt: skip
    conn.commit()
    conn.close()


async def measure(ground: Ground) -> list[Figure]:
    return await asyncio.to_thread(_measure, ground)


def _measure(ground: Ground) -> list[Figure]:
    folder = ground.folder("database")
    source = folder / "source"
    source.mkdir()
    rows = ground.size(960_000, 96_000)
    make(source / PATH, rows)
    megabytes = (source / PATH).stat().st_size / 1e6
    versions = Versions(folder)
    try:
        took = took_ms(lambda: versions.take_in(source))
        root = versions.take_in(source)
        title = f"{megabytes:,.0f} MB SQLite"
        found = [_first_write(ground, versions, root, title, took)]
        found += _depth(ground, versions, root, title, source / PATH, rows)
        found += [_shape(versions, root, name, shape, rows) for name, shape in SHAPES.items()]
    finally:
        versions.close()
    return found


def _first_write(ground: Ground, versions: Versions, root: str, title: str, took: float) -> Figure:
    times: list[float] = []
    before = versions.size()
    count = ground.size(200, 50)
    for number in range(count):
        sql = f"UPDATE purchase SET amount = amount + 1 WHERE id = {number * 37 % 40_000}"
        times.append(took_ms(lambda sql=sql: versions.change(root, lambda c: c.execute(sql))))
    each = (versions.size() - before) / count / 1000
    others = {"PostgreSQL TEMPLATE": _template(ground)} if ground.with_peers else {}
    ms = median(times)
    return Figure(
        f"{title}: fork + first write, durable", ms, "ms", "<= 1 ms", ms <= 1, others,
        note=f"{each:.1f} kB a branch with the log; taken in once in {took:,.0f} ms",
    )  # fmt: skip


def _template(ground: Ground) -> float:
    """A branch of a PostgreSQL database of about the same size; 0 if no server is installed."""
    if not Postgres.there():
        return 0.0
    server = Postgres()
    try:
        server.sql("CREATE DATABASE source")
        rows = ground.size(900_000, 90_000)
        server.sql(
            "CREATE TABLE item(id int primary key, value int, note text);"
            "INSERT INTO item SELECT i, i, repeat(md5(i::text), 3) "
            f"FROM generate_series(1,{rows}) i;"
            "CHECKPOINT;", "source",
        )  # fmt: skip
        return median([server.branch_ms(number) for number in range(3)])
    finally:
        server.close()


def _depth(
    ground: Ground, versions: Versions, root: str, title: str, file: Path, rows: int
) -> list[Figure]:
    """Point reads at depth 1 and at depth 1,000, and by the stock library on the file."""
    deep, depth = root, ground.size(1_000, 100)
    shallow = versions.change(
        root, lambda c: c.execute("UPDATE product SET price = 1 WHERE id = 1")
    )
    for number in range(depth):
        sql = f"UPDATE purchase SET amount = {number} WHERE id = {number * 331 % (rows // 2)}"
        deep = versions.change(deep, lambda c, sql=sql: c.execute(sql))
    stock = sqlite3.connect(file)
    times: dict[str, list[float]] = {"1": [], "deep": [], "stock": []}
    with (
        open_database(versions.stage, shallow, PATH, seconds=600) as one,
        open_database(versions.stage, deep, PATH, seconds=600) as other,
    ):
        for number in rounds(ground.size(9, 5)):
            keys = [random.Random(number).randrange(rows // 2) for _ in range(4_000)]
            for name, conn in (("1", one.conn), ("deep", other.conn), ("stock", stock)):
                start = time.perf_counter()
                for key in keys:
                    conn.execute(
                        "SELECT amount, note FROM purchase WHERE id = ?", (key,)
                    ).fetchone()
                times[name].append((time.perf_counter() - start) / len(keys) * 1e6)
    stock.close()
    ratio = median([deep / one for deep, one in zip(times["deep"], times["1"], strict=True)])
    opening = median([
        took_ms(lambda: versions.ask(deep, "SELECT amount FROM purchase WHERE id = 7"))
        for _ in range(20)
    ])  # fmt: skip
    return [
        Figure(f"{title}: point read at depth {depth:,} / depth 1", ratio, "x", "<= 1.2",
               ratio <= 1.2, note=f"{median(times['deep']):.1f} and {median(times['1']):.1f} us"),
        Figure(f"{title}: point read at depth {depth:,}", median(times["deep"]), "us",
               peers={"stock sqlite3 on the file": median(times["stock"])}),
        Figure(f"{title}: open version at depth {depth:,} and read a row", opening, "ms"),
    ]  # fmt: skip


# The five shapes: what is changed on a branch, and how branches stand -----------------------------
def _rows_changed(number: int, count: int, rows: int) -> Callable[[apsw.Connection], None]:
    def work(conn: apsw.Connection) -> None:
        dice = random.Random(number)
        with conn:
            for _ in range(count):
                key = dice.randrange(rows // 2)
                conn.execute("UPDATE purchase SET amount = amount + 1 WHERE id = ?", (key,))

    return work


def _column_added(number: int) -> Callable[[apsw.Connection], None]:
    def work(conn: apsw.Connection) -> None:
        with conn:
            conn.execute(f"ALTER TABLE customer ADD COLUMN extra{number} INTEGER")
            conn.execute(f"UPDATE customer SET extra{number} = id % 7")

    return work


def _software(versions: Versions, root: str, rows: int) -> int:
    """5 workers x 20 steps, fan-out 5 then 3: a column added and filled for a whole table."""
    for worker in range(5):
        level = [root]
        made = 0
        while made < 20:
            fan = 5 if level == [root] else 3
            parents, level = level, []
            for parent in parents:
                for _ in range(min(fan, 20 - made)):
                    level.append(versions.change(parent, _column_added(worker * 100 + made)))
                    versions.ask(level[-1], f"SELECT sum(extra{worker * 100 + made}) FROM customer")
                    made += 1
    return 100


def _failure(versions: Versions, root: str, rows: int) -> int:
    """10 branches of one root, 5 changes of the schema and 45 of rows each; all dropped."""

    def work(conn: apsw.Connection) -> None:
        for number in range(5):
            conn.execute(f"CREATE TABLE trial{number}(id INTEGER PRIMARY KEY, x)")
            for row in range(9):
                conn.execute(f"INSERT INTO trial{number} VALUES(?, ?)", (row, row))

    for _ in range(10):
        versions.ask(versions.change(root, work), "SELECT count(*) FROM trial4")
    return 10


def _curation(versions: Versions, root: str, rows: int) -> int:
    """10 x 20, fan-out 10 then 3, depth 3; queries over pairs of branches."""
    for worker in range(10):
        level, made, leaves = [root], 0, [root]
        while made < 20:
            fan = 10 if level == [root] else 3
            parents, level = level, []
            for parent in parents:
                for _ in range(min(fan, 20 - made)):
                    level.append(
                        versions.change(parent, _rows_changed(worker * 100 + made, 20, rows))
                    )
                    made += 1
            leaves = level
        for one in leaves[:2]:
            versions.ask(one, "SELECT city, sum(balance) FROM customer GROUP BY city")
    return 200


def _search(versions: Versions, root: str, rows: int) -> int:
    """Tree search: 10 x 100 branches, each of a node chosen by its value; a scan judges each."""
    dice = random.Random(3)
    for worker in range(10):
        nodes = [(0.0, root)]
        for number in range(100):
            value, parent = max(dice.sample(nodes, min(len(nodes), 4)))
            child = versions.change(parent, _rows_changed(worker * 1000 + number, 10, rows))
            versions.ask(child, "SELECT sum(price) FROM product")
            nodes.append((value * 0.9 + dice.random(), child))
    return 1_000


def _simulation(versions: Versions, root: str, rows: int) -> int:
    """1,000 workers with a branch each, 50 changes of rows on it."""
    for number in range(1_000):
        versions.change(root, _rows_changed(number, 50, rows))
    return 1_000


SHAPES = {
    "software, 100 branches": _software,
    "failure, 10 branches": _failure,
    "curation, 200 branches": _curation,
    "tree search, 1,000 branches": _search,
    "simulation, 1,000 branches": _simulation,
}


def _shape(
    versions: Versions,
    root: str,
    name: str,
    shape: Callable[[Versions, str, int], int],
    rows: int,
) -> Figure:
    before = versions.size()
    start = time.perf_counter()
    made = shape(versions, root, rows)
    took = time.perf_counter() - start
    each = (versions.size() - before) / made / 1000
    assert root != EMPTY
    return Figure(
        f"shape {name}", took, "s", "finishes", True,
        note=f"{took / made * 1000:.1f} ms and {each:,.0f} kB a branch",
    )  # fmt: skip
