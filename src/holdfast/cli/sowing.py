"""Seeded cases in the queue: made when somebody looks at it, if the policy wants some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.cli.desk import Desk
from holdfast.engine.inbox import sow
from holdfast.engine.seeding import Sowing
from holdfast.values.ports import SystemDice


def sower(desk: Desk, store: Any, policy: str = "") -> Callable[[], Awaitable[None]] | None:
    """What puts seeded cases into the queue of a store, under the file ``policy`` ("": the one that
    the settings name); None if that policy wants none. `Misuse` if it, or a case, is wrong."""
    from holdfast.gate import load_policy_file
    from holdfast.gate.files import known_bad

    path = policy or desk.settings.policy
    if not path:
        return None
    found = load_policy_file(path)
    if not found.review.seeded:
        return None
    sowing, dice = Sowing(found, known_bad(path)), SystemDice()

    async def go() -> None:
        await sow(store, sowing, now_ms=desk.now_ms(), dice=dice)

    return go
