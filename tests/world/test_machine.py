"""Worlds against the simplest thing that could be one: a dict per branch."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from holdfast.values.errors import Misuse, NotFound
from holdfast.world import (
    EMPTY,
    CopyCheckout,
    apply,
    diff,
    entry,
    link,
    make_dir,
    merge,
    reachable,
    remove,
    write_file,
)
from tests.world.support import PATHS, TEXTS, in_world, memory, on_disk

Model = dict[str, Any]  # path to (content, executable), ("link", target) or None: a directory


def parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def blocked(model: Model, path: str) -> bool:
    return any(model.get(parent) is not None for parent in parents(path))


def with_parents(model: Model, path: str) -> Model:
    return {**model, **dict.fromkeys(parents(path))}


def without(model: Model, path: str) -> Model:
    return {p: what for p, what in model.items() if p != path and not p.startswith(path + "/")}


def seen(model: Model) -> Model:
    """As `walk` sees it: directories only while empty."""
    return {
        path: what
        for path, what in model.items()
        if what is not None or not any(other.startswith(path + "/") for other in model)
    }


class Worlds(RuleBasedStateMachine):
    branches = Bundle("branches")
    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.objects = memory()
        self.place = Path(tempfile.mkdtemp(prefix="holdfast-machine-"))
        self.checkout = CopyCheckout(self.objects, self.place / "co", self.place / "index")
        self.checkout.sync(EMPTY)
        self.on_checkout: Model = {}
        self.roots: dict[int, str] = {}
        self.models: dict[int, Model] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    def new(self, root: str, model: Model) -> int:
        number = len(self.roots)
        self.roots[number], self.models[number] = root, model
        return number

    @rule(target=branches)
    def start(self):
        return self.new(EMPTY, {})

    @rule(target=branches, of=branches)
    def fork(self, of):
        return self.new(self.roots[of], self.models[of])

    @rule(
        branch=branches, path=PATHS, content=TEXTS, executable=st.sampled_from([None, True, False])
    )
    def write(self, branch, path, content, executable):
        root, model = self.roots[branch], self.models[branch]
        try:
            root = write_file(self.objects, root, path, content, executable)
        except Misuse:
            assert blocked(model, path) or (path in model and model[path] is None)
            return
        assert not blocked(model, path)
        if executable is None:
            old = model.get(path)
            executable = isinstance(old, tuple) and old[1] is True
        self.roots[branch] = root
        self.models[branch] = {**with_parents(model, path), path: (content, executable)}

    @rule(branch=branches, path=PATHS)
    def delete(self, branch, path):
        model = self.models[branch]
        try:
            root = remove(self.objects, self.roots[branch], path)
        except NotFound:
            assert path not in model
            return
        assert path in model
        self.roots[branch], self.models[branch] = root, without(model, path)

    @rule(branch=branches, path=PATHS)
    def mkdir(self, branch, path):
        model = self.models[branch]
        try:
            self.roots[branch] = make_dir(self.objects, self.roots[branch], path)
        except Misuse:
            assert blocked(model, path) or model.get(path) is not None
            return
        self.models[branch] = {**with_parents(model, path), path: None}

    @rule(branch=branches, path=PATHS, executable=st.booleans())
    def chmod(self, branch, path, executable):
        found = entry(self.objects, self.roots[branch], path)
        model = self.models[branch]
        if found is None or not found.is_file:
            assert not isinstance(model.get(path), tuple) or model[path][0] == "link"
            return
        changed = {path: found._replace(executable=executable)}
        self.roots[branch] = apply(self.objects, self.roots[branch], changed)
        self.models[branch] = {**model, path: (model[path][0], executable)}

    @rule(branch=branches, path=PATHS, points=PATHS)
    def symlink(self, branch, path, points):
        model = self.models[branch]
        if blocked(model, path):
            return
        self.roots[branch] = apply(self.objects, self.roots[branch], {path: link(points)})
        self.models[branch] = {**with_parents(without(model, path), path), path: ("link", points)}

    @rule(target=snapshots, branch=branches)
    def keep(self, branch):
        return (self.roots[branch], self.models[branch])

    @rule(branch=branches, kept=snapshots)
    def restore(self, branch, kept):
        self.roots[branch], self.models[branch] = kept

    @rule(branch=branches, kept=snapshots, path=PATHS)
    def restore_one(self, branch, kept, path):
        """One path as it was in a snapshot, everything else as it is."""
        model = self.models[branch]
        if blocked(model, path):
            return
        old = entry(self.objects, kept[0], path)
        self.roots[branch] = apply(self.objects, self.roots[branch], {path: old})
        changed = without(model, path)
        if path in kept[1]:
            inside = {p: w for p, w in kept[1].items() if p == path or p.startswith(path + "/")}
            changed = {**with_parents(changed, path), **inside}
        self.models[branch] = changed

    @rule(base=branches, ours=branches, theirs=branches)
    def merge_branches(self, base, ours, theirs):
        """Against a merge path by path; where the trees' shapes clash, only the root's rules."""
        roots = [self.roots[branch] for branch in (base, ours, theirs)]
        old, mine, yours = (seen(self.models[branch]) for branch in (base, ours, theirs))
        merged = merge(self.objects, roots[0], roots[1], roots[2])
        result = in_world(self.objects, merged.root)
        clashes = {conflict.path for conflict in merged.conflicts}
        for path in old.keys() | mine.keys() | yours.keys():
            sides = [side.get(path, "absent") for side in (old, mine, yours)]
            if None in sides or any(path == c or path.startswith(c + "/") for c in clashes):
                continue
            was, here, there = sides
            if here in (was, there):
                wanted = there
            elif there == was:
                wanted = here
            else:
                assert path in result, "both sides' changes were combined"
                continue
            assert result.get(path, "absent") == wanted

    @rule(branch=branches)
    def sync(self, branch):
        self.checkout.sync(self.roots[branch])
        self.on_checkout = self.models[branch]

    @rule(target=branches)
    def snapshot(self):
        root = self.checkout.snapshot()
        return self.new(root, self.on_checkout)

    @rule(path=PATHS, content=TEXTS)
    def command_writes(self, path, content):
        model = self.on_checkout
        if blocked(model, path) or (path in model and not isinstance(model[path], tuple)):
            return
        if isinstance(model.get(path), tuple) and model[path][0] == "link":
            return
        spot = self.checkout.path / path
        spot.parent.mkdir(parents=True, exist_ok=True)
        spot.write_bytes(content)
        bit = path in model and model[path][1] is True
        self.on_checkout = {**with_parents(model, path), path: (content, bit)}

    @rule(path=PATHS)
    def command_removes(self, path):
        if path not in self.on_checkout:
            return
        spot = self.checkout.path / path
        if spot.is_dir() and not spot.is_symlink():
            shutil.rmtree(spot)
        else:
            spot.unlink()
        self.on_checkout = without(self.on_checkout, path)

    @rule()
    def another_process(self):
        self.checkout = CopyCheckout(self.objects, self.place / "co", self.place / "index")

    @rule()
    def index_is_lost(self):
        (self.place / "index").unlink(missing_ok=True)

    @rule(one=branches, other=branches)
    def diff_is_right(self, one, other):
        model = seen(self.models[one])
        after = in_world(self.objects, self.roots[other])
        for change in diff(self.objects, self.roots[one], self.roots[other]):
            if change.after is None:
                del model[change.path]
            else:
                model[change.path] = after[change.path]
        assert model == seen(self.models[other])

    @rule(branch=consumes(branches))
    def only_reachable_content_is_needed(self, branch):
        root = self.roots[branch]
        kept = {name: self.objects.get(name) for name in reachable(self.objects, root)}
        copy = memory()
        copy.new.update(kept)
        assert in_world(copy, root) == seen(self.models[branch])

    @invariant()
    def every_branch_is_as_its_model(self):
        for number, root in list(self.roots.items())[-4:]:
            assert in_world(self.objects, root) == seen(self.models[number])

    @invariant()
    def the_checkout_is_as_its_model(self):
        assert on_disk(self.checkout.path) == seen(self.on_checkout)


TestWorlds = Worlds.TestCase
TestWorlds.settings = settings(
    deadline=None,
    print_blob=True,
    max_examples=150,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
