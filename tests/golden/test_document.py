"""docs/journal-format.md is true: its tables, its layout, and the program that verifies a file."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from holdfast.journal import events
from holdfast.journal.store import RunQuery
from holdfast.stores.schema import APPLICATION_ID, SCHEMA
from holdfast.stores.sqlite import SqliteStore
from holdfast.values import limits
from tests.golden.write import SCENES

TEXT = (Path(__file__).parents[2] / "docs" / "journal-format.md").read_text("utf-8")


def block(language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[0]


@pytest.mark.parametrize(
    ("kind", "body"), list(zip(events.KINDS, events.Body.__args__, strict=True)), ids=events.KINDS
)
def test_every_kind_and_field_is_described(kind: str, body: type):
    sections = re.split(r"(?m)^(?=`[a-z]+\.[a-z]+`: )|^Parts of bodies", TEXT)
    (section,) = [part for part in sections if part.startswith(f"`{kind}`")]
    for field in msgspec.structs.fields(body):
        assert f"`{field.encode_name}`" in section, f"{kind}: {field.encode_name}"
    order = re.findall(r"(?m)^`([a-z]+\.[a-z]+)`: ", TEXT)
    assert order == list(events.KINDS)


@pytest.mark.parametrize("part", [events.Plan, events.Verdict, events.Failure])
def test_every_part_is_described(part: type):
    (line,) = [x for x in TEXT.splitlines() if x.startswith(f"| {part.__name__.lower()} |")]
    for field in msgspec.structs.fields(part):
        assert f"`{field.encode_name}`" in line


def test_numbers():
    assert f"**format {events.FORMAT}**" in TEXT
    assert f"longer than {limits.PART_MIN_BYTES} characters" in TEXT
    assert f"at least {limits.LIKE_MIN_BYTES} bytes" in TEXT
    assert f"chunks of {limits.CHUNK_BYTES // 1024} KiB" in TEXT
    assert f"of {limits.CHUNK_DATABASE_BYTES // 1024} KiB if" in TEXT
    assert f"up to {limits.CHUNK_FANOUT} children" in TEXT
    assert f"of more than {limits.DIRECTORY_SPLIT_ENTRIES} entries" in TEXT
    assert f"0x{APPLICATION_ID:X}" in TEXT


def test_layout(tmp_path: Path):
    assert block("sql").strip() == SCHEMA.strip()
    SqliteStore(tmp_path)._writer.close()
    made = sqlite3.connect(tmp_path / "journal.db")
    described = sqlite3.connect(":memory:")
    described.executescript(re.sub(r"\s+", " ", re.sub(r"--.*", "", block("sql"))))
    listing = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    assert made.execute(listing).fetchall() == described.execute(listing).fetchall()
    made.close()
    described.close()


@pytest.mark.parametrize("name", SCENES)
async def test_the_program_verifies_a_file(name: str, tmp_path: Path):
    store = SqliteStore(tmp_path)
    await SCENES[name](store)
    heads = {row.run: (await store.head(row.run)).id for row in await store.runs(RunQuery())}
    await store.close()
    said = verify(tmp_path)
    assert said.returncode == 0, said.stderr
    assert dict(line.split() for line in said.stdout.splitlines()) == heads
    conn = sqlite3.connect(tmp_path / "journal.db")
    conn.execute("UPDATE event SET at=at+1 WHERE seq=2")
    conn.commit()
    conn.close()
    said = verify(tmp_path)
    assert said.returncode == 1
    assert "AssertionError" in said.stderr


def verify(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-", str(directory / "journal.db")]
    return subprocess.run(command, input=block("python"), capture_output=True, text=True)


def test_the_program_is_short():
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 45
