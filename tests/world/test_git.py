"""The same answers as real git, on random trees."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.world import diff, export_dir, git_merge_text, import_dir, merge, unified
from tests.world.support import TEXTS, build, in_world, memory, on_disk, worlds

FEW = settings(
    deadline=None,
    print_blob=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@t",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@t",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}
NO_EMPTY = st.one_of(TEXTS, st.tuples(TEXTS, st.booleans()), st.just(("link", "no/such")))
FILES = st.one_of(TEXTS, st.tuples(TEXTS, st.booleans()))


def git(where: Path, *words: str, stdin: bytes = b"", fine: tuple[int, ...] = (0,)):
    done = subprocess.run(
        ["git", *words], cwd=where, input=stdin, capture_output=True, env=ENV, check=False
    )
    assert done.returncode in fine, done.stderr.decode() + done.stdout.decode()
    return done


@pytest.fixture
def place(tmp_path):
    """A fresh directory per example."""
    count = iter(range(10_000))

    def fresh() -> Path:
        path = tmp_path / str(next(count))
        path.mkdir()
        return path

    return fresh


def commit(repository: Path, objects, root: str, branch: str, *parents: str) -> str:
    """Commit a world without a checkout: through a work tree of its own."""
    work = repository.parent / f"{repository.name}-{branch}"
    export_dir(objects, root, work)
    flags = (f"--work-tree={work}", f"--git-dir={repository}")
    git(repository, *flags, "read-tree", "--empty")
    git(repository, *flags, "add", "-A", "-f")
    tree = git(repository, "write-tree").stdout.decode().strip()
    named = [word for parent in parents for word in ("-p", parent)]
    made = git(repository, "commit-tree", "-m", branch, *named, tree).stdout.decode().strip()
    git(repository, "update-ref", f"refs/heads/{branch}", made)
    return made


@FEW
@given(worlds(NO_EMPTY), worlds(NO_EMPTY))
def test_diff_as_git(place, before_spec, after_spec):
    objects = memory()
    before, after = build(objects, before_spec), build(objects, after_spec)
    repository = place()
    git(repository, "init", "-q", "--bare")
    old = commit(repository, objects, before, "old")
    new = commit(repository, objects, after, "new", old)
    output = git(repository, "diff", "--name-status", "--no-renames", "-z", old, new).stdout
    words = output.decode().split("\0")[:-1]
    letters = {"added": "A", "removed": "D", "changed": "M", "mode": "M"}
    mine = []
    for change in diff(objects, before, after):
        typed = change.before and change.after and change.before.kind != change.after.kind
        if change.before and change.after and {change.before.kind, change.after.kind} == {"dir"}:
            continue
        mine.append(("T" if typed else letters[change.kind], change.path))
    assert sorted(mine) == sorted(zip(words[::2], words[1::2], strict=True))


@FEW
@given(worlds(NO_EMPTY), worlds(NO_EMPTY))
def test_git_applies_our_patches(place, before_spec, after_spec):
    objects = memory()
    names: dict[str, str] = {"a-x": "with space", "$d": 'tab\t"quote"\\', "null": "ünï"}

    def renamed(spec):
        return {
            "/".join(names.get(part) or part for part in path.split("/")): what
            for path, what in spec.items()
        }

    before, after = build(objects, renamed(before_spec)), build(objects, renamed(after_spec))
    work = place()
    export_dir(objects, before, work)
    patch = unified(objects, diff(objects, before, after))
    if patch:
        git(work, "apply", "--whitespace=nowarn", "-", stdin=patch.encode())
    assert on_disk(work) == in_world(objects, after)


@FEW
@given(worlds(FILES), worlds(FILES), worlds(FILES))
def test_merge_as_git(place, base_spec, ours_spec, theirs_spec):
    objects = memory()
    # git cannot be told here to see no renames, so files at different paths must differ a lot
    roots = [build(objects, distinct(spec)) for spec in (base_spec, ours_spec, theirs_spec)]
    merged = merge(objects, roots[0], roots[1], roots[2])
    if any(conflict.kind in ("type", "mode") for conflict in merged.conflicts):
        return  # git moves one side to another name
    repository = place()
    git(repository, "init", "-q", "--bare")
    base = commit(repository, objects, roots[0], "base")
    commit(repository, objects, roots[1], "ours", base)
    commit(repository, objects, roots[2], "theirs", base)
    done = git(
        repository,
        "-c",
        "merge.renames=false",
        "merge-tree",
        "--write-tree",
        "--name-only",
        "-z",
        "ours",
        "theirs",
        fine=(0, 1),
    )
    parts = done.stdout.decode().split("\0")
    conflicted = sorted(set(parts[1 : parts.index("", 1)])) if done.returncode else []
    assert [conflict.path for conflict in merged.conflicts] == conflicted
    if not conflicted:
        work = place()
        # an index without the times of other work trees: what it knows of files is not asked
        git(repository, "read-tree", parts[0])
        git(repository, f"--work-tree={work}", "checkout-index", "-a", "-f")
        ours = {path: what for path, what in in_world(objects, merged.root).items() if what}
        assert on_disk(work) == ours


def distinct(spec):
    found = {}
    for path, what in spec.items():
        content, executable = what if isinstance(what, tuple) else (what, False)
        head = b"".join(f"{path} {number}\n".encode() for number in range(30))
        found[path] = (head + content, executable)
    return found


@settings(FEW, max_examples=60)
@given(TEXTS, TEXTS, TEXTS, st.booleans())
def test_text_merge_as_git(place, base, ours, theirs, cut):
    if cut:
        ours = ours[:-1]
    where = place()
    for name, content in (("base", base), ("ours", ours), ("theirs", theirs)):
        (where / name).write_bytes(content)
    done = git(where, "merge-file", "-p", "ours", "base", "theirs", fine=tuple(range(128)))
    assert git_merge_text(base, ours, theirs) == (None if done.returncode else done.stdout)


def test_modes_as_git(place):
    objects = memory()
    root = build(objects, {"x": (b"#!", True), "f": b"", "l": ("link", "x")})
    repository = place()
    git(repository, "init", "-q", "--bare")
    made = commit(repository, objects, root, "one")
    listed = git(repository, "ls-tree", "-r", made).stdout.decode().splitlines()
    assert [line.split()[0] for line in listed] == ["100644", "120000", "100755"]
    work = place()
    git(repository, "read-tree", made)
    git(repository, f"--work-tree={work}", "checkout-index", "-a", "-f")
    assert import_dir(objects, work) == root
