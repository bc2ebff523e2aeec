"""Rows keep references as bytes, and nobody else notices."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.journal.events import Draft, RunStarted, SignalReceived
from holdfast.journal.like import restore, shorten
from holdfast.journal.store import Batch
from holdfast.stores.fsck import check
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.terse import terse, written
from holdfast.testing.drafts import sound
from holdfast.values.canon import encode, pack

HASHES = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.lists(st.sampled_from(b'\0\1\2\3\4\n{}"'), min_size=32, max_size=32).map(bytes),
).map(bytes.hex)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text('\0\1\2\3\4\\"{}$:', max_size=20),
    HASHES.map(lambda name: '{"$blob":"' + name + '"}'),
    HASHES.map(lambda name: r"{\"$raw\":\"" + name + r"\"}"),
    HASHES.map(lambda name: r'{\"$raw":"' + name + '"}'),
)
REFERENCES = st.builds(lambda tag, name: {tag: name}, st.sampled_from(["$blob", "$raw"]), HASHES)
SKELETONS = st.recursive(
    REFERENCES | TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=4),
).map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def text_as_bytes(stored: str | bytes) -> bytes:
    """What a connection that reads text as bytes returns."""
    return stored.encode() if isinstance(stored, str) else stored


@given(SKELETONS, SKELETONS)
@example(b'{"$blob":"' + b"01" * 32 + b'"}', b"")
@example(b'{"$erased":"' + b"01" * 32 + b'"}', b"")
def test_what_comes_out_is_what_went_in(one: bytes, two: bytes):
    """INVARIANT S10."""
    nested = encode({"like": ["1", 5], "then": (one + two).decode()})
    for payload in (one, two, nested, encode(nested.decode())):
        stored = terse(payload)
        assert written(stored) == payload
        assert written(text_as_bytes(stored)) == payload
        assert len(stored) <= len(payload)


@given(st.lists(HASHES, min_size=8, max_size=12))
def test_a_conversation_pays_for_hashes_only(names: list[str]):
    said = [{"content": {"$blob": name}, "role": "user"} for name in names]
    before, after = (json.dumps(part, separators=(",", ":")).encode() for part in (said[:-1], said))
    short = shorten(after, "7", before)
    assert short is not None
    stored = terse(short)
    assert isinstance(stored, bytes)
    assert stored.count(bytes.fromhex(names[-1])) == 1
    assert names[-1].encode() not in stored
    assert restore(written(stored), lambda _: before) == after


async def test_a_store_reads_and_proves_them(tmp_path: Path):
    parts: list[Any] = [
        "x" * 300,
        b"y" * 300,
        {"deep": ["z" * 300, '{"$blob":"' + "0" * 64 + '"}']},
    ]
    blobs: dict[str, bytes] = {}
    skeletons = [pack(parts[:count], blobs) for count in range(1, 4)]
    store = SqliteStore(tmp_path)
    drafts = [Draft(SignalReceived("s"), 7, value=skeleton) for skeleton in skeletons]
    await store.append((Batch("r", (Draft(RunStarted("a"), 7), *drafts)),), blobs)
    assert [event.value for event in await sound(store, "r")] == [None, *skeletons]
    assert [event.value for event in await store.tail(1, 9)] == skeletons
    await store.close()
    assert check(tmp_path).problems == []
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as conn:
        types = conn.execute("SELECT typeof(value) FROM event ORDER BY seq").fetchall()
    assert types == [("null",), ("blob",), ("blob",), ("blob",)]


async def test_a_reference_that_was_changed_is_found(tmp_path: Path):
    blobs: dict[str, bytes] = {}
    skeleton = pack(["x" * 300], blobs)
    store = SqliteStore(tmp_path)
    drafts = (Draft(RunStarted("a"), 7), Draft(SignalReceived("s"), 7, value=skeleton))
    await store.append((Batch("r", drafts),), blobs)
    await store.close()
    for change in ("substr(value,1,9)||x'00'||substr(value,11)", "substr(value,1,20)", "x'01'"):
        with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as conn:
            (kept,) = conn.execute("SELECT value FROM event WHERE seq=2").fetchone()
            conn.execute(f"UPDATE event SET value=CAST({change} AS BLOB) WHERE seq=2")
            conn.commit()
            found = [(problem.kind, problem.place) for problem in check(tmp_path).problems]
            assert ("hash", "r#1") in found
            conn.execute("UPDATE event SET value=? WHERE seq=2", (kept,))
            conn.commit()
    assert check(tmp_path).problems == []
