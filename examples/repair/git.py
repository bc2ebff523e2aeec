"""The few git commands of the demo, untouched by anybody's settings."""

import os
import subprocess
from pathlib import Path

BRANCH = "main"
_STAT = "--stat=80"
_NAME = ("Repair demo", "demo@example.invalid")


class GitFailed(Exception):
    """A git command failed; the message has what it said."""


def git(*words: str, at: Path | None = None) -> str:
    """Run git and return what it prints; raises GitFailed."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    env = {
        **kept,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": _NAME[0],
        "GIT_AUTHOR_EMAIL": _NAME[1],
        "GIT_COMMITTER_NAME": _NAME[0],
        "GIT_COMMITTER_EMAIL": _NAME[1],
    }
    try:
        done = subprocess.run(
            ["git", *words], cwd=at, env=env, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise GitFailed(f"git cannot be run: {error}") from None
    if done.returncode:
        raise GitFailed(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def make_bare(repository: Path, tree: Path, message: str) -> str:
    """A bare repository with one commit: the content of a directory; returns the commit."""
    git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(repository))
    git("init", "--quiet", f"--initial-branch={BRANCH}", str(tree))
    git("add", "--all", "--force", at=tree)
    git("commit", "--quiet", "--message", message, at=tree)
    git("push", "--quiet", str(repository), f"HEAD:{BRANCH}", at=tree)
    return git("rev-parse", "HEAD", at=tree)


def stage(repository: Path, tree: Path, clone: Path) -> str:
    """Make what changed in the repository's files, as they are in a directory, ready to be
    committed from a new clone; returns which they are. Files of the directory's own are left."""
    git("clone", "--quiet", "--no-checkout", str(repository), str(clone))
    at = _apart(tree, clone)
    git(*at, "read-tree", "HEAD", at=tree)
    git(*at, "add", "--update", at=tree)
    return _even(git(*at, "diff", "--cached", _STAT, at=tree))


def commit_and_push(tree: Path, clone: Path, message: str) -> None:
    """Commit what is ready, and push it to where the clone came from."""
    at = _apart(tree, clone)
    git(*at, "commit", "--quiet", "--message", message, at=tree)
    git(*at, "push", "--quiet", "origin", f"HEAD:{BRANCH}", at=tree)


def stat_of(repository: Path, commit: str) -> str:
    """Which files a commit changed, as `stage` says it."""
    return _even(git("show", "--format=", _STAT, commit, at=repository))


def _even(stat: str) -> str:
    return "\n".join(line.strip() for line in stat.splitlines())


def _apart(tree: Path, clone: Path) -> tuple[str, str]:
    return f"--git-dir={clone / '.git'}", f"--work-tree={tree}"


def with_trailer(repository: Path, name: str, text: str) -> str:
    """The commit that carries this trailer; "" if there is none."""
    return git("log", "--all", "--format=%H", "--fixed-strings", f"--grep={name}: {text}",
               "--max-count=1", at=repository)  # fmt: skip
