"""Linux system calls that Python does not offer, as functions; no thought, only numbers.

The helper process loads this before it forks, so that a forked child allocates little and never
imports. Every function raises OSError with the name of the call.
"""

from __future__ import annotations

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] * 7

MACHINE = os.uname().machine
_OLD = {  # calls older than the common numbering: name to (x86_64, aarch64)
    "clone": (56, 220),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "sethostname": (170, 161),
    "unshare": (272, 97),
    "prctl": (157, 167),
    "capset": (126, 91),
    "seccomp": (317, 277),
}
_NEW = {
    "open_tree": 428, "move_mount": 429, "mount_setattr": 442, "landlock_create_ruleset": 444,
    "landlock_add_rule": 445, "landlock_restrict_self": 446,
}  # fmt: skip
_COLUMN = {"x86_64": 0, "aarch64": 1}
SUPPORTED = MACHINE in _COLUMN
_NUMBERS = _NEW | {name: row[_COLUMN.get(MACHINE, 0)] for name, row in _OLD.items()}

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 1 << 30
WALLS = (
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    | CLONE_NEWCGROUP
)  # fmt: skip
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_PRIVATE, MS_SLAVE = 0x4000, 1 << 18, 1 << 19
RDONLY, NOSUID, NODEV, NOEXEC, IDMAP = 1, 2, 4, 8, 0x100000  # of mount_setattr
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _MNT_DETACH = 1, 4, 2
_SIGCHLD = 17

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 1, 4, 24, 28
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
_CLEAR_ALL = 4  # of PR_CAP_AMBIENT
CAP_SYS_ADMIN = 1 << 21
_SECUREBITS = 0xEF  # noroot, no_setuid_fixup, no keep_caps, no ambient raise; each locked


def call(name: str, *args: int | bytes) -> int:
    """One system call; byte strings are passed as pointers to them."""
    kept = [ctypes.create_string_buffer(arg) if isinstance(arg, bytes) else arg for arg in args]
    values = [arg if isinstance(arg, int) else ctypes.addressof(arg) for arg in kept]
    result = _syscall(_NUMBERS[name], *values, *[0] * (6 - len(values)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def fork(flags: int = 0) -> int:
    """As ``os.fork``, with new namespaces; only for a process of one thread."""
    return call("clone", flags | _SIGCHLD, 0, 0, 0, 0)


def unshare(flags: int) -> None:
    """Move this process to new namespaces."""
    call("unshare", flags)


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    """``prctl(2)``."""
    return call("prctl", option, value, third, 0, 0)


# ---- mounts ----------------------------------------------------------------------------------


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """``mount(2)``; OSError names the target."""
    try:
        call("mount", _text(source), _text(target), _text(kind), flags, _text(options))
    except OSError as error:
        raise OSError(
            error.errno, f"mount {kind or source} at {target}: {error.strerror}"
        ) from None


def open_tree(path: str, *, deep: bool = False) -> int:
    """A detached copy of what is mounted at ``path``, as a descriptor."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if deep else 0)
    try:
        return call("open_tree", _AT_FDCWD, _text(path), flags)
    except OSError as error:
        raise OSError(error.errno, f"open_tree {path}: {error.strerror}") from None


def set_mount(tree: int, path: str, attributes: int, *, deep: bool = False, names: int = 0) -> None:
    """Set attributes of a mount and part it from its peers; ``names``: user namespace of IDMAP."""
    flags = (_AT_RECURSIVE if deep else 0) | (0 if path else _AT_EMPTY_PATH)
    private = 0 if path else MS_PRIVATE
    wanted = struct.pack("QQQQ", attributes, 0, private, names)
    call("mount_setattr", tree if tree >= 0 else _AT_FDCWD, _text(path), flags, wanted, len(wanted))


def attach(tree: int, target: str) -> None:
    """Mount a detached tree at ``target``."""
    try:
        call("move_mount", tree, b"", _AT_FDCWD, _text(target), _MOVE_MOUNT_F_EMPTY_PATH)
    except OSError as error:
        raise OSError(error.errno, f"move_mount to {target}: {error.strerror}") from None


def unmount(path: str) -> None:
    """Take a mount away, now from the tree and later, when it is idle, for good."""
    call("umount2", _text(path), _MNT_DETACH)


def pivot(root: str) -> None:
    """Make ``root`` the root directory and let the old one go."""
    os.chdir(root)
    call("pivot_root", b".", b".")
    call("umount2", b".", _MNT_DETACH)
    os.chdir("/")


def _text(path: str) -> bytes:
    return os.fsencode(path)


# ---- rights ----------------------------------------------------------------------------------


def drop_bounds() -> None:
    """Nothing that this process begins can ever gain a capability."""
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # the first number that this kernel does not know, or no right to drop


def drop_capabilities(kept: int = 0) -> None:
    """Give up every capability for good: ambient, permitted, and what root would get."""
    try:
        prctl(PR_SET_SECUREBITS, _SECUREBITS)
    except OSError:
        pass  # without the capability for it there is nothing to lock
    prctl(PR_CAP_AMBIENT, _CLEAR_ALL)
    call("capset", struct.pack("II", 0x20080522, 0), struct.pack("IIIIII", kept, kept, *bytes(4)))


def sethostname(name: str) -> None:
    """Name the machine of this uts namespace."""
    call("sethostname", _text(name), len(name))
