"""The cache of layers: it shows the worlds it is asked for, whatever happened to it before."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from holdfast.values import limits
from holdfast.values.errors import Misuse, Outside
from holdfast.world import EMPTY, apply, remove, write_file
from holdfast.world.layers import Layers, Stack
from holdfast.world.overlay import read_upper
from holdfast.world.shelf import Shelf
from tests.world.mounting import Mounter, can_mount
from tests.world.support import Spec, build, in_world, make, memory, on_disk, worlds
from tests.world.test_crash import Countdown, Crash

needs_overlays = pytest.mark.skipif(not can_mount(), reason="this host mounts no overlays for us")


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="holdfast-layers-"))
    yield made
    shutil.rmtree(made)


def shown(stack: Stack) -> dict[str, object]:
    """What a stack shows, put together without the kernel: topmost wins, whiteouts hide."""
    found: dict[str, object] = {}
    for directory in reversed(stack.directories):
        _lay(directory, "", found)
    return {
        path: what
        for path, what in found.items()
        if what is not None or not any(other.startswith(path + "/") for other in found)
    }


def _lay(directory: Path, prefix: str, found: dict[str, object]) -> None:
    for item in sorted(directory.iterdir()):
        path = prefix + item.name
        merged = item.is_dir() and not item.is_symlink() and path in found and found[path] is None
        if merged and "user.overlay.opaque" not in os.listxattr(item):
            _lay(item, path + "/", found)
            continue
        for other in [one for one in found if one == path or one.startswith(path + "/")]:
            del found[other]
        if item.is_symlink():
            found[path] = ("link", str(item.readlink()))
        elif item.is_dir():
            found[path] = None
            _lay(item, path + "/", found)
        elif not item.is_char_device():
            found[path] = (item.read_bytes(), bool(item.stat().st_mode & 0o100))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def check(layers: Layers, objects, root: str, near: tuple[str, ...] = ()) -> Stack:
    stack = layers.lowers(root, near, objects)
    try:
        assert stack.root == root
        assert shown(stack) == in_world(objects, root)
    finally:
        layers.release(stack)
    return stack


class Caches(RuleBasedStateMachine):
    """Two caches on one place, as two processes have them, and somebody who deletes."""

    roots = Bundle("roots")

    def __init__(self) -> None:
        super().__init__()
        self.objects = memory()
        self.place = Path(tempfile.mkdtemp(prefix="holdfast-caches-"))
        self.layers = [Layers(self.objects, self.place) for _ in range(2)]
        self.held: list[tuple[Layers, Stack]] = []

    def teardown(self) -> None:
        for layers in self.layers:
            layers.close()
        shutil.rmtree(self.place)

    @rule(target=roots, spec=worlds())
    def world(self, spec):
        return build(self.objects, spec)

    @rule(
        target=roots, root=roots, path=st.sampled_from(["p", "q", "r/s", "r/t"]), what=st.binary()
    )
    def changed(self, root, path, what):
        return apply(self.objects, root, {path: make(self.objects, what)})

    @rule(root=roots, near=roots, which=st.integers(0, 1))
    def look(self, root, near, which):
        check(self.layers[which], self.objects, root, (near,))

    @rule(root=roots, which=st.integers(0, 1))
    def hold(self, root, which):
        layers = self.layers[which]
        self.held.append((layers, layers.lowers(root, (), self.objects)))

    @rule(
        target=roots, root=roots, path=st.sampled_from(["p", "q", "u/v"]), which=st.integers(0, 1)
    )
    def command(self, root, path, which):
        """A command that writes one file, without a mount: its upper is as the kernel makes it."""
        layers = self.layers[which]
        stack = layers.lowers(root, (), self.objects)
        place = layers.upper()
        spot = place / "upper" / path
        spot.parent.mkdir(exist_ok=True)
        spot.write_bytes(b"by a command")
        found = read_upper(self.objects, root, place / "upper", {}, layers.now())
        layers.release(stack)
        layers.freeze(stack, place, found.root)
        assert not place.exists()
        return found.root

    @rule()
    def let_go(self):
        for layers, stack in self.held:
            assert shown(stack) == in_world(self.objects, stack.root), "what is used stays"
            assert layers.sound(stack)
            layers.release(stack)
        self.held.clear()

    @rule(which=st.integers(0, 1))
    def evict(self, which):
        """INVARIANT W22: what is in use stays."""
        self.layers[which]._evict(everything=True)
        for layers, stack in self.held:
            assert layers.sound(stack)

    @rule(which=st.integers(0, 1), root=roots)
    def shorten(self, which, root):
        path = self.layers[which]._path(root)
        if path is not None and len(path) > 1:
            self.layers[which]._compact(path, self.objects)
            check(self.layers[which], self.objects, root)

    @rule(which=st.integers(0, 1))
    def another_process(self, which):
        self.held = [one for one in self.held if one[0] is not self.layers[which]]
        self.layers[which].close()
        self.layers[which] = Layers(self.objects, self.place)

    @rule(part=st.sampled_from(["marks", "trees", "locks", "own", ""]))
    def somebody_deletes(self, part):
        """Whole parts of it, while no command runs."""
        for home in self.place.iterdir():
            gone = home / part
            shutil.rmtree(gone, ignore_errors=True) if gone.is_dir() else gone.unlink(
                missing_ok=True
            )
        if part in ("marks", "trees", ""):
            assert not any(layers.sound(stack) for layers, stack in self.held)
        for layers, stack in self.held:
            layers.release(stack)
        self.held.clear()


TestCaches = Caches.TestCase
TestCaches.settings = settings(
    deadline=None, max_examples=25, stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


def grown(objects, steps: int, files: int = 200) -> list[str]:
    roots = [build(objects, {f"d{n % 7}/f{n}": b"%d" % n for n in range(files)})]
    for step in range(steps):
        roots.append(write_file(objects, roots[-1], f"d{step % 7}/g{step % 50}", b"%d" % step))
    return roots


def test_a_stack_stays_short_however_long_the_chain_is(place):
    objects = memory()
    layers = Layers(objects, place)
    deepest = 0
    roots = grown(objects, 300)
    for root, near in zip(roots, ["", *roots], strict=False):
        stack = layers.lowers(root, (near,))
        deepest = max(deepest, len(stack.layers) - 1)
        layers.release(stack)
    layers._worker.submit(int).result()  # the background has nothing to do any more
    check(layers, objects, roots[-1])
    layers._worker.submit(int).result()
    final = check(layers, objects, roots[-1])
    assert len(final.layers) - 1 <= limits.LAYER_LEVELS
    assert deepest <= limits.OVERLAY_LEVELS_MAX
    assert sum(path.is_dir() for path in layers._shelf.marks.iterdir()) == 0
    bases = [path for path in layers._shelf.marks.iterdir() if path.name.endswith(".")]
    assert len(bases) <= 1 + 300 // (200 * limits.NEAR_MAX_PERCENT // 100)
    for root in roots[::37]:
        check(layers, objects, root)
    layers.close()


@pytest.mark.parametrize("bound", [5, limits.OVERLAY_LEVELS_MAX])
def test_a_stack_never_gets_deeper_while_the_background_lags(place, monkeypatch, bound):
    """W64."""
    monkeypatch.setattr(limits, "OVERLAY_LEVELS_MAX", bound)
    monkeypatch.setattr(Layers, "_later", lambda *_: None)
    objects = memory()
    layers = Layers(objects, place)
    roots = grown(objects, 4 * bound)
    depths = [
        len(check(layers, objects, root, (near,)).layers)
        for root, near in zip(roots, ["", *roots], strict=False)
    ]
    assert max(depths) == bound
    layers.close()


def test_forks_share_their_base_and_a_far_world_gets_its_own(place):
    objects = memory()
    layers = Layers(objects, place)
    start = build(objects, {f"d/{n}": b"%d" % n for n in range(1000)})
    first = check(layers, objects, start)
    for number in range(5):
        fork = write_file(objects, start, f"mine{number}", b"x")
        stack = check(layers, objects, fork)
        assert stack.layers[-1] == first.layers[-1]
        assert len(stack.layers) == 2
    far = remove(objects, start, "d")
    assert [layer.below for layer in check(layers, objects, far).layers] == [start, ""]
    other = build(objects, {f"e/{n}": b"%d" % n for n in range(1000)})
    assert [layer.below for layer in check(layers, objects, other).layers] == [""]
    layers.close()


def test_the_least_recently_used_go_when_there_is_too_much(place, monkeypatch):
    objects = memory()
    layers = Layers(objects, place)
    roots = [build(objects, {f"{n}-{m}": b"x" * n for m in range(50)}) for n in range(1, 7)]
    for root in roots:
        check(layers, objects, root)
    layers._worker.submit(int).result()
    held = layers.lowers(roots[0])
    check(layers, objects, roots[1])
    one = max(layers._shelf.size(layers._shelf.known[root][""]).bytes for root in roots)
    monkeypatch.setattr(limits, "CACHE_BYTES", 3 * one)
    layers._evict()
    kept = {name.partition(".")[0] for name in names(layers._shelf.marks)}
    assert {roots[0], roots[1]} < kept
    assert len(kept) == 3
    assert set(names(layers._shelf.trees)) == kept
    assert layers.sound(held)
    layers.release(held)
    monkeypatch.setattr(limits, "CACHE_ITEMS", 0)
    layers._evict()
    assert names(layers._shelf.trees) == []
    layers.close()


# Crashes --------------------------------------------------------------------------------------
OLD: Spec = {"a": b"1", "d/x": b"2", "d/y": b"3", "l": ("link", "a"), "e": None}
CALLS = ["open", "write", "mkdir", "symlink", "rename", "unlink", "mknod", "utime", "setxattr"]


@contextlib.contextmanager
def counted(countdown: Countdown) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        wrapped = {name: countdown.around(getattr(os, name)) for name in CALLS}

        class Shim:
            def __getattr__(self, name):
                return wrapped.get(name) or getattr(os, name)

        for module in ("disk", "overlay", "layers", "shelf"):
            patch.setattr(f"holdfast.world.{module}.os", Shim())
        for name in ("rename", "mkdir", "write_text", "unlink"):
            patch.setattr(Path, name, countdown.around(getattr(Path, name)))
        yield


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_every_call_leaves_a_cache_that_heals_w23(place, after, monkeypatch):
    """INVARIANT W23."""
    sweep = Shelf.sweep
    monkeypatch.setattr(Shelf, "sweep", lambda self: None)  # called below, in turn
    objects = memory()
    old = build(objects, OLD)
    near = apply(objects, old, {"d": make(objects, b"now a file"), "a": None})
    number = 0
    for number in range(1, 10_000):
        layers = Layers(objects, place)
        countdown = Countdown(number, after)
        uppers: list[Path] = []
        with counted(countdown), contextlib.suppress(Crash):
            layers.release(layers.lowers(old))
            layers.release(layers.lowers(near))
            stack = layers.lowers(near)
            uppers.append(layers.upper())
            (uppers[0] / "upper" / "new").write_bytes(b"by a command")
            last = read_upper(objects, near, uppers[0] / "upper").root
            layers.release(stack)
            layers.freeze(stack, uppers[0], last)
        layers._shelf.locks.close()  # as when the process dies
        os.close(layers._shelf.claim)
        healed = Layers(objects, place)
        sweep(healed._shelf)
        last = write_file(objects, near, "new", b"by a command")
        for root in (old, near, last):
            check(healed, objects, root, (near,))
        assert names(healed._shelf.own) == []
        assert names(healed._shelf.home / "own") == [healed._shelf.owner]
        healed._evict(everything=True)
        assert names(healed._shelf.trees) == []
        healed.close()
        shutil.rmtree(place)
        place.mkdir()
        if countdown.left > 0:
            break
    assert number > 40, "the crashes were really planted"


@pytest.mark.parametrize("after", [False, True])
def test_a_disk_that_refuses_leaves_a_cache_that_heals_w23(place, after, monkeypatch):
    """INVARIANT W23."""
    monkeypatch.setattr(Shelf, "sweep", lambda self: None)
    objects = memory()
    old = build(objects, OLD)
    near = write_file(objects, old, "d/z", b"4")
    for number in range(1, 200, 3):
        layers = Layers(objects, place)
        countdown = Countdown(number, after, OSError(5, "Input/output error"))
        with counted(countdown), contextlib.suppress(Outside):
            layers.release(layers.lowers(old))
            layers.release(layers.lowers(near))
        for root in (old, near):
            check(layers, objects, root)
        layers.close()
        shutil.rmtree(place)
        place.mkdir()
        if countdown.left > 0:
            break


CHILD = """
import os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from holdfast.world import write_file
from holdfast.world.layers import Layers
from tests.world.test_layers import check, grown
from tests.world.support import memory
objects = memory()
roots = grown(objects, 60, 40)
layers = Layers(objects, Path(sys.argv[1]))
turn = int(sys.argv[2])
print("ready", flush=True)
while True:
    turn += 7
    check(layers, objects, roots[turn % len(roots)], (roots[(turn - 1) % len(roots)],))
    place = layers.upper()
    (place / "upper" / "x").write_text("x")
    if turn % 3 == 0:
        layers._evict(everything=True)
    print(turn, flush=True)
"""


def test_two_processes_that_are_killed_leave_a_cache_that_heals_w22(place):
    """INVARIANT W22, W23: they share, evict and die; the next one has every world."""
    code = textwrap.dedent(CHILD.format(tests=str(Path(__file__).parents[2])))
    for lives in range(3):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(place), str(number + lives)],
                stdout=subprocess.PIPE, text=True,
            )
            for number in range(2)
        ]  # fmt: skip
        try:
            for child in children:
                assert child.stdout is not None
                for _ in range(8 + lives):
                    assert child.stdout.readline(), "it died by itself: a world was not as it is"
        finally:
            for child in children:
                child.send_signal(signal.SIGKILL)
                child.wait()
                assert child.stdout is not None
                child.stdout.close()
    objects = memory()
    roots = grown(objects, 60, 40)
    layers = Layers(objects, place)
    for root in roots[::5]:
        check(layers, objects, root)
    layers._worker.submit(int).result()
    assert names(layers._shelf.home / "own") == [layers._shelf.owner]
    layers.close()


@needs_overlays
def test_a_chain_of_real_commands_shows_what_each_did_w24(place):
    """INVARIANT W24: forks share what is frozen, and nobody changes it."""
    objects = memory()
    layers = Layers(objects, place)
    mounter = Mounter()
    root = build(objects, {"keep": b"1", "d/old": b"2"})
    roots = [root]
    commands = [
        "(at / 'd/new').write_text('n')",
        "(at / 'd/old').unlink()",
        "import shutil; shutil.rmtree(at / 'd'); (at / 'd').write_text('file')",
        "(at / 'd').unlink(); (at / 'd').mkdir(); (at / 'd/again').write_text('a')",
        "(at / 'keep').rename(at / 'd/moved')",
        "os.link(at / 'd/moved', at / 'linked'); os.chmod(at / 'linked', 0o755)",
    ]
    for command in commands * 4:
        stack = layers.lowers(root)
        own = layers.upper()
        with mounter.mounted(stack.directories, own, place / "at"):
            with contextlib.suppress(OSError):
                mounter.do(place / "at", command)
            found = read_upper(objects, root, own / "upper")
            assert mounter.see(place / "at") == in_world(objects, found.root)
        layers.release(stack)
        layers.freeze(stack, own, found.root)
        roots.append(root := found.root)
    for seen in roots:
        stack = layers.lowers(seen)
        with mounter.mounted(stack.directories, None, place / "at"):
            assert mounter.see(place / "at") == in_world(objects, seen)
        layers.release(stack)
    mounter.close()
    layers.close()


def test_a_full_disk_is_said_and_what_nobody_uses_makes_room(place, monkeypatch):
    """ENOSPC while a base is written: what is not in use goes first, and it is tried again."""
    objects = memory()
    layers = Layers(objects, place)
    old = build(objects, OLD)
    far = build(objects, {f"n{n}": b"%d" % n for n in range(100)})
    check(layers, objects, old)
    layers._worker.submit(int).result()
    real = os.mkdir
    failed: list[str] = []

    def full(name, *args, **kwargs):
        if names(layers._shelf.trees) and len(failed) < 5:
            failed.append(str(name))
            raise OSError(28, "No space left on device")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(
        Path,
        "mkdir",
        lambda self, *a, **k: (
            full(self)
            if self.parent == layers._shelf.own
            else (real(self) if not self.exists() else None)
        ),
    )
    check(layers, objects, far)
    assert len(failed) == 1
    assert names(layers._shelf.trees) == [far]
    layers.close()


def test_the_empty_world_is_a_world_too(place):
    layers = Layers(memory(), place)
    check(layers, memory(), EMPTY)
    assert on_disk(layers._shelf.trees / EMPTY) == {}
    layers.close()


def test_a_sweep_deletes_nothing_but_shelves_w41(place):
    theirs = place / "theirs"
    for name in ("Projects", "abcdef01", "notes.md", "ABCDEF01"):
        (theirs / name).mkdir(parents=True)
        (theirs / name / "file").write_text("theirs")
    (place / "worlds").symlink_to(theirs)
    with pytest.raises(Misuse, match="symbolic link"):
        Shelf(place / "worlds")
    assert names(theirs) == ["ABCDEF01", "Projects", "abcdef01", "notes.md"]

    old = theirs / "0123abcd"  # of another boot
    for part in ("trees", "marks", "own"):
        (old / part).mkdir(parents=True)
    (theirs / "fedcba98").symlink_to(old)
    shelf = Shelf(theirs)
    try:
        shelf.sweep()
        assert not old.exists()
        kept = {"ABCDEF01", "Projects", "abcdef01", "fedcba98", "notes.md"}
        assert set(names(theirs)) == kept | {shelf.home.name}
        assert (theirs / "abcdef01" / "file").read_text() == "theirs"
    finally:
        shelf.close()


def test_a_shelf_whose_parts_are_links_is_not_used_w41(place):
    shelf = Shelf(place / "worlds")
    shelf.close()
    shelf.trees.rmdir()
    (place / "theirs" / "tree").mkdir(parents=True)
    shelf.trees.symlink_to(place / "theirs")
    with pytest.raises(Misuse, match="symbolic link"):
        Shelf(place / "worlds")
    assert names(place / "theirs") == ["tree"]
