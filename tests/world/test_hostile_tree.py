"""A tree with all that makes trees hard goes through import, export, checkout and a store."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from holdfast.stores.behind import Behind
from holdfast.stores.fsck import check
from holdfast.stores.sqlite import SqliteStore
from holdfast.values import limits
from holdfast.values.errors import Corrupt, Misuse, Outside
from holdfast.world import EMPTY, CopyCheckout, Stage, apply, export_dir, import_dir
from holdfast.world.nodes import Split, load
from holdfast.world.tree import entry, list_dir, reachable, walk
from tests.world.support import make, memory

NAMES = (
    b"new\nline", b"\xff\xfe", b"\xe9", b"x" * 255, b"-rf", b" ", b"$(id)", b"..x", b"a\\b",
    "e\u0301".encode(), "\u00e9".encode(), b"\x01\x7f", b"\xed\xa0\x80", b"a" * 254 + b"\xff",
)  # fmt: skip
HUGE = 40_000_000_000


def spoil(top: Path) -> None:
    """Make the tree."""
    for name in NAMES:
        (Path(os.fsdecode(os.fsencode(top) + b"/" + name))).write_bytes(name)
    folder = os.open(top, os.O_RDONLY)
    for number in range(16):  # a path of over 4,000 bytes: no system call takes it whole
        os.mkdir(f"{number:x}" * 250, dir_fd=folder)
        below = os.open(f"{number:x}" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    with os.fdopen(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=folder), "wb") as file:
        file.write(b"far down")
    os.close(folder)
    deep = top.joinpath(*["d"] * 150)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"deep")
    (top / "empty" / "inside").mkdir(parents=True)
    for name, mode in (("run", 0o755), ("secret", 0o600), ("odd", 0o4711), ("none", 0o400)):
        (top / name).write_bytes(name.encode())
        (top / name).chmod(mode)
    (top / "closed").mkdir()
    (top / "closed" / "f").write_bytes(b"in")
    (top / "closed").chmod(0o555)
    (top / "one").write_bytes(b"linked")
    (top / "two").hardlink_to(top / "one")
    for number, target in enumerate(
        ("one", "/etc/passwd", "../../..", "loop", "\udcff", "x" * 1000)
    ):
        (top / f"link{number}").symlink_to(target)
    (top / "loop").symlink_to("loop")
    (top / "zero").write_bytes(b"")
    for name, size in (("sparse", 300_000_000), ("huge", HUGE)):
        with (top / name).open("wb") as file:
            file.write(b"head")
            file.seek(size // 2)
            file.write(b"middle")
            file.truncate(size)
    (top / "large").write_bytes(bytes(range(256)) * 2000)
    (top / ".holdfast").mkdir()
    (top / ".holdfast" / "mine").write_bytes(b"never")


def seen(top: Path) -> dict[bytes, object]:
    """What is there, read by descriptors and independently of the room."""
    found: dict[bytes, object] = {}

    def look(folder: int, prefix: bytes) -> None:
        for name in sorted(map(os.fsencode, os.listdir(folder))):
            status = os.lstat(name, dir_fd=folder)
            path = prefix + name
            if path == b".holdfast":
                continue
            if stat.S_ISLNK(status.st_mode):
                found[path] = os.readlink(name, dir_fd=folder)
            elif stat.S_ISDIR(status.st_mode):
                found[path] = "dir"
                below = os.open(name, os.O_RDONLY, dir_fd=folder)
                look(below, path + b"/")
                os.close(below)
            else:
                opened = os.open(name, os.O_RDONLY, dir_fd=folder)
                parts = [os.pread(opened, 600_000, at) for at in (0, status.st_size // 2)]
                found[path] = (status.st_size, bool(status.st_mode & 0o100), parts)
                os.close(opened)

    folder = os.open(top, os.O_RDONLY)
    look(folder, b"")
    os.close(folder)
    return found


def rights(top: Path) -> dict[str, int]:
    names = ("run", "secret", "odd", "none", "empty", "closed")
    return {name: (top / name).lstat().st_mode for name in names}


def test_a_hostile_tree_goes_everywhere_and_comes_back(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    spoil(source)
    expected, before = seen(source), rights(source)
    store = SqliteStore(tmp_path / "store")
    with Behind(store) as behind:
        stage = Stage(behind.get, behind.put)
        root = import_dir(stage, source)
        behind.put(stage.take())
    objects = Stage(store.get)  # from here on, what is not in the store is nowhere
    stored = [path.stat().st_size for path in (tmp_path / "store").iterdir() if path.is_file()]
    assert sum(stored) < 6_000_000  # holes are not stored
    assert seen(source) == expected
    assert rights(source) == before  # it is only read
    export_dir(objects, root, tmp_path / "out")
    assert seen(tmp_path / "out") == expected
    assert (tmp_path / "out" / "huge").stat().st_blocks * 512 < 2_000_000  # nor written
    checkout = CopyCheckout(objects, tmp_path / "co", tmp_path / "co.index")
    checkout.sync(root)
    assert seen(tmp_path / "co") == expected
    assert checkout.snapshot() == root
    assert import_dir(memory(), tmp_path / "out") == root
    (tmp_path / "co" / "one").write_bytes(b"other")
    changed = checkout.snapshot()
    two = entry(objects, changed, "two")
    assert two is not None
    assert two == entry(objects, root, "two")  # a hard link is two files in a world
    checkout.sync(EMPTY)
    assert seen(tmp_path / "co") == {}
    assert ".holdfast" not in dict(list_dir(objects, root))
    store._writer.close()
    assert check(tmp_path / "store").problems == []


@pytest.mark.parametrize("what", ["socket", "FIFO", "device"])
def test_what_is_no_file_is_refused_by_name(tmp_path: Path, what: str, monkeypatch):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "odd\none"
    if what == "FIFO":
        os.mkfifo(path)
    elif what == "socket":
        monkeypatch.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)  # what is bound stays when the socket is closed
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("needs the right to make devices")
    with pytest.raises(Misuse, match=r"in/odd\\none' is a " + what) as caught:
        import_dir(memory(), tmp_path)
    assert "\n" not in str(caught.value)
    assert import_dir(memory(), tmp_path, ["odd?one"]) == import_dir(
        memory(), _without(tmp_path, path)
    )


def _without(top: Path, path: Path) -> Path:
    path.unlink()
    return top


def test_a_change_in_a_directory_of_100_000_rewrites_a_few_nodes(tmp_path: Path):
    objects = memory()
    row = make(objects, b"content")
    root = apply(objects, EMPTY, {f"f{number}": row for number in range(100_000)})
    top = load(objects, root)
    assert isinstance(top, Split)
    before = dict(objects.new)
    edits = [{"f77": make(objects, b"changed")}, {"f77": None}, {"new": row}]
    for edit in edits:
        known = set(objects.new)
        root = apply(objects, root, edit)
        fresh = [objects.new[name] for name in objects.new if name not in known]
        assert len(fresh) <= 4  # one node of each level
        assert sum(map(len, fresh)) < 24_000
    assert apply(objects, root, {"new": None, "f77": row}) in before
    assert sum(1 for _ in walk(objects, root)) == 100_000
    assert len(list(reachable(objects, root))) < 5_000


def test_users_choose_what_stays_outside(tmp_path: Path):
    spec = {
        "src/a.py": b"1", "src/a.pyc": b"2", "node_modules/x/y": b"3", "dist/o": b"4",
        "src/dist/o": b"5", ".env": b"6", "keep/node_modules.txt": b"7",
    }  # fmt: skip
    for path, content in spec.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    objects = memory()

    def kept(*ignore: str) -> set[str]:
        return {path for path, _ in walk(objects, import_dir(objects, tmp_path, ignore))}

    assert kept() == set(spec)
    assert kept("*.pyc", "node_modules", "/dist", ".env") == {
        "src/a.py", "src/dist/o", "keep/node_modules.txt",
    }  # fmt: skip
    with pytest.raises(Misuse, match="matches nothing"):
        kept("/")


# ---- writing behind --------------------------------------------------------------------------


class Failing:
    """A store whose disk is full from the n-th piece on."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.blobs: dict[str, bytes] = {}

    def get(self, name: str) -> bytes:
        if name not in self.blobs:
            raise Corrupt(name)
        return self.blobs[name]

    def put_now(self, blobs: dict[str, bytes]) -> None:
        self.left -= 1
        if self.left < 0:
            raise Outside("the disk is full")
        self.blobs.update(blobs)


@pytest.mark.parametrize("number", range(5))
def test_an_import_says_that_the_disk_is_full(tmp_path: Path, monkeypatch, number: int):
    monkeypatch.setattr(limits, "STAGE_FLUSH_BYTES", 1_000)
    for name in range(40):
        (tmp_path / f"f{name}").write_bytes(b"%d" % name * 100)

    def work() -> None:
        with Behind(Failing(number)) as behind:
            stage = Stage(behind.get, behind.put)
            import_dir(stage, tmp_path)
            behind.put(stage.take())

    with pytest.raises(Outside, match="full"):
        work()


def test_what_is_on_its_way_can_be_read(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(limits, "STAGE_FLUSH_BYTES", 1_000)
    store = Failing(10_000)
    contents = [b"%d" % number * 200 for number in range(60)]
    with Behind(store) as behind:
        stage = Stage(behind.get, behind.put)
        for content in contents:
            name = stage.put(content)
            assert stage.get(name) == content
        behind.put(stage.take())
    assert sorted(store.blobs.values()) == sorted(contents)
