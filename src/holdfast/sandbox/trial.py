"""Trying, in a fresh process, each thing that walls are made of; see `probe`.

Prints one JSON object: a name, and "" or what was seen, or "!" and the error.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable

from holdfast.sandbox import calls, cgroup, forker, landlock, root, syscalls

_FICLONE = 0x40049409


def main(place: str) -> None:
    """Try everything on the file system of ``place``, an empty directory."""
    seen = {
        "landlock": f"version {landlock.version()}"
        if landlock.version()
        else "!not in this kernel",
        "seccomp": "" if syscalls.available() else "!no filters with a listener here",
        "control groups": _groups(),
        "reflink": _tried(lambda: _reflink(place)),
    }
    names = -1
    if os.geteuid() == 0:
        names = forker.mapping(forker.NOBODY)
        seen["mapped mounts"] = _tried(lambda: _mapped(place, names))
    seen["user namespaces"] = _in_child(lambda: calls.unshare(calls.CLONE_NEWUSER))
    seen["mounts"] = _in_child(_walls)
    seen["overlay"] = _in_child(lambda: _overlay(place))
    sys.stdout.write(json.dumps(seen))


def _tried(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except OSError as error:
        return f"!{error.strerror or error}"
    return ""


def _in_child(attempt: Callable[[], None]) -> str:
    """As `_tried`, in a process whose namespaces go with it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, _tried(attempt).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        said = file.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    return said if status == 0 else "!the trial died"


def _groups() -> str:
    above = cgroup.parents()
    if "memory" not in above:
        return "!this process may not make any with a limit of memory"

    def attempt() -> None:
        cgroup.remove(cgroup.make(above))

    return _tried(attempt) or ", ".join(sorted(above))


def _reflink(place: str) -> None:
    source, target = f"{place}/reflink-a", f"{place}/reflink-b"
    with open(source, "w+b") as one, open(target, "wb") as other:
        one.write(bytes(4096))
        one.flush()
        fcntl.ioctl(other, _FICLONE, one.fileno())


def _mapped(place: str, names: int) -> None:
    if names < 0:
        raise OSError(0, "no user namespace to map by")
    tree = calls.open_tree(place)
    calls.set_mount(tree, "", calls.IDMAP, names=names)
    os.close(tree)


def _walls() -> None:
    """All namespaces at once, what sandboxes share, and a fresh /proc: containers may forbid it."""
    forker.own_mounts(os.geteuid(), os.getegid())
    shelf = root.prepare()
    pid = calls.fork(calls.WALLS)
    if pid == 0:
        code = 255
        try:
            calls.mount("proc", f"{shelf}/etc", "proc", calls.MS_NOSUID | calls.MS_NODEV)
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, f"a fresh /proc in new namespaces: {os.strerror(code)}")


def _overlay(place: str) -> None:
    forker.own_mounts(os.geteuid(), os.getegid())
    for name in ("lower", "upper", "work", "seen"):
        os.mkdir(f"{place}/{name}")
    options = f"userxattr,lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    calls.mount("overlay", f"{place}/seen", "overlay", 0, options)
    with open(f"{place}/seen/file", "xb"):
        pass
    calls.unmount(f"{place}/seen")
    os.chmod(f"{place}/work/work", 0o700)
