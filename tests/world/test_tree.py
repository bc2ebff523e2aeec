import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.values.canon import encode
from holdfast.values.errors import Corrupt, Misuse, NotFound, TooLarge
from holdfast.world import (
    EMPTY,
    EMPTY_DIR,
    Stage,
    apply,
    check_path,
    entry,
    link,
    list_dir,
    make_dir,
    nodes,
    put_file,
    reachable,
    read_file,
    remove,
    walk,
    write_file,
)
from tests.world.support import QUICK, absent, at, build, flat, make, memory, worlds


def test_empty_world_needs_no_store():
    objects = Stage(absent)
    assert list(walk(objects, EMPTY)) == []
    assert list_dir(objects, EMPTY) == []
    assert entry(objects, EMPTY, "a") is None
    assert list(reachable(objects, EMPTY)) == []
    assert nodes.digest(b'{"dir":{}}') == EMPTY


def test_golden_format():
    """The stored form is a format: a change here is a change of every recorded world."""
    objects = memory()
    root = build(
        objects,
        {
            "a": b"1",
            "x": (b"2", True),
            "l": ("link", "/etc"),
            "d/e": None,
            "\udcff": b"",
            "$k": b"3",
        },
    )
    assert objects.get(root) == (
        b'{"dir":{"$$k":["f","4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",1],'
        b'"/ff":["f","e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",0],'
        b'"a":["f","6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",1],'
        b'"d":["d","'
        + nodes.digest(encode({"dir": {"e": ["d", EMPTY]}})).encode()
        + b'"],"l":["l","/etc"],'
        b'"x":["x","d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",1]}}'
    )


def test_write_read_remove_list():
    objects = memory()
    root = write_file(objects, EMPTY, "src/app.py", b"print()\n", executable=True)
    assert read_file(objects, root, "./src//app.py") == b"print()\n"
    again = write_file(objects, root, "src/app.py", b"pass\n")
    assert at(objects, again, "src/app.py").executable, "the bit is kept"
    assert not at(
        objects, write_file(objects, root, "src/app.py", b"", executable=False), "src/app.py"
    ).executable
    assert [name for name, _ in list_dir(objects, root, "src")] == ["app.py"]
    gone = remove(objects, root, "src/app.py")
    assert flat(objects, gone) == {"src": EMPTY_DIR}
    assert remove(objects, gone, "src") == EMPTY
    assert make_dir(objects, gone, "src") == gone
    assert read_file(objects, root, "src/app.py") == b"print()\n", "old roots stay"


def test_errors_name_the_path():
    objects = memory()
    root = build(objects, {"f": b"1", "l": ("link", "f"), "d/x": b"2"})
    with pytest.raises(NotFound, match="nope"):
        read_file(objects, root, "nope")
    with pytest.raises(NotFound, match="f/x"):
        read_file(objects, root, "f/x")
    with pytest.raises(NotFound, match="gone"):
        remove(objects, root, "gone")
    with pytest.raises(NotFound):
        list_dir(objects, root, "gone")
    for path in ("f/x", "l/x", "l/x/y"):
        with pytest.raises(Misuse, match=f"{path[0]}: is a"):
            write_file(objects, root, path, b"")
    with pytest.raises(Misuse, match="l: is a symlink"):
        read_file(objects, root, "l")
    for action in (
        lambda: read_file(objects, root, "d"),
        lambda: write_file(objects, root, "d", b""),
        lambda: make_dir(objects, root, "f"),
        lambda: make_dir(objects, root, "l/x"),
        lambda: list_dir(objects, root, "f"),
        lambda: link(""),
        lambda: link("a\0b"),
    ):
        with pytest.raises(Misuse):
            action()


@pytest.mark.parametrize(
    "path", ["", ".", "/", "/etc", "..", "a/../b", "a\0b", ".holdfast", "./.holdfast/x", "\ud800"]
)
def test_no_path_escapes_w2(path: str):
    """INVARIANT W2."""
    with pytest.raises(Misuse):
        check_path(path)


def test_paths_that_are_fine():
    assert check_path("./a//b/") == "a/b"
    assert check_path("a/.holdfast") == "a/.holdfast"
    assert check_path("..a/b..") == "..a/b.."
    assert check_path("x" * 255) == "x" * 255
    assert check_path("\udcff\n") == "\udcff\n"
    with pytest.raises(TooLarge):
        check_path("x" * 256)
    with pytest.raises(TooLarge):
        check_path("/".join("é" * 128 for _ in range(2)))
    with pytest.raises(TooLarge):
        check_path("/".join("d" for _ in range(limits.WORLD_DEPTH_MAX + 1)))


def test_write_through_a_link_replaces_it():
    objects = memory()
    root = build(objects, {"l": ("link", "/etc/passwd")})
    root = write_file(objects, root, "l", b"mine")
    assert read_file(objects, root, "l") == b"mine"


def test_apply_edits_above_before_below():
    objects = memory()
    root = build(objects, {"a": b"1", "d/x": b"2", "d/y": b"3"})
    one = put_file(objects, b"new")
    assert set(flat(objects, apply(objects, root, {"a": None, "a/b": one}))) == {
        "a/b",
        "d/x",
        "d/y",
    }
    assert set(flat(objects, apply(objects, root, {"d": None, "d/z": one}))) == {"a", "d/z"}
    assert set(flat(objects, apply(objects, root, {"d": one, "d/x": None}))) == {"a", "d"}
    assert apply(objects, root, {"no/such": None, "a/b": None}) == root
    assert apply(objects, root, {}) == root
    with pytest.raises(Misuse, match="a: is a file"):
        apply(objects, root, {"a/b": one})


@QUICK
@given(worlds(), st.randoms(use_true_random=False))
def test_root_depends_on_content_alone_w1(spec, random):
    """INVARIANT W1: the order of edits, and detours, leave no trace."""
    objects = memory()
    straight = build(objects, spec)
    root = build(objects, {"a/detour": b"x", "z": b"y"}) if "a" not in spec else EMPTY
    steps = list(spec.items())
    random.shuffle(steps)
    for path, what in steps:
        if what is None:
            root = make_dir(objects, root, path)
        else:
            root = apply(objects, root, {path: make(objects, what)})
    root = apply(objects, root, {"a/detour": None, "z": None})
    if not any(path == "a" or path.startswith("a/") for path in spec):
        root = apply(objects, root, {"a": None})
    assert root == straight


@QUICK
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=120), st.integers(1, 4))
def test_split_directories_are_canonical_w1(steps, limit):
    """INVARIANT W1, with a low limit so that nodes split and join again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DIRECTORY_SPLIT_ENTRIES", limit)
        objects = memory()
        directory = EMPTY
        model: dict[str, nodes.Entry] = {}
        for number, add in steps:
            name = f"n{number}"
            new = put_file(objects, b"%d" % number) if add else None
            directory, count = nodes.edit(objects, directory, {name: new})
            if new is None:
                model.pop(name, None)
            else:
                model[name] = new
            assert count == len(model)
        assert nodes.edit(objects, EMPTY, dict(model)) == (directory, len(model))
        assert nodes.entries(objects, directory) == model
        for name in ["n1", "n2", "nope"]:
            assert nodes.lookup(objects, directory, name) == model.get(name)
        halves = dict(list(model.items())[::2])
        half, _ = nodes.edit(objects, EMPTY, dict(halves))
        differing = {
            name: (old, new) for name, old, new in nodes.differences(objects, half, directory)
        }
        assert differing == {name: (None, e) for name, e in model.items() if name not in halves}
        back = {name: (old, new) for name, old, new in nodes.differences(objects, directory, half)}
        assert back == {name: (new, old) for name, (old, new) in differing.items()}


def test_large_directory_costs_little_per_change():
    objects = memory()
    one = put_file(objects, b"1")
    root = apply(objects, EMPTY, {f"file-{number}": one for number in range(20_000)})
    store = objects.take()
    stage = Stage(lambda name: store[name] if name in store else absent(name))
    changed = write_file(stage, root, "file-777", b"2")
    assert sum(map(len, stage.new.values())) < 12_000
    assert len(list_dir(stage, changed)) == 20_000
    both = Stage(lambda name: {**store, **stage.new}[name])
    assert [name for name, _, _ in nodes.differences(both, root, changed)] == ["file-777"]


@QUICK
@given(worlds())
def test_reachable_is_all_that_is_needed_w7(spec):
    """INVARIANT W7."""
    objects = memory()
    root = build(objects, spec)
    kept = {name: objects.get(name) for name in reachable(objects, root)}
    copy = Stage(lambda name: kept[name])
    assert flat(copy, root) == flat(objects, root)
    for path, found in walk(copy, root):
        if found.is_file:
            read_file(copy, root, path)
    seen: set[str] = set()
    first = set(reachable(objects, root, seen))
    assert first == set(kept)
    assert not set(reachable(objects, root, seen))


@pytest.mark.parametrize("file_first", [True, False])
def test_a_file_may_equal_a_directory_w7(file_first: bool):
    """INVARIANT W7: a file with a node's very bytes does not hide what is below the node."""
    objects = memory()
    inner = write_file(objects, EMPTY, "secret", b"needed")
    twin = put_file(objects, objects.get(inner))
    assert twin.hash == inner
    names = ("a", "b") if file_first else ("b", "a")
    root = apply(objects, EMPTY, {names[0]: twin, names[1]: nodes.Entry("dir", inner)})
    assert nodes.digest(b"needed") in set(reachable(objects, root))


@pytest.mark.parametrize(
    "node",
    [
        {"dir": {"..": ["d", EMPTY]}},
        {"dir": {"a/b": ["d", EMPTY]}},
        {"dir": {"": ["d", EMPTY]}},
        {"dir": {"/2e2e": ["d", EMPTY]}},
        {"dir": {"/2f": ["d", EMPTY]}},
        {"dir": {"/zz": ["d", EMPTY]}},
        {"dir": {"a": ["q", EMPTY]}},
        {"dir": {"a": ["f", EMPTY]}},
        {"dir": {"a": ["f", "../../x", 1]}},
        {"dir": {"a": ["f", EMPTY, -1]}},
        {"dir": {"a": ["f", EMPTY, "1"]}},
        {"dir": {"a": ["l", ""]}},
        {"dir": {"a": []}},
        {"dir": {"a": {}}},
        {"dir": []},
        {"split": {"0": []}},
        {"split": []},
        {"other": 1},
        [],
        7,
        None,
    ],
)
def test_forged_nodes_are_refused_w2(node):
    """INVARIANT W2: a node cannot name a path that escapes."""
    objects = memory()
    root = objects.put(encode(node))
    with pytest.raises(Corrupt, match=root):
        list(walk(objects, root))


def test_stage():
    flushed = []
    stage = Stage(absent, flushed.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "STAGE_FLUSH_BYTES", 10)
        names = [stage.put(b"12345"), stage.put(b"12345"), stage.put(b"67890")]
        assert not flushed
        assert names[0] == names[1]
        stage.put(b"x")
    assert [len(blobs) for blobs in flushed] == [3]
    assert stage.take() == {}
    name = stage.put(b"y")
    assert stage.get(name) == b"y"
    assert stage.take() == {name: b"y"}
    with pytest.raises(Corrupt):
        stage.get(name)

    def fails(blobs):
        raise ZeroDivisionError

    full = Stage(absent, fails)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "STAGE_FLUSH_BYTES", 0)
        with pytest.raises(ZeroDivisionError):
            full.put(b"kept")
    assert list(full.new.values()) == [b"kept"], "a failed flush loses nothing"
