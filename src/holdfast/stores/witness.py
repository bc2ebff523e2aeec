"""Second places for signed roots: a file elsewhere, or a branch of a Git repository.

A place keeps every root that it was ever given, a line of JSON each, and takes a new one only if
that is signed by the key of those before and proves to continue them. So whoever rewrites a store
cannot make such a place agree, and whoever cuts a store off is found out by it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import pygit2

from holdfast.journal.signed import SignedRoot, distrusted, follows
from holdfast.stores.keys import verify
from holdfast.values import limits
from holdfast.values.errors import Conflict, Corrupt, Misuse, NotFound, Outside

_BRANCH = "holdfast-signed-roots"
_FILE = "signed-roots.jsonl"
_line = msgspec.json.Decoder(SignedRoot)
_encoder = msgspec.json.Encoder()


class Witness(Protocol):
    """A second place. ``place`` is how the settings name it."""

    place: str

    def newest(self) -> SignedRoot | None:
        """The last root that it keeps; `Corrupt`, `Outside`."""
        ...

    def all(self) -> list[SignedRoot]:
        """Every root that it keeps, oldest first."""
        ...

    def check(self) -> None:
        """`Outside` if what it keeps has not arrived where it passes it on to."""
        ...

    def add(self, roots: Sequence[SignedRoot]) -> int:
        """Keep roots, oldest first; how many were new. `Conflict` if one does not continue what is
        kept (then it and what follows is not written), `Outside` if it cannot be written."""
        ...


def witness_of(place: str, store: Path) -> Witness:
    """The second place that a setting names: ``git:DIR[#BRANCH][@REMOTE]``, or a file. ``store``:
    the store's directory, in which no second place may lie."""
    kind, _, rest = place.partition(":")
    is_git = kind == "git"
    where, _, remote = rest.partition("@") if is_git else (place, "", "")
    directory, _, branch = where.partition("#") if is_git else (where, "", "")
    path = Path(directory)
    if not directory or path.resolve().is_relative_to(store.resolve()):
        raise Misuse(f"{place}: a second place lies outside of the store, best on another machine")
    if is_git:
        return GitWitness(place, path, branch or _BRANCH, remote)
    return FileWitness(place, path)


def kept_in(place: str) -> list[SignedRoot]:
    """Every root that a second place keeps, for reading only; `NotFound` if it is not there."""
    found = witness_of(place, Path("/nowhere/at/all"))
    if isinstance(found, FileWitness) and not found.path.exists():
        raise NotFound(f"{place}: there are no signed roots")
    return found.all()


def _read(place: str, text: bytes) -> list[SignedRoot]:
    found: list[SignedRoot] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(_line.decode(line))
        except msgspec.DecodeError as error:
            raise Corrupt(f"{place}:{number}: is no signed root: {error}") from None
    return found


def _fresh(place: str, newest: SignedRoot | None, roots: Iterable[SignedRoot]) -> list[SignedRoot]:
    """The roots to write: those beyond ``newest``, each of which must continue the one before."""
    # INVARIANT J56: a second place never forgets a root, nor takes one that does not continue it
    added: list[SignedRoot] = []
    for signed in roots:
        if newest is not None and signed.size <= newest.size:
            same = signed.size < newest.size or signed.root == newest.root
            if same and signed.origin == newest.origin:
                continue
        wrong = distrusted(signed, signed.key, verify)
        if not wrong and (newest is not None or not signed.before):
            wrong = follows(newest, signed)  # a place for a new key begins where that key began
        if not wrong and newest is not None and newest.key != signed.key:
            wrong = "is signed with another key: name a new place for roots of a new key"
        if wrong:
            raise Conflict(
                f"{place}: the signed root of {signed.size:,} events is refused: {wrong}"
            )
        added.append(signed)
        newest = signed
    return added


def _lines(roots: Iterable[SignedRoot]) -> bytes:
    return b"".join(_encoder.encode(signed) + b"\n" for signed in roots)


class FileWitness:
    """A file to which lines are only ever added."""

    def __init__(self, place: str, path: Path) -> None:
        self.place = place
        self.path = path

    def all(self) -> list[SignedRoot]:
        """See `Witness.all`."""
        try:
            return _read(self.place, self.path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Outside(f"{self.place}: cannot be read: {error.strerror}") from None

    def newest(self) -> SignedRoot | None:
        """See `Witness.newest`."""
        try:
            opened = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Outside(f"{self.place}: cannot be read: {error.strerror}") from None
        try:
            return self._last(opened)
        except OSError as error:
            raise Outside(f"{self.place}: cannot be read: {error.strerror}") from None
        finally:
            os.close(opened)

    def check(self) -> None:
        """See `Witness.check`: it passes nothing on."""

    def _last(self, opened: int) -> SignedRoot | None:
        size = os.fstat(opened).st_size
        start = max(0, size - limits.WITNESS_TAIL_BYTES)
        tail = os.pread(opened, size - start, start)
        if tail and not tail.endswith(b"\n"):
            raise Corrupt(f"{self.place}: its last line is cut off: take that line out by hand")
        lines = tail.splitlines()[-1:]
        return _read(self.place, lines[0])[0] if lines else None

    def add(self, roots: Sequence[SignedRoot]) -> int:
        """See `Witness.add`."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            opened = os.open(self.path, flags, 0o644)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX)
                fresh = _fresh(self.place, self._last(opened), roots)
                if fresh:
                    self._append(opened, _lines(fresh))
            finally:
                os.close(opened)
        except FileNotFoundError:
            # it is not made here: what should be mounted there may be away
            text = f"{self.place}: there is no directory {self.path.parent}: mount it, or make it"
            raise Outside(text, retryable=True) from None
        except OSError as error:
            text = f"{self.place}: cannot be written: {error.strerror}"
            raise Outside(text, retryable=True) from None
        return len(fresh)

    def _append(self, opened: int, lines: bytes) -> None:
        end = os.fstat(opened).st_size
        try:
            if os.write(opened, lines) != len(lines):
                raise OSError(28, "the disk is full")
            os.fsync(opened)
        except OSError:
            os.ftruncate(opened, end)  # never half a line
            raise


class GitWitness:
    """A branch of a Git repository; each commit holds the roots that it added, and the newest
    commit stands on all before. With a remote, the branch is pushed there, never by force."""

    def __init__(self, place: str, path: Path, branch: str, remote: str) -> None:
        self.place = place
        self.path = path
        self._ref = f"refs/heads/{branch}"
        self._remote = remote

    def _repository(self) -> pygit2.Repository:
        try:
            return pygit2.Repository(str(self.path))
        except pygit2.GitError:
            raise Outside(f"{self.place}: {self.path} is not a Git repository") from None

    def _tip(self, repository: pygit2.Repository) -> pygit2.Commit | None:
        try:
            return repository.references[self._ref].peel(pygit2.Commit)
        except KeyError:
            return None

    def _of(self, commit: pygit2.Commit) -> list[SignedRoot]:
        try:
            blob = commit.tree[_FILE]
        except KeyError:
            raise Corrupt(f"{self.place}: commit {commit.id} holds no signed roots") from None
        assert isinstance(blob, pygit2.Blob)
        return _read(f"{self.place} commit {str(commit.id)[:12]}", blob.data)

    def newest(self) -> SignedRoot | None:
        """See `Witness.newest`."""
        tip = self._tip(self._repository())
        return self._of(tip)[-1] if tip is not None else None

    def all(self) -> list[SignedRoot]:
        """See `Witness.all`."""
        pages: list[list[SignedRoot]] = []
        commit = self._tip(self._repository())
        while commit is not None:
            pages.append(self._of(commit))
            commit = commit.parents[0] if commit.parents else None
        return [signed for page in reversed(pages) for signed in page]

    def add(self, roots: Sequence[SignedRoot]) -> int:
        """See `Witness.add`."""
        repository = self._repository()
        tip = self._tip(repository)
        fresh = _fresh(self.place, self._of(tip)[-1] if tip is not None else None, roots)
        if fresh:
            self._commit(repository, tip, fresh)
        if self._remote:
            self._push()
        return len(fresh)

    def _commit(
        self, repository: pygit2.Repository, tip: pygit2.Commit | None, fresh: list[SignedRoot]
    ) -> None:
        last = fresh[-1]
        builder = repository.TreeBuilder()
        builder.insert(_FILE, repository.create_blob(_lines(fresh)), pygit2.enums.FileMode.BLOB)
        who = pygit2.Signature("holdfast", "holdfast@localhost", last.time // 1000, 0)
        text = f"{last.origin}: {last.size} events\n"
        parents = [tip.id] if tip is not None else []
        try:
            made = repository.create_commit(None, who, who, text, builder.write(), parents)
            if tip is None:
                repository.references.create(self._ref, made)
            else:  # moved only from where it was read: two writers do not lose a commit
                if repository.references[self._ref].target != tip.id:
                    raise Outside(f"{self.place}: moved meanwhile", retryable=True)
                repository.references[self._ref].set_target(made)
        except (pygit2.GitError, ValueError, OSError) as error:
            raise Outside(f"{self.place}: cannot be written: {error}", retryable=True) from None

    def check(self) -> None:
        """See `Witness.check`."""
        tip = self._tip(self._repository())
        if not self._remote or tip is None:
            return
        there = self._git("ls-remote", "--quiet", "--", self._remote, self._ref).split()[:1]
        if there != [str(tip.id)]:
            known = there[0][:12] if there else "nothing"
            raise Outside(
                f"{self.place}: {self._remote} has {known}, not {str(tip.id)[:12]}: "
                "`holdfast audit sign` pushes again",
                retryable=True,
            )

    def _push(self) -> None:
        self._git("push", "--quiet", "--", self._remote, self._ref)

    def _git(self, *words: str) -> str:
        command = ["git", "-C", str(self.path), *words]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, stdin=subprocess.DEVNULL,
                timeout=limits.WITNESS_PUSH_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            why = f"{type(error).__name__}"
        else:
            if done.returncode == 0:
                return done.stdout.decode(errors="replace")
            why = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            why = why[0] if why else f"exit code {done.returncode}"
        raise Outside(f"{self.place}: {words[0]} to {self._remote} failed: {why}", retryable=True)
