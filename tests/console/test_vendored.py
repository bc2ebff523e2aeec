"""Scripts of others are those that VENDORED.md says they are, and what must not ship does not."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/holdfast/api/console/static"
VENDOR = STATIC / "vendor"
LINES = re.findall(
    r"^\| `([^`]+)` \| (\S+) (\S+) \| `[^`]+` \| ([\w.-]+), `([^`]+)` \| `([0-9a-f]{64})` \|$",
    (VENDOR / "VENDORED.md").read_text(),
    re.MULTILINE,
)
AXE = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def same(path: Path, digest: str) -> bool:
    content = path.read_bytes()
    return digest in (hashlib.sha256(one).hexdigest() for one in (content, content[:-1]))


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_a_vendored_script_is_the_published_one(line: tuple[str, ...]):
    name, _, _, licence, beside, digest = line
    assert same(VENDOR / name, digest)
    assert licence in ("0BSD", "MIT", "Apache-2.0")
    assert (VENDOR / beside).read_text().strip()


def test_every_vendored_script_is_listed():
    assert {line[0] for line in LINES} == {path.name for path in VENDOR.glob("*.js")}


def test_what_only_tests_use_stays_with_them():
    """axe-core is under the Mozilla Public License: it is never part of the wheel."""
    here = Path(__file__).parent
    assert same(here / "axe.min.js", AXE)
    assert "Mozilla Public License" in (here / "axe.LICENSE").read_text()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["packages"] == ["src/holdfast"]
    assert not list((ROOT / "src").rglob("axe*"))


def test_our_scripts_make_no_markup_from_text():
    """INVARIANT X136: nothing of ours turns text into markup or code."""
    for path in STATIC.glob("*.js"):
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text), (
            path
        )
        assert "dangerouslySetInnerHTML" not in text


def test_templates_have_no_inline_script_or_style():
    """INVARIANT X137: the policy of content forbids both: a template that had one would break."""
    for path in (STATIC.parent / "templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", text), path
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path
        assert not re.search(r"\|\s*safe|autoescape false", text), path
