"""What the tests of this room share: objects in memory, plain models, strategies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from holdfast.values.errors import Corrupt
from holdfast.world import (
    EMPTY,
    EMPTY_DIR,
    Entry,
    Objects,
    Stage,
    apply,
    entry,
    link,
    put_file,
    walk,
)
from holdfast.world.chunks import file_chunks

settings.register_profile("world", deadline=None, print_blob=True, max_examples=150)
QUICK = settings.get_profile("world")


def absent(name: str) -> bytes:
    raise Corrupt(f"no blob {name}")


def memory() -> Stage:
    return Stage(absent)


Spec = Mapping[str, object]
"""A world in words: content, (content, executable), ("link", target), None for a directory."""


def build(objects: Objects, spec: Spec) -> str:
    return apply(objects, EMPTY, {path: make(objects, what) for path, what in spec.items()})


def make(objects: Objects, what: object) -> Entry:
    if what is None:
        return EMPTY_DIR
    if isinstance(what, bytes):
        return put_file(objects, what)
    assert isinstance(what, tuple)
    return link(what[1]) if what[0] == "link" else put_file(objects, what[0], what[1])


def at(objects: Objects, root: str, path: str) -> Entry:
    """What must be there."""
    found = entry(objects, root, path)
    assert found is not None
    return found


def flat(objects: Objects, root: str) -> dict[str, Entry]:
    return dict(walk(objects, root))


def on_disk(directory: Path) -> dict[str, object]:
    """Files, links and empty directories of a directory, read independently of the room."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = None
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def in_world(objects: Stage, root: str) -> dict[str, object]:
    """A world in the same words as `on_disk`."""
    found: dict[str, object] = {}
    for path, leaf in walk(objects, root):
        if leaf.kind == "link":
            found[path] = ("link", leaf.target)
        elif leaf.is_dir:
            found[path] = None
        else:
            found[path] = (b"".join(file_chunks(objects, leaf)), leaf.executable)
    return found


NAMES = st.sampled_from(["a", "b", "c", "a-x", "$d", "null"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
LINES = st.lists(st.sampled_from([b"one\n", b"two\n", b"three\n", b"four\n"]), max_size=8)
TEXTS = LINES.map(b"".join)


@st.composite
def worlds(draw: st.DrawFn, what: st.SearchStrategy | None = None) -> Spec:
    """A world without a path below a file."""
    if what is None:
        what = st.one_of(
            TEXTS, st.none(), st.tuples(TEXTS, st.booleans()), st.just(("link", "a/b"))
        )
    spec: dict[str, object] = {}
    for path, value in draw(st.dictionaries(PATHS, what, max_size=8)).items():
        blocked = any(
            (path.startswith(other + "/") and spec[other] is not None)
            or (other.startswith(path + "/"))
            for other in spec
        )
        if not blocked:
            spec[path] = value
    return spec
