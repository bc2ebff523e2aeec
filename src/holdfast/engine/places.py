"""How many runs of an agent one process executes at once; the rest wait their turn."""

from __future__ import annotations

from collections import deque

from holdfast.engine.resident import Resident


class Places:
    """Places by agent, ``max_runs`` of each; first come, first served."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, deque[Resident]] = {}

    def enter(self, resident: Resident) -> None:
        """Begin the run now, or when a place is free."""
        program = resident.run.program
        if program.max_runs and self._taken.get(program.name, 0) >= program.max_runs:
            self._waiting.setdefault(program.name, deque()).append(resident)
        else:
            self._begin(resident)

    def _begin(self, resident: Resident) -> None:
        name = resident.run.program.name
        self._taken[name] = self._taken.get(name, 0) + 1
        resident.counted = True
        resident.begin()

    def leave(self, resident: Resident, *, next_may: bool) -> None:
        """The run left memory; the next one may begin, if ``next_may``."""
        name = resident.run.program.name
        waiting = self._waiting.get(name)
        if not resident.counted:
            if waiting and resident in waiting:
                waiting.remove(resident)
            return
        self._taken[name] -= 1
        if waiting and next_may:
            self._begin(waiting.popleft())
