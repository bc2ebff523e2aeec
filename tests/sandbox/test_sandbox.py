"""Running commands: what they get, what is told of them, what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.sandbox import Overlay, Sandbox, Spec
from holdfast.sandbox import client as client_module
from holdfast.sandbox.output import Kept
from holdfast.sandbox.probe import Host
from holdfast.values.errors import Misuse, Outside, Refused
from tests.sandbox.support import (
    NOBODY,
    QUICK,
    Place,
    Walls,
    groups_of,
    need,
    python_for,
    python_inside,
    text,
    until,
)

# ---- what a command gets ---------------------------------------------------------------------


async def test_it_sees_the_world_and_changes_only_the_upper(walls: Walls):
    ended = await walls.run("/bin/sh", "-c", "cat given.txt; echo new > new.txt; rm given.txt; pwd")
    assert ended.stdout == b"given\n/world\n"
    assert (ended.exit, ended.tier, ended.limit, ended.refused) == (0, "namespaces", "", ())
    assert (walls.place.path / "base/given.txt").read_text() == "given\n"
    assert sorted(path.name for path in walls.changes.iterdir()) == ["given.txt", "new.txt"]
    owner = os.geteuid() if walls.place.user is None else walls.place.user
    assert {path.lstat().st_uid for path in walls.changes.iterdir()} == {owner}


async def test_layers_are_seen_topmost_first(walls: Walls):
    lower = []
    for number in range(12):
        layer = walls.place.path / f"layer {number}, or so: it's"
        layer.mkdir()
        (layer / f"only{number}").write_text("")
        (layer / "all").write_text(str(number))
        lower.append(str(layer))
    walls.place.own()
    places = walls.place.overlay
    world = Overlay((*lower, *places.lower), places.upper, places.work)
    ended = await walls.sandbox.run(Spec(("/bin/sh", "-c", "cat all; ls | wc -l"), world))
    assert ended.stdout.split() == [b"0" + b"14"]


async def test_a_folder_is_changed_in_place(walls: Walls):
    spec = Spec(("/bin/sh", "-c", "echo more >> given.txt; id -u"), walls.place.folder)
    ended = await walls.sandbox.run(spec)
    assert (ended.exit, ended.stdout) == (0, b"1000\n")
    changed = walls.place.path / "folder/given.txt"
    assert changed.read_text() == "given\nmore\n"
    assert changed.stat().st_uid == (os.geteuid() if walls.place.user is None else walls.place.user)


@pytest.mark.parametrize("at", ["/world", "/home/someone/project", "/tmp/deep/er", "/opt/x y"])
async def test_the_world_is_seen_anywhere(walls: Walls, at: str):
    (walls.place.path / "base/sub").mkdir()
    walls.place.own()
    ended = await walls.run("/bin/pwd", at=at, cwd="sub")
    assert ended.stdout.decode() == f"{at}/sub\n"


@pytest.mark.parametrize(
    "at", ["/", "/tmp", "/usr/x", "/proc/x", "/etc", "world", "/dev", "/a/../usr/b"]
)
async def test_the_world_is_not_seen_where_the_system_is(walls: Walls, at: str):
    with pytest.raises(Misuse, match="cannot be seen"):
        await walls.run("/bin/true", at=at)


async def test_readable_paths_are_seen_and_not_changed(walls: Walls):
    extra = walls.place.path / "extra"
    extra.mkdir()
    (extra / "file").write_text("extra\n")
    (extra / "file").chmod(0o600)
    walls.place.own()
    script = f"cat {extra}/file; echo x >> {extra}/file || echo no; echo x > {extra}/new || echo no"
    ended = await walls.run("/bin/sh", "-c", script, readable=(str(extra),))
    assert ended.stdout == b"extra\nno\nno\n"
    assert [path.name for path in extra.iterdir()] == ["file"]


async def test_the_environment_is_clean(walls: Walls, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINE", "secret")
    spec = Spec(("/usr/bin/env",), walls.world, environment={"A": "1"}, secrets={"TOKEN": "t0ken"})
    ended = await walls.sandbox.run(spec)
    names = {line.partition(b"=")[0] for line in ended.stdout.splitlines()}
    assert names - {b"PWD", b"_"} == {b"PATH", b"HOME", b"LANG", b"TZ", b"TMPDIR", b"A", b"TOKEN"}
    assert "t0ken" not in repr(spec)


async def test_ordinary_programs_run(walls: Walls):
    script = """
import fcntl, multiprocessing, os, socket, subprocess, tempfile, threading, pty, sqlite3
tempfile.TemporaryFile().write(b"x")
assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
pty.openpty()
os.rename("given.txt", "moved.txt")
os.symlink("moved.txt", "link"); os.link("moved.txt", "hard")
with sqlite3.connect("x.db") as base:
    base.execute("create table a (b)")
os.kill(os.getpid(), 0)
threading.Thread(target=print, args=("fine",)).start()
"""
    ended = await walls.run(python_inside(), "-c", script)
    assert (ended.exit, ended.stdout, ended.refused) == (0, b"fine\n", ()), ended


async def test_a_strict_umask_changes_nothing(walls: Walls):
    before = os.umask(0o077)
    try:
        ended = await walls.run("/bin/sh", "-c", "touch new; umask")
    finally:
        os.umask(before)
    assert (ended.exit, ended.stdout) == (0, b"0022\n"), ended
    assert (walls.changes / "new").stat().st_mode & 0o777 == 0o644


# ---- what is told ----------------------------------------------------------------------------


async def test_exits_and_signals(walls: Walls):
    async with await walls.sandbox.open(walls.world) as opened:
        assert (await opened.run(("/bin/sh", "-c", "exit 7"))).exit == 7
        assert (await opened.run(("/bin/sh", "-c", "kill -15 $$"))).exit == -15
        missing = await opened.run(("no-such-program",))
        assert missing.exit == 127
        assert b"no-such-program" in missing.stderr
        assert (await opened.run(("/world",))).exit == 126
        assert (await opened.run(("/bin/true",), cwd="nowhere")).exit == 127


async def test_output_comes_as_it_is_written(walls: Walls):
    heard: list[tuple[str, bytes]] = []
    arrived = asyncio.Event()

    def hear(stream: str, piece: bytes) -> None:
        heard.append((stream, piece))
        arrived.set()

    script = "echo one; echo two >&2; while ! [ -e go ]; do sleep 0.02; done; echo three"
    spec = Spec(("/bin/sh", "-c", script), walls.place.folder, limits=QUICK)
    running = asyncio.ensure_future(walls.sandbox.run(spec, hear))
    while {stream for stream, _ in heard} != {"stdout", "stderr"}:
        await arrived.wait()
        arrived.clear()
    assert not running.done()
    (walls.place.path / "folder/go").touch()
    ended = await running
    assert (ended.stdout, ended.stderr) == (b"one\nthree\n", b"two\n")
    assert b"".join(piece for stream, piece in heard if stream == "stdout") == ended.stdout


@given(st.lists(st.binary(max_size=20)), st.integers(0, 30))
def test_what_is_kept_is_the_beginning_and_the_end(pieces: list[bytes], most: int):
    kept = Kept(most)
    for piece in pieces:
        kept.add(piece)
    everything, (text, cut) = b"".join(pieces), kept.all()
    assert cut == max(0, len(everything) - most)
    head, tail = most - most // 2, most // 2
    if cut:
        note = b"\n[... %d bytes cut ...]\n" % cut
        assert text == everything[:head] + note + everything[len(everything) - tail :]
    else:
        assert text == everything


async def test_an_error_of_the_listener_is_raised(walls: Walls):
    def hear(stream: str, piece: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await walls.sandbox.run(Spec(("/bin/echo", "x"), walls.world), hear)


async def test_what_was_used_is_told(walls: Walls):
    script = """
import time
x = bytearray(50 << 20)
while time.process_time() < 0.2: pass
"""
    ended = await walls.run(python_inside(), "-c", script)
    assert ended.exit == 0, ended
    assert ended.cpu_seconds > 0.15
    assert ended.seconds > 0
    assert ended.peak_bytes > 50 << 20


# ---- worlds that stay open -------------------------------------------------------------------


async def test_an_open_world_keeps_files_between_commands(walls: Walls):
    async with await walls.sandbox.open(walls.world) as opened:
        await opened.run(("/bin/sh", "-c", "echo a > kept"))
        ended = await opened.run(("/bin/cat", "kept"))
        assert ended.stdout == b"a\n"
    assert (walls.changes / "kept").read_text() == "a\n"


@pytest.mark.parametrize("at", ["/world", "/tmp/deep/er"])
async def test_a_command_finds_nothing_that_another_left(walls: Walls, at: str):
    """INVARIANT S6."""
    leave = """
for place in /tmp ~ /dev/shm; do echo secret > $place/left || exit 1; done
mv /tmp/deep /tmp/moved; ln -s /usr /tmp/deep; echo kept >> kept
"""
    find = (
        "ls -A ~ /dev/shm; find /tmp -name left; readlink /tmp/deep; grep CapEff /proc/self/status"
    )
    extra = walls.place.path / "extra"
    extra.mkdir()
    (extra / "file").write_text("x")
    walls.place.own()
    async with await walls.sandbox.open(walls.world, at=at, readable=(str(extra),)) as opened:
        for _ in range(3):
            found = await opened.run(("/bin/sh", "-c", f"{find}; cat {extra}/file"))
            home = b"/dev/shm:\n\n/tmp/home:\nCapEff:\t0000000000000000\nx"
            assert found.stdout == home, found
            left = await opened.run(("/bin/sh", "-c", leave), environment={"LANG": "C"})
            assert left.exit == 0, left
        assert (walls.changes / "kept").read_text() == "kept\n" * 3


async def test_a_closed_world_can_be_opened_again(walls: Walls):
    for number in range(3):
        ended = await walls.run("/bin/sh", "-c", f"echo {number} >> log; wc -l < log")
        assert ended.stdout == b"%d\n" % (number + 1)


async def test_commands_of_one_world_take_turns_and_worlds_do_not(walls: Walls):
    async with await walls.sandbox.open(walls.place.folder) as opened:
        both = await asyncio.gather(
            *(opened.run(("/bin/sh", "-c", "mkdir lock && sleep 0.05 && rmdir lock")) for _ in "ab")
        )
        assert [ended.exit for ended in both] == [0, 0]
        other = await walls.sandbox.open(walls.world)
        wait = "while ! [ -e go ]; do sleep 0.02; done"
        waiting = asyncio.ensure_future(opened.run(("/bin/sh", "-c", wait)))
        assert (await other.run(("/bin/true",))).exit == 0
        (walls.place.path / "folder/go").touch()
        assert (await waiting).exit == 0
        await other.close()


async def test_cancelling_ends_the_command(walls: Walls):
    opened = await walls.sandbox.open(walls.world)
    started = asyncio.Event()
    command = ("/bin/sh", "-c", "echo x; sleep 600")
    running = asyncio.ensure_future(opened.run(command, on_output=lambda *_: started.set()))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(Misuse, match="closed"):
        await opened.run(("/bin/true",))
    assert (await walls.run("/bin/true")).exit == 0


async def test_a_dead_helper_is_replaced(walls: Walls):
    assert (await walls.run("/bin/true")).exit == 0
    helper = walls.sandbox._helper
    assert helper is not None
    helper.kill()
    helper.wait()
    assert (await walls.run("/bin/true")).exit == 0


async def test_a_spare_that_was_killed_is_replaced(walls: Walls):
    assert (await walls.run("/bin/true")).exit == 0
    helper = walls.sandbox._helper
    assert helper is not None
    children = Path(f"/proc/{helper.pid}/task/{helper.pid}/children")

    def killed() -> bool:
        for pid in children.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return not children.read_text()

    for _ in range(3):
        await until(children.read_text)
        await until(killed)
        assert (await walls.run("/bin/true")).exit == 0
    await until(lambda: len(groups_of(helper.pid)) <= 2)
    await walls.sandbox.close()
    assert groups_of(helper.pid) == []


async def test_a_world_that_cannot_be_opened_says_why(walls: Walls):
    world = Overlay(
        (str(walls.place.path / "nowhere"),), walls.place.overlay.upper, "/nowhere/work"
    )
    with pytest.raises(Outside, match="nowhere"):
        await walls.sandbox.run(Spec(("/bin/true",), world))
    assert (await walls.run("/bin/true")).exit == 0


async def test_nothing_is_left_mounted_or_grouped(walls: Walls):
    before = text("/proc/self/mountinfo")
    async with await walls.sandbox.open(walls.world) as opened:
        await opened.run(("/bin/true",))
        assert text("/proc/self/mountinfo") == before
    assert text("/proc/self/mountinfo") == before
    helper = walls.sandbox._helper
    assert helper is not None
    await walls.sandbox.close()
    assert groups_of(helper.pid) == []


# ---- tiers -----------------------------------------------------------------------------------


async def test_weaker_walls_are_never_used_silently(monkeypatch: pytest.MonkeyPatch):
    place = Place(None)
    try:
        monkeypatch.setattr(client_module, "probe", lambda: Host("landlock", ()))
        async with Sandbox() as sandbox:
            with pytest.raises(Refused, match="doctor"):
                await sandbox.run(Spec(("/bin/true",), place.folder))
        monkeypatch.setattr(client_module, "probe", lambda: Host("none", ()))
        async with Sandbox(least="none") as sandbox:
            with pytest.raises(Refused, match="unsafe=True"):
                await sandbox.run(Spec(("/bin/true",), place.folder))
        async with Sandbox(least="none", unsafe=True) as sandbox:
            ended = await sandbox.run(Spec(("/bin/sh", "-c", "pwd; sleep 600 &"), place.folder))
            assert (ended.tier, ended.exit) == ("none", 0)
            assert ended.stdout.decode() == f"{place.folder.path}\n"
            with pytest.raises(Misuse, match="overlay"):
                await sandbox.run(Spec(("/bin/true",), place.overlay))
    finally:
        place.remove()


async def test_the_middle_tier_runs_ordinary_programs(lower: Walls):
    script = (
        "import json, subprocess; print(subprocess.run(['echo', 'x'], capture_output=True).stdout)"
    )
    ended = await lower.run(python_inside(), "-c", script + "\nopen('made', 'w').write('x')")
    assert (ended.exit, ended.stdout, ended.tier) == (0, b"b'x\\n'\n", "landlock"), ended
    assert (lower.place.path / "folder/made").exists()
    with pytest.raises(Misuse, match="network"):
        await lower.run("/bin/true", network=("example.org",))


@pytest.mark.parametrize("unsafe", [False, True])
def test_another_system_says_so_in_one_line(unsafe: bool):
    program = f"""
import asyncio, os, signal, socket, sys
for home, names in (
    (os, ("memfd_create", "MFD_CLOEXEC", "pipe2", "pidfd_open")),
    (signal, ("pidfd_send_signal",)),
    (socket, ("MSG_CMSG_CLOEXEC", "SOCK_CLOEXEC", "SOCK_NONBLOCK")),
):
    for name in names:
        delattr(home, name)
import concurrent.futures.thread
sys.platform = "darwin"
from holdfast.sandbox import Folder, Sandbox, Spec
from holdfast.values.errors import Refused
async def main():
    async with Sandbox(least="none", unsafe={unsafe}) as sandbox:
        try:
            await sandbox.run(Spec(("/bin/true",), Folder("/")))
        except Refused as error:
            print(error)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "run on Linux only (this is darwin: no memfd_create)" in done.stdout


def test_an_ordinary_user_alone(tmp_path: Path):
    """Everything as uid 65534: the client, the helper, the world."""
    need("namespaces")
    if os.geteuid() != 0:
        pytest.skip("the other tests are an ordinary user's already")
    place = Place(NOBODY)
    script = f"""
import asyncio, concurrent.futures.thread, os
from holdfast.sandbox import *
os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)
async def main():
    async with Sandbox(python={python_for(NOBODY)!r}) as sandbox:
        assert await sandbox.tier() == "namespaces"
        ended = await sandbox.run(Spec(("/bin/sh", "-c", "id -u; echo x > new"), {place.overlay!r}))
        print(ended.exit, ended.stdout, ended.stderr)
from holdfast.sandbox import client
client.probe = lambda: Host("namespaces", ())  # trying needs a Python that this user may run
asyncio.run(main())
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == ("0 b'1000\\n' b''\n", "")
        assert (place.path / "upper/new").stat().st_uid == NOBODY
    finally:
        place.remove()
