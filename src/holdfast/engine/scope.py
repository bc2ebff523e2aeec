"""Where code runs: inside which run and lane, and inside which tool call.

Two context variables, and nothing else, connect plain functions with the engine.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from holdfast.values import limits
from holdfast.values.canon import digest
from holdfast.values.errors import Misuse
from holdfast.world import Stage

_adding = threading.Lock()


class Lane:
    """One task of a run: it numbers its steps and the tasks it spawns, in the order it makes them.

    INVARIANT E1: a step's key is the path of its lane plus a counter, whatever the timing:
    "3.2" is the second step of the task that was the third thing the program's main task made.

    ``branch``: the branch of the world that it is on, "" for the run's own; ``transaction``: the
    innermost one that it is in. Tasks that it makes begin with the same.
    """

    __slots__ = ("branch", "count", "path", "run", "transaction")

    def __init__(self, run: RunScope, path: str, branch: str = "", transaction: Any = None) -> None:
        self.run = run
        self.path = path
        self.count = 0
        self.branch = branch
        self.transaction = transaction

    def next(self) -> str:
        """The key of the next step or task."""
        self.count += 1
        return f"{self.path}{self.count}"


class RunScope(Protocol):
    """What plain functions see of the run they are inside of."""

    id: str

    def call(self, tool: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Take a step that calls a tool."""
        ...


class Call:
    """One performance of a tool: what the tool's own code may ask about it.

    ``stage`` and ``root``: the world before; a tool with effect ``world`` assigns the new root.
    ``caches``: a directory for what may be deleted at any time ("" = none). ``epoch``: of the
    lease under which this is performed; another process has another one. ``root_at(step)``: the
    root after an earlier step of the run. ``usage``: what the tool told that it used, by unit.
    """

    __slots__ = (
        "_args",
        "_root",
        "attempt",
        "caches",
        "epoch",
        "key",
        "looked",
        "root_at",
        "run",
        "saw",
        "stage",
        "usage",
    )

    def __init__(
        self,
        run: str,
        key: str,
        args: bytes,
        *,
        attempt: int,
        stage: Stage,
        root: str,
        caches: str,
        epoch: int,
        root_at: Callable[[str], str],
        usage: dict[str, float] | None = None,
    ) -> None:
        self.run = run
        self.key = key
        self._args = args
        self.attempt = attempt
        self.stage = stage
        self._root = root
        self.looked = False
        self.saw = root
        self.caches = caches
        self.epoch = epoch
        self.root_at = root_at
        self.usage: dict[str, float] = {} if usage is None else usage

    def spend(self, amounts: Mapping[str, float]) -> None:
        """Add to what this call has used; `Misuse` for what is no amount. From any thread."""
        for unit, amount in amounts.items():
            plain = type(amount) in (int, float) and math.isfinite(amount) and amount >= 0
            if not plain or amount > limits.CHARGE_MAX_UNITS:
                raise Misuse(f"holdfast.spent({unit}={amount!r}): say a number from 0 on")
        with _adding:
            if len(self.usage.keys() | amounts.keys()) > limits.USAGE_MAX_ITEMS:
                raise Misuse(f"holdfast.spent(): at most {limits.USAGE_MAX_ITEMS} units")
            for unit, amount in amounts.items():
                self.usage[unit] = self.usage.get(unit, 0) + amount

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of the same action at the same step of the same run; another
        in a fork. 32 hex digits."""
        return digest(f"{self.run} {self.key} {digest(self._args)}".encode())[:32]

    @property
    def root(self) -> str:
        """The root of the world; reading it is noted, for the outcome then depends on it."""
        self.looked = True
        return self._root

    @root.setter
    def root(self, root: str) -> None:
        self._root = root


lane: ContextVar[Lane | None] = ContextVar("holdfast_lane", default=None)
"""The lane of the agent code that is running, None outside a run."""

counted: ContextVar[str] = ContextVar("holdfast_counted", default="")
"""What the keys of calls begin with that a guest counts by name: see `holdfast.engine.guest`."""

call: ContextVar[Call | None] = ContextVar("holdfast_call", default=None)
"""The tool call that is being performed, None outside one."""


guest: ContextVar[Any] = ContextVar("holdfast_guest", default=None)
"""The guest (`holdfast.engine.guest`) that the code that is running belongs to, or None."""


def current_run() -> Any:
    """The run whose agent code is executing, or None."""
    here = lane.get()
    return None if here is None else here.run


def world_call() -> Call:
    """The call that a tool of the world serves; `Misuse` outside of a run."""
    found = call.get()
    if found is None:
        raise Misuse("world tools work inside a run only: start the agent with a runtime")
    return found
