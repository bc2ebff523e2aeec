"""Large files of copies shared by reflink, where the file system can (XFS, btrfs, bcachefs, ...).

A copy of a world costs what it holds; a clone costs nothing until it is changed. What was written
once is kept here under its hash as a clone of its own, which no command ever sees, and given to the
next copy. A cache of one boot: after a power cut nothing of what was not synced is trusted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.world import disk
from holdfast.world.index import boot_id
from holdfast.world.nodes import Entry
from holdfast.world.objects import Objects
from holdfast.world.shelf import real

_FICLONE = 0x40049409


class Clones:
    """The cache below ``place``. ``works``: whether files can be cloned there; None: nobody has
    tried yet. Methods may be called from any thread, and by several processes."""

    def __init__(self, place: Path) -> None:
        self._above = real(place)
        self._place = self._above / digest(boot_id().encode())[:8]
        self.works: bool | None = None

    def write(self, opened: int, objects: Objects, entry: Entry) -> None:
        """`disk.write`, by cloning if that can be."""
        if self.works is False or entry.size < limits.CLONE_MIN_BYTES:
            disk.write(opened, objects, entry)
            return
        kept = self._place / f"{entry.hash}{'c' if entry.chunked else ''}"
        if not self._take(kept, opened):
            disk.write(opened, objects, entry)
            self._keep(opened, kept)

    def _take(self, kept: Path, opened: int) -> bool:
        with contextlib.suppress(OSError):
            source = os.open(kept, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.utime(source)  # it was used
                fcntl.ioctl(opened, _FICLONE, source)
            finally:
                os.close(source)
            self.works = True
            return True
        return False

    def _keep(self, opened: int, kept: Path) -> None:
        """Keep a clone of what was written. INVARIANT W65: it has its name once it is whole."""
        draft = ""
        try:
            self._ready()
            number, draft = tempfile.mkstemp(prefix="new-", dir=self._place)
            try:
                fcntl.ioctl(number, _FICLONE, opened)
            finally:
                os.close(number)
            Path(draft).rename(kept)
            self.works = True
        except OSError:  # it is only a cache, and most file systems cannot
            self.works = self.works or False
            with contextlib.suppress(OSError):
                Path(draft).unlink()

    def _ready(self) -> None:
        """The directory, with room in it: the least recently used go first."""
        if not self._place.is_dir():
            shutil.rmtree(self._above, ignore_errors=True)  # of another boot
            self._place.mkdir(parents=True, mode=0o700, exist_ok=True)
        with os.scandir(self._place) as found:
            ages = sorted((one.stat().st_mtime_ns, one.stat().st_size, one.path) for one in found)
        held = sum(size for _, size, _ in ages)
        for _, size, path in ages:
            if held <= limits.CACHE_BYTES // 4:
                break
            with contextlib.suppress(OSError):
                Path(path).unlink()
            held -= size
