"""The current policy of a running process: it follows its files, without a restart."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from holdfast.gate import Policy, load_policy_file
from holdfast.gate.files import files_of
from holdfast.values import limits
from holdfast.values.errors import Misuse, NotFound
from holdfast.values.ports import Clock

_LOG = logging.getLogger("holdfast.policies")


class Policies:
    """A source of the policy at ``path``, a file or folder. Call it for the current one.

    It looks at the files when it is asked, at most once a second. A new version counts from the
    next action on, and its hash in the verdicts shows it. One that cannot be loaded is told once,
    with file and line, as a warning of the logger ``holdfast.policies``, and the old one stays.

    Raises `Misuse` or `NotFound` at once if there is nothing to begin with.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Clock) -> None:
        self._path = path
        self._now_ms = clock.now_ms
        self._marks = _marks(path)
        self._current = load_policy_file(path)
        self._looked_ms = clock.now_ms()

    def __call__(self) -> Policy:
        """The newest version that could be loaded."""
        now = self._now_ms()
        # a clock that was put back must not stop the looking
        if not 0 <= now - self._looked_ms < limits.POLICY_LOOK_MS:
            self._looked_ms = now
            self._look()
        return self._current

    def _look(self) -> None:
        # INVARIANT G14: a version that cannot be loaded whole changes nothing
        marks = _marks(self._path)
        if marks == self._marks:
            return
        self._marks = marks
        try:
            new = load_policy_file(self._path)
        except (Misuse, NotFound) as error:
            _LOG.warning("the new policy is not used, %s stays: %s", self._current.hash[:12], error)
            return
        if new != self._current:
            _LOG.info("policy %s instead of %s", new.hash[:12], self._current.hash[:12])
            self._current = new


def _marks(path: str | os.PathLike[str]) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file of the policy does; empty if it cannot be looked at."""
    try:
        return tuple(_mark(file) for file in files_of(path))
    except (OSError, Misuse, NotFound):
        return ()


def _mark(file: Path) -> tuple[str, int, int, int]:
    found = file.stat()
    return (str(file), found.st_mtime_ns, found.st_size, found.st_ino)
