"""What is left out when a directory is taken in: globs and, if asked for, what git ignores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pygit2
from pathspec import GitIgnoreSpec

from holdfast.world.globs import matcher

GITIGNORE = ":gitignore"
"""Among globs to leave out it stands for: what git ignores."""


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
        self._specs: dict[str, GitIgnoreSpec | None] = {}
        self._known: dict[str, bool] = {"": False}
        self._exclude: GitIgnoreSpec | None = None
        self._repository()

    def _repository(self) -> None:
        found = pygit2.discover_repository(str(self._top))
        repository = pygit2.Repository(found) if found else None
        if repository is None or repository.is_bare:
            return
        above = Path(repository.workdir).resolve()
        prefix = self._top.relative_to(above).as_posix()
        self._prefix = "" if prefix == "." else prefix + "/"
        self._top = above
        self._exclude = _spec(_common(Path(repository.path)) / "info" / "exclude")
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
            if where not in self._specs:
                self._specs[where] = _spec(self._top / where / ".gitignore")
            said = _match(self._specs[where], "/".join(parts[depth:]), is_dir)
            if said is not None:
                return said
        return bool(_match(self._exclude, path, is_dir))


def _common(git: Path) -> Path:
    """The directory that all worktrees of a repository share."""
    try:
        return git / (git / "commondir").read_text("utf-8").strip()
    except OSError:
        return git


def _is_dir(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _spec(file: Path) -> GitIgnoreSpec | None:
    """The rules of one file; None if there is none. As for git, it may not be a symlink."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(opened, encoding="utf-8", errors="surrogateescape") as lines:
        rules = [_inside(line) for line in lines.read().splitlines()]
    return GitIgnoreSpec.from_lines(rules)


def _inside(rule: str) -> str:
    """``a/**`` means what is in ``a``; pathspec takes it for ``a/`` itself too, git does not."""
    bare = rule.rstrip(" ")
    return f"{bare}/*" if bare.endswith("/**") else rule


def _match(spec: GitIgnoreSpec | None, path: str, is_dir: bool) -> bool | None:
    """What the last rule that names this very path says: True to ignore it, False not to, None if
    there is none. A rule about a directory says nothing of what is in it: that is asked above."""
    text = path + "/" * is_dir
    for rule in reversed(spec.patterns if spec is not None else ()):
        if (
            rule.include is not None
            and rule.regex is not None
            and any(
                found.groupdict().get("ps_d") is None or found.end("ps_d") == len(text)
                for found in rule.regex.finditer(text)
            )
        ):
            return rule.include
    return None
