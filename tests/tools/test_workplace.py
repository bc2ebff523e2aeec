"""Commands in worlds: what they do to one, and what becomes of its caches."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from holdfast.sandbox.client import Sandbox
from holdfast.sandbox.output import Kept
from holdfast.sandbox.spec import Ended, Limits, Overlay
from holdfast.tools import workplace
from holdfast.tools.command import result_of
from holdfast.values import limits
from holdfast.values.errors import HoldfastError, Misuse, Outside, Refused
from holdfast.world import EMPTY, CopyCheckout, write_file
from tests.tools.support import Site, can, names, needs, site, until
from tests.world.support import build, in_world, on_disk

PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
WORDS = st.sampled_from(["", "one", "two"])


class Branches(RuleBasedStateMachine):
    """Branches of a world, changed by commands in overlays; each beside a plain directory in which
    the same commands run, and whose content is the model."""

    branches = Bundle("branches")

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="holdfast-branches-"))
        self.runner = asyncio.Runner()
        self.runner.run(self._begin())
        self.copies: dict[int, CopyCheckout] = {}
        self.roots: dict[int, str] = {}

    async def _begin(self) -> None:
        self.site = Site(self.place / "caches")

    def teardown(self) -> None:
        self.runner.run(workplace.close())
        self.runner.close()
        shutil.rmtree(self.place)

    def _new(self, root: str) -> int:
        number = len(self.roots)
        copy = CopyCheckout(
            self.site.stage(), self.place / f"copy{number}", self.place / f"index{number}"
        )
        copy.sync(root)
        self.copies[number], self.roots[number] = copy, root
        return number

    def _command(self, branch: int, text: str) -> None:
        copy = self.copies[branch]
        done = subprocess.run(
            ["sh", "-c", text], cwd=copy.path, capture_output=True, check=False, text=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )  # fmt: skip
        result, root = self.runner.run(
            self.site.run(self.roots[branch], ["sh", "-c", text], run=f"r{branch}")
        )
        assert (result.exit, result.stdout) == (done.returncode, done.stdout), text
        assert root == copy.snapshot(), text
        assert in_world(self.site.objects, root) == on_disk(copy.path)
        self.roots[branch] = root

    @rule(target=branches)
    def start(self):
        return self._new(EMPTY)

    @rule(target=branches, of=branches)
    def fork(self, of):
        return self._new(self.roots[of])

    @rule(branch=branches, path=PATHS, word=WORDS)
    def write(self, branch, path, word):
        self._command(branch, f"mkdir -p $(dirname {path}); echo {word} >> {path}; cat {path}")

    @rule(branch=branches, path=PATHS, word=WORDS)
    def replace(self, branch, path, word):
        """Whatever it is, whatever is above it: now it is a file."""
        above = path.rpartition("/")[0]
        clear = f"test -d {above} || rm -rf {above.split('/')[0]};" if above else ""
        self._command(
            branch, f"{clear} rm -rf {path}; mkdir -p $(dirname {path}); echo {word} > {path}"
        )

    @rule(branch=branches, path=PATHS)
    def become_directory(self, branch, path):
        self._command(branch, f"rm -rf {path}; mkdir -p {path}")

    @rule(branch=branches, path=PATHS)
    def remove(self, branch, path):
        self._command(branch, f"rm -rf {path}; find . -type f | sort")

    @rule(branch=branches, path=PATHS, to=PATHS)
    def move(self, branch, path, to):
        self._command(branch, f"mv {path} {to}; find . | sort")

    @rule(branch=branches, path=PATHS, to=PATHS)
    def link(self, branch, path, to):
        self._command(branch, f"ln -sfn {to} {path}; cat {path}")

    @rule(branch=branches, path=PATHS, to=PATHS)
    def hard_link(self, branch, path, to):
        self._command(
            branch, f"ln {path} {to}; echo more >> {to}; cat {path}; cp {to} x; mv x {to}"
        )

    @rule(branch=branches, path=PATHS, mode=st.sampled_from(["755", "644", "700"]))
    def chmod(self, branch, path, mode):
        self._command(branch, f"test ! -L {path} && test -f {path} && chmod {mode} {path}")

    @rule(branch=branches, path=PATHS, word=WORDS)
    def tool_writes(self, branch, path, word):
        """Another tool of the run changes its world between commands."""
        with contextlib.suppress(Misuse):
            root = write_file(self.site.objects, self.roots[branch], path, word.encode())
            self.copies[branch].sync(root)
            self.roots[branch] = root

    @rule(branch=branches, to=branches)
    def rewind(self, branch, to):
        self.roots[branch] = self.roots[to]
        self.copies[branch].sync(self.roots[to])

    @rule(branch=branches)
    def ends(self, branch):
        async def end() -> None:
            self.site.place.ended(f"r{branch}")

        self.runner.run(end())

    @rule(part=st.sampled_from(["", "trees", "marks", "own"]))
    def caches_are_lost(self, part):
        async def settle() -> None:
            for task in list(self.site.place._going):
                await asyncio.wait([task])

        self.runner.run(settle())
        for home in (self.place / "caches" / "worlds").glob("*"):
            shutil.rmtree(home / part, ignore_errors=True)


@needs("namespaces")
class TestBranches(Branches.TestCase):
    settings = settings(
        deadline=None, max_examples=12, stateful_step_count=20,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip


async def test_a_world_stays_open_and_its_layers_are_shared_by_forks():
    async with site() as here:
        start = build(here.objects, {f"d/f{n}": b"%d" % n for n in range(100)})
        first, mine = await here.run(start, ["sh", "-c", "echo x > new; cat d/f7"])
        assert (first.exit, first.stdout) == (0, "7")
        again = await here.sh(mine, "cat new >> d/f1")
        if first.sandbox != "namespaces":
            return
        world = here.place._open["r"]
        assert (world.root, world.stack.root) == (again, start)
        forks = [
            await here.sh(again, f"echo {n} > fork; cat d/f1", run=f"fork{n}") for n in range(3)
        ]
        assert "r" in here.place._open, "nothing was closed for the sake of a small layer"
        stacks = {here.place._open[f"fork{n}"].stack.directories for n in range(3)}
        assert len(stacks) == 1
        assert len(set(forks)) == 3
        for number, fork in enumerate(forks):
            assert in_world(here.objects, fork)["fork"] == (b"%d\n" % number, False)
        assert in_world(here.objects, again)["d/f1"] == (b"1x\n", False)


async def test_what_a_command_wrote_at_length_becomes_a_layer_by_itself():
    async with site() as here:
        many = "for n in $(seq 100); do echo $n > f$n; done"
        root = await here.sh(EMPTY, many)
        if not can("namespaces"):
            return
        place = here.place._open["r"].place
        inode = (place / "upper").stat().st_ino
        assert await here.sh(root, "test $(cat f77) = 77", run="fork") == root
        assert "r" not in here.place._open
        assert here.place._open["fork"].stack.inodes[0] == inode, "it was moved, not copied"
        assert not place.exists()
        assert await here.sh(root, "test $(cat f77) = 77") == root


async def test_another_tool_may_change_the_world_between_commands():
    async with site() as here:
        root = await here.sh(build(here.objects, {"a": b"1"}), "echo 2 > b")
        root = write_file(here.objects, root, "c", b"3")
        root = await here.sh(root, "cat a b c > d; rm a")
        root = write_file(here.objects, root, "a", b"again")
        root = await here.sh(root, "cat a >> d")
        assert in_world(here.objects, root)["d"] == (b"12\n3again", False)


async def test_worlds_nobody_uses_are_closed(monkeypatch):
    async with site() as here:
        if not can("namespaces"):
            pytest.skip("worlds are not held open here")
        monkeypatch.setattr(limits, "WORLDS_OPEN_ITEMS", 3)
        roots = [await here.sh(EMPTY, f"echo {n} > f", run=f"r{n}") for n in range(6)]
        assert len(here.place._open) == 3
        monkeypatch.setattr(limits, "WORLD_IDLE_SECONDS", 0.0)
        here.place._look()
        while here.place._going:
            await asyncio.wait(list(here.place._going))
        assert here.place._open == {}
        assert names(here.place._cache._shelf.own) == []
        for number, root in enumerate(roots):
            assert await here.sh(root, f"test $(cat f) = {number}", run="other") == root


async def test_nothing_but_the_world_outlives_a_command_w26():
    """INVARIANT W26: whether the world stayed open or was written anew."""
    if not can("namespaces"):
        pytest.skip("a copy keeps what a world does not know")
    for lose in (False, True):
        async with site() as here:
            odd = "echo 1 > a; ln a b; mkdir d; chmod 700 d; chmod 600 a; mkfifo p"
            result, root = await here.run(EMPTY, ["sh", "-ec", odd])
            assert len(result.left) == 1
            if lose:
                here.place.ended("r")
            look = "echo 2 >> b; cat a; stat -c %a a d; ls"
            result, root = await here.run(root, ["sh", "-ec", look])
            assert result.stdout == "1\n644\n755\na\nb\nd\n"
            assert result.left == ()


async def test_many_runs_at_once_in_one_sandbox():
    async with site() as here:
        start = build(here.objects, {"n": b"0"})

        async def one(number: int) -> None:
            root = start
            for turn in range(3):
                root = await here.sh(root, f"echo {number} {turn} >> n", run=f"r{number}")
            lines = "".join(f"{number} {turn}\n" for turn in range(3))
            assert in_world(here.objects, root) == {"n": (f"0{lines}".encode(), False)}

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(one(number))


async def test_one_command_at_a_time_in_a_world():
    async with site() as here:
        await here.sh(EMPTY, "true")
        if not can("namespaces"):
            return
        here.place._open["r"].busy = True
        with pytest.raises(Misuse, match="another command runs in this world"):
            await here.sh(EMPTY, "true")
        here.place._open["r"].busy = False


async def test_a_cancelled_command_leaves_no_trace_w8(tmp_path):
    """INVARIANT W8."""
    async with site() as here:
        root = await here.sh(EMPTY, "echo 1 > kept")
        running = asyncio.create_task(
            here.run(root, ["sh", "-c", "echo 2 > kept; echo 3 > more; while :; do :; done"])
        )
        if can("namespaces"):
            place = here.place._open["r"].place
            await until((place / "upper" / "more").exists)
        else:
            copy = here.place._caches / "checkouts" / "r" / "1" / "more"
            await until(copy.exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await here.sh(root, "test $(cat kept) = 1; test ! -e more") == root


async def test_another_lease_begins_with_another_upper_w8():
    """INVARIANT W8: nothing that an earlier lease may still write to is used again."""
    async with site() as here:
        root = await here.sh(EMPTY, "echo 1 > kept")
        before = here.place._open["r"].place if can("namespaces") else None
        assert await here.sh(root, "cat kept", epoch=2) == root
        if before is not None:
            assert here.place._open["r"].place != before
            assert not before.exists()


async def test_what_commands_leave_running_ends_with_them():
    async with site() as here:
        root = await here.sh(EMPTY, "(while :; do echo x >> late; done) & echo 1 > now")
        after = await here.sh(root, "wc -c < late > size || true")
        assert in_world(here.objects, after).get("late") == in_world(here.objects, root).get("late")


@pytest.mark.parametrize("wanted", ["namespaces", "landlock", "none"])
async def test_every_tier_says_what_it_is_and_does_the_same(wanted):
    if not can(wanted):
        pytest.skip(f"this host has no walls of {wanted}")
    async with site(wanted) as here:
        start = build(here.objects, {"a": b"1", "d/b": b"2", "x": (b"#!/bin/sh\ncat a", True)})
        result, root = await here.run(start, ["sh", "-c", "./x; rm a; mv d e; exit 3"])
        assert (result.exit, result.stdout, result.sandbox) == (3, "1", wanted)
        assert in_world(here.objects, root) == {
            "e/b": (b"2", False), "x": (b"#!/bin/sh\ncat a", True),
        }  # fmt: skip
        result, _ = await here.run(root, ["sh", "-c", "pwd; cat b"], cwd="e")
        assert result.stdout.endswith("e\n2")


async def test_a_tier_that_does_not_exist_is_named():
    with pytest.raises(Misuse, match="HOLDFAST_SANDBOX='strong': say namespaces, landlock, none"):
        workplace.enlist("x", "strong")


async def test_this_python_and_its_packages_work_in_a_command():
    async with site() as here:
        code = "import pytest, sys; open('v', 'w').write(sys.version)"
        for words in ([sys.executable, "-c", code], ["python", "-c", code]):
            result, root = await here.run(EMPTY, words)
            assert result.exit == 0, result
            assert in_world(here.objects, root)["v"] == (sys.version.encode(), False)


async def test_host_paths_are_read_only_when_named_and_never_the_store(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "f").write_text("from the host")
    tmp_path.chmod(0o755)
    (tmp_path / "inside").chmod(0o755)
    path = str(tmp_path / "inside")
    async with site() as here:
        result, _ = await here.run(EMPTY, ["cat", f"{path}/f"])
        if result.sandbox != "none":
            assert result.exit != 0
        result, _ = await here.run(EMPTY, ["cat", f"{path}/f"], readable=[path])
        assert result.stdout == "from the host"
        result, _ = await here.run(EMPTY, ["sh", "-c", f"echo x > {path}/f"], readable=[path])
        assert result.exit != 0
        assert (tmp_path / "inside" / "f").read_text() == "from the host"
        for reach in (here.caches, str(Path(here.caches).parent), "/"):
            with pytest.raises(Misuse, match="holds the store"):
                await here.run(EMPTY, ["true"], readable=[reach])
        (tmp_path / "link").symlink_to(here.caches)
        for reach in (f"{here.caches}/journal.db", str(tmp_path / "link" / "worlds")):  # W42
            with pytest.raises(Misuse, match="is in the store"):
                await here.run(EMPTY, ["true"], readable=[reach])


async def test_time_and_words():
    async with site() as here:
        result, root = await here.run(EMPTY, ["sh", "-c", "echo 1 > f; sleep 60"], seconds=0.5)
        assert (result.timed_out, result.limit) == (True, "time")
        assert in_world(here.objects, root) == {"f": (b"1\n", False)}
        result, _ = await here.run(EMPTY, ["no-such-command"])
        assert result.exit == 127
        for bad in ([], ["a\0b"]):
            with pytest.raises(Misuse):
                await here.run(EMPTY, bad)


async def test_secrets_are_given_by_name_and_hidden_in_output(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "s3cr3t-value")
    async with site() as here:
        result, _ = await here.run(
            EMPTY, ["sh", "-c", "echo $API_TOKEN; echo $API_TOKEN >&2"], secrets=["API_TOKEN"]
        )
        assert (result.stdout, result.stderr) == ("[API_TOKEN]\n", "[API_TOKEN]\n")
        assert (await here.run(EMPTY, ["sh", "-c", "echo $API_TOKEN"]))[0].stdout == "\n"
        with pytest.raises(Misuse, match="secret 'NOT_SET' is not set") as refused:
            await here.run(EMPTY, ["true"], secrets=["API_TOKEN", "NOT_SET"])
        assert "s3cr3t" not in str(refused.value)


async def test_where_no_overlay_can_be_mounted_worlds_are_copies(monkeypatch):
    async def cannot(self: object, here: object) -> bool:
        return False

    monkeypatch.setattr(workplace.Workplace, "_try", cannot)
    async with site() as here:
        root = await here.sh(build(here.objects, {"a": b"1"}), "cat a a > b")
        root = await here.sh(root, "rm a", epoch=2)
        assert in_world(here.objects, root) == {"b": (b"11", False)}
        assert names(Path(here.caches) / "checkouts" / "r") == ["2", "2.index"]
        here.place.ended("r")
        await until(lambda: not names(Path(here.caches) / "checkouts"))


def test_a_full_disk_is_an_error_of_the_command_and_not_of_the_world(tmp_path):
    """A cache on a very small file system of its own, in a namespace of its own."""
    if not can("namespaces"):
        pytest.skip("this host lets us mount nothing")
    code = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.tools.support import Site
from tests.world.support import build, in_world
from holdfast.sandbox.client import Sandbox
from holdfast.sandbox.output import Kept
from holdfast.sandbox.spec import Ended, Limits, Overlay
from holdfast.tools import workplace
from holdfast.tools.command import result_of
from holdfast.values.errors import Outside
async def main():
    here = Site(Path(sys.argv[1]) / "caches")
    root = build(here.objects, {{"kept": b"1"}})
    result, after = await here.run(root, ["sh", "-c", "yes | head -c 8000000 > big"])
    assert result.exit != 0, result
    result, root = await here.run(after, ["sh", "-c", "rm -f big; echo 2 > more"])
    assert result.exit == 0, result
    assert in_world(here.objects, root) == {{"kept": (b"1", False), "more": (b"2\\n", False)}}
    large = build(here.objects, {{"large": bytes(range(256)) * 40000}})
    try:
        await here.run(large, ["true"], run="other")
    except Outside as error:
        assert "No space left" in str(error), error
    else:
        raise AssertionError("it cannot have room")
    result, _ = await here.run(root, ["cat", "kept", "more"])
    assert result.stdout == "12\\n", result
    await workplace.close()
    print("fine")
asyncio.run(main())
"""
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["unshare", *([] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]),
         "--mount", "sh", "-c",
         'mount -t tmpfs -o size=4m none "$1" && exec "$2" -c "$3" "$1"',
         "sh", str(small), sys.executable, code],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(done.stderr.splitlines()[0])
    assert done.stdout == "fine\n", done.stderr


async def test_errors_of_the_walls_are_errors_of_the_step(monkeypatch):
    async with site() as here:
        with pytest.raises(HoldfastError):
            await here.run(EMPTY, ["true"], cwd="..")
        with pytest.raises(HoldfastError):
            await here.run(EMPTY, ["true"], readable=["relative"])
        assert await here.sh(EMPTY, "true") == EMPTY


@pytest.mark.parametrize("wanted", ["", "namespaces", "landlock"])
async def test_weaker_walls_than_asked_for_are_never_used_w25(monkeypatch, wanted):
    """INVARIANT W25: one line says what is missing, where more is said, and what to set."""
    real = Sandbox.__init__

    def nothing(self, *, least, most, **more):
        """As on a host that has no walls at all."""
        real(self, least=least, most="none", **more)

    monkeypatch.setattr(Sandbox, "__init__", nothing)
    async with site(wanted) as here:
        with pytest.raises(Refused) as refused:
            await here.run(EMPTY, ["true"])
        text = str(refused.value)
        assert "holdfast doctor" in text
        assert f"HOLDFAST_SANDBOX={wanted!r}" in text
        assert "\n" not in text
        assert names(Path(here.caches)) == []


async def test_copies_are_neither_made_nor_deleted_behind_a_link_w41(monkeypatch, tmp_path):
    async def cannot(self: object, here: object) -> bool:
        return False

    monkeypatch.setattr(workplace.Workplace, "_can_overlay", cannot)
    theirs = tmp_path / "r"
    theirs.mkdir()
    (theirs / "file").write_text("theirs")
    async with site() as here:
        (Path(here.caches) / "checkouts").symlink_to(tmp_path)
        with pytest.raises(Misuse, match="symbolic link"):
            await here.run(EMPTY, ["true"])
        here.place.ended("r")
    assert names(theirs) == ["file"]


async def test_landlock_is_used_only_when_it_is_asked_for(monkeypatch):
    real = Sandbox.__init__

    def weak(self, *, least, most, **more):
        """As on a host that has no namespaces."""
        real(self, least=least, most="landlock", **more)

    monkeypatch.setattr(Sandbox, "__init__", weak)
    async with site() as here:
        with pytest.raises(Refused, match="'namespaces' do not stand"):
            await here.run(EMPTY, ["true"])


@needs("landlock")
async def test_a_command_behind_landlock_has_a_scratch_directory_of_its_own():
    text = 'test -z "$(ls -A $HOME)"; echo 1 > $HOME/a; echo 2 > $TMPDIR/b; cat $HOME/* > seen'
    async with site("landlock") as here:
        root = await here.sh(EMPTY, text)
        root = await here.sh(root, text)  # nothing of the first is left
        assert in_world(here.objects, root) == {"seen": (b"1\n2\n", False)}


async def test_each_command_has_its_own_limits_of_memory_and_processes(monkeypatch):
    opened: list[Limits] = []
    real = Sandbox.open

    async def noted(self, world, **more):
        opened.append(more["limits"])
        return await real(self, world, **more)

    monkeypatch.setattr(Sandbox, "open", noted)
    async with site() as here:
        await here.sh(EMPTY, "true")
        if not opened:
            pytest.skip("this host mounts no overlays for us")
        for use in (Limits(memory_bytes=1 << 29), Limits(processes=40), Limits(processes=40)):
            await here.sh(EMPTY, "true", use=use)
        kept = [(one.memory_bytes, one.processes) for one in opened[-2:]]
        assert kept == [(1 << 29, Limits().processes), (Limits().memory_bytes, 40)]


@given(st.integers(1, 80), st.integers(0, 20), st.integers(0, 20))
def test_no_part_of_a_secret_is_recorded_at_a_cut_w43(most, before, after):
    value = "s3cr3t-value"
    kept = Kept(most)
    kept.add(b"." * before + value.encode() * 2 + b"." * after)
    output, cut = kept.all()
    said = result_of(Ended(0, output, b"", cut), (), {"TOKEN": value}).stdout
    rest = re.sub(r"\n\[\.\.\. \d+ bytes cut \.\.\.\]\n", "", said).replace("[TOKEN]", "")
    assert set(rest) <= {"."}


async def test_secrets_are_hidden_in_names_of_what_is_left_w43(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "s3'cr3\\t")
    async with site() as here:
        result, _ = await here.run(
            EMPTY, ["sh", "-c", 'mkfifo "$API_TOKEN" || true'], secrets=["API_TOKEN"]
        )
        assert "cr3" not in str(result)
        assert len(result.left) <= 1


@pytest.mark.parametrize("overlays", [True, False])
async def test_what_no_world_can_hold_is_left_and_told_in_copies_too(monkeypatch, overlays):
    async def cannot(self: object, here: object) -> bool:
        return False

    if not overlays:
        monkeypatch.setattr(workplace.Workplace, "_can_overlay", cannot)
    async with site() as here:
        start = build(here.objects, {"a": b"1", "d/b": b"2"})
        result, root = await here.run(
            start, ["sh", "-c", "mkfifo p d/q; rm a; mkfifo a; echo 3 > c"]
        )
        assert [line.partition(" is a")[0] for line in result.left] == ["'a'", "'d/q'", "'p'"]
        assert in_world(here.objects, root) == {"c": (b"3\n", False), "d/b": (b"2", False)}
        result, after = await here.run(root, ["sh", "-c", "ls; ls d"])
        assert (result.stdout, result.left, after) == ("c\nd\nb\n", (), root)


@needs("namespaces")
async def test_why_worlds_are_copies_is_told_with_each_result(monkeypatch):
    async with site() as here:
        result, _ = await here.run(EMPTY, ["true"])
        overlays = result.checkout == "overlay"
        assert overlays or result.checkout.startswith("copy: ")
    real = Sandbox.run

    async def refused(self, spec, on_output=None):
        if isinstance(spec.world, Overlay):
            raise Outside("mount overlay: Permission denied")
        return await real(self, spec, on_output)

    monkeypatch.setattr(Sandbox, "run", refused)
    async with site() as here:
        for _ in range(2):
            result, _ = await here.run(EMPTY, ["true"])
            assert result.checkout == "copy: mount overlay: Permission denied"


async def test_a_link_in_place_of_the_caches_is_an_error_and_no_copy_w41(tmp_path):
    if not can("namespaces"):
        pytest.skip("this host mounts no overlays for us")
    async with site() as here:
        (Path(here.caches) / "worlds").symlink_to(tmp_path)
        with pytest.raises(Misuse, match="symbolic link"):
            await here.run(EMPTY, ["true"])
