"""What is left out when a directory is taken in: globs and, if asked for, what git ignores."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pygit2

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world.globs import matcher, rule

GITIGNORE = ":gitignore"
"""Among globs to leave out it stands for: what git ignores."""

_Rules = list[tuple[Callable[[bytes, bool], bool], bool]]


def leaving_out(directory: Path, ignore: Sequence[str]) -> Callable[[str], bool]:
    """A function that says whether a path below ``directory`` is left out; `Misuse` for a glob that
    cannot be understood."""
    globs = matcher([one for one in ignore if one != GITIGNORE])
    if GITIGNORE not in ignore:
        return globs
    git = _Ignored(directory)
    return lambda path: globs(path) or git.leaves_out(path)


class _Ignored:
    """What git ignores in a directory: by its ``.gitignore`` files and those below, and, where it
    is in a repository, by those above and ``info/exclude``, but nothing that is tracked there."""

    def __init__(self, directory: Path) -> None:
        self._top = directory.resolve()
        self._prefix = ""
        self._tracked: set[str] = set()
        self._rules: dict[str, _Rules] = {}
        self._known: dict[str, bool] = {"": False}
        self._exclude: _Rules = []
        try:
            self._repository()
        except (pygit2.GitError, ValueError) as error:  # ValueError: its files are elsewhere
            raise Misuse(
                f"{directory}: its git repository cannot be read: {error}; see what "
                "'git status' says there, or name what to leave out with --ignore"
            ) from None

    def _repository(self) -> None:
        found = pygit2.discover_repository(str(self._top))
        repository = pygit2.Repository(found) if found else None
        if repository is None or repository.is_bare:
            return
        above = Path(repository.workdir).resolve()
        prefix = self._top.relative_to(above).as_posix()
        self._prefix = "" if prefix == "." else prefix + "/"
        self._top = above
        self._exclude = _rules(_common(Path(repository.path)) / "info" / "exclude")
        for entry in repository.index:
            if entry.path.startswith(self._prefix):
                path = entry.path
                while path and path not in self._tracked:
                    self._tracked.add(path)
                    path = path.rpartition("/")[0]

    def leaves_out(self, path: str) -> bool:
        """Whether a path of the directory is ignored."""
        # INVARIANT W61: exactly what git ignores is left out, and never git's own files
        path = self._prefix + path
        return path not in self._tracked and self._ignores(path)

    def _ignores(self, path: str) -> bool:
        known = self._known.get(path)
        if known is not None:
            return known
        above = path.rpartition("/")[0]
        is_dir = _is_dir(self._top / path)
        # what is in an ignored directory is ignored, whatever is said of it
        found = self._ignores(above) or self._said(path, is_dir)
        if is_dir:
            self._known[path] = found
        return found

    def _said(self, path: str, is_dir: bool) -> bool:
        """What the nearest file that says something of this very path says."""
        parts = path.split("/")
        if ".git" in parts:
            return False  # git's own files are what makes it a repository
        for depth in range(len(parts) - 1, -1, -1):
            where = "/".join(parts[:depth])
            if where not in self._rules:
                self._rules[where] = _rules(self._top / where / ".gitignore")
            said = _match(self._rules[where], "/".join(parts[depth:]), is_dir)
            if said is not None:
                return said
        return bool(_match(self._exclude, path, is_dir))


def _common(git: Path) -> Path:
    """The directory that all worktrees of a repository share."""
    return git / os.fsdecode(_read(git / "commondir").strip())


def _is_dir(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _read(file: Path) -> bytes:
    """A regular file's content; nothing if there is none. As for git, it may not be a symlink."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return b""
        with os.fdopen(opened, "rb", closefd=False) as content:
            return content.read(limits.RULES_FILE_BYTES + 1)
    finally:
        os.close(opened)


def _rules(file: Path) -> _Rules:
    """The rules of one file: what matches, and whether it is then ignored. What git does not
    understand matches nothing."""
    content = _read(file)
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if len(content) > limits.RULES_FILE_BYTES or len(lines) > limits.RULES_FILE_LINES:
        raise Misuse(
            f"{file}: more than {limits.RULES_FILE_LINES} lines or {limits.RULES_FILE_BYTES} bytes "
            "of rules; shorten it, or name what to leave out with --ignore"
        )
    found: _Rules = []
    for line in lines:
        text = _trimmed(line.removesuffix(b"\r").partition(b"\0")[0])
        negated = text.startswith(b"!")
        matches = None if text.startswith(b"#") else rule(text[negated:])
        if matches is not None:
            found.append((matches, not negated))
    return found


def _trimmed(line: bytes) -> bytes:
    """A line without the spaces at its end, of which a backslash keeps the first."""
    bare = line.rstrip(b" ")
    slashes = len(bare) - len(bare.rstrip(b"\\"))
    return line[: len(bare) + 1] if slashes % 2 else bare


def _match(rules: _Rules, path: str, is_dir: bool) -> bool | None:
    """What the last rule that names this very path says: True to ignore it, False not to, None if
    there is none. A rule about a directory says nothing of what is in it: that is asked above."""
    text = os.fsencode(path)
    for matches, ignored in reversed(rules):
        if matches(text, is_dir):
            return ignored
    return None
