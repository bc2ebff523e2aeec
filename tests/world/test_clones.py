"""INVARIANT W65: a clone is what its name says, and what a command does to a copy never reaches it.

On a file system without reflink (set TMPDIR to one with it) the files are simply written.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.values import limits
from holdfast.world import EMPTY, CopyCheckout, write_file
from holdfast.world.clones import Clones
from tests.world.support import in_world, memory, on_disk

LARGE = bytes(range(256)) * (limits.CLONE_MIN_BYTES // 256) + b"end"


def test_copies_are_the_same_with_and_without_clones(tmp_path: Path, monkeypatch):
    objects = memory()
    root = write_file(objects, write_file(objects, EMPTY, "large", LARGE), "small", b"x")
    root = write_file(objects, root, "run", LARGE[1:], True)
    clones = Clones(tmp_path / "clones")
    for number in range(3):
        place = tmp_path / f"copy{number}"
        checkout = CopyCheckout(objects, place, tmp_path / f"index{number}", clones)
        checkout.sync(root)
        assert on_disk(place) == in_world(objects, root)
        with (place / "large").open("r+b") as file:  # what the next copy must not see
            file.write(b"changed")
        assert checkout.snapshot() != root
    assert clones.works is not None
    kept = list((tmp_path / "clones").glob("*/*"))
    assert len(kept) == (2 if clones.works else 0)
    assert not [path for path in kept if path.name.startswith("new-")]
    monkeypatch.setattr(limits, "CACHE_BYTES", 4 * len(LARGE))
    for number in range(3):
        more = write_file(objects, EMPTY, "more", LARGE + b"%d" % number)
        CopyCheckout(objects, tmp_path / "m", tmp_path / "mi", clones).sync(more)
        assert (tmp_path / "m" / "more").read_bytes() == LARGE + b"%d" % number
    assert len(list((tmp_path / "clones").glob("*/*"))) <= 3
    if not clones.works:
        print("no reflink here")
