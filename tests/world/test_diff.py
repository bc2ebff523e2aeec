from hypothesis import given

from holdfast.values import limits
from holdfast.world import (
    EMPTY,
    Change,
    apply,
    diff,
    entry,
    put_file,
    renames,
    unified,
    write_file,
)
from tests.world.support import QUICK, build, flat, memory, worlds


def test_kinds():
    objects = memory()
    before = build(objects, {"same": b"1", "gone": b"2", "new": b"3", "m": b"4", "t": b"5"})
    after = build(
        objects,
        {
            "same": b"1",
            "new": b"33",
            "m": (b"4", True),
            "t": ("link", "x"),
            "d/added": b"6",
            "e": None,
        },
    )
    assert [(change.path, change.kind) for change in diff(objects, before, after)] == [
        ("d/added", "added"),
        ("e", "added"),
        ("gone", "removed"),
        ("m", "mode"),
        ("new", "changed"),
        ("t", "changed"),
    ]
    assert diff(objects, before, before) == []


@QUICK
@given(worlds(), worlds())
def test_diff_is_complete_w6(before_spec, after_spec):
    """INVARIANT W6: the changes, applied to one walk, give the other; both ways."""
    objects = memory()
    before, after = build(objects, before_spec), build(objects, after_spec)
    model = flat(objects, before)
    for change in diff(objects, before, after):
        assert change.before == model.get(change.path)
        assert change.before != change.after
        if change.after is None:
            del model[change.path]
        else:
            model[change.path] = change.after
    assert model == flat(objects, after)
    mirror = [(c.path, c.after, c.before) for c in diff(objects, after, before)]
    assert mirror == [(c.path, c.before, c.after) for c in diff(objects, before, after)]
    unified(objects, diff(objects, before, after))


def test_renames():
    objects = memory()
    before = build(objects, {"a": b"content", "b": b"content", "empty": b"", "stay": b"s"})
    after = build(objects, {"c": (b"content", True), "e2": b"", "stay": b"s"})
    changes = renames(diff(objects, before, after))
    assert [(c.path, c.kind, c.old_path) for c in changes] == [
        ("b", "removed", ""),
        ("c", "renamed", "a"),
        ("e2", "added", ""),
        ("empty", "removed", ""),
    ]
    text = unified(objects, changes)
    assert "rename from a\nrename to c\n" in text
    assert "old mode 100644\nnew mode 100755\nsimilarity index 100%\n" in text
    assert renames(changes) == changes


def test_readable():
    objects = memory()
    before = build(
        objects, {"f": b"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "bin": b"\0\1", "l": ("link", "a")}
    )
    after = build(
        objects, {"f": b"1\n2\n3\n4\nFIVE\n6\n7\n8\n9", "bin": b"\0\2", "l": ("link", "b")}
    )
    assert unified(objects, diff(objects, before, after), context=1) == (
        "diff --git a/bin b/bin\n"
        "Binary files a/bin and b/bin differ\n"
        "diff --git a/f b/f\n"
        "--- a/f\n"
        "+++ b/f\n"
        "@@ -4,3 +4,3 @@\n"
        " 4\n"
        "-5\n"
        "+FIVE\n"
        " 6\n"
        "@@ -8,2 +8,2 @@\n"
        " 8\n"
        "-9\n"
        "+9\n"
        "\\ No newline at end of file\n"
        "diff --git a/l b/l\n"
        "--- a/l\n"
        "+++ b/l\n"
        "@@ -1 +1 @@\n"
        "-a\n"
        "\\ No newline at end of file\n"
        "+b\n"
        "\\ No newline at end of file\n"
    )


def test_long_files_are_only_said_to_differ(monkeypatch):
    monkeypatch.setattr(limits, "DIFF_TEXT_BYTES", 3)
    objects = memory()
    after = write_file(objects, EMPTY, "f", b"long\n")
    assert "Binary files /dev/null and b/f differ" in unified(objects, diff(objects, EMPTY, after))
    turned = apply(objects, after, {"f": put_file(objects, b"long\n", executable=True)})
    only_mode = unified(objects, diff(objects, after, turned))
    assert only_mode == "diff --git a/f b/f\nold mode 100644\nnew mode 100755\n"


def test_change_is_a_value():
    objects = memory()
    root = write_file(objects, EMPTY, "f", b"1")
    (change,) = diff(objects, EMPTY, root)
    assert change == Change("f", "added", None, entry(objects, root, "f"))
    assert hash(change)
