"""What this user did here, kept in the user's own state directory: XDG_STATE_HOME/holdfast, or
~/.local/state/holdfast.

A store may come from anybody: a clone brings a .holdfast along. What its journal says of
directories to write to, commands to check with and what these may reach is believed only if this
user said so here: then a record of it lies in the state directory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from holdfast.values.canon import digest, encode
from holdfast.values.errors import Refused

_WRITING = "writing"
_SAID = "said"


def state_directory() -> Path:
    """The user's state directory, made if it is not there; `Refused` if others may write in it."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    found = base / "holdfast"
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = found.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise Refused(f"{found}: others may write there: chown and chmod 700 it, it must be yours")
    return found


def writing() -> Path:
    """The folder of what is being written into directories."""
    return state_directory() / _WRITING


def remember(store: Path, run: str, said: Any) -> None:
    """Note that this user said something (plain data) of a run of a store."""
    path = _path(store, run, said)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.touch(mode=0o600)


def remembers(store: Path, run: str, said: Any) -> bool:
    """Whether this user said exactly this."""
    # INVARIANT C12: what a journal says of directories, checks and reach is used only if the user
    # who merges said it here; a store that came from elsewhere names nothing.
    return _path(store, run, said).exists()


def _path(store: Path, run: str, said: Any) -> Path:
    name = digest(encode([str(store.resolve()), run, said]))
    return state_directory() / _SAID / name
