"""Asking the policy engine outside, for commands that judge without a run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from holdfast.gate import Policy

PATIENCE = 3
"""Questions in a row without an answer after which it is asked no more: each may take its time."""


@contextmanager
def consulting(policy: Policy) -> Generator[Callable[[dict[str, Any]], bytes | str] | None]:
    """What asks the engine outside that a policy names; None if it names none."""
    engine = policy.engine
    if engine is None:
        yield None
        return
    from holdfast.adapters.opa import Opa

    opa, silent = Opa(), 0
    last: bytes | str = ""

    def ask(document: dict[str, Any]) -> bytes | str:
        nonlocal silent, last
        if silent < PATIENCE:
            last = opa.ask_now(engine, document)
            silent = silent + 1 if isinstance(last, str) else 0
        return last

    try:
        yield ask
    finally:
        opa.close()
