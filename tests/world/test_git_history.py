"""A history of roots is ordinary git history, and comes back as it was; judged by git itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.values import limits
from holdfast.values.errors import Conflict, HoldfastError, Misuse, NotFound, TooLarge
from holdfast.world import EMPTY, apply, diff, export_dir, import_dir, walk
from holdfast.world.git import Version, export_git, import_git
from tests.world.support import build, in_world, make, memory, on_disk, worlds
from tests.world.test_git import FEW, git

# (a fixture is found by its name)
from tests.world.test_git import place as place

NAMES = st.sampled_from(["a", "b", "a.b", "a0", "ü", "new\nline", "\udcff\udcfe", "-x"])
EDITS = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.one_of(
        st.none(), st.binary(max_size=9), st.tuples(st.binary(max_size=9), st.booleans()),
        st.just(("link", "no/such")), st.just(("link", "\udcff")), st.just("dir"),
    ),
    max_size=5,
)  # fmt: skip


def history(*roots: str, author: str = "ann") -> list[Version]:
    return [
        Version(root, f"run r, step {number}\n\nwhy", author, 1_700_000_000 + number)
        for number, root in enumerate(roots)
    ]


def roots_of(objects, steps) -> list[str]:
    """Roots made by edits, each on the one before; an edit that does not fit is left out."""
    roots = [EMPTY]
    for step in steps:
        root = roots[-1]
        for path, what in step.items():
            try:
                entry = None if what is None else make(objects, None if what == "dir" else what)
                root = apply(objects, root, {path: entry})
            except Misuse:
                continue
        roots.append(root)
    return roots


def without_empty(found: dict[str, object]) -> dict[str, object]:
    return {path: what for path, what in found.items() if what is not None}


def bytes_of(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


@settings(FEW, max_examples=25)
@given(st.lists(EDITS, min_size=1, max_size=4), st.data())
def test_git_sees_the_same_files_w15(place, steps, data):
    """INVARIANT W15: also in two exports, with or without what the first one knew."""
    objects, repository = memory(), place()
    roots = roots_of(objects, steps)
    cut = data.draw(st.integers(0, len(roots)))
    known: dict[str, str] = {}
    export_git(objects, repository, "run/r", history(*roots[:cut]), known=known)
    again = known if data.draw(st.booleans()) else {}
    done = export_git(objects, repository, "run/r", history(*roots), known=again)
    assert done.commits == len(roots) - cut
    other = export_git(objects, place(), "b", history(*roots))
    assert (other.head, other.left_out) == (done.head, done.left_out)
    assert git(repository, "fsck", "--strict", "--no-dangling").stdout == b""
    listed = git(repository, "rev-list", "--reverse", "run/r").stdout.decode().split()
    assert listed[-1] == done.head
    for commit, root in zip(listed, roots, strict=True):
        mine = without_empty(in_world(objects, root))
        lines = git(repository, "ls-tree", "-r", "-z", commit).stdout.split(b"\0")[:-1]
        assert sorted(line.partition(b"\t")[2] for line in lines) == sorted(map(bytes_of, mine))
        back = import_git(objects, repository, commit)
        assert without_empty(in_world(objects, back)) == mine
    work, plain = place(), place()
    git(repository, "read-tree", done.head)
    git(repository, f"--work-tree={work}", "checkout-index", "-a", "-f")
    export_dir(objects, roots[-1], plain)
    assert without_empty(on_disk(work)) == without_empty(on_disk(plain))
    empty = [path for path, leaf in walk(objects, roots[-1]) if leaf.is_dir]
    assert len(done.left_out) >= len(empty) > 0 or not empty


@FEW
@given(worlds(), worlds())
def test_the_same_changes_as_gits(place, before_spec, after_spec):
    objects, repository = memory(), place()
    before, after = build(objects, before_spec), build(objects, after_spec)
    export_git(objects, repository, "b", history(before, after))
    words = git(repository, "diff", "--name-status", "--no-renames", "-z", "b~", "b").stdout
    parts = words.decode().split("\0")[:-1]
    mine: list[tuple[str, str]] = []
    for change in diff(objects, before, after):
        was = change.before if change.before and not change.before.is_dir else None
        now = change.after if change.after and not change.after.is_dir else None
        if was and now:
            mine.append(("M" if was.kind == now.kind else "T", change.path))
        elif was or now:
            mine.append(("A" if now else "D", change.path))
    assert sorted(mine) == sorted(zip(parts[::2], parts[1::2], strict=True))


def test_git_users_see_ordinary_history(place):
    objects, repository = memory(), place()
    root = build(objects, {"src/app.py": b"print(1)\n", "run": (b"#!", True), "e/e": None})
    author = "<Evil>\nName <x@y>"
    done = export_git(objects, repository, "r", history(root, author=author))
    shown = git(repository, "log", "--format=%H|%an|%ae|%at|%s|%b", "r").stdout.decode().strip()
    assert shown == (
        f"{done.head}|Evil Name x@y|agent@holdfast.invalid|1700000000|run r, step 0|why"
    )
    assert done.left_out == ("'e/e' is an empty directory, which git cannot hold",)
    git(place(), "clone", "-q", "-b", "r", str(repository), "clone")


def test_gits_own_names_are_left_out_and_said(place):
    names = [
        ".git/config",
        "a/.GIT/hooks/x",
        "git~1",
        ".gi\u200ct",
        ".git. .",
        ".git::$INDEX",
        "ok",
    ]
    objects, repository = memory(), place()
    root = apply(objects, EMPTY, {name: make(objects, b"x") for name in names})
    root = apply(objects, root, {".gitmodules": make(objects, ("link", "ok"))})
    later = apply(objects, root, {"ok": make(objects, b"y"), "b": make(objects, b"z")})
    done = export_git(objects, repository, "r", history(root, later))
    assert git(repository, "ls-tree", "-r", "--name-only", "r").stdout == b"b\nok\n"
    assert len(done.left_out) == 7
    assert all("which git cannot hold" in said for said in done.left_out)
    assert git(repository, "fsck", "--strict", "--no-dangling").stdout == b""


def test_only_what_is_new_is_added(place):
    objects, repository = memory(), place()
    roots = [build(objects, {"f": b"%d" % n, "d/g": b"same"}) for n in range(5)]
    first = export_git(objects, repository, "r", history(*roots[:3]))
    assert first.commits == 3
    assert export_git(objects, repository, "r", history(*roots[:3])) == (first.head, 0, ())
    assert export_git(objects, repository, "r", history(*roots)).commits == 2
    with pytest.raises(Conflict, match="other commits"):
        export_git(objects, repository, "r", history(*roots[:3]))  # never back
    with pytest.raises(Conflict, match="other commits"):
        export_git(objects, repository, "r", history(*roots, author="bo"))
    on = export_git(objects, repository, "s", history(roots[0]), onto=first.head)
    parents = git(repository, "log", "-1", "--format=%P", "s").stdout.decode().strip()
    assert (parents, on.commits) == (first.head, 1)


def test_trees_that_are_known_are_not_read(place):
    objects, repository = memory(), place()
    roots = [build(objects, {f"d{n}/f{m}": b"%d %d" % (n, m) for n in range(9) for m in range(9)})]
    roots += [apply(objects, roots[0], {f"d{n}/f1": make(objects, b"!")}) for n in range(4)]
    known: dict[str, str] = {}
    export_git(objects, repository, "r", history(*roots[:4]), known=known)
    asked: list[str] = []

    class Counted:
        def get(self, name: str) -> bytes:
            asked.append(name)
            return objects.get(name)

        def put(self, content: bytes) -> str:
            raise AssertionError(content)

    export_git(Counted(), repository, "r", history(*roots), known=known)
    assert len(asked) <= 5  # two tops, two directories, one file


def test_a_work_tree_and_its_index_are_never_touched(place):
    objects, work = memory(), place()
    git(work, "init", "-q", "-b", "main")
    root = build(objects, {"a": b"ours"})
    with pytest.raises(Misuse, match="checked out"):
        export_git(objects, work, "main", history(root))  # not even before its first commit
    (work / "a").write_bytes(b"theirs\n")
    git(work, "add", "a")
    git(work, "commit", "-qm", "one")
    (work / "a").write_bytes(b"dirty\n")
    git(work, "worktree", "add", "-q", "-b", "side", str(work / "side"))
    before = (git(work, "status", "--porcelain").stdout, (work / ".git/index").read_bytes())
    export_git(objects, work, "run", history(root))
    for branch in ("main", "side"):
        with pytest.raises(Misuse, match="checked out"):
            export_git(objects, work, branch, history(root), onto="main")
    assert (git(work, "status", "--porcelain").stdout, (work / ".git/index").read_bytes()) == before
    assert git(work, "show", "run:a").stdout == b"ours"
    assert in_world(objects, import_git(objects, work, "main")) == {"a": (b"theirs\n", False)}


def test_bytes_pass_unchanged(place):
    """No filter of git's is applied, whatever the tree or the configuration says."""
    objects, work = memory(), place()
    git(work, "init", "-q", "-b", "main")
    git(work, "config", "core.autocrlf", "true")
    spec = {".gitattributes": b"* text=auto eol=crlf ident\n", "f": b"a\nb\r\n$Id$\n"}
    root = build(objects, spec)
    export_git(objects, work, "r", history(root))
    assert git(work, "cat-file", "blob", "r:f").stdout == spec["f"]
    assert import_git(objects, work, "r") == root


def test_large_files_stream(place, monkeypatch):
    monkeypatch.setattr(limits, "FILE_WHOLE_BYTES", 100_000)
    objects, repository = memory(), place()
    content = os.urandom(700_001)
    root = build(objects, {"big": content, "run": (content[::-1], True)})
    export_git(objects, repository, "r", history(root))
    assert git(repository, "cat-file", "blob", "r:big").stdout == content
    assert import_git(objects, repository, "r") == root


def raw_commit(repository: Path, rows: bytes) -> str:
    made = git(repository, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=rows)
    tree = made.stdout.decode().strip()
    return git(repository, "commit-tree", "-m", "x", tree).stdout.decode().strip()


def test_what_a_world_cannot_hold_is_refused_by_name(place):
    objects, repository = memory(), place()
    git(repository, "init", "-q", "--bare")
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=b"to\0x").stdout.decode().strip()
    oid = bytes.fromhex(blob)
    for row, error, text in (
        (b"160000 lib\0" + oid, Misuse, "'lib' is a submodule"),
        (b"100644 ..\0" + oid, Misuse, "no file name"),
        (b"100644 a/b\0" + oid, Misuse, "no file name"),
        (b"100644 .holdfast\0" + oid, Misuse, "Holdfast's own"),
        (b"100644 " + b"x" * 256 + b"\0" + oid, TooLarge, "255 bytes"),
        (b"120000 l\0" + oid, Misuse, "symlink"),
        (b"100600 f\0" + oid, Misuse, "mode 100600"),
        (b"40000 d\0" + oid, HoldfastError, "git"),
        (b"100644 f\0" + bytes(20), HoldfastError, "missing"),
        (b"100644 f\0" + oid + b"100644 f\0" + oid, HoldfastError, "damaged"),
    ):
        commit = raw_commit(repository, row)
        with pytest.raises(error, match=text) as caught:
            import_git(objects, repository, commit)
        assert "\n" not in str(caught.value)
    inner = git(repository, "mktree", stdin=b"100644 blob %s\tf\n" % blob.encode()).stdout.strip()
    for _ in range(limits.WORLD_DEPTH_MAX):
        inner = git(repository, "mktree", stdin=b"040000 tree %s\td\n" % inner).stdout.strip()
    commit = git(repository, "commit-tree", "-m", "x", inner.decode()).stdout.decode().strip()
    with pytest.raises(TooLarge, match="deep"):
        import_git(objects, repository, commit)
    for revision in ("nope", "", "--all", "HEAD", blob):
        with pytest.raises(NotFound):
            import_git(objects, repository, revision)


def test_places_that_are_no_repositories(place):
    objects = memory()
    root = build(objects, {"f": b"1"})
    where = place()
    (where / "file").write_text("x")
    with pytest.raises(Misuse, match="not a git repository"):
        export_git(objects, where, "r", history(root))
    with pytest.raises(NotFound):
        import_git(objects, where / "absent", "r")
    for branch in ("", "a..b", "-", "a b", "../x", "x.lock"):
        with pytest.raises(Misuse):
            export_git(objects, place(), branch, history(root))
    below = place()
    git(below, "init", "-q")
    (below / "inner").mkdir()
    with pytest.raises(Misuse):
        import_git(objects, below / "inner", "HEAD")  # never the one above
    export_git(objects, below / "inner", "r", history(root))
    assert pygit2.Repository(str(below / "inner")).is_bare


def test_import_of_a_checkout_and_of_git_agree(place):
    objects, work = memory(), place()
    for number in range(30):
        (work / f"d{number % 3}").mkdir(exist_ok=True)
        (work / f"d{number % 3}" / f"f{number}").write_bytes(b"%d\n" % number * number)
    (work / "d0/f0").chmod(0o755)
    (work / "link").symlink_to("d0")
    git(work, "init", "-q")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "one")
    root = import_git(objects, work, "HEAD")
    shutil.rmtree(work / ".git")
    assert import_dir(objects, work) == root
