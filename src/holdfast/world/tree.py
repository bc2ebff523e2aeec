"""Reading and editing worlds: pure functions from a root to an entry, or to a new root.

A root is the hash of a directory node; `EMPTY` is the root of the empty world. Paths are relative
POSIX paths such as ``src/app.py``. No function follows a symlink.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound, TooLarge
from holdfast.world import chunks, nodes
from holdfast.world.nodes import EMPTY, EMPTY_DIR, Entry
from holdfast.world.objects import Objects

RESERVED = ".holdfast"
"""The one name at the top of a directory that belongs to Holdfast and is never part of a world."""

_NAMES = {"file": "a file", "link": "a symlink", "dir": "a directory"}


def check_path(path: str) -> str:
    """The normal form of a path in a world (no ``.``, no doubled or trailing slash).

    Raises `Misuse` if it is empty, absolute, leaves the world, holds a NUL, is no file name here
    or is reserved; `TooLarge` if a name or the nesting is over its limit.
    """
    if path.startswith("/"):
        raise Misuse(f"path {path!r} is absolute: paths in a world are relative to its top")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or "\0" in path:
        raise Misuse(f"path {path!r} names nothing: use a relative path such as 'src/app.py'")
    if ".." in parts:
        raise Misuse(f"path {path!r} goes up with '..': a path cannot leave its world")
    if parts[0] == RESERVED:
        raise Misuse(f"path {path!r} is Holdfast's own: choose a name other than {RESERVED!r}")
    if len(parts) > limits.WORLD_DEPTH_MAX:
        raise TooLarge(f"path {path[:60]!r}... is over {limits.WORLD_DEPTH_MAX} directories deep")
    if len(path) * 4 > limits.NAME_MAX_BYTES:
        for part in parts:
            _check_length(part)
    if not path.isascii():
        _check_text(path)
    return "/".join(parts)


def _check_text(path: str) -> None:
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Misuse(f"path {path!r} is not text: it holds half of a surrogate pair") from None


def _check_length(name: str) -> None:
    if len(name.encode("utf-8", "surrogatepass")) > limits.NAME_MAX_BYTES:
        raise TooLarge(f"name {name[:60]!r}... is over {limits.NAME_MAX_BYTES} bytes long")


def link(target: str) -> Entry:
    """The entry of a symlink to ``target`` (any text without NUL; never followed, so not checked
    to stay inside). Raises `Misuse`."""
    if not target or "\0" in target:
        raise Misuse(f"a symlink cannot point to {target!r}")
    _check_text(target)
    return Entry("link", target=target)


# Reading --------------------------------------------------------------------------------------
def entry(objects: Objects, root: str, path: str) -> Entry | None:
    """What stands at ``path``, or None. `Misuse` for a path that cannot be in a world."""
    return find(objects, root, check_path(path))


def find(objects: Objects, root: str, path: str) -> Entry | None:
    """`entry` of a path in normal form, such as a scan's; never raises `Misuse`."""
    found: Entry | None = Entry("dir", root)
    for name in path.split("/"):
        if found is None or not found.is_dir:
            return None
        found = nodes.lookup(objects, found.hash, name)
    return found


def read_file(objects: Objects, root: str, path: str) -> bytes:
    """The content of a file. `NotFound` if nothing is there, `Misuse` if it is not a file,
    `TooLarge` if it is too large to be read at once."""
    found = entry(objects, root, path)
    if found is None:
        raise NotFound(f"{path}: no such file in world {root[:12]}")
    if found.kind == "link":
        raise Misuse(f"{path}: is a symlink to {found.target!r}: read that path instead")
    if found.is_dir:
        raise Misuse(f"{path}: is a directory: list it instead")
    return chunks.file_bytes(objects, found)


def list_dir(objects: Objects, root: str, path: str = "") -> list[tuple[str, Entry]]:
    """Names and entries of a directory ("" is the top), sorted by name. `NotFound`, `Misuse`."""
    return sorted(nodes.entries(objects, _directory(objects, root, path)).items())


def _directory(objects: Objects, root: str, path: str) -> str:
    if path in ("", "."):
        return root
    found = entry(objects, root, path)
    if found is None:
        raise NotFound(f"{path}: no such directory in world {root[:12]}")
    if not found.is_dir:
        raise Misuse(f"{path}: is {_NAMES[found.kind]}, not a directory")
    return found.hash


def walk(objects: Objects, root: str, path: str = "") -> Iterator[tuple[str, Entry]]:
    """Files, symlinks and empty directories below a directory, by full path.

    Sorted directory by directory. `NotFound` or `Misuse` if ``path`` is not a directory.
    """
    top = _directory(objects, root, path)
    prefix = check_path(path) + "/" if path not in ("", ".") else ""
    stack = [(prefix, iter(sorted(nodes.entries(objects, top).items())))]
    while stack:
        prefix, remaining = stack[-1]
        step = next(remaining, None)
        if step is None:
            stack.pop()
            continue
        name, found = step
        if found.is_dir and found.hash != EMPTY:
            below = iter(sorted(nodes.entries(objects, found.hash).items()))
            stack.append((f"{prefix}{name}/", below))
        else:
            yield prefix + name, found


def reachable(objects: Objects, root: str, seen: set[str] | None = None) -> Iterator[str]:
    """Hashes of all blobs that a world needs; `Corrupt` if one that must be read is absent.

    Pass the same (otherwise opaque) ``seen`` for several roots to visit shared parts once.
    """
    # INVARIANT W7: nothing needed is missed. One blob may be a file here and a directory there
    # (anybody can write a file with a node's bytes), so nodes are remembered apart, with a slash.
    seen = set() if seen is None else seen
    stack = [root]
    while stack:
        name = stack.pop()
        if name == EMPTY or "/" + name in seen:
            continue
        seen.add("/" + name)
        yield name
        node = nodes.load(objects, name)
        if isinstance(node, nodes.Split):
            stack.extend(part for part, _ in node.parts.values())
            continue
        for found in node.values():
            if found.is_dir:
                stack.append(found.hash)
            elif found.is_file:
                yield from chunks.blobs_of(objects, found, seen)


# Editing --------------------------------------------------------------------------------------
def write_file(
    objects: Objects, root: str, path: str, content: bytes, executable: bool | None = None
) -> str:
    """The root with a file at ``path``; missing parent directories are made.

    ``executable`` None keeps the bit of the file that is there (False for a new one). Replaces a
    symlink, never follows one. `Misuse` if a directory is there or a parent is not a directory,
    `TooLarge` over FILE_MAX_BYTES.
    """
    if len(content) > limits.FILE_MAX_BYTES:
        raise TooLarge(f"{path}: {len(content):,} bytes is over {limits.FILE_MAX_BYTES:,}")
    path = check_path(path)
    found = find(objects, root, path)
    if found is not None and found.is_dir:
        raise Misuse(f"{path}: is a directory: remove it first")
    if executable is None:
        executable = found is not None and found.executable
    return apply(objects, root, {path: chunks.put_file(objects, content, executable)})


def remove(objects: Objects, root: str, path: str) -> str:
    """The root without what is at ``path``, whole directories included. `NotFound`.

    The parent stays, even when empty.
    """
    if entry(objects, root, path) is None:
        raise NotFound(f"{path}: no such file or directory in world {root[:12]}")
    return apply(objects, root, {path: None})


def make_dir(objects: Objects, root: str, path: str) -> str:
    """The root with a directory at ``path``, parents included; unchanged if it is there already.

    `Misuse` if a file or symlink is at ``path`` or above it.
    """
    found = entry(objects, root, path)
    if found is None:
        return apply(objects, root, {path: EMPTY_DIR})
    if not found.is_dir:
        raise Misuse(f"{path}: is {_NAMES[found.kind]}, not a directory: remove it first")
    return root


class _Edit:
    """What is to happen at one path and below it."""

    __slots__ = ("adds", "below", "own", "sets")

    def __init__(self) -> None:
        self.sets = False  # whether `own` says what is to stand here
        self.own: Entry | None = None
        self.adds = False  # whether anything is put here or below, not only removed
        self.below: dict[str, _Edit] = {}

    def place(self, path: str, own: Entry | None) -> None:
        spot = self
        for name in path.split("/"):
            spot.adds = spot.adds or own is not None
            spot = spot.below.setdefault(name, _Edit())
        spot.adds = spot.adds or own is not None
        spot.sets, spot.own = True, own


def apply(objects: Objects, root: str, edits: Mapping[str, Entry | None]) -> str:
    """The root after many edits at once: an entry is put, None removes (if there is anything).

    Each touched directory is rewritten once. Where a path and one below it are both edited, the
    upper edit happens first. Missing parents are made. `Misuse` if something is to be put below a
    file or symlink that stays.
    """
    top = _Edit()
    for path, own in edits.items():
        top.place(check_path(path), own)
    settled = _settle(objects, Entry("dir", root), top, "")
    return EMPTY if settled is None else settled.hash


def _settle(objects: Objects, current: Entry | None, change: _Edit, path: str) -> Entry | None:
    if change.sets:
        current = change.own
    if not change.below:
        return current
    if current is None or not current.is_dir:
        if not change.adds or not any(below.adds for below in change.below.values()):
            return current
        if current is not None:
            raise Misuse(f"{path}: is {_NAMES[current.kind]}, not a directory: remove it first")
        current = EMPTY_DIR
    below = change.below
    inner = [name for name, deeper in below.items() if deeper.below]
    there = nodes.pick(objects, current.hash, inner) if inner else {}
    prefix = path + "/" if path else ""
    settled = {
        name: _settle(objects, there.get(name), deeper, prefix + name)
        for name, deeper in below.items()
    }
    return Entry("dir", nodes.edit(objects, current.hash, settled)[0])
