"""Databases of worlds at the command line: which rows differ, which are in conflict."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.support import invoke


def sql(file: Path, script: str) -> list[tuple]:
    with sqlite3.connect(file) as conn:
        conn.executescript(script)
        found = conn.execute("select name, count from stock order by name").fetchall()
    conn.close()
    return found


@pytest.fixture
def refused(place: Path) -> Path:
    """A directory and a fork of it that both changed two rows, and the merge that met that."""
    home = place / "home"
    home.mkdir()
    sql(home / "shop.db", "create table stock(name text primary key, count int);"
                          "insert into stock values('tea', 1), ('salt', 1), ('x', 1)")  # fmt: skip
    invoke("world", "init", "home", "--name", "main")
    invoke("fork", "main", "--no-run", "--name", "idea")
    sql(home / "shop.db", "update stock set count = 2 where name in ('tea', 'salt')")
    script = "import sqlite3; c = sqlite3.connect('shop.db'); c.execute('update stock set count=9')"
    invoke("world", "mount", "idea", "--keep", "--", "python3", "-c", f"{script}; c.commit()")
    invoke("world", "merge", "idea", code=4)
    return home / "shop.db"


def test_rows_are_resolved_one_by_one_or_all(refused: Path):
    found = json.loads(invoke("conflicts", "main", "--json").stdout)
    assert {one["path"] for one in found["conflicts"]} == {
        'shop.db:stock:["salt"]', 'shop.db:stock:["tea"]',
    }  # fmt: skip
    assert found["conflicts"][0]["theirs"].endswith("count=9")
    done = invoke("resolve", "main", 'shop.db:stock:["tea"]', "--theirs")
    assert 'shop.db:stock:["salt"]' in done.stderr
    assert dict(sql(refused, "")) == {"tea": 2, "salt": 2, "x": 1}
    invoke("resolve", "main", 'shop.db:stock:["salt"]', "--base")
    assert dict(sql(refused, "")) == {"tea": 9, "salt": 1, "x": 9}


def test_all_rows_of_a_file_at_once(refused: Path):
    assert "not in conflict" in invoke("resolve", "main", "other.db", "--ours", code=2).stderr
    invoke("resolve", "main", "shop.db", "--ours")
    assert dict(sql(refused, "")) == {"tea": 2, "salt": 2, "x": 9}


def test_a_diff_names_rows(refused: Path):
    shown = invoke("world", "diff", "idea").stdout
    assert "@@ table stock @@" in shown
    assert "-name='tea', count=1\n+name='tea', count=9\n" in shown
