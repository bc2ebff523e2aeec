"""Content as chunks: its hash depends on the content alone, whatever made it."""

from __future__ import annotations

import contextlib
import itertools
import os
import tracemalloc
from collections.abc import Generator, Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Corrupt, Misuse, TooLarge
from holdfast.world import (
    EMPTY,
    CopyCheckout,
    Entry,
    Stage,
    apply,
    chunks,
    export_dir,
    import_dir,
    put_file,
    reachable,
    read_file,
)
from holdfast.world.chunks import DATABASE_HEAD, ChunkTree, file_bytes, file_pieces, put_chunks
from tests.world.support import QUICK, absent, at, memory

MIB = 1024 * 1024


@contextlib.contextmanager
def small(fanout: int = 3) -> Generator[None]:
    """Chunks of 64 bytes (16 in databases), so that short content makes deep trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "CHUNK_BYTES", 64)
        patch.setattr(limits, "CHUNK_DATABASE_BYTES", 16)
        patch.setattr(chunks, "_FANOUT", fanout)
        clear()
        yield
    clear()


def clear() -> None:
    chunks._zeros.cache_clear()
    chunks._zeros_name.cache_clear()


class Counting(Stage):
    """Objects that note what is read."""

    def __init__(self) -> None:
        super().__init__(absent)
        self.reads: list[str] = []

    def get(self, name: str) -> bytes:
        self.reads.append(name)
        return super().get(name)


BLOCKS = st.one_of(
    st.binary(max_size=40),
    st.integers(1, 400).map(bytes),
    st.integers(1, 300).map(lambda n: b"x" * n),
    st.just(DATABASE_HEAD),
)
CONTENT = st.lists(BLOCKS, max_size=8).map(b"".join)


def pieces_of(content: bytes, cuts: list[int]) -> Iterator[bytes | int]:
    """The same content in other pieces, runs of zeros as holes."""
    edges = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    for start, stop in itertools.pairwise(edges):
        part = content[start:stop]
        yield part if any(part) else len(part)


@QUICK
@given(CONTENT, st.lists(st.integers(0, 2000), max_size=12))
@example(bytes(64 * 3 * 3 * 3 + 5), [1, 700])
@example(DATABASE_HEAD + bytes(16 * 80), [16])
def test_content_to_entry_and_back_w9(content: bytes, cuts: list[int]):
    """INVARIANT W9: neither the pieces it came in nor its holes show in the hash."""
    with small():
        objects = memory()
        entry = put_file(objects, content)
        step = 16 if content.startswith(DATABASE_HEAD) else 64
        assert (entry.size, entry.chunked) == (len(content), len(content) > step)
        assert file_bytes(objects, entry) == content
        assert put_chunks(objects.put, pieces_of(content, cuts)) == entry
        assert put_chunks(digest, [content]) == entry
        kept = {name: objects.get(name) for name in chunks.blobs_of(objects, entry, set())}
        assert file_bytes(Stage(lambda name: kept[name]), entry) == content
        assert kept.keys() <= objects.new.keys()


EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 60), st.binary(min_size=64, max_size=64)),
        st.tuples(st.just("put"), st.integers(0, 60), st.just(bytes(64))),
        st.tuples(st.just("put"), st.just(0), st.just(DATABASE_HEAD * 4)),
        st.tuples(st.just("size"), st.integers(0, 2500), st.just(b"")),
        st.tuples(st.sampled_from(["spill", "save", "open"]), st.just(0), st.just(b"")),
    ),
    max_size=12,
)


@QUICK
@given(CONTENT, EDITS, st.booleans())
@example(b"ab", [("size", 0, b""), ("size", 200, b""), ("put", 1, b"y" * 64)], True)
@example(bytes(900), [("size", 130, b""), ("save", 0, b""), ("size", 1800, b"")], True)
def test_edits_in_any_order_give_the_entry_from_scratch_w9(
    content: bytes, edits: list[tuple[str, int, bytes]], executable: bool
):
    """INVARIANT W9: nor does the history of edits; also where the content becomes a database."""
    with small():
        objects = memory()
        model = bytearray(content)
        tree = ChunkTree(objects, put_file(objects, content, executable))
        for verb, number, block in edits:
            if verb == "size":
                tree.resize(number)
                model = model[:number].ljust(number, b"\0")
            elif verb == "put" and tree.chunks:
                index = number % tree.chunks
                block = block[: tree.length(index)]
                tree.put(index, block)
                start = index * tree.chunk_bytes
                model[start : start + len(block)] = block
            elif verb == "spill":
                tree.spill()
            elif verb == "save":
                assert tree.save() == put_file(memory(), bytes(model), executable)
            elif verb == "open":
                tree = ChunkTree(objects, tree.save())
            assert tree.size == len(model)
        found = b"".join(tree.chunk(index) for index in range(tree.chunks))
        assert found == model
        entry = tree.save()
        assert entry == put_file(memory(), bytes(model), executable)
        assert file_bytes(objects, entry) == model
        assert tree.dirty_bytes == 0


def test_a_new_file_whatever_size_of_chunks_was_expected_w9():
    for content in (b"", b"text", DATABASE_HEAD + bytes(9000), b"x" * 70_000):
        for expected in (0, 4096, 65536):
            objects = memory()
            tree = ChunkTree(objects, chunk_bytes=expected)
            tree.resize(len(content))
            for index in range(tree.chunks):
                start = index * tree.chunk_bytes
                tree.put(index, content[start : start + tree.chunk_bytes])
            assert tree.save() == put_file(memory(), content)


def test_one_changed_page_of_a_large_database_rewrites_three_lists():
    objects = Counting()
    pages = (b"%d" % number * 700 for number in range(8_000))
    entry = put_chunks(objects.put, [DATABASE_HEAD, *pages, 100 * MIB])
    before = set(objects.new)
    tree = ChunkTree(objects, entry)
    tree.put(2_000, b"x" * 4096)
    assert tree.save() != entry
    new = objects.new.keys() - before
    assert len(new) == 4
    assert sum(len(objects.new[name]) for name in new) - 4096 <= 6_200
    assert len(objects.reads) <= 12


def test_a_huge_hole_costs_nothing():
    objects = Counting()
    tracemalloc.start()
    size = limits.FILE_MAX_BYTES
    entry = put_chunks(objects.put, [b"begin", size - 8, b"end"])
    assert entry.size == size
    assert len(objects.new) < 20
    found = list(file_pieces(objects, entry))
    assert sum(piece if isinstance(piece, int) else len(piece) for piece in found) == size
    assert len(found) < 600
    tree = ChunkTree(objects)
    tree.resize(size)
    tree.put(0, b"begin".ljust(65536, b"\0"))
    tree.put(tree.chunks - 1, b"end".rjust(65536, b"\0"))
    assert tree.save() == entry
    tree.resize(5)
    assert tree.save() == put_file(objects, b"begin")
    assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    tracemalloc.stop()
    with pytest.raises(TooLarge):
        tree.resize(size + 1)
    with pytest.raises(TooLarge, match="in parts"):
        file_bytes(objects, entry)


def test_sparse_files_are_scanned_and_written_as_such(tmp_path: Path):
    objects = memory()
    co = CopyCheckout(objects, tmp_path / "co", tmp_path / "index")
    co.sync(EMPTY)
    size = 300 * 1024 * MIB
    with (co.path / "sparse").open("wb") as file:
        file.seek(77 * MIB + 5)
        file.write(b"island")
        file.seek(200 * MIB)
        file.write(bytes(3 * MIB))  # zeros that are there
        file.truncate(size)
    (co.path / "all-hole").touch()
    os.truncate(co.path / "all-hole", 5 * MIB + 1)
    root = co.snapshot()
    pieces: list[bytes | int] = [77 * MIB + 5, b"island", size - 77 * MIB - 11]
    assert at(objects, root, "sparse") == put_chunks(objects.put, pieces)
    assert read_file(objects, root, "all-hole") == bytes(5 * MIB + 1)
    export_dir(objects, root, tmp_path / "out")
    out = (tmp_path / "out/sparse").stat()
    assert out.st_size == size
    assert out.st_blocks * 512 < MIB
    assert (tmp_path / "out/all-hole").stat().st_size == 5 * MIB + 1
    assert import_dir(objects, tmp_path / "out") == root


def test_a_database_on_disk_is_cut_by_pages(tmp_path: Path):
    (tmp_path / "d").mkdir()
    conn = apsw.Connection(str(tmp_path / "d/app.db"))
    conn.execute("create table t(a, b)")
    conn.execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)"
        " insert into t select i, randomblob(200) from n"
    )
    objects = memory()
    first = import_dir(objects, tmp_path / "d")
    before = set(objects.new)
    conn.execute("update t set b = 1 where a = 1000")
    conn.close()
    second = import_dir(objects, tmp_path / "d")
    new = set(objects.new) - before
    assert first != second
    assert sum(len(objects.new[name]) for name in new) < 12_000 + 3 * 4096
    assert read_file(objects, second, "app.db") == (tmp_path / "d/app.db").read_bytes()


def test_damage_and_forgery_are_found():
    with small(4):
        objects = memory()
        entry = put_file(objects, bytes(range(256)) * 20)

        def whole(forged: Entry) -> bytes:
            tree = ChunkTree(objects, forged)
            return b"".join(tree.chunk(index) for index in range(tree.chunks))

        def fails(forged: Entry) -> None:
            with pytest.raises(Corrupt):
                list(file_pieces(objects, forged))
            with pytest.raises(Corrupt):
                whole(forged)

        for size in (1, 64, 65, entry.size - 1, entry.size + 1, entry.size * 64, 10**15):
            fails(entry._replace(size=size))
        fails(entry._replace(chunked=False))
        fails(entry._replace(hash=digest(b"nothing")))
        fails(put_file(objects, b"text")._replace(chunked=True))
        head, root = b"chunks\x01\x06", objects.get(entry.hash)
        for node in (b"", root[:-1], root[:8], root[:6] + b"\x01" + root[7:],
                     head + bytes.fromhex(entry.hash) * 4, root + root[8:40] * 70):  # fmt: skip
            fails(entry._replace(hash=objects.put(node)))
        loop = Entry("file", objects.put(root[:6] + b"\xff\xff" + root[8:]), 10**9, chunked=True)
        fails(loop)
        with pytest.raises(Corrupt):
            list(reachable(objects, apply(objects, EMPTY, {"f": loop})))
        tree = ChunkTree(objects, entry)
        for index, content in ((-1, b""), (0, b"short"), (tree.chunks, b"x" * 64)):
            with pytest.raises(Misuse):
                tree.put(index, content)
        with pytest.raises(Misuse):
            tree.chunk(tree.chunks)


def test_a_file_may_equal_a_list_of_chunks_w7():
    """INVARIANT W7: a file with a list's very bytes does not hide what the list names."""
    with small():
        for first in (True, False):
            objects = memory()
            entry = put_file(objects, bytes(range(256)))
            twin = put_file(objects, objects.get(entry.hash) * 1)
            assert (twin.hash == entry.hash) == (not twin.chunked)
            plain = Entry("file", entry.hash, len(objects.get(entry.hash)))
            names = ("a", "b") if first else ("b", "a")
            root = apply(objects, EMPTY, {names[0]: plain, names[1]: entry})
            assert digest(bytes(range(64))) in set(reachable(objects, root))
