"""The file system that a command sees: built from nothing in a new mount namespace.

INVARIANT S3: what is not put here is not there. What all commands see of the host is put together
once, in the helper (`prepare`). Each sandbox gets copies of these mounts (`system`) and builds from
them what no world changes (`begin`); its world and what else it may see come as detached trees
(`collect`), complete its root, and the old one goes (`finish`).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from holdfast.sandbox import calls

UID = 1000
"""User and group inside, whoever they are outside."""
HOME = "/tmp/home"  # noqa: S108 - the sandbox's own
_BASE = "/proc"  # a sandbox is built over it: every host has it, and it is not needed by then
_SHELVES = ("/sys/kernel", "/boot", "/srv", "/media")  # `prepare` covers one: no world lies there
_LAYERS = "../layers"  # beside the new root: gone with the old one
_SAFE = calls.NOSUID | calls.NODEV
_MOUNT_SAFE = calls.MS_NOSUID | calls.MS_NODEV
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


def prepare() -> str:
    """In the helper's own mount namespace: put together what every command sees of the host's
    programs, libraries and devices. Returns where."""
    shelf = next(place for place in _SHELVES if os.path.isdir(place))
    calls.mount("tmpfs", shelf, "tmpfs", _MOUNT_SAFE, "mode=755,size=16m")
    for name in ("etc", "dev/pts", "dev/shm"):
        os.makedirs(f"{shelf}/{name}")
    for name, target in _LINKS.items():
        os.symlink(target, f"{shelf}/{name}")
    for name, text in _ETC_OWN.items():
        with open(f"{shelf}/etc/{name}", "x", encoding="utf-8") as file:
            file.write(text)
    for name in (*_SYSTEM, *(f"etc/{name}" for name in _ETC)):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{shelf}/{name}")
        elif os.path.exists(f"/{name}"):
            _place(f"{shelf}/{name}", _take(f"/{name}", _SAFE | calls.RDONLY))
    for name in _DEVICES:
        _place(f"{shelf}/dev/{name}", _take(f"/dev/{name}", calls.NOSUID | calls.NOEXEC))
    return shelf


def system(shelf: str) -> Trees:
    """What a sandbox sees of the shelf, as copies."""
    trees: Trees = []
    try:
        for name in os.listdir(shelf):
            if not os.path.islink(f"{shelf}/{name}"):
                trees.append((name, calls.open_tree(f"{shelf}/{name}", deep=True)))
    except OSError:
        close(trees)
        raise
    return trees


def close(trees: Trees) -> None:
    """Let go of trees that somebody else has now."""
    for _, tree in trees:
        os.close(tree)


def collect(plan: dict[str, Any], names: int) -> Trees:
    """What this sandbox sees of the host beside the system: readable paths and its world.

    ``names`` is a user namespace that maps the owner of these to the user inside; -1: same user.
    """
    trees: Trees = []
    fixed = _SAFE | calls.RDONLY
    world = plan["world"]
    try:
        for path in sorted(plan["readable"]):
            trees.append((path, _take(path, fixed, names)))
        if "path" in world:
            trees.append((plan["at"], _take(world["path"], _SAFE, names)))
        else:
            for number, path in enumerate(world["lower"]):
                trees.append((f"{_LAYERS}/{number}", _take(path, fixed, names)))
            trees.append((f"{_LAYERS}/upper", _take(_shared(world), _SAFE, names)))
    except OSError:
        close(trees)
        raise
    return trees


def _take(source: str, attributes: int, names: int = -1) -> int:
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
    return tree


def _shared(world: dict[str, Any]) -> str:
    """The directory above upper and work: overlayfs wants both in one mount."""
    return os.path.commonpath([os.path.dirname(world["upper"]), os.path.dirname(world["work"])])


# ---- in the new mount namespace ----------------------------------------------------------------


def begin(shelf: str, trees: Trees, *, mask: bool) -> None:
    """Make the new root, which is the working directory then, with all that no plan changes.

    ``mask``: for uid 0 outside, who may write the kernel's knobs even without a capability.
    """
    links = [(name, os.readlink(f"{shelf}/{name}")) for name in os.listdir(shelf)
             if os.path.islink(f"{shelf}/{name}")]  # fmt: skip
    calls.mount("tmpfs", _BASE, "tmpfs", _MOUNT_SAFE, "mode=755,size=1m")
    os.chdir(_BASE)
    os.mkdir("new")
    calls.mount("tmpfs", "new", "tmpfs", _MOUNT_SAFE, "mode=755,size=16m")
    os.chdir("new")
    for name, target in links:
        os.symlink(target, name)
    for name in ("proc", "tmp", "var", "run"):
        os.mkdir(name)
    os.symlink("/tmp", "var/tmp")  # noqa: S108 - the sandbox's own
    for target, tree in trees:
        _place(target, tree)
    options = "newinstance,ptmxmode=0666,mode=620"
    calls.mount("devpts", "dev/pts", "devpts", calls.MS_NOSUID | calls.MS_NOEXEC, options)
    calls.mount("proc", "proc", "proc", _MOUNT_SAFE | calls.MS_NOEXEC)
    if mask:
        _mask_proc()


def finish(plan: dict[str, Any], trees: Trees) -> int:
    """Complete the new root and move into it. Returns a descriptor of the directory that takes the
    changes of the world (the upper, or the folder), for measuring."""
    _scratch(plan)
    for target, tree in trees:
        _place(target.strip("/"), tree)
    changes = _open_world(plan)
    _hide(plan)
    calls.pivot(f"{_BASE}/new")
    calls.set_mount(-1, "/", calls.RDONLY | _SAFE)
    return changes


def keep(plan: dict[str, Any]) -> Trees:
    """Descriptors of what lies in /tmp but is not the sandbox's own, outermost only: names there
    belong to commands."""
    shown, own = (plan["at"], *plan["readable"]), "/tmp/"  # noqa: S108 - the sandbox's own
    targets = sorted(path for path in shown if path.startswith(own))
    outer = [one for one in targets
             if not any(one.startswith(f"{other}/") for other in targets)]  # fmt: skip
    flags = os.O_PATH | os.O_CLOEXEC
    return [(target, os.open(target, flags)) for target in dict.fromkeys(outer)]


def freshen(plan: dict[str, Any], kept: Trees) -> Trees:
    """An empty /tmp, home and /dev/shm, and nothing left of messages and shared memory.

    INVARIANT S6: no command finds what another left outside of the world.
    """
    trees = [(target, calls.open_tree(f"/proc/self/fd/{number}", deep=True))
             for target, number in kept]  # fmt: skip
    calls.unshare(calls.CLONE_NEWIPC)
    calls.unmount("/tmp")  # noqa: S108 - the sandbox's own
    calls.unmount("/dev/shm")  # noqa: S108
    _scratch(plan)
    for target, tree in trees:
        _place(target.strip("/"), tree)
    close(kept)
    return keep(plan)


def _scratch(plan: dict[str, Any]) -> None:
    options = f"mode=1777,size={plan['tmp_bytes']}"
    calls.mount("tmpfs", "tmp", "tmpfs", _MOUNT_SAFE, options)
    os.mkdir("tmp/home", 0o700)
    calls.mount("tmpfs", "dev/shm", "tmpfs", _MOUNT_SAFE | calls.MS_NOEXEC, options)


def _place(target: str, tree: int) -> None:
    """Attach a tree and let go of it; its mount point is made if nothing is there."""
    try:
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.makedirs(target, exist_ok=True)
        elif not os.path.lexists(target):
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        calls.attach(tree, target)
    finally:
        os.close(tree)


def _open_world(plan: dict[str, Any]) -> int:
    """Mount the overlay, if it is one."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    world, at = plan["world"], plan["at"].strip("/")
    if "path" in world:
        return os.open(at, flags)
    top = _shared(world)
    upper, work = (f"upper/{os.path.relpath(world[name], top)}" for name in ("upper", "work"))
    lower = ":".join(str(number) for number in range(len(world["lower"])))
    options = f"userxattr,volatile,lowerdir={lower},upperdir={upper},workdir={work}"
    os.makedirs(at, exist_ok=True)
    os.chdir(_LAYERS)
    calls.mount("overlay", f"../new/{at}", "overlay", _MOUNT_SAFE, options)
    # "volatile" spares every fsync: what a crash leaves of an upper is thrown away anyway. Its mark
    # would forbid the next mount of the same upper, which may well follow a clean end.
    os.unlink(f"{work}/work/incompat/volatile/dirty")
    os.rmdir(f"{work}/work/incompat/volatile")
    changes = os.open(upper, flags)
    os.chdir("../new")
    return changes


def shows(plan: dict[str, Any], path: str) -> list[tuple[str, str]]:
    """What is shown of the host at or above a directory: where it is seen, and where inside of that
    the directory would be."""
    world, at = plan["world"], plan["at"]
    layers = [world["path"]] if "path" in world else [*world["lower"], world["upper"]]
    shown = [(top, top) for top in (*seen(), *plan["readable"])] + [(top, at) for top in layers]
    return [
        (target, os.path.relpath(path, top))
        for top, target in shown
        if f"{path}/".startswith(f"{os.path.realpath(top)}/".replace("//", "/"))
    ]


def _hide(plan: dict[str, Any]) -> None:
    """Put an empty directory over each hidden one that would be seen."""
    for path in plan["hidden"]:
        for target, inner in shows(plan, path):
            top = target.strip("/")
            if not os.path.islink(top):  # a link of the system's: what it leads to is done itself
                _cover(top, os.path.normpath(f"{top}/{inner}"))


def _cover(top: str, place: str) -> None:
    while True:
        try:
            flags = _MOUNT_SAFE | calls.MS_NOEXEC | calls.MS_RDONLY
            calls.mount("tmpfs", place, "tmpfs", flags, "mode=555,size=4k")
            return
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return  # nothing is there
            if error.errno != errno.EACCES or place == top:
                raise
            place = os.path.dirname(place)  # which a command could not look into either


def _mask_proc() -> None:
    for name in _PROC_HIDDEN:
        if os.path.exists(f"proc/{name}"):
            _place(f"proc/{name}", _take("dev/null", _SAFE | calls.RDONLY))
    for name in _PROC_FIXED:
        if os.path.exists(f"proc/{name}"):
            _place(f"proc/{name}", _take(f"proc/{name}", _SAFE | calls.NOEXEC | calls.RDONLY))


# ---- without a root of its own -----------------------------------------------------------------


def seen() -> list[str]:
    """What a command sees of the host where it keeps the host's root (Landlock alone)."""
    return [f"/{name}" for name in (*_SYSTEM, *(f"etc/{name}" for name in _ETC))]


def device_paths() -> list[str]:
    """The devices it may use there."""
    return [f"/dev/{name}" for name in _DEVICES]
