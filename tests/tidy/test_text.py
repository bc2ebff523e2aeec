"""Every text file of the repository: its bytes, its lines, and what it must not mention."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.tidy.source import ROOT, Finding, files, hold, texts

FILE_BYTES = 1024 * 1024
LINE_CHARS = 100
OURS = "tests/tidy/"
"""The rules themselves spell out what they forbid."""


def text_form(path: str, text: str) -> Iterator[Finding]:
    """Ends in one line feed; no carriage returns, tabs or trailing space."""
    if text and not text.endswith("\n"):
        yield path, "does not end in a line feed"
    if path.endswith((".patch", ".diff", ".jsonl")):
        return
    for number, line in enumerate(text.split("\n"), 1):
        if "\r" in line:
            yield f"{path}:{number}", "carriage return"
        if "\t" in line and path.rsplit("/", 1)[-1] != "Makefile":
            yield f"{path}:{number}", "tab"
        if line.rstrip() != line:
            yield f"{path}:{number}", "trailing space"
        if path.endswith(".py") and len(line) > LINE_CHARS:
            yield f"{path}:{number}", f"{len(line)} characters, at most {LINE_CHARS}"


_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def unfinished(path: str, text: str) -> Iterator[Finding]:
    """Unfinished things are issues, not comments."""
    for number, line in enumerate(text.split("\n"), 1):
        if not path.startswith(OURS) and (match := _UNFINISHED.search(line)):
            yield f"{path}:{number}", f"{match[0]}: make it an issue"


_MACHINE = re.compile(
    r"(?<![\w.\-])/(?:root|work/main|work/shared)\b|/Users/\w+/"
    r"|pypi\.org|pythonhosted\.org|npmjs\.|index-url|find-links"
)


def machines(path: str, text: str) -> Iterator[Finding]:
    """No paths of one machine, no hosts of a package index: the user's configuration decides."""
    for number, line in enumerate(text.split("\n"), 1):
        if not path.startswith(OURS) and (match := _MACHINE.search(line)):
            yield f"{path}:{number}", f"mentions {match[0]}"


RULES = [text_form, unfinished, machines]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps(rule):
    hold(rule.__name__, (finding for path, text in texts() for finding in rule(path, text)))


BITES = [
    (text_form, "a.md", "a"),
    (text_form, "a.md", "a \n"),
    (text_form, "a.py", "\tx\n"),
    (text_form, "a.py", "x" * 101 + "\n"),
    (unfinished, "a.py", "# TODO: later\n"),
    (machines, "a.md", "cd /work/main\n"),
    (machines, "a.toml", "https://pypi.org/simple\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BITES)
def test_rule_bites(rule, path, text):
    assert list(rule(path, text))


def test_no_large_files():
    large = [path.relative_to(ROOT) for path in files() if path.stat().st_size > FILE_BYTES]
    assert not large


# ---- what tests prove ------------------------------------------------------------------------

_INVARIANT = re.compile(r"# INVARIANT ([A-Z]+[0-9]+):")


def test_every_invariant_is_named_once_and_by_a_test():
    stated: dict[str, str] = {}
    for path, text in texts():
        if path.startswith("src/"):
            for name in _INVARIANT.findall(text):
                assert name not in stated, f"{name} is stated in {stated[name]} and in {path}"
                stated[name] = path
    tests = "\n".join(
        text for path, text in texts() if path.startswith("tests/") and not path.startswith(OURS)
    )
    untested = [name for name in stated if not re.search(rf"\b{name}\b", tests)]
    assert not untested, f"no test names {untested}: write it, with the id in its docstring"


# ---- links -----------------------------------------------------------------------------------

_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def test_links_between_documents_lead_somewhere():
    broken: list[str] = []
    for path, text in texts():
        if path.endswith(".md"):
            for target in _LINK.findall(_CODE.sub("", text)):
                elsewhere = "://" in target or target.startswith("mailto:")
                if not elsewhere and not ((ROOT / path).parent / target).exists():
                    broken.append(f"{path}: {target}")
    assert not broken
