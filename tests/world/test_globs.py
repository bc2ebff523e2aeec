import pytest

from holdfast.values.errors import Misuse
from holdfast.world.globs import matcher, rule


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.pyc", ["a.pyc", "d/e/a.pyc"], ["a.py", "a.pyc/x"]),
        ("node_modules", ["node_modules", "a/node_modules"], ["xnode_modules"]),
        ("node_modules/", ["node_modules"], []),
        ("build/*.o", ["build/a.o"], ["x/build/a.o", "build/d/a.o"]),
        ("/dist", ["dist"], ["a/dist"]),
        ("**/x", ["x", "a/b/x"], ["ax"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["az"]),
        ("[!a]?", ["bc", "d/bc"], ["ab", "/b"]),
        ("[^a]", ["^", "b"], ["a"]),
        ("[]-]", ["]", "-"], ["a"]),
        ("a[/]b", [], ["a/b"]),
        ("[[:digit:]a-c]", ["1", "b"], ["d", ":"]),
        ("\\*\\[", ["*["], ["a["]),
        ("a*b*c", ["abc", "axbxbcc"], ["abcx", "ab/c"]),
        ("x*/**/a*/*b/**", ["x1/a/b/c", "x/y/a1/cb/c/d"], ["x/a/b", "x/a/y/b/c"]),
        ("[a-c]x", ["bx"], ["dx", "-x"]),
        ("new\nline", ["new\nline"], ["new"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_patterns(pattern, yes, no):
    matches = matcher([pattern])
    assert [path for path in yes if not matches(path)] == []
    assert [path for path in no if matches(path)] == []


def test_none_and_many_and_wrong():
    assert not matcher([])("a")
    assert matcher(["a", "b"])("b")
    for pattern in ("", "/", "//", "[z-a]", "[", "[[:no:]]", "a\\"):
        with pytest.raises(Misuse):
            matcher([pattern])


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a*" * 12 + "b", "a" * 255),
        ("*a" * 500 + "b", "a" * 255),
        ("/" + "?*" * 100 + "b", "a" * 255),
        ("**/a/" * 30 + "b", "a/" * 100 + "c"),
        ("**/a*/*a/" * 20 + "**/b", "aa/" * 100 + "c"),
        ("**/" * 30 + "*a*a*a*a*c*", "aaaaaaaa/" * 100 + "b"),
    ],
)
def test_no_pattern_takes_long_w66(pattern, path):
    """INVARIANT W66: going back on a star would take longer than anybody waits."""
    assert not matcher([pattern])(path)
    matches = rule(pattern.encode())
    assert matches is not None
    assert not matches(path.encode(), False)
