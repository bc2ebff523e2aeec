"""DuckDB, and so any database in a file: commands use it, forks share its chunks, the past opens.

Holdfast knows nothing of its format: it is a file of 64 KiB chunks, merged as a whole.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import pytest

from holdfast.world import EMPTY, CopyCheckout, Stage, entry, merge
from holdfast.world.tree import reachable
from tests.tools.support import Site, can, site

PROGRAM = """
import duckdb, sys
with duckdb.connect("shop.duckdb", config={"threads": 1, "memory_limit": "200MB"}) as conn:
    for statement in sys.argv[1:]:
        conn.execute(statement)
"""
FILL = (
    "create table stock as select i as id, i % 97 as count, md5(i::varchar) as name"
    " from range(100_000) t(i)"
)
COUNT = "select sum(count), count(*) from stock"
TIER = next((one for one in ("namespaces", "landlock", "none") if can(one)), "")


async def sql(here: Site, root: str, run: str, *statements: str) -> str:
    command = [sys.executable, "-c", PROGRAM, *statements]
    result, after = await here.run(root, command, run=run)
    assert result.exit == 0, result
    return after


def opened(here: Site, root: str, place: Path) -> tuple[int, int]:
    """Sum and number of the rows of a version, read only, through a checkout of its own."""
    CopyCheckout(Stage(here.objects.get), place / "world", place / "index").sync(root)
    with duckdb.connect(str(place / "world" / "shop.duckdb"), read_only=True) as conn:
        with pytest.raises(duckdb.Error):
            conn.execute("delete from stock")
        found = conn.execute(COUNT).fetchone()
        assert found is not None
        return int(found[0]), int(found[1])


@pytest.mark.skipif(not TIER, reason="this host runs no commands in worlds")
async def test_forks_of_a_database_share_its_chunks_and_every_version_opens(tmp_path: Path):
    """A fork of a database in a file costs what it changes, not what it holds."""
    async with site(TIER) as here:
        first = await sql(here, EMPTY, "a", FILL, "checkpoint")
        one = await sql(here, first, "a", "update stock set count = 1000 where id = 7")
        two = await sql(here, first, "b", "insert into stock values (200000, 5, 'new')")
        stage = Stage(here.objects.get)
        file = entry(stage, first, "shop.duckdb")
        assert file is not None
        assert file.chunked
        held = set(reachable(stage, first))
        whole = _bytes(stage, held)
        for changed in (one, two):
            new = _bytes(stage, set(reachable(stage, changed)) - held)
            print(f"{new:,} new bytes of {whole:,}")
            assert new < whole / 2
        before = opened(here, first, tmp_path / "first")
        assert before[1] == 100_000
        assert opened(here, one, tmp_path / "one") == (before[0] + 1000 - 7, 100_000)
        assert opened(here, two, tmp_path / "two") == (before[0] + 5, 100_001)
        merged = merge(here.objects, first, one, two)
        assert [(each.path, each.kind) for each in merged.conflicts] == [("shop.duckdb", "content")]
        # the past is still what it was, for a command as well
        again, after = await here.run(
            first, [sys.executable, "-c", PROGRAM.replace("conn.execute(statement)",
                    "print(*conn.execute(statement).fetchone())"), COUNT], run="c",
        )  # fmt: skip
        assert again.stdout.split() == [str(part) for part in before]
        assert entry(here.objects, after, "shop.duckdb") == file


def _bytes(stage: Stage, names: set[str]) -> int:
    return sum(len(stage.get(name)) for name in names)
