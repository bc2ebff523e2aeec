"""The stat index of a checkout: which root a directory stands for, and how its files looked then.

A cache. Missing, damaged, foreign or from before a reboot, it counts as absent, and the directory
is read again; it is never an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from holdfast.values.canon import decode, encode
from holdfast.values.errors import Corrupt
from holdfast.world.disk import Row, Sig
from holdfast.world.nodes import pack_entry, pack_name, unpack_entry, unpack_name

_FORM = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Index:
    """One index file, written atomically. ``path`` should be on the checkout's file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(path.name + ".new")

    def load(self) -> tuple[str, dict[str, Row]] | None:
        """The root and the rows, or None if there is no index to be trusted."""
        try:
            value = cast("dict[str, Any]", decode(self.path.read_bytes()))
            # after a power loss files may have lost bytes that their sizes and times still promise
            if value["form"] != _FORM or value["boot"] != boot_id():
                return None
            rows = {
                unpack_name(path): Row(unpack_entry(raw), _sig(sig))
                for path, raw, sig in value["rows"]
            }
            return str(value["root"]), rows
        except (OSError, Corrupt, ValueError, TypeError, KeyError, IndexError, AttributeError):
            return None

    def save(self, root: str, rows: dict[str, Row]) -> None:
        """Replace the index; OSError."""
        content = encode(
            {
                "form": _FORM,
                "boot": boot_id(),
                "root": root,
                "rows": [
                    [pack_name(path), pack_entry(row.entry), row.sig or ()]
                    for path, row in rows.items()
                ],
            }
        )
        self._draft.write_bytes(content)
        self._draft.replace(self.path)

    def forget(self) -> None:
        """Remove the index: until the next `save` nothing is known of the directory. OSError."""
        self.path.unlink(missing_ok=True)

    def now(self, directory: int) -> int:
        """The file system's own time in ns (0, which trusts nothing, if the index is on another).

        Taken from a file written now, since only the same clock and grain compare with ctimes.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._draft.write_bytes(b"?")
        found = self._draft.stat()
        self._draft.unlink()
        same = found.st_dev == os.fstat(directory).st_dev
        return min(found.st_ctime_ns, found.st_mtime_ns) if same else 0


def _sig(raw: Any) -> Sig | None:
    if not raw:
        return None
    inode, ctime, mtime, size = raw
    return (int(inode), int(ctime), int(mtime), int(size))


def boot_id() -> str:
    """Which start of this machine this is; "" if that cannot be known."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
