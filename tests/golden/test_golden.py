"""What was written once is read for ever, and a change of format shows."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest
import zstandard

from holdfast.journal.events import FORMAT, KINDS
from holdfast.journal.store import RunQuery
from holdfast.stores.archive import import_archive
from holdfast.stores.fsck import check
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.drafts import sound
from holdfast.values.canon import unpack
from tests.golden.write import CURRENT, HERE, SCENES, lines_of, shape

FILES = sorted(HERE.glob("0*/*.jsonl"))


def test_there_are_golden_journals_of_every_format():
    assert {path.parent.name for path in FILES} == {f"{n:04}" for n in range(1, FORMAT + 1)}
    assert {path.stem for path in CURRENT.glob("*.jsonl")} == set(SCENES)
    kinds = {
        json.loads(line)["kind"]
        for path in CURRENT.glob("*.jsonl")
        for line in path.read_text("utf-8").split("\n")
        if '"is":"event"' in line
    }
    assert kinds == set(KINDS)


def compressed(path: Path, target: Path) -> Path:
    target.write_bytes(zstandard.compress(path.read_bytes()))
    return target


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_todays_code_reads_it(path: Path, tmp_path: Path):
    heads = json.loads(path.with_suffix(".heads.json").read_text("utf-8"))
    packed = compressed(path, tmp_path / "archive")
    for store in (MemoryStore(), SqliteStore(tmp_path / "store")):
        await import_archive(packed, store)
        rows = await store.runs(RunQuery())
        assert {row.run: (await store.head(row.run)).id for row in rows} == heads
        for run in heads:
            for event in await sound(store, run):
                if event.value is not None:
                    unpack(event.value, store.get)
        await store.close()
    assert check(tmp_path / "store").problems == []


@pytest.mark.parametrize("name", SCENES)
async def test_todays_code_writes_it(name: str):
    text, heads = await lines_of(name)
    assert heads == json.loads((CURRENT / f"{name}.heads.json").read_text("utf-8"))
    assert text == (CURRENT / f"{name}.jsonl").read_text("utf-8")


def test_the_shape_of_the_format():
    """To change it: a decision record, golden files, FORMAT, `python -m tests.golden.write`."""
    golden = (HERE / "shape.txt").read_text("utf-8")
    today = shape()
    diff = "\n".join(difflib.unified_diff(golden.splitlines(), today.splitlines(), lineterm=""))
    assert golden == today, f"the format has changed:\n{diff}"
