"""The stored form of directories and files: what exactly is hashed. Part of the format.

A directory is one blob of canonical JSON (`holdfast.values.canon`):

    {"dir": {<name>: <entry>, ...}}                     at most DIRECTORY_SPLIT_ENTRIES entries
    {"split": {<hex digit>: [<hash>, <count>], ...}}    more: parts by the SHA-256 of the name;
                                                        level n of splitting looks at digit n

and an entry is one of

    ["f", <hash>, <bytes>]    a file            ["c", <hash>, <bytes>]    a file of several chunks
    ["x", <hash>, <bytes>]    an executable     ["cx", <hash>, <bytes>]   an executable, likewise
    ["l", <target>]           a symlink         ["lb", <hex>]             a target that is no UTF-8
    ["d", <hash>]             a directory

How content becomes a hash, and what the hash of a chunked file names, stands in `chunks`. Of a
file's mode only the executable bit is kept. A name that is not valid UTF-8 (a Python str with
surrogate escapes, as `os.fsdecode` makes it) is stored as ``/`` and the hex digits of its bytes: no
file name holds a slash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from holdfast.values import limits
from holdfast.values.canon import decode, digest, encode
from holdfast.values.errors import Corrupt, Misuse
from holdfast.world.objects import Objects


class Entry(NamedTuple):
    """What stands at a path.

    ``kind`` is "file", "link" or "dir". ``hash`` names the content (of a chunked file: the root
    of its tree of chunks), the directory node, or nothing for a link. ``size`` is in bytes, of
    files only.
    """

    kind: str
    hash: str = ""
    size: int = 0
    executable: bool = False
    chunked: bool = False
    target: str = ""

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.kind == "dir"

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return self.kind == "file"


class Split(NamedTuple):
    """A directory node that was split: hash and number of entries by hex digit."""

    parts: dict[str, tuple[str, int]]


Node = dict[str, Entry] | Split
_T = TypeVar("_T")

EMPTY_NODE = encode({"dir": {}})
EMPTY = digest(EMPTY_NODE)
"""Root of the empty world. Readable without any store, and never put into one."""
EMPTY_DIR = Entry("dir", EMPTY)

_FILE_TAGS = {"f": (False, False), "x": (True, False), "c": (False, True), "cx": (True, True)}
_TAGS = {flags: tag for tag, flags in _FILE_TAGS.items()}
_NO_NAMES = frozenset({"", ".", ".."})


# Entries and names ----------------------------------------------------------------------------
def pack_name(name: str) -> str:
    """``name`` (or a relative path) as JSON can hold it; inverse of `unpack_name`."""
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        return "/" + name.encode("utf-8", "surrogateescape").hex()
    return name


def unpack_name(packed: str) -> str:
    """The name that `pack_name` made ``packed`` from; ValueError if it made it from none."""
    if not packed.startswith("/"):
        return packed
    name = bytes.fromhex(packed[1:]).decode("utf-8", "surrogateescape")
    if pack_name(name) != packed:
        raise ValueError(f"{packed!r} is not how a name is written")
    return name


def pack_entry(entry: Entry) -> list[str | int]:
    """The JSON form of an entry; `Misuse` if no world can hold it."""
    if entry.kind == "file":
        return [_TAGS[entry.executable, entry.chunked], entry.hash, entry.size]
    if entry.kind == "dir":
        return ["d", entry.hash]
    if entry.kind != "link" or not entry.target or "\0" in entry.target:
        raise Misuse(f"a world holds files, symlinks and directories, but no {entry!r}")
    packed = pack_name("./" + entry.target)  # "./": a target may itself start with a slash
    return ["lb", packed[5:]] if packed.startswith("/") else ["l", entry.target]


def unpack_entry(raw: Any) -> Entry:
    """The entry of a JSON form; ValueError, TypeError, KeyError or IndexError if it is none."""
    tag = raw[0]
    if tag == "d":
        return Entry("dir", _hash(raw[1]))
    if tag == "l":
        return Entry("link", target=_target(raw[1]))
    if tag == "lb":
        return Entry("link", target=_target(unpack_name("/2e2f" + raw[1])[2:]))
    executable, chunked = _FILE_TAGS[tag]
    if type(raw[2]) is not int or raw[2] < 0:
        raise ValueError(f"{raw[2]!r} is not a size")
    return Entry("file", _hash(raw[1]), raw[2], executable, chunked)


def _hash(value: Any) -> str:
    if type(value) is not str or len(value) != 64:
        raise ValueError(f"{value!r} is not a hash")
    return value


def _target(value: Any) -> str:
    if type(value) is not str or not value or "\0" in value:
        raise ValueError(f"{value!r} is not a symlink's target")
    return value


def _name(packed: str) -> str:
    name = unpack_name(packed)
    # INVARIANT W2: no path escapes. A damaged or forged node must not make a checkout write
    # outside of its directory, so names are checked where they enter.
    if "/" in name or "\0" in name or name in _NO_NAMES:
        raise ValueError(f"{name!r} is not a file name")
    return name


# Reading --------------------------------------------------------------------------------------
def load(objects: Objects, name: str) -> Node:
    """The directory node called ``name``; `Corrupt` if absent or not a directory node."""
    node = _raw(objects, name)
    return Split(_split_of(node, name)) if "split" in node else _entries_of(node, name)


def _raw(objects: Objects, name: str) -> dict[str, Any]:
    """A node as it is stored."""
    if name == EMPTY:
        return {"dir": {}}
    value = decode(objects.get(name))
    if not isinstance(value, dict):
        raise Corrupt(f"world directory {name} is damaged: it is none")
    return value


def _entries_of(node: dict[str, Any], name: str) -> dict[str, Entry]:
    try:
        return {_name(key): unpack_entry(raw) for key, raw in node["dir"].items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Corrupt(f"world directory {name} is damaged: {error}") from None


def _split_of(node: dict[str, Any], name: str) -> dict[str, tuple[str, int]]:
    try:
        return {str(key): (_hash(raw[0]), int(raw[1])) for key, raw in node["split"].items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Corrupt(f"world directory {name} is damaged: {error}") from None


def lookup(objects: Objects, directory: str, name: str) -> Entry | None:
    """The entry called ``name`` in a directory, or None; reads one node per level of splitting."""
    return pick(objects, directory, (name,)).get(name)


def pick(
    objects: Objects, directory: str, names: Iterable[str], depth: int = 0
) -> dict[str, Entry]:
    """The entries with these names, as far as they exist; reads each node once and unpacks only
    what was asked for."""
    found: dict[str, Entry] = {}
    if directory == EMPTY:
        return found
    value = decode(objects.get(directory))
    try:
        if "dir" in value:
            for name in names:
                raw = value["dir"].get(pack_name(name))
                if raw is not None:
                    found[name] = unpack_entry(raw)
            return found
        parts = value["split"]
        for digit, group in _grouped(dict.fromkeys(names), depth).items():
            if digit in parts:
                found.update(pick(objects, _hash(parts[digit][0]), group, depth + 1))
        return found
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Corrupt(f"world directory {directory} is damaged: {error}") from None


def entries(objects: Objects, directory: str) -> dict[str, Entry]:
    """All entries of a directory, in no particular order."""
    node = load(objects, directory)
    if isinstance(node, Split):
        return {
            name: entry
            for part, _ in node.parts.values()
            for name, entry in entries(objects, part).items()
        }
    return node


def differences(
    objects: Objects, before: str, after: str
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Names in two directories that do not have equal entries; equal parts are not even read."""
    if before == after:
        return
    old, new = _raw(objects, before), _raw(objects, after)
    if "split" in old and "split" in new:
        old_parts, new_parts = _split_of(old, before), _split_of(new, after)
        for digit in old_parts.keys() | new_parts.keys():
            old_part = old_parts.get(digit, (EMPTY, 0))[0]
            new_part = new_parts.get(digit, (EMPTY, 0))[0]
            yield from differences(objects, old_part, new_part)
        return
    if "split" in old or "split" in new:
        yield from _different(entries(objects, before), entries(objects, after))
        return
    try:  # what is equal as it is stored need not be understood
        old, new = old["dir"], new["dir"]
        changed = {name for name, entry in old.items() if new.get(name) != entry}
        changed.update(new.keys() - old.keys())
        pairs = [
            {_name(name): unpack_entry(side[name]) for name in changed if name in side}
            for side in (old, new)
        ]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Corrupt(f"world directory {before} or {after} is damaged: {error}") from None
    yield from _different(*pairs)


def _different(
    before: dict[str, Entry], after: dict[str, Entry]
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    for name, entry in before.items():
        other = after.get(name)
        if other != entry:
            yield name, entry, other
    for name, entry in after.items():
        if name not in before:
            yield name, None, entry


# Writing --------------------------------------------------------------------------------------
def edit(
    objects: Objects, directory: str, edits: dict[str, Entry | None], depth: int = 0
) -> tuple[str, int]:
    """Set (or, with None, remove) entries; returns the new node's hash and its entry count."""
    # INVARIANT W1: the hash depends on the set of entries alone, never on the order of edits: a
    # node is split exactly when it has more than DIRECTORY_SPLIT_ENTRIES entries below it.
    node = _raw(objects, directory)
    if "split" not in node:
        try:
            kept = dict(node["dir"])
        except (ValueError, TypeError, KeyError) as error:
            raise Corrupt(f"world directory {directory} is damaged: {error}") from None
        for name, entry in edits.items():
            if entry is None:
                kept.pop(pack_name(name), None)
            else:
                kept[pack_name(name)] = pack_entry(entry)
        if kept == node["dir"]:
            return directory, len(kept)
        if 0 < len(kept) <= limits.DIRECTORY_SPLIT_ENTRIES:
            return objects.put(encode({"dir": kept})), len(kept)
        content = _entries_of({"dir": kept}, directory)
        return _build(objects, content, depth), len(kept)
    before = _split_of(node, directory)
    parts = dict(before)
    for digit, group in _grouped(edits, depth).items():
        part, count = edit(objects, parts.get(digit, (EMPTY, 0))[0], group, depth + 1)
        if count:
            parts[digit] = (part, count)
        else:
            parts.pop(digit, None)
    total = sum(count for _, count in parts.values())
    if parts == before:
        return directory, total
    if total > limits.DIRECTORY_SPLIT_ENTRIES:
        return _put_split(objects, parts), total
    gathered: dict[str, Entry] = {}
    for part, _ in parts.values():
        gathered.update(entries(objects, part))
    return _build(objects, gathered, depth), total


def _build(objects: Objects, content: dict[str, Entry], depth: int) -> str:
    if not content:
        return EMPTY
    if len(content) <= limits.DIRECTORY_SPLIT_ENTRIES:
        packed = {pack_name(name): pack_entry(entry) for name, entry in content.items()}
        return objects.put(encode({"dir": packed}))
    return _put_split(
        objects,
        {
            digit: (_build(objects, group, depth + 1), len(group))
            for digit, group in _grouped(content, depth).items()
        },
    )


def _put_split(objects: Objects, parts: dict[str, tuple[str, int]]) -> str:
    return objects.put(encode({"split": {digit: list(part) for digit, part in parts.items()}}))


def _grouped(items: dict[str, _T], depth: int) -> dict[str, dict[str, _T]]:
    groups: dict[str, dict[str, _T]] = {}
    for name, item in items.items():
        groups.setdefault(digest(_bytes(name))[depth], {})[name] = item
    return groups


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
