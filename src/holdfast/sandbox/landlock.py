"""Landlock: which files a process and its children may touch, whatever else they could.

Every right that this kernel's version of Landlock knows is handled, so that what is not granted is
refused; older kernels know fewer and hold less.
"""

from __future__ import annotations

import functools
import os
import stat
import struct

from holdfast.sandbox import calls

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_MAKE_DEVICES = 1 << 6 | 1 << 11

READ = _READ_FILE | _READ_DIR
RUN = READ | _EXECUTE
DEVICE = _READ_FILE | _WRITE_FILE | _READ_DIR | _IOCTL_DEV
WRITE = 0x1FFF & ~_MAKE_DEVICES | _REFER | _TRUNCATE
"""Everything below a directory but device nodes and their controls."""


@functools.cache
def version() -> int:
    """Landlock's version in this kernel; 0 if there is none, or it is switched off."""
    try:
        return calls.call("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


def _handled() -> int:
    rights = 0x1FFF
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        rights |= right if version() >= since else 0
    return rights


def ruleset(*, network: bool) -> int:
    """A descriptor of a ruleset that grants nothing yet. Without ``network`` no TCP port may be
    bound nor reached."""
    found = version()
    attributes = struct.pack("QQQ", _handled(), 0 if network else 3, 3)  # scopes: sockets, signals
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    return calls.call("landlock_create_ruleset", attributes[:size], size, 0)


def grant(rules: int, grants: list[tuple[str, int]]) -> None:
    """Add rights beneath paths to a ruleset; paths that do not exist are left out."""
    handled = _handled()
    for path, granted in grants:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            known = handled if stat.S_ISDIR(os.fstat(place).st_mode) else handled & _OF_FILES
            calls.call("landlock_add_rule", rules, 1, struct.pack("=Qi", granted & known, place), 0)
        finally:
            os.close(place)


def enter(rules: int) -> None:
    """Restrict this process and its children; it must not be able to gain privileges."""
    calls.call("landlock_restrict_self", rules, 0)
