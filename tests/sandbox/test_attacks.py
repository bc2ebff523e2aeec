"""Each attack fails behind the walls, gets through without them where trying that is harmless, and
leaves a trace where the kernel tells."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.sandbox import Limits
from holdfast.values.errors import Misuse
from tests.sandbox.support import (
    ESCAPED,
    NOBODY,
    Walls,
    named,
    python_inside,
    start,
    stop,
    until,
    unwalled,
)

CALL = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) >= 0:
        print("ESCAPED", name)
    return ctypes.get_errno()
"""

READ = """
import sys
for path in sys.argv[1:]:
    try:
        text = open(path).read()
    except OSError as error:
        print(type(error).__name__)
    else:
        print("ESCAPED", text)
"""


# ---- files -----------------------------------------------------------------------------------


async def test_a_symlink_leads_nowhere(walls: Walls):
    (walls.place.path / "base/out").symlink_to(walls.place.secret)
    (walls.place.path / "base/up").symlink_to("../" * 20 + str(walls.place.secret)[1:])
    assert ESCAPED in unwalled(READ, walls.place.path / "base/out")
    ended = await walls.attack(READ, "out", "up")
    assert ended.stdout.split() == [b"FileNotFoundError"] * 2


async def test_dots_lead_nowhere(walls: Walls):
    path = "../" * 20 + str(walls.place.secret)[1:]
    assert ESCAPED in unwalled(READ, "/usr/" + path)
    ended = await walls.attack(READ, path, "/usr/" + path, "/proc/self/cwd/" + path)
    assert ended.stdout.split() == [b"FileNotFoundError"] * 3


async def test_roots_in_proc_lead_nowhere(walls: Walls):
    paths = "[f'/proc/{pid}/{way}{sys.argv[1]}' for pid in pids for way in ways]"
    ways = "import os\npids = os.listdir('/proc')\nways = ('root', 'cwd/../..', 'fd/3/../..')\n"
    script = ways + READ.replace("sys.argv[1:]", paths)
    assert ESCAPED in unwalled(READ, f"/proc/self/root{walls.place.secret}")
    await walls.attack(script, walls.place.secret)


async def test_no_hard_link_to_outside(walls: Walls):
    script = """
import os, sys
for path in sys.argv[1:]:
    try:
        os.link(path, "link")
        print("ESCAPED")
    except OSError as error:
        print(error.errno)
"""
    os.link(walls.place.secret, walls.place.path / "linked")  # it is one file system: it could be
    readable = walls.place.path / "readable"
    readable.mkdir()
    (readable / "file").write_text("x")
    walls.place.own()
    await walls.attack(
        script, walls.place.secret, readable / "file", "/usr/bin/env", readable=(str(readable),)
    )


async def test_no_mount_changes(walls: Walls):
    script = (
        CALL
        + """
assert call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None) == errno.EPERM
assert call("mount", b"", b"/usr", b"", 32 | 4096, None) == errno.EPERM
assert call("umount2", b"/usr", 2) == errno.EPERM
assert call("umount2", b"/world", 2) == errno.EPERM
assert call("chroot", b"/tmp") == errno.EPERM
assert call("syscall", 428, -100, b"/", 1) == errno.EPERM
assert call("syscall", 430, b"tmpfs", 0) == errno.EPERM
assert call("syscall", 442, -100, b"/", 0, b"\\0" * 32, 32) == errno.EPERM
"""
    )
    ended = await walls.attack(script)
    assert ended.exit == 0, ended
    told = ("mount", "umount2", "chroot", "open_tree", "fsopen", "mount_setattr")
    assert set(told) <= set(ended.refused)


async def test_the_system_cannot_be_written(walls: Walls):
    script = """
import os
for path in ("/usr/x", "/bin/x", "/etc/x", "/x", "/etc/passwd", "/usr/bin/env", "/dev/x",
             "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname"):
    try:
        open(path, "a").write("x")
        print("ESCAPED", path)
    except OSError as error:
        print(path, error)
for path in ("/usr/bin/env", "/etc/passwd", "/etc/ssl"):
    try:
        os.rename(path, path + "2")
        print("ESCAPED", path)
    except OSError as error:
        print(path, error)
"""
    await walls.attack(script)


async def test_secrets_of_the_host_cannot_be_read(walls: Walls, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLANTED", "in-the-environment")
    script = """
import glob, os, sys
for place in ("/etc/shadow", "/etc/sudoers", "/home", *sys.argv[1:]):
    if os.path.exists(place):
        print("ESCAPED", place)
for name in glob.glob("/proc/[0-9]*/environ"):
    try:
        if "PLANTED" in open(name).read():
            print("ESCAPED", name)
    except OSError:
        pass
assert "PLANTED" not in os.environ
print(sorted(os.environ))
"""
    ended = await walls.attack(script, Path.home(), walls.place.path, Path(__file__).parent)
    assert ended.exit == 0, ended


async def test_paths_of_the_host_are_not_told(walls: Walls):
    ended = await walls.run("/bin/cat", "/proc/1/cmdline", "/proc/1/comm", "/proc/1/environ")
    assert ended.stdout.strip(b"\0") == b"holdfast\n"
    assert b"Permission denied" in ended.stderr


async def test_no_devices(walls: Walls):
    script = (
        CALL
        + """
for name in ("mem", "kmem", "kmsg", "sda", "vda", "nvme0n1", "fuse", "kvm", "vhost-vsock", "loop0"):
    if os.path.exists("/dev/" + name):
        print("ESCAPED", name)
for kind, number in ((0o060600, 0x0800), (0o020600, 0x0101), (0o020600, 0)):
    assert call("mknod", b"device", kind, number) == errno.EPERM
os.mkfifo("honest")
"""
    )
    ended = await walls.attack(script)
    assert ended.exit == 0, ended
    assert "mknod of a device" in ended.refused


async def test_setuid_gives_nothing(walls: Walls):
    copy = walls.place.path / "base/id"
    shutil.copyfile("/usr/bin/id", copy)
    if os.geteuid() == 0:
        os.chown(copy, 0, 0)
        copy.chmod(0o4755)
        script = "import subprocess, sys; subprocess.run([sys.argv[1], '-u'])"
        if unwalled(script, copy, user=NOBODY) != "0\n":
            pytest.skip("the temporary directory is mounted nosuid")
    else:
        copy.chmod(0o4755)
    ended = await walls.run("./id", "-u")
    assert ended.stdout == b"1000\n"


async def test_what_is_hidden_is_empty_wherever_it_is_seen(walls: Walls):
    """INVARIANT S5."""
    outer, store = walls.place.path / "outer", walls.place.path / "outer/deep/store"
    store.mkdir(parents=True)
    (store / "journal").write_text("x")
    walls.place.own()
    script = """
import os, sys
for place in sys.argv[1:]:
    if os.listdir(place):
        print("ESCAPED", os.listdir(place))
    try:
        open(place + "/x", "w")
        print("ESCAPED")
    except OSError:
        pass
assert os.path.exists("/usr/lib")
"""
    hidden = (str(store), "/usr/share", str(walls.place.path / "base/sub"), "/nowhere/at/all")
    (walls.place.path / "base/sub").mkdir()
    (walls.place.path / "base/sub/file").write_text("x")
    ended = await walls.attack(
        script, store, "/usr/share", "sub", readable=(str(outer),), hidden=hidden
    )
    assert ended.exit == 0, ended
    shown = await walls.run("/bin/cat", str(store / "journal"), readable=(str(outer),))
    assert shown.stdout == b"x"
    for path in (store, store / "journal"):
        with pytest.raises(Misuse, match="hidden"):
            await walls.run("/bin/true", readable=(str(path),), hidden=hidden)


async def test_what_is_hidden_behind_a_closed_door_stays_so(walls: Walls):
    """INVARIANT S5: where the walls may not look, they cover what is above."""
    if os.geteuid() != 0:
        pytest.skip("needs a directory of somebody else")
    closed = walls.place.path / "outer/closed"
    (closed / "store").mkdir(parents=True)
    walls.place.own()
    os.chown(closed, 4242, 4242)
    closed.chmod(0o700)
    spec = {"readable": (str(walls.place.path / "outer"),), "hidden": (str(closed / "store"),)}
    ended = await walls.run("/bin/ls", "-A", str(closed), **spec)
    assert (ended.exit, ended.stdout) == (0, b""), ended


# ---- processes and the kernel ----------------------------------------------------------------


async def test_no_tracing(walls: Walls):
    script = (
        CALL
        + """
import time
child = os.fork()
if child == 0:
    time.sleep(60)
problem = call("ptrace", 16, child, 0, 0)
buffer = ctypes.create_string_buffer(8)
pieces = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
where = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
other = call("process_vm_readv", child, pieces, 1, where, 1, 0)
os.kill(child, 9)
try:
    open("/proc/1/mem", "rb")
    print("ESCAPED")
except OSError:
    pass
sys.exit(0 if problem == other == errno.EPERM else 1)
"""
    )
    assert "ESCAPED ptrace" in unwalled(script)
    ended = await walls.attack(script)
    assert ended.exit == 0, ended
    assert {"ptrace", "process_vm_readv"} <= set(ended.refused)


async def test_no_new_namespaces(walls: Walls):
    script = (
        CALL
        + """
flags = 0x10000000
problems = [call("unshare", flags)]
if os.uname().machine == "x86_64":
    problems.append(call("syscall", 56, flags | 17, 0, 0, 0, 0))
if problems[1:] == [0] and os.getpid() == 1: os._exit(0)
try:
    handle = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    problems.append(call("setns", handle, 0))
except OSError:
    problems.append(1)
sys.exit(0 if set(problems) == {errno.EPERM} else 1)
"""
    )
    assert "ESCAPED unshare" in unwalled(script)
    ended = await walls.attack(script)
    assert ended.exit == 0, ended
    assert "unshare" in ended.refused


async def test_the_kernel_s_dangerous_parts_are_closed(walls: Walls):
    script = (
        CALL
        + """
x86 = os.uname().machine == "x86_64"
number = lambda first, second: first if x86 else second
told = {"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
        "add_key": (248, 217), "keyctl": (250, 219), "request_key": (249, 218),
        "kexec_load": (246, 104), "init_module": (175, 105)}
for name, numbers in told.items():
    assert call("syscall", number(*numbers), 0, 0, 0, 0, 0) == errno.EPERM, name
for name in (425, 435, 999):  # io_uring, clone3, one that does not exist yet
    assert call("syscall", name, 0, 0, 0, 0, 0) == errno.ENOSYS, name
print(*told)
"""
    )
    ended = await walls.attack(script)
    assert ended.exit == 0, ended
    assert set(ended.stdout.decode().split()) <= set(ended.refused)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls of another architecture: x86_64")
async def test_calls_of_another_architecture_kill(walls: Walls):
    script = """
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))  # getpid of 32 bits
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
print("ESCAPED", ctypes.CFUNCTYPE(ctypes.c_int)(address)())
"""
    ended = await walls.attack(script)
    assert ended.exit == -signal.SIGSYS
    assert ended.refused == ("a system call of another architecture",)


async def test_typing_into_a_terminal(walls: Walls):
    script = """
import fcntl, os, sys
_, slave = os.openpty()
try:
    fcntl.ioctl(slave, 0x5412, b"x")
    print("ESCAPED")
except OSError as error:
    sys.exit(0 if error.errno == 1 else 1)
"""
    ended = await walls.attack(script)
    assert ended.exit == 0, ended
    assert "ioctl TIOCSTI" in ended.refused


async def test_signals_do_not_get_out(walls: Walls):
    victim = start(python_inside(), "-c", "input()", user=walls.place.user)
    script = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for pid, number in ((int(sys.argv[1]), signal.SIGKILL), (1, signal.SIGKILL), (-1, signal.SIGTERM)):
    try:
        os.kill(pid, number)
    except OSError as error:
        print(type(error).__name__)
"""
    try:
        async with await walls.sandbox.open(walls.world) as opened:
            ended = await opened.run((python_inside(), "-c", script, str(victim.pid)))
            assert ended.exit == 0, ended
            assert (await opened.run(("/bin/true",))).exit == 0
        assert victim.poll() is None
    finally:
        stop(victim)


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3):
            os.close(number)
        open("alive", "w").close()
        while True:
            time.sleep(0.01)
    os._exit(0)
while not os.path.exists("alive"):
    time.sleep(0.01)
"""


async def test_daemons_end_with_their_command(walls: Walls):
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    async with await walls.sandbox.open(walls.world) as opened:
        ended = await opened.run((python_inside(), "-c", DAEMON, mark))
        assert ended.exit == 0, ended
        assert not named(mark)
    assert "1 processes left running were ended" in ended.refused


async def test_nothing_is_inherited(walls: Walls):
    script = """
import os
print(sorted(int(name) for name in os.listdir("/proc/self/fd")), os.readlink("/proc/self/fd/0"))
for number in range(3, 64):
    try:
        os.write(number, b"x")
        print("ESCAPED", number)
    except OSError:
        pass
"""
    with (walls.place.path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        ended = await walls.attack(script)
    assert ended.stdout == b"[0, 1, 2, 3] /dev/null\n"


async def test_no_core_is_left(walls: Walls):
    ended = await walls.attack("import os, resource; os.abort()")
    assert ended.exit == -signal.SIGABRT
    assert list(walls.changes.iterdir()) == []


@pytest.mark.parametrize("cwd", ["..", "../..", "/", "a/../../b", "/usr"])
async def test_cwd_stays_inside(walls: Walls, cwd: str):
    with pytest.raises(Misuse, match="leads out"):
        await walls.run("/bin/true", cwd=cwd)


@pytest.mark.parametrize("path", ["/proc", "/proc/1", "/dev", "/dev/shm"])
async def test_what_the_sandbox_has_of_its_own_is_never_the_hosts(walls: Walls, path: str) -> None:
    with pytest.raises(Misuse, match="of its own"):
        await walls.run("/bin/true", readable=(path,))


async def test_cwd_through_a_symlink_is_still_behind_the_walls(walls: Walls):
    (walls.place.path / "base/out").symlink_to(walls.place.path)
    (walls.place.path / "base/usr").symlink_to("/usr")
    assert (await walls.run("/bin/pwd", cwd="out")).exit == 126 + 1
    assert (await walls.run("/bin/pwd", cwd="usr")).stdout == b"/usr\n"


# ---- network -----------------------------------------------------------------------------------


class Listener:
    """A real server of the host, which counts who comes."""

    def __init__(self, family: int, address: object) -> None:
        self.socket = socket.socket(family)
        self.socket.bind(address)  # pyright: ignore[reportArgumentType]  # of any family
        self.socket.listen()
        self.came = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.came += 1
            with client:
                client.sendall(b"hello")

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


CONNECT = """
import socket, sys
kind, address = sys.argv[1:]
family, place = (socket.AF_INET, ("127.0.0.1", int(address))) if kind == "tcp" else (
    socket.AF_UNIX, address.replace("@", "\\0"))
with socket.socket(family) as client:
    client.settimeout(20)
    try:
        client.connect(place)
        print("ESCAPED", client.recv(5))
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("kind", ["tcp", "abstract", "path"])
async def test_the_host_s_servers_are_not_reached(walls: Walls, kind: str):
    path = (
        str(walls.place.path / "server")
        if kind == "path"
        else f"@holdfast-{os.getpid()}-{id(walls)}"
    )
    if kind == "tcp":
        listener = Listener(socket.AF_INET, ("127.0.0.1", 0))
        address: str = str(listener.socket.getsockname()[1])
    else:
        listener = Listener(socket.AF_UNIX, path.replace("@", "\0"))
        address = path
    try:
        assert ESCAPED in unwalled(CONNECT, kind, address)
        before = listener.came
        ended = await walls.attack(CONNECT, kind, address)
        assert ended.exit == 0, ended
        assert listener.came == before
    finally:
        listener.close()


async def test_a_server_is_not_reached_through_a_readable_path(walls: Walls):
    place = walls.place.path / "outer"
    place.mkdir()
    listener = Listener(socket.AF_UNIX, str(place / "server"))
    try:
        for path in (place, place / "server"):
            with pytest.raises(Misuse, match="socket"):
                await walls.run("/bin/true", readable=(str(path),))
        assert listener.came == 0
    finally:
        listener.close()


async def test_no_names_and_no_datagrams(walls: Walls):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        script = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    for host in ("127.0.0.1", "10.0.0.1", "8.8.8.8"):
        try:
            client.sendto(b"x", (host, int(sys.argv[1])))
            print("sent", host)
        except OSError as error:
            print(host, error)
try:
    print("ESCAPED", socket.getaddrinfo("example.org", 80))
except OSError as error:
    print(error)
"""
        ended = await walls.attack(script, server.getsockname()[1])
        assert ended.exit == 0, ended
        with pytest.raises(BlockingIOError):
            server.recv(1)


async def test_sockets_that_no_namespace_divides(walls: Walls):
    script = """
import errno, socket
for family in (40, 17, 38, 31, 15):  # vsock, packet, alg, bluetooth, key
    try:
        socket.socket(family, 3 if family == 17 else 1)
        print("ESCAPED", family)
    except OSError as error:
        assert error.errno == errno.EAFNOSUPPORT, error
"""
    ended = await walls.attack(script)
    assert ended.exit == 0, ended
    assert {"socket of family 40", "socket of family 17"} <= set(ended.refused)


# ---- too much of something ---------------------------------------------------------------------


async def test_a_fork_bomb_stays_small(walls: Walls):
    script = """
import os, signal, time
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            time.sleep(600)
        made += 1
    print("ESCAPED")
except BlockingIOError:
    print(made, flush=True)
time.sleep(600)
"""
    ended = await walls.attack(script, limits=Limits(seconds=2, processes=20))
    assert int(ended.stdout) <= 20
    assert ended.limit == "processes"


async def test_a_wild_fork_bomb_ends(walls: Walls):
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    script = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    ended = await walls.attack(script, mark, limits=Limits(seconds=1, processes=40))
    assert ended.exit == -signal.SIGKILL
    assert ended.limit in ("time", "processes")
    assert not named(mark)


async def test_filling_the_disk(walls: Walls):
    script = """
import time
number = 0
while True:
    with open(f"file{number}", "wb") as file:
        file.write(bytes(1 << 20))
    number += 1
    time.sleep(0.002)
"""
    ended = await walls.attack(script, limits=Limits(seconds=60, disk_bytes=20 << 20))
    assert (ended.exit, ended.limit) == (-signal.SIGKILL, "disk")


@pytest.mark.parametrize("make", ["open(f'x{n}', 'w').close()", "os.mkdir(f'x{n}')"])
async def test_filling_the_disk_with_empty_names(walls: Walls, make: str):
    script = f"import itertools, os\nfor n in itertools.count():\n    {make}"
    ended = await walls.attack(script, limits=Limits(seconds=60, disk_bytes=1 << 20))
    assert (ended.exit, ended.limit) == (-signal.SIGKILL, "disk")


async def test_a_tree_deeper_than_any_stack(walls: Walls):
    script = """
import os, time
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
print("made", flush=True)
time.sleep(600)
"""
    ended = await walls.attack(script, limits=Limits(seconds=60))
    assert (ended.exit, ended.limit) == (-signal.SIGKILL, "disk")
    _flatten(walls.changes)


def _flatten(top: Path) -> None:
    """Remove a chain of directories that is too deep for rmtree."""
    chain = top / "d"
    while (chain / "d").exists():
        (chain / "d").rename(top / "next")
        chain.rmdir()
        (top / "next").rename(chain)


async def test_filling_memory_through_tmp(walls: Walls):
    script = """
import errno
for place in ("/tmp/x", "/dev/shm/x"):
    try:
        with open(place, "wb") as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
        print("ESCAPED")
    except OSError as error:
        assert error.errno == errno.ENOSPC
"""
    ended = await walls.attack(script, limits=Limits(seconds=60, disk_bytes=20 << 20))
    assert ended.exit == 0, ended


async def test_one_huge_file(walls: Walls):
    script = """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
with open("huge", "wb") as file:
    file.truncate(1 << 40)
print("ESCAPED")
"""
    ended = await walls.attack(script, limits=Limits(file_bytes=1 << 20))
    assert (ended.exit, ended.limit) == (-signal.SIGXFSZ, "file")


async def test_a_memory_bomb(walls: Walls):
    ended = await walls.attack(
        "x = bytearray(1 << 30); print('ESCAPED')", limits=Limits(memory_bytes=200 << 20)
    )
    assert ended.exit != 0


async def test_a_memory_bomb_of_many(walls: Walls):
    script = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        x = bytearray(os.urandom(1 << 20)) * 80
        time.sleep(600)
os.wait()
"""
    ended = await walls.attack(script, limits=Limits(seconds=60, memory_bytes=200 << 20))
    assert ended.limit == "memory"


async def test_processor_time(walls: Walls):
    ended = await walls.attack("while True: pass", limits=Limits(seconds=60, cpu_seconds=0.3))
    assert ended.limit == "cpu"
    assert ended.exit in (-signal.SIGKILL, -signal.SIGXCPU)


async def test_wall_clock_time(walls: Walls):
    ended = await walls.attack("input()\nimport time; time.sleep(600)", limits=Limits(seconds=1))
    assert ended.exit != 0
    ended = await walls.attack("import time; time.sleep(600)", limits=Limits(seconds=0.3))
    assert (ended.exit, ended.limit) == (-signal.SIGKILL, "time")


async def test_a_flood_of_output(walls: Walls):
    script = "import sys\nfor _ in range(200): sys.stdout.write('x' * 100_000)"
    ended = await walls.attack(script, limits=Limits(output_bytes=10_000))
    assert ended.limit == "output"
    assert ended.cut == 200 * 100_000 - 10_000
    assert b"bytes cut" in ended.stdout


# ---- without namespaces ------------------------------------------------------------------------


async def test_landlock_alone_holds_files(lower: Walls):
    link = lower.place.path / "folder/out"
    link.symlink_to(lower.place.secret)
    lower.place.own()
    assert ESCAPED in unwalled(READ, link)
    dots = "../" * 20 + str(lower.place.secret)[1:]
    ended = await lower.attack(
        READ, "out", dots, lower.place.secret, "/etc/shadow", "/proc/1/environ",
        f"/proc/{os.getpid()}/environ", f"/proc/self/root{lower.place.secret}",
    )  # fmt: skip
    assert ended.exit == 0, ended
    script = """
import os
for path in ("/tmp/x", "/usr/x", "../x", "/dev/shm/x"):
    try:
        open(path, "w")
        print("ESCAPED", path)
    except OSError as error:
        print(path, error)
open("inside", "w").close()
"""
    await lower.attack(script)
    assert (lower.place.path / "folder/inside").exists()


async def test_landlock_alone_has_a_scratch_directory_for_each_command(lower: Walls):
    """INVARIANT S6."""
    script = """
import os, pathlib, shutil, tempfile
home = pathlib.Path.home()
assert os.listdir(home) == [] and os.listdir(tempfile.gettempdir()) == ["home"]
(home / "left").write_text("secret")
tempfile.mkstemp()
shutil.copy2("given.txt", tempfile.gettempdir())
os.chdir(home)
for _ in range(150):
    os.mkdir("d")
    os.chdir("d")
os.mkdir("closed", 0)
print(tempfile.gettempdir())
"""
    async with await lower.sandbox.open(lower.world) as opened:
        for _ in range(2):
            ended = await opened.run((python_inside(), "-c", script))
            assert ended.exit == 0, ended
            assert not os.path.exists(ended.stdout.strip())  # noqa: ASYNC240, PTH110


async def test_landlock_alone_changes_no_attributes_outside(lower: Walls):
    script = """
import errno, os, sys
for path in sys.argv[1:]:
    try:
        os.setxattr(path, "user.x", b"x")
        print("ESCAPED")
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP, error
"""
    ended = await lower.attack(script, lower.place.secret)
    assert ended.exit == 0, ended


async def test_landlock_alone_shows_nothing_that_is_hidden(lower: Walls):
    """INVARIANT S5: Landlock cannot take away what it has granted above, so it is refused."""
    outer = lower.place.path / "outer"
    (outer / "store").mkdir(parents=True)
    with pytest.raises(Misuse, match="cannot hide"):
        await lower.run("/bin/true", readable=(str(outer),), hidden=(str(outer / "store"),))
    with pytest.raises(Misuse, match="cannot hide"):
        await lower.run("/bin/true", hidden=("/usr/share",))
    assert (await lower.run("/bin/true", hidden=(str(lower.place.path),))).exit == 0


@pytest.mark.parametrize("kind", ["tcp", "abstract"])
async def test_landlock_alone_holds_the_network(lower: Walls, kind: str):
    if kind == "tcp":
        listener = Listener(socket.AF_INET, ("127.0.0.1", 0))
        address: str = str(listener.socket.getsockname()[1])
    else:
        address = f"@holdfast-{os.getpid()}-{id(lower)}"
        listener = Listener(socket.AF_UNIX, address.replace("@", "\0"))
    try:
        assert ESCAPED in unwalled(CONNECT, kind, address)
        before = listener.came
        ended = await lower.attack(CONNECT, kind, address)
        assert any("socket" in text for text in ended.refused)
        assert listener.came == before
    finally:
        listener.close()


async def test_landlock_alone_leaves_no_process(lower: Walls):
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    ended = await lower.run(python_inside(), "-c", DAEMON, mark)
    assert ended.exit == 0, ended
    assert ended.tier == "landlock"
    assert not named(mark)


async def test_nothing_survives_the_one_who_asked(walls: Walls):
    """INVARIANT S4: a killed client leaves nothing running."""
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    program = f"""
import asyncio, sys
from holdfast.sandbox import Folder, Sandbox, Spec
async def main():
    async with Sandbox() as sandbox:
        command = ({python_inside()!r}, "-c", "import time; time.sleep(600)", {mark!r})
        await sandbox.run(Spec(command, {walls.place.folder!r}))
asyncio.run(main())
"""
    if walls.place.user is not None:
        pytest.skip("the same as root's: the helper is told by its socket")
    client = start(sys.executable, "-c", program)
    try:
        await until(lambda: named(mark) or client.poll() is not None)
        assert client.poll() is None
    finally:
        stop(client)
    await until(lambda: not named(mark))
