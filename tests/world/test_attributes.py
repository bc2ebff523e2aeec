"""`.gitattributes` mean what git says they mean, on random files of them."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.world import EMPTY, write_file
from holdfast.world.attributes import Attributes
from tests.world.support import memory

PATHS = ["a", "a.log", "d/a", "d/a.log", "d/e/a", "d/e/b.log", "e/a", "x y/a.log"]
PATTERNS = ["*", "a", "*.log", "d", "d/*", "d/**", "**/a", "/a", "e/a", "?.log", "[ab].log", "d/"]
WORDS = ["merge", "-merge", "!merge", "merge=union", "merge=ours", "binary", "text", "-diff"]
LINES = st.lists(
    st.tuples(st.sampled_from(PATTERNS), st.lists(st.sampled_from(WORDS), max_size=3)), max_size=4
)
GIT = {"set": "text", "unset": "binary", "unspecified": ""}


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(["", "d/", "d/e/"]), LINES, max_size=3))
def test_as_git_reads_them(files: dict[str, list[tuple[str, list[str]]]]):
    root = EMPTY
    stage = memory()
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["git", "init", "-q", place], check=True)
        for where, lines in files.items():
            text = "".join(f"{pattern} {' '.join(words)}\n" for pattern, words in lines)
            root = write_file(stage, root, f"{where}.gitattributes", text.encode())
            (Path(place) / where).mkdir(parents=True, exist_ok=True)
            (Path(place) / where / ".gitattributes").write_text(text)
        done = subprocess.run(
            ["git", "check-attr", "-z", "--stdin", "merge"], cwd=place, check=True,
            input="\0".join([*PATHS, ""]), capture_output=True, text=True,
        )  # fmt: skip
    said = done.stdout.split("\0")[2::3]
    rules = Attributes(stage, root)
    assert [rules.merge(path) for path in PATHS] == [GIT.get(word, word) for word in said]
