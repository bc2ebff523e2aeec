"""Worlds to and from git: a history of roots becomes commits, a commit's tree becomes a root.

Works on a repository's objects and one branch alone: work trees, indexes, configuration and hooks
are never touched or run, and content goes through no filter (no line endings are changed).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import pygit2
from pygit2.enums import ObjectType, RepositoryOpenFlag

from holdfast.values import limits
from holdfast.values.errors import Conflict, Corrupt, Misuse, NotFound, Outside, TooLarge
from holdfast.world import chunks, nodes
from holdfast.world.nodes import EMPTY, Entry
from holdfast.world.objects import Objects
from holdfast.world.tree import RESERVED

EMAIL = "agent@holdfast.invalid"
"""Stands in every commit: authors are agents and people known by name only."""

_MODES = {b"100644": False, b"100664": False, b"100755": True}
_LINK, _DIR, _SUBMODULE = b"120000", b"40000", b"160000"
# what git takes for its own directory on some file system, and so never checks out
_OWN = re.compile(r"(?:\.git|git~1)[ .]*(?:[\\:].*)?", re.IGNORECASE | re.DOTALL)
_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


class Version(NamedTuple):
    """One commit to be: ``message`` (its first line is what lists show), ``author`` (a name), and
    ``at``, seconds since 1970."""

    root: str
    message: str
    author: str
    at: int


class Exported(NamedTuple):
    """What `export_git` did. ``head``: id of the branch's newest commit; ``commits``: how many were
    new; ``left_out``: a sentence for each path of the last root that git cannot hold."""

    head: str
    commits: int
    left_out: tuple[str, ...]


Known = MutableMapping[str, str]
"""Git trees by the root they were made of; opaque. Good for one repository."""

_Row = tuple[bytes, bytes]
"""Mode and id of an entry of a git tree."""


# Export ---------------------------------------------------------------------------------------
def export_git(
    objects: Objects,
    repository: Path,
    branch: str,
    history: Iterable[Version],
    *,
    onto: str = "",
    known: Known | None = None,
) -> Exported:
    """Make ``history`` (oldest first) the commits of ``branch``, adding those it does not have yet.

    ``repository``: one that is there, or a new or empty directory, which becomes a bare one.
    ``onto``: the commit that the first one follows (none: it has no parent). ``known``: pass the
    same mapping again to be quicker. `Conflict` if the branch holds other commits, `Misuse` if it
    is checked out or is no name for a branch, `NotFound` for ``onto``, `Outside`, `Corrupt`.
    """
    # INVARIANT W15: the same history gives the same commit ids, on every machine, in one export or
    # in several; so what is there already is recognized, and nothing else is ever moved
    repo = _opened(Path(repository), create=True)
    name = f"refs/heads/{branch}"
    if branch.startswith("-") or not pygit2.reference_is_valid_name(name):
        raise Misuse(f"{branch!r} cannot be the name of a git branch")
    try:
        if _checked_out(repo, name):
            raise Misuse(f"{repository}: branch {branch!r} is checked out: choose another name")
        start = _commit_id(repo, onto, repository) if onto else ""
        return _export(_Trees(objects, repo, {} if known is None else known), name, start, history)
    except (pygit2.GitError, OSError) as error:
        raise Outside(f"{repository}: {error}") from None


def _export(trees: _Trees, name: str, start: str, history: Iterable[Version]) -> Exported:
    repo = trees.repo
    tip = repo.references.get(name)
    before = "" if tip is None else str(tip.resolve().target)
    head, new, found, root = start, 0, before in ("", start), EMPTY
    for version in history:
        tree = trees.tree(version.root, root)
        head = _commit(repo, version, tree, head)
        new += found
        found = found or head == before
        root = version.root
    if not found:
        branch = name.removeprefix("refs/heads/")
        raise Conflict(f"{repo.path}: branch {branch!r} has other commits: choose another name")
    if tip is None and head:
        repo.references.create(name, head)  # fails if it is there by now
    elif tip is not None and head != before:
        tip.resolve().set_target(head)  # fails if it has moved
    return Exported(head, new, tuple(trees.left_out(root)))


def _commit(repo: pygit2.Repository, version: Version, tree: str, parent: str) -> str:
    author = re.sub(r"[<>\x00-\x1f\x7f\s]+", " ", version.author).strip(" .,:;\"'") or "holdfast"
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else [])]
    lines += [f"{who} {author} <{EMAIL}> {version.at} +0000" for who in ("author", "committer")]
    message = version.message.replace("\0", "\ufffd").rstrip("\n")
    text = "\n".join([*lines, "", message, ""])
    return str(repo.odb.write(ObjectType.COMMIT, text.encode("utf-8", "replace")))


class _Trees:
    """Git trees of directories; one that stands in ``known`` is not even looked into."""

    def __init__(self, objects: Objects, repo: pygit2.Repository, known: Known) -> None:
        self.objects = objects
        self.repo = repo
        self._known = known

    def tree(self, root: str, near: str) -> str:
        """The id of a root's tree. ``near``: a root like it, best one whose tree is known."""
        return self._directory(root, near) or str(self.repo.odb.write(ObjectType.TREE, b""))

    def _directory(self, root: str, near: str) -> str:
        """The id of a directory's tree, "" if git would not hold it: it has no file inside."""
        known = self._known.get(root)
        if known is not None and (known in ("", "!") or self._there(known.rstrip("!"))):
            return known.rstrip("!")
        if root == EMPTY:
            return ""
        rows: dict[bytes, _Row] = {}
        clean = self._known.get(near, "!")
        if clean.endswith("!") or not self._there(clean):
            near = EMPTY  # what was left out of a tree is not to be seen in it
        elif clean:
            rows = _rows(self.repo, clean)
        whole = True
        for name, old, new in nodes.differences(self.objects, near, root):
            row, fine = self._entry(name, old, new)
            whole = whole and fine
            if row is None:
                rows.pop(os.fsencode(name), None)
            else:
                rows[os.fsencode(name)] = row
        tree = str(self.repo.odb.write(ObjectType.TREE, _packed(rows))) if rows else ""
        self._known[root] = tree if whole else tree + "!"
        return tree

    def _there(self, tree: str) -> bool:
        return not tree or self.repo.odb.exists(pygit2.Oid(hex=tree))

    def _entry(self, name: str, old: Entry | None, new: Entry | None) -> tuple[_Row | None, bool]:
        """The row of an entry (None: none), and whether all of it is in there."""
        if new is None:
            return None, True
        if _why_not(name, new):
            return None, False
        if new.is_dir:
            near = old.hash if old is not None and old.is_dir else EMPTY
            tree = self._directory(new.hash, near)
            fine = new.hash != EMPTY and not self._known[new.hash].endswith("!")
            return ((_DIR, bytes.fromhex(tree)) if tree else None), fine and bool(tree)
        mode = _LINK if new.kind == "link" else b"100755" if new.executable else b"100644"
        return (mode, self._blob(new)), True

    def _blob(self, entry: Entry) -> bytes:
        if entry.kind == "link":
            return self.repo.create_blob(os.fsencode(entry.target)).raw
        if entry.size > limits.FILE_WHOLE_BYTES:
            stream = _Stream(chunks.file_chunks(self.objects, entry))
            return self.repo.create_blob_fromiobase(io.BufferedReader(stream)).raw
        return self.repo.create_blob(chunks.file_bytes(self.objects, entry)).raw

    def left_out(self, root: str, prefix: str = "") -> Iterator[str]:
        """A sentence for everything below a directory that is not in its tree."""
        if root == EMPTY or not self._known.get(root, "!").endswith("!"):
            return
        for name, entry in sorted(nodes.entries(self.objects, root).items()):
            why = _why_not(name, entry)
            if not why and entry.hash == EMPTY and entry.is_dir:
                why = "is an empty directory"
            if why:
                yield f"{prefix + name!r} {why}, which git cannot hold"
            elif entry.is_dir:
                yield from self.left_out(entry.hash, f"{prefix}{name}/")


def _why_not(name: str, entry: Entry) -> str:
    seen = _UNSEEN.sub("", name)
    if _OWN.fullmatch(seen):
        return "has a name of git's own"
    if entry.kind == "link" and seen.lower() == ".gitmodules":
        return "is a symlink called .gitmodules"
    return ""


class _Stream(io.RawIOBase):
    """Pieces of a large file as git reads them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill ``buffer``; 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _packed(rows: dict[bytes, _Row]) -> bytes:
    """A tree as git stores it: sorted as if directories ended with a slash."""
    order = sorted(rows.items(), key=lambda item: item[0] + b"/" * (item[1][0] == _DIR))
    return b"".join(b"%s %s\0%s" % (mode, name, oid) for name, (mode, oid) in order)


def _rows(repo: pygit2.Repository, tree: str) -> dict[bytes, _Row]:
    """The rows of a git tree; `Corrupt` if it is none."""
    kind, data = repo.odb.read(pygit2.Oid(hex=tree))
    rows: dict[bytes, _Row] = {}
    at = 0
    while at < len(data):
        stop = data.find(b"\0", at)
        mode, space, name = data[at:stop].partition(b" ")
        oid = data[stop + 1 : stop + 21]
        if kind != ObjectType.TREE or stop < 0 or not space or len(oid) < 20 or name in rows:
            raise Corrupt(f"git tree {tree} is damaged")
        rows[name] = (mode.lstrip(b"0"), oid)
        at = stop + 21
    return rows


# Import ---------------------------------------------------------------------------------------
def import_git(objects: Objects, repository: Path, revision: str) -> str:
    """The root of the files of a commit (or tag), bytes and executable bits as they are in git.

    `NotFound`, `Misuse` for what a world cannot hold (submodules, ``.holdfast``), named by its
    path, `TooLarge`, `Corrupt`, `Outside`.
    """
    repo = _opened(Path(repository), create=False)
    try:
        tree = repo[_commit_id(repo, revision, repository)].peel(pygit2.Tree)
        return _Import(objects, repo).directory(str(tree.id), "", 1)
    except (pygit2.GitError, OSError) as error:
        raise Outside(f"{repository}: {error}") from None
    except KeyError as error:
        raise Corrupt(f"{repository}: object {error} is missing") from None


class _Import:
    """Directories of git trees; a tree that comes again is not read again."""

    def __init__(self, objects: Objects, repo: pygit2.Repository) -> None:
        self._objects = objects
        self._repo = repo
        self._roots: dict[str, tuple[str, int]] = {}

    def directory(self, tree: str, prefix: str, depth: int) -> str:
        """The root of a git tree that is to stand at ``prefix``, so many directories deep."""
        return self._directory(tree, prefix, depth)[0]

    def _directory(self, tree: str, prefix: str, depth: int) -> tuple[str, int]:
        """Root and height (1: no directories inside)."""
        if tree in self._roots and depth + self._roots[tree][1] <= limits.WORLD_DEPTH_MAX:
            return self._roots[tree]
        if depth > limits.WORLD_DEPTH_MAX:
            raise TooLarge(f"{prefix[:60]!r}... is over {limits.WORLD_DEPTH_MAX} directories deep")
        inside: dict[str, Entry | None] = {}
        height = 1
        for packed, (mode, oid) in _rows(self._repo, tree).items():
            name = os.fsdecode(packed)
            path = prefix + name
            if name in ("", ".", "..") or "/" in name:
                raise Misuse(f"git tree {tree} holds {path!r}, which is no file name")
            if path == RESERVED:
                raise Misuse(f"{path!r} is Holdfast's own name: leave it out of the commit")
            if len(packed) > limits.NAME_MAX_BYTES:
                raise TooLarge(f"name {name[:60]!r}... is over {limits.NAME_MAX_BYTES} bytes long")
            if mode == _DIR:
                below, deep = self._directory(oid.hex(), path + "/", depth + 1)
                height = max(height, deep + 1)
                inside[name] = Entry("dir", below)
            else:
                inside[name] = self._leaf(path, mode, oid)
        self._roots[tree] = (nodes.edit(self._objects, EMPTY, inside)[0], height)
        return self._roots[tree]

    def _leaf(self, path: str, mode: bytes, oid: bytes) -> Entry:
        if mode == _SUBMODULE:
            raise Misuse(f"{path!r} is a submodule, which a world cannot hold: import it by itself")
        if mode != _LINK and mode not in _MODES:
            raise Misuse(
                f"{path!r} has mode {mode.decode('ascii', 'replace')} in git, which is odd"
            )
        blob = self._repo[pygit2.Oid(raw=oid)]
        if not isinstance(blob, pygit2.Blob):
            raise Corrupt(f"{path!r} is no file in git, though its tree says so")
        if mode == _LINK:
            target = os.fsdecode(blob.data)
            if not target or "\0" in target:
                raise Misuse(f"{path!r} is a symlink to {target!r}, which no disk can hold")
            return Entry("link", target=target)
        if blob.size > limits.FILE_MAX_BYTES:
            raise TooLarge(f"{path!r} has {blob.size:,} bytes, over {limits.FILE_MAX_BYTES:,}")
        if blob.size <= limits.FILE_WHOLE_BYTES:
            return chunks.put_file(self._objects, blob.data, _MODES[mode])
        with pygit2.BlobIO(blob) as stream:
            pieces = iter(lambda: stream.read(limits.CHUNK_BYTES), b"")
            return chunks.put_chunks(self._objects.put, pieces, _MODES[mode])


# Repositories ---------------------------------------------------------------------------------
def _opened(path: Path, create: bool) -> pygit2.Repository:
    """The repository that is exactly here (never one of a directory above)."""
    try:
        if create and (not path.exists() or (path.is_dir() and not any(path.iterdir()))):
            return pygit2.init_repository(path, bare=True)
        return pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
    except (pygit2.GitError, OSError) as error:
        if not path.exists():
            raise NotFound(f"{path}: no such directory") from None
        raise Misuse(f"{path}: is not a git repository that can be used: {error}") from None


def _checked_out(repo: pygit2.Repository, name: str) -> bool:
    """Whether a branch is what a work tree shows, or will show once it has a commit."""
    tip = repo.references.get(name)
    head = repo.references.get("HEAD")
    unborn = not repo.is_bare and head is not None and head.target == name
    return unborn or (
        tip is not None and repo.branches.local[name.removeprefix("refs/heads/")].is_checked_out()
    )


def _commit_id(repo: pygit2.Repository, revision: str, place: Path) -> str:
    try:
        return str(repo.revparse_single(revision).peel(pygit2.Commit).id)
    except (KeyError, ValueError, pygit2.GitError):
        raise NotFound(f"{place}: git has no commit {revision!r}") from None
