import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from holdfast.values import limits
from holdfast.values.canon import encode
from holdfast.values.errors import Corrupt, Misuse, NotFound, Outside, TooLarge
from holdfast.world import (
    EMPTY,
    CopyCheckout,
    Entry,
    Stage,
    apply,
    disk,
    export_dir,
    import_dir,
    nodes,
    read_file,
    write_file,
)
from tests.world.support import absent, build, in_world, memory, on_disk, worlds

FEW = settings(
    deadline=None,
    print_blob=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def objects():
    return memory()


@pytest.fixture
def checkout(objects, tmp_path):
    return CopyCheckout(objects, tmp_path / "co", tmp_path / "co.index")


def test_sync_snapshot_discard(objects, checkout):
    one = build(objects, {"a": b"1", "d/x": (b"#!", True), "l": ("link", "a"), "e": None})
    checkout.sync(one)
    assert on_disk(checkout.path) == in_world(objects, one)
    assert checkout.snapshot() == one == checkout.root
    (checkout.path / "d/y").write_bytes(b"new")
    (checkout.path / "a").unlink()
    (checkout.path / "d/x").chmod(0o644)
    two = checkout.snapshot()
    assert in_world(objects, two) == on_disk(checkout.path)
    assert set(in_world(objects, two)) == {"d/x", "d/y", "e", "l"}
    (checkout.path / "junk").write_bytes(b"")
    checkout.sync(checkout.root)
    assert on_disk(checkout.path) == in_world(objects, two)
    checkout.sync(one)
    assert on_disk(checkout.path) == in_world(objects, one)
    checkout.sync(EMPTY)
    assert on_disk(checkout.path) == {}


@FEW
@given(worlds(), worlds(), worlds())
def test_any_root_over_any_mess(tmp_path, one, two, mess):
    """Sync gives exactly the root, whatever commands left behind; also with a lost index."""
    objects = memory()
    where = tmp_path / os.urandom(4).hex()
    first, second = build(objects, one), build(objects, two)
    checkout = CopyCheckout(objects, where / "co", where / "index")
    checkout.sync(first)
    assert on_disk(checkout.path) == in_world(objects, first)
    disk.delete(os.open(where, os.O_RDONLY), "co")
    export_dir(objects, build(objects, mess), checkout.path)
    assert checkout.snapshot() == build(objects, mess)
    checkout.sync(second)
    assert on_disk(checkout.path) == in_world(objects, second)
    assert CopyCheckout(objects, where / "co", where / "index").snapshot() == second
    (where / "index").unlink()
    lost = CopyCheckout(objects, where / "co", where / "index")
    assert lost.root == ""
    lost.sync(first)
    assert on_disk(checkout.path) == in_world(objects, first)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"7", b"null", encode({"form": 1}), b"\xff"])
def test_damaged_index_is_only_slow(objects, checkout, tmp_path, damage):
    root = build(objects, {"a": b"1", "d/b": b"2"})
    checkout.sync(root)
    (tmp_path / "co.index").write_bytes(damage)
    again = CopyCheckout(objects, checkout.path, tmp_path / "co.index")
    assert again.root == ""
    assert again.snapshot() == root


def test_index_of_another_boot_is_not_trusted(objects, checkout, tmp_path, monkeypatch):
    checkout.sync(build(objects, {"a": b"1"}))
    monkeypatch.setattr("holdfast.world.index.boot_id", lambda: "another")
    assert CopyCheckout(objects, checkout.path, tmp_path / "co.index").root == ""


def test_index_must_not_be_part_of_the_world(objects, tmp_path):
    with pytest.raises(Misuse, match="beside"):
        CopyCheckout(objects, tmp_path / "co", tmp_path / "co/index")
    own = CopyCheckout(objects, tmp_path / "co", tmp_path / "co/.holdfast/index")
    root = build(objects, {"a": b"1"})
    own.sync(root)
    assert own.snapshot() == root
    own.sync(EMPTY)
    assert (tmp_path / "co/.holdfast/index").exists()


def test_second_process_reads_only_what_changed(objects, checkout, tmp_path, monkeypatch):
    root = build(objects, {f"d{n}/f": b"%d" % n for n in range(50)})
    checkout.sync(root)
    later(monkeypatch)
    assert checkout.snapshot() == root
    read = []
    real = disk.entry_of
    monkeypatch.setattr(disk, "entry_of", lambda *file: read.append(file) or real(*file))
    again = CopyCheckout(objects, checkout.path, tmp_path / "co.index")
    assert again.snapshot() == root
    assert read == []
    (checkout.path / "d7/f").write_bytes(b"changed")
    assert read_file(objects, again.snapshot(), "d7/f") == b"changed"
    assert len(read) == 1


def later(monkeypatch):
    """Let the file system's clock seem to have moved on."""
    from holdfast.world.index import Index

    now = Index.now
    monkeypatch.setattr(Index, "now", lambda self, top: now(self, top) + 10**9)


def test_moving_touches_only_the_difference(objects, checkout, monkeypatch):
    spec = {f"d{n}/f": b"%d" % n for n in range(50)}
    one = build(objects, spec)
    checkout.sync(one)
    inodes = {path: path.stat().st_ino for path in checkout.path.rglob("f")}
    times = {path: path.stat().st_ctime_ns for path in checkout.path.rglob("f")}
    gets = []
    get = objects.get
    monkeypatch.setattr(objects, "get", lambda name: gets.append(name) or get(name))
    checkout.sync(write_file(objects, one, "d7/f", b"changed"))
    touched = [
        str(path.relative_to(checkout.path))
        for path, inode in inodes.items()
        if (path.stat().st_ino, path.stat().st_ctime_ns) != (inode, times[path])
    ]
    assert touched == ["d7/f"]
    assert len(gets) < 20


def test_quick_rewrite_of_the_same_size_is_seen_w5(objects, checkout):
    """INVARIANT W5: a file written twice within one tick of the clock keeps its signature."""
    target = checkout.path / "f"
    checkout.sync(EMPTY)
    for number in range(300):
        with target.open("r+b" if number else "wb") as file:
            file.write(b"%06d" % number)
        assert read_file(objects, checkout.snapshot(), "f") == b"%06d" % number


def test_rewrite_right_after_sync_is_seen_w5(objects, checkout):
    """INVARIANT W5."""
    for number in range(100):
        checkout.sync(build(objects, {"f": b"%06d" % number}))
        with (checkout.path / "f").open("r+b") as file:
            file.write(b"x%05d" % number)
        assert read_file(objects, checkout.snapshot(), "f") == b"x%05d" % number


def test_time_set_back_is_seen_w5(objects, checkout, monkeypatch):
    """INVARIANT W5: mtime can be set back by a program, ctime cannot."""
    checkout.sync(build(objects, {"f": b"123456"}))
    later(monkeypatch)
    checkout.snapshot()
    target = checkout.path / "f"
    old = target.stat()
    while target.stat().st_ctime_ns == old.st_ctime_ns:
        with target.open("r+b") as file:
            file.write(b"abcdef")
        os.utime(target, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert target.stat().st_mtime_ns == old.st_mtime_ns
    assert read_file(objects, checkout.snapshot(), "f") == b"abcdef"


def test_lost_commit_is_noticed(tmp_path):
    """A root whose blobs were staged and never committed is not built upon."""
    store: dict[str, bytes] = {}
    stage = Stage(lambda name: store[name] if name in store else absent(name))
    checkout = CopyCheckout(stage, tmp_path / "co", tmp_path / "index")
    checkout.sync(EMPTY)
    (checkout.path / "a").write_bytes(b"1")
    checkout.snapshot()
    store.update(stage.take())
    (checkout.path / "b").write_bytes(b"2")
    lost = checkout.snapshot()
    stage.take()  # the commit failed
    (checkout.path / "c").write_bytes(b"3")
    root = checkout.snapshot()
    store.update(stage.take())
    assert root != lost
    clean = Stage(lambda name: store[name])
    assert in_world(clean, root) == on_disk(checkout.path)
    assert CopyCheckout(stage, tmp_path / "co", tmp_path / "index").root == root


def test_ignore(objects, tmp_path):
    root = build(objects, {"a.pyc": b"2", "cache/x": b"1", "cache/tmp/y": b"1", "d/z.pyc": b""})
    export_dir(objects, root, tmp_path / "out")
    os.mkfifo(tmp_path / "out/odd.pyc")
    found = import_dir(objects, tmp_path / "out", ["*.pyc", "cache/tmp"])
    assert set(in_world(objects, found)) == {"cache/x", "d"}


def test_reserved_directory_is_never_part(objects, checkout):
    root = build(objects, {"a": b"1", "d/.holdfast/x": b"2"})
    checkout.sync(root)
    (checkout.path / ".holdfast").mkdir()
    (checkout.path / ".holdfast/db").write_bytes(b"ours")
    assert checkout.snapshot() == root
    checkout.sync(EMPTY)
    assert (checkout.path / ".holdfast/db").read_bytes() == b"ours"
    forged, _ = nodes.edit(objects, EMPTY, {".holdfast": Entry("link", target="/etc")})
    with pytest.raises(Corrupt, match="holdfast"):
        checkout.sync(forged)
    with pytest.raises(Corrupt):
        export_dir(objects, forged, checkout.path.parent / "out")


def test_odd_things_are_refused_by_name_and_healed(objects, checkout, monkeypatch):
    root = build(objects, {"a": b"1"})
    checkout.sync(root)
    (checkout.path / "d").mkdir()
    os.mkfifo(checkout.path / "d/pipe")
    with pytest.raises(Misuse, match=r"d/pipe.*FIFO"):
        checkout.snapshot()
    with pytest.raises(Misuse, match="d/pipe"):
        import_dir(objects, checkout.path)
    checkout.sync(checkout.root)
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(checkout.path)
        server.bind("sock")
        with pytest.raises(Misuse, match="socket"):
            checkout.snapshot()
    checkout.sync(checkout.root)
    assert on_disk(checkout.path) == in_world(objects, root)
    monkeypatch.setattr(limits, "FILE_MAX_BYTES", 3)
    (checkout.path / "big").write_bytes(b"1234")
    with pytest.raises(Misuse, match="big"):
        checkout.snapshot()
    checkout.sync(checkout.root)
    assert on_disk(checkout.path) == in_world(objects, root)
    with pytest.raises(TooLarge):
        write_file(objects, root, "big", b"1234")


def test_import_and_export(objects, tmp_path):
    root = build(objects, {"a": (b"1", True), "e": None, "l": ("link", "/x")})
    export_dir(objects, root, tmp_path / "new/deep")
    assert on_disk(tmp_path / "new/deep") == in_world(objects, root)
    assert import_dir(objects, tmp_path / "new/deep") == root
    with pytest.raises(Misuse, match="not empty"):
        export_dir(objects, root, tmp_path / "new")
    with pytest.raises(NotFound):
        import_dir(objects, tmp_path / "none")
    gone = CopyCheckout(objects, tmp_path / "none", tmp_path / "index")
    with pytest.raises(NotFound, match="gone"):
        gone.snapshot()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Outside, match="file"):
        CopyCheckout(objects, tmp_path / "file", tmp_path / "index").sync(root)


def test_modes_whatever_the_umask(objects, checkout):
    old = os.umask(0o077)
    try:
        checkout.sync(build(objects, {"x": (b"1", True), "d/f": b"2"}))
    finally:
        os.umask(old)
    assert (checkout.path / "x").stat().st_mode & 0o777 == 0o755
    assert (checkout.path / "d/f").stat().st_mode & 0o777 == 0o644


def test_missing_content_is_corrupt(objects, checkout):
    root = apply(objects, EMPTY, {"f": Entry("file", "0" * 64, 3)})
    with pytest.raises(Corrupt):
        checkout.sync(root)
    short = apply(objects, EMPTY, {"f": Entry("file", objects.put(b"12"), 3)})
    with pytest.raises(Corrupt, match="2 bytes instead of 3"):
        checkout.sync(short)
    fine = build(objects, {"f": b"1"})
    checkout.sync(fine)
    assert on_disk(Path(checkout.path)) == in_world(objects, fine)
