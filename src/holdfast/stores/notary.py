"""Signing a store's root: one signer at a time, from the file as it is, appended as an event."""

from __future__ import annotations

import asyncio

import msgspec

from holdfast.journal.events import CheckpointSigned, Draft
from holdfast.journal.merkle import Frontier, grow
from holdfast.journal.record import AUDIT, keep_record
from holdfast.journal.signed import SignedRoot, distrusted, signed_body, statement
from holdfast.journal.store import Batch
from holdfast.stores.entries import (
    Statement,
    entries,
    leaf_count,
    newest_statement,
    unsigned,
)
from holdfast.stores.keys import SigningKey, verify
from holdfast.stores.sqlite import SqliteStore
from holdfast.values import limits
from holdfast.values.errors import Corrupt, LeaseLost
from holdfast.values.ids import new_id
from holdfast.values.ports import Clock, Dice


class Due(msgspec.Struct, frozen=True):
    """How much no signed root covers, and whether it is time for one."""

    size: int
    count: int
    now: bool


def due(store: SqliteStore, now_ms: int) -> Due:
    """Whether a root is due: after many events, some seconds, an approval, a merge or an end."""
    last = store.ask(newest_statement)
    size = last.signed.size if last else 0
    left = store.ask(lambda conn: unsigned(conn, size))
    old = left.count > 0 and now_ms - left.oldest >= limits.SIGN_SECONDS * 1000
    return Due(size, left.count, left.urgent or left.count >= limits.SIGN_EVENTS or old)


async def sign(
    store: SqliteStore, key: SigningKey, *, policy: str, clock: Clock, dice: Dice
) -> SignedRoot | None:
    """Sign the root over all events and append that. None if nothing happened since the last one,
    or another process is signing. `Corrupt` if the last one does not fit the key or its tree."""
    first = await keep_record(store, AUDIT, clock.now_ms(), new_id(dice, chars=26))
    # INVARIANT J55: whoever signs holds the record's lease, so signed roots never branch
    try:
        epoch = await store.claim(AUDIT, store.name)
    except LeaseLost:
        return None
    try:
        body = await asyncio.to_thread(
            _compose, store, key, f"holdfast/{first[:16]}", policy, clock
        )
        if body is None:
            return None
        batch = Batch(AUDIT, (Draft(body, clock.now_ms()),), epoch=epoch)
        (event,) = await store.append((batch,), {})
        return signed_body(body, f"{AUDIT}#{event.pos}")
    except LeaseLost:
        return None
    finally:
        while not await store.release(AUDIT, epoch, (await store.head(AUDIT)).pos):
            if (await store.run(AUDIT)).epoch != epoch:
                break


def _compose(
    store: SqliteStore, key: SigningKey, origin: str, policy: str, clock: Clock
) -> CheckpointSigned | None:
    last = store.ask(newest_statement)
    before = last.signed.size if last else 0
    size = store.ask(leaf_count)
    if not store.ask(lambda conn: unsigned(conn, before)).count:
        return None
    frontier = _frontier(store, key, last)
    added = store.ask(lambda conn: list(entries(conn, store.path, before, size)))
    proof = grow(frontier, added)
    root, now = frontier.root().hex(), clock.now_ms()
    signature = key.sign(statement(origin, size, root, now, policy))
    return CheckpointSigned(
        root, key.public, signature, origin, size, now, policy, before,
        tuple(one.hex() for one in proof), tuple(one.hex() for one in frontier.peaks),
    )  # fmt: skip


def _frontier(store: SqliteStore, key: SigningKey, last: Statement | None) -> Frontier:
    """The tree as it was signed last: from its peaks if our own key signed it, else from events."""
    if last is None:
        return Frontier()
    signed = last.signed
    if signed.key == key.public:
        wrong = distrusted(signed, key.public, verify)
        frontier = Frontier()
        try:
            frontier = Frontier(signed.size, map(bytes.fromhex, last.peaks))
        except ValueError as error:
            wrong = wrong or str(error)
    else:
        wrong, frontier = "", Frontier()
        every = store.ask(lambda conn: list(entries(conn, store.path, 0, signed.size)))
        frontier.extend(every)
    if wrong or frontier.root().hex() != signed.root:
        why = wrong or "it does not fit the events"
        raise Corrupt(
            f"{store.path}: the last signed root, of {signed.size:,} events, is not sound ({why}): "
            "nothing more is signed; see `holdfast fsck --key`"
        )
    return frontier
