"""Trees that commands may leave behind on purpose."""

import os
from pathlib import Path

import pytest

from holdfast.values import limits
from holdfast.values.errors import TooLarge
from holdfast.world import EMPTY, CopyCheckout, Entry, apply, import_dir, list_dir, read_file, walk
from tests.world.support import build, in_world, memory, on_disk


@pytest.fixture
def objects():
    return memory()


@pytest.fixture
def checkout(objects, tmp_path):
    made = CopyCheckout(objects, tmp_path / "co", tmp_path / "co.index")
    made.sync(EMPTY)
    return made


@pytest.fixture
def outside(tmp_path) -> Path:
    """A directory that nobody may touch."""
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "f").write_bytes(b"precious")
    (outside / "d/f").write_bytes(b"precious too")
    return outside


def untouched(outside: Path) -> bool:
    return {
        str(p.relative_to(outside)): p.is_file() and p.read_bytes() for p in outside.rglob("*")
    } == {
        "f": b"precious",
        "d": False,
        "d/f": b"precious too",
    }


def test_strange_names(objects, checkout, tmp_path):
    names = [
        b"new\nline",
        b"tab\t",
        b" ",
        b"-rf",
        b"\xff\xfe",
        b"\xe9",
        "é".encode(),
        "e\u0301".encode(),
        b"$bytes",
        b"$",
        b"$$",
        b"null",
        b'"',
        b"\\",
        b"x" * 255,
        "\U0001f600".encode(),
        b"/"[:0] + b"~",
        b"\x01\x7f",
        b"...",
        b"a" * 200 + b"\xff",
    ]
    top = os.fsencode(checkout.path)
    for name in names:
        Path(os.fsdecode(top + b"/" + name)).write_bytes(name)
    Path(os.fsdecode(top + b"/\xfd")).mkdir()
    Path(os.fsdecode(top + b"/\xfd/\xfb")).symlink_to(os.fsdecode(b"\xfa/b"))
    Path(os.fsdecode(top + b"/abs")).symlink_to("/abs")
    root = checkout.snapshot()
    assert in_world(objects, root) == on_disk(checkout.path)
    assert len(list_dir(objects, root)) == len(names) + 2
    for name in names:
        assert read_file(objects, root, os.fsdecode(name)) == name
    again = CopyCheckout(objects, checkout.path, tmp_path / "co.index")
    assert again.root == root
    assert again.snapshot() == root
    other = CopyCheckout(objects, tmp_path / "other", tmp_path / "other.index")
    other.sync(root)
    assert on_disk(other.path) == on_disk(checkout.path)
    assert import_dir(objects, other.path) == root


def test_many_entries(objects, checkout, tmp_path):
    spec = {f"d/f{number}": b"%d" % (number % 10) for number in range(20_000)}
    root = build(objects, spec)
    checkout.sync(root)
    assert checkout.snapshot() == root
    (checkout.path / "d/f777").write_bytes(b"changed")
    (checkout.path / "d/f778").unlink()
    before = len(objects.new)
    two = checkout.snapshot()
    assert len(objects.new) - before < 15
    assert len(dict(walk(objects, two))) == 19_999
    checkout.sync(EMPTY)
    assert list(checkout.path.iterdir()) == []


def deep(path: Path, levels: int) -> None:
    """Nest directories deeper than any path could say."""
    here = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(b"bottom")
    os.close(here)


def test_deep_nesting(objects, checkout):
    deep(checkout.path, limits.WORLD_DEPTH_MAX - 1)
    root = checkout.snapshot()
    ((path, entry),) = walk(objects, root)
    assert path.count("/") == limits.WORLD_DEPTH_MAX - 1
    checkout.sync(EMPTY)
    checkout.sync(root)
    assert import_dir(objects, checkout.path) == root
    assert apply(objects, EMPTY, {path: entry}) == root
    assert len(list(walk(objects, root))) == 1


def test_too_deep_is_refused_and_healed(objects, checkout):
    root = build(objects, {"a": b"1"})
    checkout.sync(root)
    deep(checkout.path, 3_000)
    with pytest.raises(Exception, match="directories deep") as caught:
        checkout.snapshot()
    assert caught.type.__name__ in ("Misuse", TooLarge.__name__)
    checkout.sync(checkout.root)
    assert on_disk(checkout.path) == in_world(objects, root)


@pytest.mark.parametrize("known", [True, False])
def test_symlinked_parents_lead_nowhere_w2(objects, checkout, outside, tmp_path, known):
    """INVARIANT W2: a command replaces a directory by a symlink to a place outside."""
    root = build(objects, {"d/f": b"mine", "d/g": b"mine", "e/d/f": b"mine"})
    checkout.sync(root)
    for name, target in (("d", outside), ("e", outside)):
        (checkout.path / name).rename(tmp_path / f"moved-{name}")
        (checkout.path / name).symlink_to(target)
    if not known:
        checkout = CopyCheckout(objects, checkout.path, tmp_path / "no.index")
    two = build(objects, {"d/f": b"new", "e/d/f": b"new"})
    checkout.sync(two)
    assert on_disk(checkout.path) == in_world(objects, two)
    assert untouched(outside)
    for name in ("d", "e"):
        (checkout.path / name).rename(tmp_path / f"again-{name}")
        (checkout.path / name).symlink_to(outside)
    three = checkout.snapshot()
    assert in_world(objects, three) == {name: ("link", str(outside)) for name in ("d", "e")}
    checkout.sync(EMPTY)
    assert untouched(outside)
    assert list(checkout.path.iterdir()) == []


def test_links_out_are_kept_and_never_followed_w2(objects, checkout, outside):
    """INVARIANT W2."""
    for name, target in (("f", outside / "f"), ("d", outside / "d"), ("up", Path("../../.."))):
        (checkout.path / name).symlink_to(target)
    (checkout.path / "loop").symlink_to("loop")
    root = checkout.snapshot()
    assert all(entry.kind == "link" for _, entry in walk(objects, root))
    files = build(objects, {"f": b"1", "d": b"2", "up": b"3", "loop": b"4"})
    checkout.sync(files)
    assert on_disk(checkout.path) == in_world(objects, files)
    checkout.sync(root)
    checkout.sync(EMPTY)
    assert untouched(outside)


def test_hard_links_do_not_carry_writes_out_w2(objects, checkout, outside):
    """INVARIANT W2: neither content nor mode is written through a hard link."""
    mode = (outside / "f").stat().st_mode
    (checkout.path / "f").hardlink_to(outside / "f")
    checkout.snapshot()
    checkout.sync(build(objects, {"f": (b"precious", True)}))
    checkout.sync(build(objects, {"f": b"other"}))
    assert untouched(outside)
    assert (outside / "f").stat().st_mode == mode


def test_the_checkout_itself_replaced_by_a_link_w2(objects, checkout, outside):
    """INVARIANT W2."""
    checkout.sync(build(objects, {"a": b"1"}))
    checkout.path.rename(checkout.path.with_name("away"))
    checkout.path.symlink_to(outside)
    with pytest.raises(Exception, match="co"):
        checkout.sync(build(objects, {"b": b"1"}))
    with pytest.raises(Exception, match="co"):
        checkout.snapshot()
    assert untouched(outside)


def test_removing_nested_trees_with_clashing_names(objects, checkout):
    for path in ("a/moved-1/x", "a/moved-2/moved-1/moved-1", "a/b/c/d/e/f", "a/moved-3/moved-4"):
        (checkout.path / path).mkdir(parents=True)
        (checkout.path / path / "file").write_bytes(b"1")
    checkout.sync(EMPTY)
    assert list(checkout.path.iterdir()) == []


def test_taken_away_rights(objects, checkout):
    """As a person without privileges this needs the rights back; as root it passes anyway."""
    root = build(objects, {"d/e/f": b"1", "g": b"2"})
    checkout.sync(root)
    (checkout.path / "d/e/f").chmod(0)
    (checkout.path / "d/e").chmod(0)
    (checkout.path / "d").chmod(0o500)
    assert checkout.snapshot() == root
    (checkout.path / "d/e").chmod(0o400)
    checkout.sync(build(objects, {"d/e/f": b"2"}))
    assert (checkout.path / "d/e/f").read_bytes() == b"2"
    (checkout.path / "d/e").chmod(0)
    checkout.sync(EMPTY)
    assert list(checkout.path.iterdir()) == []


def test_entries_of_a_strange_kind_are_not_written(objects):
    with pytest.raises(Exception, match="odd"):
        apply(objects, EMPTY, {"a": Entry("odd")})
