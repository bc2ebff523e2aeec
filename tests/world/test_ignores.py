"""INVARIANT W61: with :gitignore, exactly what git ignores stays out, and .git stays in."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import EMPTY, import_dir, walk
from holdfast.world.ignores import GITIGNORE
from tests.world.support import memory

FILES = ["a", "a.log", "keep.log", "build/a", "build/keep", "d/a", "d/build/x", "d/e/a.log",
         "d/e/keep.log", "d/e/f/b", "x y/a.log"]  # fmt: skip
ODD = ["\u00e9", "ab", "[z", "d/-b ", "z"]
PATTERNS = ["*.log", "!keep.log", "build", "build/", "/build", "!build/keep", "d/e", "d/*", "!d/e",
            "**/f", "d/**", "a", "!a", "*", "!*/", "/*", "!/d", "# a", "\\#a", "x y", "?.log",
            "a ", "a\\ ", "!", "/", "//", "a\\", "[z-a]", "[", "***", "d**/b", "a*/**", "[^a]*",
            "d/**\\/b", "[[:alpha:]]", "\\[z", "d/[!a]*\\ ", "??", "\ufeffa"]  # fmt: skip
SPECIAL = st.text("ab/*?[]!^-\\ d\r\0\u00e9", max_size=8)
LINES = st.lists(st.one_of(st.sampled_from(PATTERNS), SPECIAL), max_size=4)


def git(place: Path, *args: str, **more) -> str:
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=", *args],
        cwd=place,
        capture_output=True,
        text=True,
        **more,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def filled(place: Path, rules: dict[str, list[str]], files: list[str]) -> None:
    for path in files:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(path)
    for where, lines in rules.items():
        (place / where / ".gitignore").write_bytes("".join(f"{line}\n" for line in lines).encode())


def taken(place: Path, *ignore: str) -> set[str]:
    objects = memory()
    root = import_dir(objects, place, [*ignore, GITIGNORE])
    return {path for path, entry in walk(objects, root) if not entry.is_dir}


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["", "d", "d/e", "build"]), LINES, max_size=3),
    st.sets(st.sampled_from(FILES), max_size=2), st.sampled_from(["", "d", "d/e"]), LINES,
)  # fmt: skip
def test_as_git_sees_it(
    rules: dict[str, list[str]], tracked: set[str], inside: str, exclude: list[str]
):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        filled(place, rules, [*FILES, *ODD])
        git(place, "init", "-q")
        (place / ".git/info/exclude").write_bytes("\n".join(exclude).encode())
        if tracked:
            git(place, "add", "-f", "--", *sorted(tracked))
        listed = git(place, "ls-files", "-z", "--cached", "--others", "--exclude-standard",
                     "--", inside or ".")  # fmt: skip
        seen = {path for path in listed.split("\0") if path}
        found = taken(place / inside)
        prefix = f"{inside}/" if inside else ""
        assert {prefix + path for path in found if not path.startswith(".git/")} == seen
        assert bool(inside) or ".git/HEAD" in found


def test_without_a_repository_and_with_globs(tmp_path: Path):
    filled(tmp_path, {"": ["*.log", "!keep.log"], "d": ["!a.log", "/build"]}, FILES)
    assert taken(tmp_path, "x y") == {
        ".gitignore", "a", "keep.log", "build/a", "build/keep", "d/.gitignore", "d/a",
        "d/e/a.log", "d/e/keep.log", "d/e/f/b",
    }  # fmt: skip
    objects = memory()
    assert "a.log" in dict(walk(objects, import_dir(objects, tmp_path)))


def test_a_link_is_no_rule_and_an_empty_directory_stays(tmp_path: Path):
    (tmp_path / "rules").write_text("*\n")
    (tmp_path / ".gitignore").symlink_to("rules")
    (tmp_path / "empty").mkdir()
    assert taken(tmp_path) == {"rules", ".gitignore"}
    with pytest.raises(Misuse):
        taken(tmp_path, "[z-a]")
    (tmp_path / ".gitignore").unlink()
    (tmp_path / ".gitignore").write_text("*\n")
    assert import_dir(memory(), tmp_path, [GITIGNORE]) == EMPTY


def test_what_git_does_not_understand_is_passed_over(tmp_path: Path):
    lines = ["!", "a\\", "[z-a]", "[", "[[:no:]]", "\0x", "/", "a*" * 40 + "b", "*.log"]
    filled(tmp_path, {"": lines}, ["x.log", "a" * 200, "d/y"])
    (tmp_path / "d" / ".gitignore").mkdir()
    assert taken(tmp_path) == {".gitignore", "a" * 200, "d/y"}


def test_rules_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("RULES_FILE_LINES", "RULES_FILE_BYTES"):
        filled(tmp_path, {"": ["a", "b", "c"]}, [])
        with monkeypatch.context() as bounded:
            bounded.setattr(limits, name, 3)
            with pytest.raises(Misuse, match="shorten it, or name"):
                taken(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config", b"[core\nbad"),
        ("config", b"[core]\nworktree = /nowhere\n"),
        ("index", b"junk" * 100),
    ],
)
def test_a_broken_repository_is_said_to_be_one(tmp_path: Path, name: str, content: bytes):
    """It cannot be told what is tracked: nothing is taken in by rules that may be others."""
    git(tmp_path, "init", "-q")
    (tmp_path / "x").touch()
    (tmp_path / ".git" / name).write_bytes(content)
    with pytest.raises(Misuse, match="name what to leave out with --ignore"):
        taken(tmp_path)
