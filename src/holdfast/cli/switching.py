"""What persons stopped: reading it from a store, and adding to it."""

from __future__ import annotations

from typing import Any

from holdfast.cli.desk import Desk
from holdfast.engine.switching import hear_switches
from holdfast.gate.switches import Switchboard, is_switch_name
from holdfast.journal.events import Draft, SignalReceived
from holdfast.journal.record import KILL, LIFT, SWITCHES, keep_record
from holdfast.journal.store import Batch, Store
from holdfast.values import limits
from holdfast.values.canon import Blobs, pack
from holdfast.values.errors import Misuse
from holdfast.values.ids import new_id
from holdfast.values.ports import SystemDice


async def board(store: Store) -> Switchboard:
    """What is stopped now."""
    return await hear_switches(store, Switchboard())


async def throw(desk: Desk, store: Any, what: str, name: str, reason: str, lift: bool) -> None:
    """Stop something, or let it go on; `Misuse` for a name that is none, or was not stopped."""
    if not is_switch_name(name):
        raise Misuse(f"{name!r}: is no name and no glob (only '*' and '?' are special)")
    if len(reason) > limits.POLICY_TEXT_CHARS:
        raise Misuse(f"a reason has at most {limits.POLICY_TEXT_CHARS} characters")
    if lift and (what, name) not in (await board(store)).switches:
        raise Misuse(f"{what} {name!r} is not stopped; `holdfast kill --list` shows what is")
    token = new_id(SystemDice(), chars=26)
    await keep_record(store, SWITCHES, desk.now_ms(), token)
    blobs: Blobs = {}
    value = pack({"what": what, "name": name, "reason": reason}, blobs)
    body = SignalReceived(LIFT if lift else KILL, token=token, by=desk.user)
    await store.append((Batch(SWITCHES, (Draft(body, desk.now_ms(), value=value),)),), blobs)
