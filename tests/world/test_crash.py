"""A crash at any call to the operating system heals at the next sync (INVARIANT W3)."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from holdfast.values.errors import Outside
from holdfast.world import CopyCheckout, disk
from tests.world.support import Spec, build, in_world, memory, on_disk

CALLS = [
    "open",
    "write",
    "mkdir",
    "symlink",
    "unlink",
    "rmdir",
    "rename",
    "fchmod",
    "replace",
    "readlink",
    "scandir",
    "fstat",
]


class Crash(BaseException):
    """As if the process had ended: nothing catches it."""


class Countdown:
    """Crashes at the n-th call, before or after it takes effect."""

    def __init__(self, calls: int, after: bool, failure: BaseException | None = None) -> None:
        self.left = calls
        self.failure = failure or Crash()
        self.after = after
        self.count = 0

    def around(self, real):
        def call(*args, **kwargs):
            self.count += 1
            self.left -= 1
            if self.left == 0 and not self.after:
                raise self.failure
            result = real(*args, **kwargs)
            if self.left == 0:
                if real is os.open:
                    os.close(result)
                elif real is os.scandir:
                    result.close()
                raise self.failure
            return result

        return call


@contextlib.contextmanager
def counted(countdown: Countdown) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        wrapped = {name: countdown.around(getattr(os, name)) for name in CALLS}

        class Shim:
            def __getattr__(self, name):
                return wrapped.get(name) or getattr(os, name)

        shim = Shim()
        patch.setattr(disk, "os", shim)
        patch.setattr("holdfast.world.checkout.os", shim)
        for name in ("write_bytes", "replace", "unlink", "mkdir"):
            patch.setattr(Path, name, countdown.around(getattr(Path, name)))
        yield


OLD: Spec = {
    "a": b"1",
    "b": (b"#!", True),
    "d/x": b"2",
    "d/y/z": b"3",
    "l": ("link", "a"),
    "e": None,
    "t": b"file",
    "u/v": b"4",
}
NEW: Spec = {
    "a": b"11",
    "b": b"#!",
    "d": b"now a file",
    "l": ("link", "b"),
    "n/m/o": b"5",
    "t/in": b"was a file",
    "u/v": b"4",
    "u/w": None,
}


def mess(path: Path) -> None:
    """What a command may have left behind."""
    (path / "a").write_bytes(b"dirty")
    (path / "junk/deep/er").mkdir(parents=True)
    (path / "junk/deep/er/f").write_bytes(b"x")
    (path / "u").rename(path / "moved")
    (path / "u").symlink_to("moved")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("same_process", [False, True])
def test_sync_heals_after_a_crash_at_every_call_w3(tmp_path, after, same_process):
    """INVARIANT W3."""
    objects = memory()
    old, new = build(objects, OLD), build(objects, NEW)
    number = 0
    for number in range(1, 10_000):
        where = tmp_path / str(number)
        checkout = CopyCheckout(objects, where / "co", where / "index")
        checkout.sync(old)
        mess(checkout.path)
        countdown = Countdown(number, after)
        with counted(countdown), contextlib.suppress(Crash):
            checkout.sync(new)
        if not same_process:
            checkout = CopyCheckout(objects, where / "co", where / "index")
        target = (new, old)[number % 2]
        checkout.sync(target)
        assert on_disk(checkout.path) == in_world(objects, target), number
        assert checkout.snapshot() == target
        assert CopyCheckout(objects, where / "co", where / "index").snapshot() == target
        if countdown.left > 0:
            break
    assert number > 60, "the crashes were really planted"


@pytest.mark.parametrize("after", [False, True])
def test_snapshot_heals_after_a_crash_at_every_call_w3(tmp_path, after):
    """INVARIANT W3: a snapshot that crashed is simply taken again."""
    objects = memory()
    old = build(objects, OLD)
    where = tmp_path
    number = 0
    for number in range(1, 10_000):
        where = tmp_path / str(number)
        checkout = CopyCheckout(objects, where / "co", where / "index")
        checkout.sync(old)
        mess(checkout.path)
        countdown = Countdown(number, after)
        with counted(countdown), contextlib.suppress(Crash):
            checkout.snapshot()
        again = CopyCheckout(objects, where / "co", where / "index")
        root = again.snapshot()
        assert in_world(objects, root) == on_disk(again.path)
        assert checkout.snapshot() == root
        if countdown.left > 0:
            break
    assert number > 20, "the crashes were really planted"


@pytest.mark.parametrize("after", [False, True])
def test_disk_errors_leave_a_checkout_that_heals_w3(tmp_path, after):
    """INVARIANT W3: the disk may refuse anywhere; the caller gets Outside or nothing worse."""
    objects = memory()
    old, new = build(objects, OLD), build(objects, NEW)
    for number in range(1, 400, 7):
        where = tmp_path / str(number)
        checkout = CopyCheckout(objects, where / "co", where / "index")
        checkout.sync(old)
        full = OSError(28, "No space left on device")
        with counted(Countdown(number, after, full)), contextlib.suppress(Outside):
            checkout.sync(new)
        checkout.sync(new)
        assert on_disk(checkout.path) == in_world(objects, new)
