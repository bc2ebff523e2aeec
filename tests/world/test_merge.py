from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.values.errors import Misuse
from holdfast.world import (
    EMPTY,
    Merged,
    apply,
    conflict_text,
    entry,
    git_merge_text,
    merge,
    put_file,
    read_file,
    resolve,
    walk,
    write_file,
)
from tests.world.support import QUICK, TEXTS, at, build, flat, in_world, memory, worlds

BASE = b"1\n2\n3\n4\n5\n"


def three(base, ours, theirs):
    objects = memory()
    roots = [build(objects, spec) for spec in (base, ours, theirs)]
    return objects, roots, merge(objects, roots[0], roots[1], roots[2])


def kinds(merged: Merged) -> dict[str, str]:
    return {conflict.path: conflict.kind for conflict in merged.conflicts}


def test_text_of_both_sides_is_combined():
    objects, _, merged = three(
        {"d/f": BASE, "x": b"1"},
        {"d/f": b"0\n" + BASE, "x": b"1", "mine": b"m"},
        {"d/f": BASE + b"6\n", "yours": b"y"},
    )
    assert read_file(objects, merged.root, "d/f") == b"0\n" + BASE + b"6\n"
    assert set(flat(objects, merged.root)) == {"d/f", "mine", "yours"}
    assert (merged.conflicts, merged.merged_paths) == ((), ("d/f",))


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "found"),
    [
        ({"f": b"1\n"}, {"f": b"2\n"}, {"f": b"3\n"}, {"f": "content"}),
        ({"f": b"\0a"}, {"f": b"\0b"}, {"f": b"\0c"}, {"f": "content"}),
        ({}, {"f": b"1\n"}, {"f": b"2\n"}, {"f": "add/add"}),
        ({}, {"f": b"1\n"}, {"f": b"1\n"}, {}),
        ({}, {"f": (b"1", True)}, {"f": b"1"}, {"f": "mode"}),
        ({"f": b"1"}, {"f": b"2"}, {}, {"f": "modify/delete"}),
        ({"f": b"1"}, {}, {"f": b"2"}, {"f": "modify/delete"}),
        ({"d/f": b"1"}, {}, {"d/f": b"2"}, {"d/f": "modify/delete"}),
        ({"d/f": b"1", "d/g": b"1"}, {}, {"d/f": b"2", "d/g": b"1"}, {"d/f": "modify/delete"}),
        ({"f": b"1"}, {"f": ("link", "x")}, {"f": b"2"}, {"f": "type"}),
        ({"f": b"1"}, {"f/g": b"0"}, {"f": b"2"}, {"f": "type"}),
        ({"f": b"1"}, {"f/g": b"1"}, {"f": b"2"}, {}),
        ({"d/f": b"1"}, {"d": b"1"}, {"d/f": b"2"}, {"d": "type"}),
        ({"l": ("link", "a")}, {"l": ("link", "b")}, {"l": ("link", "c")}, {"l": "content"}),
        ({"f": b"1"}, {}, {"f/g": b"2"}, {}),
        ({"d/f": b"1"}, {}, {"d": b"2"}, {}),
        ({"f": b"1"}, {"f/a": b"2"}, {"f/b": b"3"}, {}),
        ({"f": BASE}, {"f": (BASE, True)}, {"f": BASE + b"6\n"}, {}),
        ({"f": BASE}, {"f": (b"0\n" + BASE, True)}, {"f": BASE + b"6\n"}, {}),
        ({"d/f": b"1"}, {"d": None}, {}, {}),
    ],
)
def test_kinds_of_conflict(base, ours, theirs, found):
    objects, roots, merged = three(base, ours, theirs)
    assert kinds(merged) == found
    for conflict in merged.conflicts:
        sides = (conflict.base, conflict.ours, conflict.theirs)
        assert sides == tuple(entry(objects, root, conflict.path) for root in roots)
        assert entry(objects, merged.root, conflict.path) == conflict.ours, "the root holds ours"
    other = merge(objects, roots[0], roots[2], roots[1])
    assert kinds(other) == found
    if not found:
        assert other.root == merged.root


def test_mode_and_content_merge_apart():
    objects, _, merged = three(
        {"f": (BASE, False)}, {"f": (b"0\n" + BASE, True)}, {"f": BASE + b"6\n"}
    )
    assert at(objects, merged.root, "f").executable
    assert read_file(objects, merged.root, "f") == b"0\n" + BASE + b"6\n"


def test_a_directory_removed_here_keeps_what_is_new_there():
    objects, _, merged = three(
        {"d/old": b"1", "k": b""}, {"k": b""}, {"d/old": b"1", "d/new": b"2", "k": b""}
    )
    assert set(flat(objects, merged.root)) == {"d/new", "k"}
    assert not merged.conflicts


def test_both_emptied_or_removed():
    objects, _, merged = three({"d/x": b"1", "d/y": b"1"}, {"d/x": b"1"}, {"d/y": b"1"})
    assert set(flat(objects, merged.root)) == {"d"}, "nobody removed the directory itself"


def test_resolve():
    objects, _, merged = three({"f": b"1", "g": b"1"}, {"f": b"2", "g": b"2"}, {"f": b"3"})
    assert kinds(merged) == {"f": "content", "g": "modify/delete"}
    chosen = put_file(objects, b"both")
    once = resolve(objects, merged, {"f": chosen})
    assert kinds(once) == {"g": "modify/delete"}
    done = resolve(objects, once, {"g": None})
    assert not done.conflicts
    assert flat(objects, done.root) == {"f": chosen}
    with pytest.raises(Misuse, match="f: is not in conflict"):
        resolve(objects, once, {"f": chosen})


ATTRIBUTES = b"""\
# how files are merged
*.log merge=union
*.lock merge=ours
*.pin merge=theirs
*.dat -merge
*.bin binary
notes.txt merge
*.db merge=rows
odd.txt merge=nobody
sub/*.txt merge=ours
[z-a] merge=ours
"quoted" merge=ours
"""


def test_attributes_say_how_a_file_is_merged():
    """W60."""
    names = ["a.log", "a.lock", "a.pin", "a.dat", "a.bin", "notes.txt", "fake.db", "odd.txt",
             "sub/a.txt", "sub/deep/b.log", "deep/sub/a.txt"]  # fmt: skip
    rules = {".gitattributes": ATTRIBUTES, "sub/deep/.gitattributes": b"b.log !merge\n* merge=ours"}
    objects, _, merged = three(
        {**rules, **dict.fromkeys(names, b"1\n")},
        {**rules, **dict.fromkeys(names, b"2\n"), ".gitattributes": b"* merge=ours\n"},
        {**rules, **dict.fromkeys(names, b"3\n"), ".gitattributes": ATTRIBUTES},
    )
    assert kinds(merged) == dict.fromkeys(
        ["a.dat", "a.bin", "notes.txt", "fake.db", "odd.txt", "deep/sub/a.txt"], "content"
    )
    for path, content in {
        "a.log": b"2\n3\n", "a.lock": b"2\n", "a.pin": b"3\n", "sub/a.txt": b"2\n",
        "sub/deep/b.log": b"2\n",
    }.items():  # fmt: skip
        assert read_file(objects, merged.root, path) == content, path
    assert {one.path: one.why for one in merged.conflicts}["a.dat"] == (
        "a.dat: merge=binary in .gitattributes"
    )


def test_attributes_where_both_sides_made_a_file():
    objects, _, merged = three(
        {".gitattributes": b"*.log merge=union\n*.x merge=binary\n"},
        {".gitattributes": b"*.log merge=union\n*.x merge=binary\n", "a.log": b"2\n", "a.x": b"2"},
        {".gitattributes": b"*.log merge=union\n*.x merge=binary\n", "a.log": b"3\n", "a.x": b"3"},
    )
    assert kinds(merged) == {"a.x": "add/add"}
    assert read_file(objects, merged.root, "a.log") == b"2\n3\n"


def test_long_texts_conflict(monkeypatch):
    monkeypatch.setattr(limits, "MERGE_TEXT_BYTES", len(BASE))
    _, _, merged = three({"f": BASE}, {"f": b"0\n" + BASE}, {"f": BASE + b"6\n"})
    assert kinds(merged) == {"f": "content"}


def test_text_that_is_not_utf8_and_markers():
    latin = b"caf\xe9\n2\n3\n4\nend\n"
    assert git_merge_text(latin, b"0\n" + latin, latin + b"\xff\n") == b"0\n" + latin + b"\xff\n"
    assert (
        git_merge_text(b"a\r\nb\r\nc\r\n", b"A\r\nb\r\nc\r\n", b"a\r\nb\r\nC\r\n")
        == b"A\r\nb\r\nC\r\n"
    )
    assert git_merge_text(b"1\n", b"2\n", b"3\n") is None
    assert git_merge_text(b"1\0", b"2\0", b"3\0") is None
    assert conflict_text(b"1\n", b"2\n", b"3\n") == (
        b"<<<<<<< ours\n2\n=======\n3\n>>>>>>> theirs\n"
    )
    assert conflict_text(b"1\n", b"2\0", b"3\n") is None


@QUICK
@given(TEXTS, TEXTS, TEXTS)
def test_text_merge_is_symmetric(base, ours, theirs):
    assert git_merge_text(base, ours, theirs) == git_merge_text(base, theirs, ours)
    assert git_merge_text(base, ours, ours) == ours
    assert git_merge_text(base, base, theirs) == theirs


@QUICK
@given(worlds(), worlds(), worlds())
def test_merge_loses_nothing_w4(base_spec, ours_spec, theirs_spec):
    """INVARIANT W4: every change of either side is in the result or in a conflict that names it."""
    objects = memory()
    base, ours, theirs = (build(objects, spec) for spec in (base_spec, ours_spec, theirs_spec))
    merged = merge(objects, base, ours, theirs)
    mirror = merge(objects, base, theirs, ours)
    assert kinds(merged) == kinds(mirror)
    if not merged.conflicts:
        assert merged.root == mirror.root, "commutative where nothing conflicts"
    for one in (ours, theirs):
        assert merge(objects, base, one, one) == Merged(one)
        assert merge(objects, base, base, one) == Merged(one)
        assert merge(objects, base, one, base) == Merged(one)
        assert merge(objects, one, one, theirs).root == theirs
    in_conflict = [conflict.path for conflict in merged.conflicts]
    went = dict(merged.renamed)
    before, result = flat(objects, base), flat(objects, merged.root)
    sides = flat(objects, ours), flat(objects, theirs)
    for side, other in (sides, sides[::-1]):
        for path, found in side.items():
            if before.get(path) == found or found.is_dir:
                continue
            path = went.get(path, path)
            covered = any(path == c or path.startswith(c + "/") for c in in_conflict)
            combined = path in merged.merged_paths
            moded = found.is_file and path in other and other[path].executable != found.executable
            assert (
                covered or combined or moded or result.get(path) == found or path in went.values()
            ), path
    # and whatever both sides left alone is still there
    for path, found in before.items():
        if sides[0].get(path) == found == sides[1].get(path):
            assert result[path] == found
    for conflict in merged.conflicts:
        assert entry(objects, merged.root, conflict.path) == conflict.ours


RENAMES = [
    # base, ours, theirs: the merged world, or the kinds of conflict
    ({"a": BASE}, {"b": BASE}, {"a": BASE + b"6\n"}, {"b": BASE + b"6\n"}),
    ({"a": BASE}, {"d/b": BASE}, {"a": (BASE, True)}, {"d/b": (BASE, True)}),
    ({"a": BASE}, {"b": (BASE, True)}, {"a": b"0\n" + BASE}, {"b": (b"0\n" + BASE, True)}),
    ({"d/a": BASE}, {"e/a": BASE}, {"d/a": b"2\n", "d/n": b""}, {"e/a": b"2\n", "d/n": b""}),
    ({"a": BASE}, {"b": BASE}, {"b": BASE}, {"b": BASE}),
    ({"a": BASE, "z": b"1"}, {"b": BASE, "z": b"1"}, {"z": b"1"}, {"b": "modify/delete"}),
    ({"a": BASE}, {"b": BASE}, {"c": BASE}, {"a": "rename"}),
    ({"a": BASE}, {"b": BASE, "c": BASE}, {"a": b"2\n"}, {"a": "modify/delete"}),
    ({"a": BASE, "b": BASE}, {"c": BASE}, {"a": b"2\n", "b": BASE}, {"a": "modify/delete"}),
    ({"a": BASE}, {"b": BASE}, {"a": b"2\n", "b": b"3\n"}, {"a": "modify/delete", "b": "add/add"}),
    ({"a": BASE}, {"b/x": BASE}, {"a": b"2\n", "b": b"3\n"}, {"a": "modify/delete", "b": "type"}),
    ({"d/a": BASE, "d/k": b"1"}, {"d": BASE}, {"d/a": b"2\n", "d/k": b"1"}, {"d": "type"}),
    ({"a": b""}, {"b": b""}, {"a": b"2\n"}, {"a": "modify/delete"}),
]


@pytest.mark.parametrize(("base", "ours", "theirs", "result"), RENAMES)
def test_edits_follow_exact_renames(base, ours, theirs, result):
    for one, other in ((ours, theirs), (theirs, ours)):
        objects, _, merged = three(base, one, other)
        if all(isinstance(kind, str) for kind in result.values()):
            if result == {"b": "modify/delete"}:
                assert not merged.conflicts, "a file that is only renamed here and deleted there"
                continue
            assert kinds(merged) == result
            kept = set(flat(objects, merged.root).values())
            named = [conflict.path for conflict in merged.conflicts]
            for path, found in flat(objects, build(objects, other)).items():
                assert found in kept or any(f"{path}/".startswith(f"{c}/") for c in named), path
        else:
            assert not merged.conflicts
            assert merged.root == build(objects, {**result}) or result == in_words(objects, merged)


def in_words(objects, merged):
    found: dict[str, Any] = in_world(objects, merged.root)
    return {path: (what[0] if not what[1] else what) for path, what in found.items()}


@QUICK
@given(worlds(), worlds(), worlds())
def test_resolving_all_with_theirs_takes_theirs(base_spec, ours_spec, theirs_spec):
    objects = memory()
    base, ours, theirs = (build(objects, spec) for spec in (base_spec, ours_spec, theirs_spec))
    merged = merge(objects, base, ours, theirs)
    done = resolve(objects, merged, {c.path: c.theirs for c in merged.conflicts})
    assert not done.conflicts
    for conflict in merged.conflicts:
        assert entry(objects, done.root, conflict.path) == conflict.theirs


def test_only_changed_directories_are_read():
    objects = memory()
    spec = {f"d{n}/f{m}": b"%d" % m for n in range(30) for m in range(5)}
    base = build(objects, spec)
    ours = write_file(objects, base, "d1/f1", b"o")
    theirs = write_file(objects, base, "d2/f2", b"t")
    reads = []

    class Counting:
        def get(self, name):
            reads.append(name)
            return objects.get(name)

        put = objects.put

    merged = merge(Counting(), base, ours, theirs)
    assert not merged.conflicts
    assert len(reads) <= 16
    assert len(dict(walk(objects, merged.root))) == len(spec)
    assert merge(objects, EMPTY, ours, ours).root == ours
    assert apply(objects, ours, {}) == ours


@QUICK
@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_text_merge_takes_any_bytes(base, ours, theirs):
    git_merge_text(base, ours, theirs)
    conflict_text(base, ours, theirs)
