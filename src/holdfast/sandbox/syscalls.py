"""Which system calls a command may make: a seccomp filter, written by hand, for one command.

INVARIANT S2: the filter refuses by name what reaches the kernel's most dangerous or host-wide
parts, every call newer than this list, other architectures and x32; namespaces can neither be made
nor entered. What a program has no honest reason to try is *told*: the supervisor of the command
hears of it and answers with an error, so that it stands in `Ended.refused`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import struct

from holdfast.sandbox import calls

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LAST_KNOWN = 472
"""Calls with a higher number were added to the kernel after this list was written: ENOSYS."""

# name: (x86_64, aarch64); -1: does not exist there
_TOLD: dict[str, tuple[int, int]] = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_tree_attr": (467, 467), "unshare": (272, 97),
    "setns": (308, 268), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    "process_madvise": (440, 440), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "bpf": (321, 280), "perf_event_open": (298, 241),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "open_by_handle_at": (304, 265),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "sethostname": (170, 161), "setdomainname": (171, 162),
    "iopl": (172, -1), "ioperm": (173, -1), "syslog": (103, 116), "userfaultfd": (323, 282),
    "move_pages": (279, 239), "migrate_pages": (256, 238),
}  # fmt: skip
_QUIET: dict[str, tuple[int, int, int]] = {  # what honest programs try, and then do without
    "clone3": (435, 435, errno.ENOSYS),  # its flags lie in memory, where no filter sees them
    "io_uring_setup": (425, 425, errno.ENOSYS), "io_uring_enter": (426, 426, errno.ENOSYS),
    "io_uring_register": (427, 427, errno.ENOSYS), "adjtimex": (159, 171, errno.EPERM),
    "clock_adjtime": (305, 266, errno.EPERM), "fanotify_init": (300, 262, errno.EPERM),
    "name_to_handle_at": (303, 264, errno.EPERM), "vhangup": (153, 58, errno.EPERM),
    "lookup_dcookie": (212, 18, errno.ENOSYS), "nfsservctl": (180, 42, errno.ENOSYS),
    "modify_ldt": (154, -1, errno.ENOSYS), "uselib": (134, -1, errno.ENOSYS),
    "_sysctl": (156, -1, errno.ENOSYS), "sysfs": (139, -1, errno.ENOSYS),
}  # fmt: skip
_ATTRIBUTES = (  # of files that Landlock does not protect; builds take them for unsupported
    (188, 5), (189, 6), (190, 7), (197, 14), (198, 15), (199, 16), (463, 463), (466, 466),
    (469, 469),
)  # fmt: skip
_CLONE, _IOCTL, _SOCKET, _SOCKETPAIR = (56, 220), (16, 29), (41, 198), (53, 199)
_MKNOD, _MKNODAT = (133, -1), (259, 33)
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW flag that clone takes
_TERMINAL = {0x5412: "ioctl TIOCSTI", 0x541C: "ioctl TIOCLINUX"}  # typing into a terminal
_UNIX, _FAMILIES = 1, (1, 2, 10, 16)  # unix, IPv4, IPv6, netlink: what namespaces divide
_S_IFMT, _S_IFCHR, _S_IFBLK = 0o170000, 0o020000, 0o060000

_LOAD, _JEQ, _JGT, _JGE, _AND, _JSET, _RET = 0x20, 0x15, 0x25, 0x35, 0x54, 0x45, 0x06
_KILL, _ALLOW, _ERRNO, _NOTIFY = 0x80000000, 0x7FFF0000, 0x00050000, 0x7FC00000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_NOTE_BYTES, _COLUMN = 80, {"x86_64": 0, "aarch64": 1}.get(calls.MACHINE, 0)

_Step = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def _when(numbers: tuple[int, ...], steps: list[_Step]) -> list[_Step]:
    """``steps`` (which return or end with the number loaded again) for one system call."""
    number = numbers[_COLUMN]
    return [] if number < 0 else [(_JEQ, 0, len(steps), number), *steps]


def _argument(index: int) -> _Step:
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index)  # the low half: these arguments are 32 bits


@functools.cache
def program(*, told: bool, network: bool) -> bytes:
    """The filter as bytes of BPF.

    ``told``: refusals go to a listener (see `install`), else they are plain errors. Without
    ``network`` there are no sockets at all, only pairs: for walls without a network namespace.
    """
    tell: _Step = (_RET, 0, 0, _NOTIFY if told else _ERRNO | errno.EPERM)
    again: _Step = (_LOAD, 0, 0, _NUMBER_AT)
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JEQ, 1, 0, _ARCHITECTURE.get(calls.MACHINE, 0)),
        (_RET, 0, 0, _KILL),
        again,
    ]
    if calls.MACHINE == "x86_64":
        steps += [(_JGE, 0, 1, 0x40000000), (_RET, 0, 0, _KILL)]  # x32
    steps += [(_JGT, 0, 1, _LAST_KNOWN), (_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    for numbers in _TOLD.values():
        steps += _when(numbers, [tell])
    for *numbers, error in _QUIET.values():
        steps += _when(tuple(numbers), [(_RET, 0, 0, _ERRNO | error)])
    for numbers in () if network else _ATTRIBUTES:
        steps += _when(numbers, [(_RET, 0, 0, _ERRNO | errno.EOPNOTSUPP)])
    steps += _when(_CLONE, [_argument(0), (_JSET, 0, 1, _NEW_NAMESPACES), tell, again])
    typing: list[_Step] = [step for code in _TERMINAL for step in ((_JEQ, 0, 1, code), tell)]
    steps += _when(_IOCTL, [_argument(1), *typing, again])
    for numbers, index in ((_MKNOD, 1), (_MKNODAT, 2)):
        steps += _when(numbers, [
            _argument(index), (_AND, 0, 0, _S_IFMT), (_JEQ, 1, 0, _S_IFCHR),
            (_JEQ, 0, 1, _S_IFBLK), tell, again,
        ])  # fmt: skip
    families = _FAMILIES if network else ()
    for numbers, allowed in ((_SOCKET, families), (_SOCKETPAIR, (_UNIX,))):
        checks = [(_JEQ, len(allowed) - i, 0, k) for i, k in enumerate(allowed)]
        steps += _when(numbers, [_argument(0), *checks, tell, again])
    steps.append((_RET, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def install(filter_bytes: bytes, *, told: bool) -> int:
    """Filter this process and its children from now on; a listener's descriptor if ``told``."""
    code = ctypes.create_string_buffer(filter_bytes)
    head = struct.pack("HxxxxxxQ", len(filter_bytes) // 8, ctypes.addressof(code))
    return calls.call("seccomp", _SET_MODE_FILTER, _NEW_LISTENER if told else 0, head)


_NAMES = {numbers[_COLUMN]: name for name, numbers in _TOLD.items()} | {
    _CLONE[_COLUMN]: "clone of new namespaces", _MKNOD[_COLUMN]: "mknod of a device",
    _MKNODAT[_COLUMN]: "mknod of a device",
}  # fmt: skip


def answer(listener: int) -> str:
    """Take one call from the listener, refuse it, and say which it was ("": it is gone)."""
    note = bytearray(_NOTE_BYTES)
    try:
        fcntl.ioctl(listener, _RECEIVE, note, True)
        identity, number = struct.unpack_from("QxxxxxxxxI", note)
        arguments = struct.unpack_from("QQ", note, 32)
        error, name = _describe(number, arguments)
        fcntl.ioctl(listener, _ANSWER, struct.pack("QqiI", identity, 0, -error, 0))
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.EINTR):
            return ""  # the caller was killed meanwhile
        raise
    return name


def _describe(number: int, arguments: tuple[int, ...]) -> tuple[int, str]:
    first, second = (value & 0xFFFFFFFF for value in arguments)
    if number == _IOCTL[_COLUMN]:
        return errno.EPERM, _TERMINAL.get(second, "ioctl")
    if number in (_SOCKET[_COLUMN], _SOCKETPAIR[_COLUMN]):
        return errno.EAFNOSUPPORT, f"socket of family {first}"
    return errno.EPERM, _NAMES.get(number, f"system call {number}")


def available() -> bool:
    """Whether this kernel has filters with listeners, as this process may install them."""
    if calls.MACHINE not in _ARCHITECTURE:
        return False
    try:
        calls.call("seccomp", 2, 0, struct.pack("I", _NOTIFY))  # SECCOMP_GET_ACTION_AVAIL
    except OSError:
        return False
    return os.path.exists("/proc/sys/kernel/seccomp")
