"""`.gitattributes` mean what git says they mean, on random files of them."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.world import EMPTY, write_file
from holdfast.world.attributes import Attributes
from tests.world.support import memory

PATHS = ["a", "a.log", "d/a", "d/a.log", "d/e/a", "d/e/b.log", "e/a", "x y/a.log", "\u00e9"]
PATTERNS = ["*", "a", "*.log", "d", "d/*", "d/**", "**/a", "/a", "e/a", "?.log", "[ab].log",
            "d/", "[^a]*", "a\\", "[z-a]", "[", "***", "d**/a", "[[:alpha:]]", "\\a", "\u00e9",
            "??"]  # fmt: skip
WORDS = ["merge", "-merge", "!merge", "merge=union", "merge=ours", "binary", "text", "-diff", "a@b",
         "--x", "-merge=ours", "x" * 2048]  # fmt: skip
LINES = st.lists(
    st.tuples(st.sampled_from(PATTERNS), st.lists(st.sampled_from(WORDS), max_size=3)), max_size=4
)
GIT = {"set": "text", "unset": "binary", "unspecified": ""}


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["", "d/", "d/e/"]), LINES, max_size=3),
    st.sampled_from(["\n", "\r\n", "\t\n", "\x0b\n"]),
)
def test_as_git_reads_them(files: dict[str, list[tuple[str, list[str]]]], end: str):
    root = EMPTY
    stage = memory()
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["git", "init", "-q", place], check=True)
        for where, lines in files.items():
            text = "".join(f"{pattern} {' '.join(words)}{end}" for pattern, words in lines)
            root = write_file(stage, root, f"{where}.gitattributes", text.encode())
            (Path(place) / where).mkdir(parents=True, exist_ok=True)
            (Path(place) / where / ".gitattributes").write_bytes(text.encode())
        done = subprocess.run(
            ["git", "check-attr", "-z", "--stdin", "merge"], cwd=place, check=True,
            input="\0".join([*PATHS, ""]), capture_output=True, text=True,
        )  # fmt: skip
    said = done.stdout.split("\0")[2::3]
    rules = Attributes(stage, root)
    assert [rules.merge(path) for path in PATHS] == [GIT.get(word, word) for word in said]


def test_a_pattern_takes_no_long_time():
    """INVARIANT W66."""
    stage = memory()
    root = write_file(stage, EMPTY, ".gitattributes", b"a*" * 40 + b"b merge=ours\n")
    assert Attributes(stage, root).merge("a" * 200) == ""
    assert Attributes(stage, root).merge("a" * 200 + "b") == "ours"


def test_files_are_bounded(monkeypatch: pytest.MonkeyPatch):
    stage = memory()
    root = write_file(stage, EMPTY, ".gitattributes", b"#\n" * 9 + b"a merge=ours")
    assert Attributes(stage, root).merge("a") == "ours"
    for name in ("RULES_FILE_LINES", "RULES_FILE_BYTES"):
        with monkeypatch.context() as bounded:
            bounded.setattr(limits, name, 9)
            assert Attributes(stage, root).merge("a") == ""
