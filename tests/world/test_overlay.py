"""Layers and uppers against real overlays, where this host has them, and against plain copies."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.values.errors import Corrupt, Misuse
from holdfast.world import EMPTY, overlay
from holdfast.world.overlay import read_upper, settle_upper, write_layer
from tests.world.mounting import Mounter, can_mount
from tests.world.support import QUICK, build, in_world, memory, on_disk, worlds

needs_overlays = pytest.mark.skipif(not can_mount(), reason="this host mounts no overlays for us")


@pytest.fixture(scope="module")
def mounter() -> Iterator[Mounter]:
    made = Mounter()
    yield made
    made.close()


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="holdfast-overlay-"))
    yield made
    for folder in made.rglob("work"):
        folder.chmod(0o700)  # overlayfs leaves it closed
    shutil.rmtree(made)


def private(place: Path) -> Path:
    for name in ("upper", "work"):
        (place / name).mkdir(parents=True)
    return place


@given(root=worlds())
@settings(QUICK, max_examples=30)
def test_over_nothing_a_layer_is_the_world_w20(root):
    """INVARIANT W20."""
    with tempfile.TemporaryDirectory() as name:
        objects = memory()
        world = build(objects, root)
        size = write_layer(objects, EMPTY, world, Path(name) / "base")
        assert on_disk(Path(name) / "base") == in_world(objects, world)
        assert size.entries == sum(1 for _ in (Path(name) / "base").rglob("*"))


@needs_overlays
@given(versions=st.lists(worlds(), min_size=1, max_size=4))
@settings(QUICK, max_examples=40)
def test_a_stack_shows_its_world_w20(mounter, versions):
    """INVARIANT W20: whatever replaces whatever, also where whiteouts can only be marks."""
    objects = memory()
    roots = [EMPTY, *(build(objects, version) for version in versions)]
    for denied in (False, True):
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            if denied:
                patch.setattr(overlay.os, "mknod", _denied)
            lowers: list[Path] = []
            for number, (before, after) in enumerate(pairwise(roots)):
                lowers.insert(0, Path(name) / str(number))
                write_layer(objects, before, after, lowers[0])
            with mounter.mounted(lowers, None, Path(name) / "at"):
                assert mounter.see(Path(name) / "at") == in_world(objects, roots[-1])


def _denied(*args: object, **kwargs: object) -> None:
    raise PermissionError(1, "not permitted")


@needs_overlays
@given(before=worlds(), after=worlds(), again=worlds())
@settings(QUICK, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_command_changed_is_read_w21(mounter, before, after, again):
    """Whatever a command makes of a world, the upper says it; and it is the layer of that world."""
    objects = memory()
    old, new, last = (build(objects, one) for one in (before, after, again))
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        write_layer(objects, EMPTY, old, top / "base")
        private(top / "own")
        for wanted in (new, last):  # the second time over what the first one left
            shown = top / wanted[:8]
            if not shown.exists():
                write_layer(objects, EMPTY, wanted, shown)
            with mounter.mounted([top / "base"], top / "own", top / "at"):
                mounter.do(top / "at", _become(shown))
                assert mounter.see(top / "at") == in_world(objects, wanted)
                found = read_upper(objects, old, top / "own" / "upper")  # while it is mounted
            assert (found.root, found.left) == (wanted, ())
            assert read_upper(objects, old, top / "own" / "upper", found.rows).root == wanted
        settle_upper(top / "own" / "upper")
        assert read_upper(objects, old, top / "own" / "upper").root == last
        with mounter.mounted([top / "own" / "upper", top / "base"], None, top / "at"):
            assert mounter.see(top / "at") == in_world(objects, last)


def _become(source: Path) -> str:
    """A program that replaces everything, as rsync does: what is equal is left alone."""
    return f"""
import filecmp, shutil
def same(a, b):
    if a.is_symlink() or b.is_symlink():
        return a.is_symlink() and b.is_symlink() and os.readlink(a) == os.readlink(b)
    if a.is_dir() or b.is_dir():
        return a.is_dir() and b.is_dir()
    return filecmp.cmp(a, b, False) and a.stat().st_mode == b.stat().st_mode
def become(here, there):
    for item in list(here.iterdir()):
        other = there / item.name
        if not os.path.lexists(other) or not same(item, other):
            shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    for other in there.iterdir():
        item = here / other.name
        if other.is_symlink():
            item.is_symlink() or item.symlink_to(os.readlink(other))
        elif other.is_dir():
            item.mkdir(exist_ok=True)
            become(item, other)
        elif not item.exists():
            shutil.copy(other, item)
import sys
scope = globals(); scope.update(same=same, become=become, filecmp=filecmp, shutil=shutil)
become(at, Path({str(source)!r}))
"""


@needs_overlays
def test_chmod_dedups_and_closed_things_are_read_and_left_closed(mounter, place):
    objects = memory()
    old = build(objects, {"a": b"1", "d/b": b"2", "d/e/c": b"3"})
    write_layer(objects, EMPTY, old, place / "base")
    private(place / "own")
    with mounter.mounted([place / "base"], place / "own", place / "at"):
        mounter.do(place / "at", "(at / 'a').chmod(0); (at / 'd').chmod(0); at.chmod(0o300)")
        assert read_upper(objects, old, place / "own/upper").root == old
        mode = stat.S_IMODE((place / "own/upper").stat().st_mode)
        assert mode == 0o300, "what the command did is still so"
        mounter.do(
            place / "at",
            "at.chmod(0o755); (at / 'a').chmod(0o500); (at / 'd').chmod(0o700);"
            "(at / 'd/n').write_text('new'); (at / 'd/n').chmod(0); (at / 'd').chmod(0)",
        )
        found = read_upper(objects, old, place / "own/upper")
    assert in_world(objects, found.root) == {
        "a": (b"1", True), "d/b": (b"2", False), "d/e/c": (b"3", False), "d/n": (b"new", False),
    }  # fmt: skip
    settle_upper(place / "own/upper")
    modes = {
        str(path.relative_to(place / "own/upper")): stat.S_IMODE(path.stat().st_mode)
        for path in (place / "own/upper").rglob("*")
    }
    assert modes == {"a": 0o755, "d": 0o755, "d/n": 0o644}
    assert read_upper(objects, old, place / "own/upper").root == found.root


def test_only_what_changed_since_is_read_again_w5(place, monkeypatch):
    """INVARIANT W5."""
    objects = memory()
    old = build(objects, {"a": b"1"})
    upper = private(place / "own") / "upper"
    for name in ("b", "c", "d"):
        (upper / name).write_bytes(name.encode())
    future = (upper / "b").stat().st_ctime_ns + 10**9
    found = read_upper(objects, old, upper, {}, future)
    (upper / "c").write_bytes(b"changed")
    (upper / "e").write_bytes(b"new")
    read: list[str] = []
    real = os.open

    def watched(name, flags, *args, **kwargs):
        if not flags & os.O_DIRECTORY:
            read.append(name)
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(overlay.os, "open", watched)
    again = read_upper(objects, old, upper, found.rows, future)
    assert sorted(read) == ["c", "e"]
    assert in_world(objects, again.root)["c"] == (b"changed", False)
    read.clear()
    unsure = read_upper(objects, old, upper, {}, 0)
    read_upper(objects, old, upper, unsure.rows, future)
    assert sorted(read) == sorted(["b", "c", "d", "e"] * 2), "a fresh signature is not trusted"


def test_what_no_world_can_hold_is_named(place, monkeypatch):
    objects = memory()
    old = build(objects, {"kept": b"1", "was": b"a file"})
    upper = private(place / "own") / "upper"
    os.mkfifo(upper / "was")
    (upper / "d").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(upper / "d")
        listening.bind("s")
    (upper / ".holdfast").mkdir()
    (upper / ".holdfast" / "x").write_text("not part of any world")
    found = read_upper(objects, old, upper)
    assert in_world(objects, found.root) == {"kept": (b"1", False), "d": None}
    assert [line.split(" which")[0] for line in sorted(found.left)] == [
        "'d/s' is a socket,",
        "'was' is a FIFO,",
    ]
    monkeypatch.setattr(limits, "FILE_MAX_BYTES", 3)
    (upper / "big").write_bytes(b"1234")
    with pytest.raises(Misuse, match="'big' has 4 bytes, over 3"):
        read_upper(objects, old, upper)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_devices_are_refused_by_name(place):
    upper = private(place / "own") / "upper"
    (upper / "d").mkdir()
    os.mknod(upper / "d" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(Misuse, match="'d/null' is a device"):
        read_upper(memory(), EMPTY, upper)


def test_trees_too_deep_are_refused(place):
    upper = private(place / "own") / "upper"
    folder = os.open(upper, os.O_RDONLY)
    for _ in range(limits.WORLD_DEPTH_MAX + 1):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    with pytest.raises(Misuse, match="directories deep"):
        read_upper(memory(), EMPTY, upper)


@pytest.mark.parametrize("mark", ["redirect", "metacopy"])
def test_an_upper_that_points_elsewhere_is_refused(place, mark):
    upper = private(place / "own") / "upper"
    (upper / "d").mkdir()
    os.setxattr(upper / "d", f"user.overlay.{mark}", b"/etc")
    with pytest.raises(Corrupt, match="'d' points elsewhere"):
        read_upper(memory(), EMPTY, upper)


def test_nothing_planted_is_followed_w21(place):
    """INVARIANT W21: links are links, wherever they point and whatever stood there."""
    objects = memory()
    old = build(objects, {"d/a": b"1", "f": b"2"})
    upper = private(place / "own") / "upper"
    secret = place / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    secret.chmod(0o700)
    (upper / "d").symlink_to(secret)
    (upper / "f").symlink_to("/etc/passwd")
    (upper / "up").symlink_to("../..")
    found = read_upper(objects, old, upper)
    assert in_world(objects, found.root) == {
        "d": ("link", str(secret)), "f": ("link", "/etc/passwd"), "up": ("link", "../.."),
    }  # fmt: skip
    settle_upper(upper)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o700
    assert (secret / "key").read_text() == "secret"
    upper.rename(place / "moved")
    upper.symlink_to(secret)
    with pytest.raises(Exception, match=r"Not a directory|Too many levels"):
        read_upper(objects, old, upper)


def test_settling_leaves_nothing_that_a_world_does_not_keep(place):
    upper = private(place / "own") / "upper"
    (upper / "d").mkdir(mode=0o700)
    (upper / "d/f").write_bytes(b"1")
    (upper / "d/f").chmod(0o6755)
    (upper / "closed").write_bytes(b"2")
    os.setxattr(upper / "d/f", "user.note", b"mine")
    os.setxattr(upper / "d", "user.note", b"mine")
    os.setxattr(upper / "d", "user.overlay.opaque", b"y")
    (upper / "closed").chmod(0)
    (upper / ".holdfast").mkdir()
    size = settle_upper(upper)
    assert size.entries == 3
    assert stat.S_IMODE((upper / "d/f").stat().st_mode) == 0o755
    assert os.listxattr(upper / "d/f") == []
    assert os.listxattr(upper / "d") == ["user.overlay.opaque"]
    assert sorted(path.name for path in upper.iterdir()) == ["closed", "d"]


def test_a_layer_never_holds_what_is_holdfasts_own(place):
    objects = memory()
    from holdfast.world.chunks import put_file
    from holdfast.world.nodes import edit

    forged, _ = edit(objects, EMPTY, {".holdfast": put_file(objects, b"x")})
    with pytest.raises(Corrupt, match="not part of any world"):
        write_layer(objects, EMPTY, forged, place / "layer")
