"""Directories that are gone when their process is: if it is killed, the next one sweeps them.

Each holds a file that its process keeps locked; the kernel lets go of that lock whatever happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from pathlib import Path

from holdfast.world.shelf import delete, real

_OWNER = ".owner"


class Temporary:
    """A new private directory, ``path``, until `close`. The prefix is for `sweep` to know it by."""

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        made = self.path / f"{_OWNER}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._owner = os.open(made, flags, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        made.rename(self.path / _OWNER)  # from here on it can be swept, and is locked

    def close(self) -> None:
        """Delete it with all that it holds."""
        delete(self.path)
        os.close(self._owner)


def sweep(prefix: str, parent: Path | None = None) -> int:
    """Delete what killed processes of this user left of such directories; how many."""
    count = 0
    place = Path(tempfile.gettempdir()) if parent is None else real(parent)
    with contextlib.suppress(OSError):
        for found in place.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                count += _bury(found)
    return count


def _bury(place: Path) -> bool:
    """Delete one, unless its process lives. OSError: it is not one, or not ours."""
    # INVARIANT W62: only a directory of this user that has such a file, which nobody holds locked,
    # is deleted: whatever else has a name like it is left alone.
    if not stat.S_ISDIR(place.lstat().st_mode) or place.lstat().st_uid != os.geteuid():
        return False
    opened = os.open(place / _OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return False
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        delete(place)
        return True
    finally:
        os.close(opened)
