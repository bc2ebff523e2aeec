"""The file system that a command sees: built from nothing in a new mount namespace.

INVARIANT S3: what is not put here is not there. The host's directories come as detached trees
(`collect`), read-only but for the world; then the old root is let go (`build`).
"""

from __future__ import annotations

import os
import stat
from typing import Any

from holdfast.sandbox import calls

UID = 1000
"""User and group inside, whoever they are outside."""
HOME = "/tmp/home"  # noqa: S108 - the sandbox's own
_BASE = (
    "/proc"  # the new root is built over it: every host has it, and all is taken from it by then
)
_SAFE = calls.NOSUID | calls.NODEV
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "debian_version",
    "fonts", "inputrc", "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types", "os-release", "perl", "pki",
    "protocols", "services", "ssl", "terminfo",
)  # fmt: skip
_ETC_OWN = {
    "passwd": f"root:x:0:0::/:/bin/false\nagent:x:{UID}:{UID}::{HOME}:/bin/sh\n"
              "nobody:x:65534:65534::/:/bin/false\n",
    "group": f"root:x:0:\nagent:x:{UID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost holdfast\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"
                     "protocols: files\n",
    "resolv.conf": "# no name server: see HTTPS_PROXY\n",
    "hostname": "holdfast\n",
}  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "dev/fd": "/proc/self/fd", "dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2", "dev/ptmx": "pts/ptmx", "etc/mtab": "/proc/self/mounts",
}  # fmt: skip
_PROC_HIDDEN = ("kcore", "keys", "key-users", "kmsg", "kallsyms", "sysrq-trigger", "timer_list")
_PROC_FIXED = ("sys", "bus", "fs", "irq", "acpi", "scsi")

Trees = list[tuple[str, int]]
"""Where in the new root, and the detached mount that goes there."""


def system_trees() -> Trees:
    """What every command sees of the host: its programs, libraries and devices."""
    places = [name for name in _SYSTEM if os.path.isdir(f"/{name}")]
    places += [f"etc/{name}" for name in _ETC if os.path.exists(f"/etc/{name}")]
    trees = [_take(f"/{place}", place, _SAFE | calls.RDONLY) for place in places
             if not os.path.islink(f"/{place}")]  # fmt: skip
    quiet = calls.NOSUID | calls.NOEXEC
    return trees + [_take(f"/dev/{name}", f"dev/{name}", quiet) for name in _DEVICES]


def world_trees(plan: dict[str, Any], names: int) -> Trees:
    """What this command sees: readable paths and its world.

    ``names`` is a user namespace that maps the owner of these to the user inside; -1: same user.
    """
    fixed = _SAFE | calls.RDONLY
    trees = [_take(path, path, fixed, names) for path in sorted(plan["readable"])]
    world = plan["world"]
    if "path" in world:
        return [*trees, _take(world["path"], plan["at"], _SAFE, names)]
    layers = [_take(path, f".layers/{number}", fixed, names)
              for number, path in enumerate(world["lower"])]  # fmt: skip
    return [*trees, *layers, _take(_shared(world), ".layers/upper", _SAFE, names)]


def _take(source: str, target: str, attributes: int, names: int = -1) -> tuple[str, int]:
    deep = names < 0  # mounts below are taken too; a mapped tree is the world's own and has none
    tree = calls.open_tree(source, deep=deep)
    try:
        if names >= 0:
            calls.set_mount(tree, "", attributes | calls.IDMAP, names=names)
        else:
            calls.set_mount(tree, "", attributes, deep=True)
    except OSError as error:
        os.close(tree)
        raise OSError(error.errno, f"mount_setattr {source}: {error.strerror}") from None
    return target.strip("/"), tree


def _shared(world: dict[str, Any]) -> str:
    """The directory above upper and work: overlayfs wants both in one mount."""
    return os.path.commonpath([os.path.dirname(world["upper"]), os.path.dirname(world["work"])])


# ---- in the new mount namespace ----------------------------------------------------------------


def build(plan: dict[str, Any], trees: Trees) -> int:
    """Make the new root and move into it. Returns a descriptor of the directory that takes the
    changes of the world (the upper, or the folder), for measuring."""
    calls.mount("", "/", "", calls.MS_REC | calls.MS_PRIVATE)
    calls.mount("tmpfs", _BASE, "tmpfs", calls.MS_NOSUID | calls.MS_NODEV, "mode=755,size=16m")
    os.chdir(_BASE)
    _own_files()
    _scratch(plan["tmp_bytes"])
    for target, tree in trees:
        _place(target, tree)
    changes = _open_world(plan)
    _proc()
    calls.pivot(_BASE)
    calls.set_mount(-1, "/", calls.RDONLY | _SAFE)
    return changes


def _own_files() -> None:
    for name in ("etc", "dev/pts", "dev/shm", "proc", "tmp", "var", "run"):
        os.makedirs(name)
    os.symlink("/tmp", "var/tmp")  # noqa: S108 - the sandbox's own
    for name in (*_SYSTEM, *(f"etc/{name}" for name in _ETC)):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), name)
    for name, target in _LINKS.items():
        os.symlink(target, name)
    for name, text in _ETC_OWN.items():
        with open(f"etc/{name}", "x", encoding="utf-8") as file:
            file.write(text)


def _scratch(tmp_bytes: int) -> None:
    """Memory that goes with the sandbox: /tmp, /dev/shm, terminals."""
    flags = calls.MS_NOSUID | calls.MS_NODEV
    calls.mount("tmpfs", "tmp", "tmpfs", flags, f"mode=1777,size={tmp_bytes}")
    os.mkdir("tmp/home", 0o700)
    calls.mount("tmpfs", "dev/shm", "tmpfs", flags | calls.MS_NOEXEC, f"mode=1777,size={tmp_bytes}")
    options = "newinstance,ptmxmode=0666,mode=620"
    calls.mount("devpts", "dev/pts", "devpts", calls.MS_NOSUID | calls.MS_NOEXEC, options)


def _place(target: str, tree: int) -> None:
    """Attach a tree; its mount point is made if nothing is there."""
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    calls.attach(tree, target)
    os.close(tree)


def _open_world(plan: dict[str, Any]) -> int:
    """Mount the overlay, if it is one."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    world, at = plan["world"], plan["at"].strip("/")
    if "path" in world:
        return os.open(at, flags)
    top = _shared(world)
    upper, work = (
        os.path.join("upper", os.path.relpath(world[name], top)) for name in ("upper", "work")
    )
    os.makedirs(at, exist_ok=True)
    lower = ":".join(str(number) for number in range(len(world["lower"])))
    options = f"userxattr,volatile,lowerdir={lower},upperdir={upper},workdir={work}"
    os.chdir(".layers")
    try:
        calls.mount("overlay", f"../{at}", "overlay", calls.MS_NOSUID | calls.MS_NODEV, options)
        # "volatile" spares every fsync: what a crash leaves of an upper is thrown away anyway. Its
        # mark would forbid the next mount of the same upper, which may follow a clean end.
        os.unlink(f"{work}/work/incompat/volatile/dirty")
        os.rmdir(f"{work}/work/incompat/volatile")
        changes = os.open(upper, flags)
    finally:
        os.chdir("..")
    for name in os.listdir(".layers"):
        calls.unmount(f".layers/{name}")
        os.rmdir(f".layers/{name}")
    os.rmdir(".layers")
    return changes


def _proc() -> None:
    """The processes of this namespace, without what tells of or turns the kernel's knobs."""
    flags = calls.MS_NOSUID | calls.MS_NODEV | calls.MS_NOEXEC
    calls.mount("proc", "proc", "proc", flags)
    trees = [_take("dev/null", f"proc/{name}", _SAFE | calls.RDONLY) for name in _PROC_HIDDEN
             if os.path.exists(f"proc/{name}")]  # fmt: skip
    trees += [_take(f"proc/{name}", f"proc/{name}", _SAFE | calls.NOEXEC | calls.RDONLY)
              for name in _PROC_FIXED if os.path.exists(f"proc/{name}")]  # fmt: skip
    for target, tree in trees:
        _place(target, tree)


# ---- without a root of its own -----------------------------------------------------------------


def seen() -> list[str]:
    """What a command sees of the host where it keeps the host's root (Landlock alone)."""
    return [f"/{name}" for name in (*_SYSTEM, *(f"etc/{name}" for name in _ETC))]


def device_paths() -> list[str]:
    """The devices it may use there."""
    return [f"/dev/{name}" for name in _DEVICES]
