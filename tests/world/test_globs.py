import pytest

from holdfast.values.errors import Misuse
from holdfast.world.globs import matcher


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
        ("[^a]", ["^", "a"], ["b"]),
        ("[a-c]x", ["bx"], ["dx", "-x"]),
        ("new\nline", ["new\nline"], ["new"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[", ["["], ["a"]),
    ],
)
def test_patterns(pattern, yes, no):
    matches = matcher([pattern])
    assert [path for path in yes if not matches(path)] == []
    assert [path for path in no if matches(path)] == []


def test_none_and_many_and_wrong():
    assert not matcher([])("a")
    assert matcher(["a", "b"])("b")
    for pattern in ("", "/", "//", "[z-a]"):
        with pytest.raises(Misuse):
            matcher([pattern])
