"""What persons stopped: reading it from a store, and adding to it."""

from __future__ import annotations

from typing import Any

from holdfast.cli.desk import Desk
from holdfast.engine import switching
from holdfast.engine.switching import hear_switches
from holdfast.gate.switches import Switchboard
from holdfast.journal.store import Store
from holdfast.values.ids import new_id
from holdfast.values.ports import SystemDice


async def board(store: Store) -> Switchboard:
    """What is stopped now."""
    return await hear_switches(store, Switchboard())


async def throw(desk: Desk, store: Any, what: str, name: str, reason: str, lift: bool) -> None:
    """Stop something, or let it go on; `Misuse` for a name that is none, or was not stopped."""
    await switching.throw(
        store, what, name, by=desk.user, now_ms=desk.now_ms(),
        token=new_id(SystemDice(), chars=26), reason=reason, lift=lift,
    )  # fmt: skip
