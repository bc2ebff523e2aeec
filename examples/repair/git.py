"""The few git commands of the demo, untouched by anybody's settings."""

import os
import subprocess
from pathlib import Path

BRANCH = "main"
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


def commit_and_push(repository: Path, tree: Path, message: str, clone: Path) -> str:
    """Make a directory's content the next commit of a repository; returns the commit."""
    git("clone", "--quiet", "--no-checkout", str(repository), str(clone))
    place = (f"--git-dir={clone / '.git'}", f"--work-tree={tree}")
    git(*place, "add", "--all", "--force", at=tree)
    git(*place, "commit", "--quiet", "--message", message, at=tree)
    git(*place, "push", "--quiet", "origin", f"HEAD:{BRANCH}", at=tree)
    return git(*place, "rev-parse", "HEAD", at=tree)


def with_trailer(repository: Path, name: str, text: str) -> str:
    """The commit that carries this trailer; "" if there is none."""
    return git("log", "--all", "--format=%H", "--fixed-strings", f"--grep={name}: {text}",
               "--max-count=1", at=repository)  # fmt: skip
