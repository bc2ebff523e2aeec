"""Signing roots in the background of an open runtime, and handing them to second places.

It looks once a second; a step never waits for it. What a second place has not got stands in the
journal, so that nothing is lost when one fails: it is given all of it when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from holdfast.journal.signed import SignedRoot
from holdfast.stores.entries import Statement, newest_statement, statements
from holdfast.stores.keys import SigningKey
from holdfast.stores.notary import due, sign
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.witness import Witness
from holdfast.values import limits
from holdfast.values.errors import Conflict, HoldfastError
from holdfast.values.ports import Clock, Dice

_log = logging.getLogger("holdfast.audit")


def hand_over(store: SqliteStore, witness: Witness) -> int:
    """Give a second place all signed roots that it has not got; how many. A place that keeps none
    begins with the first root of the key that signs now. `Conflict` if it knows another history, or
    more than the store; `Outside` if it cannot be written."""
    known = witness.newest()  # before the store: what it knows now, the store knew already
    wrong = ahead(known, store.ask(newest_statement))
    if wrong:
        raise Conflict(f"{witness.place}: {wrong}")
    missing: list[Statement] = store.ask(
        lambda conn: statements(conn, known.size - 1 if known else -1)
    )
    roots = [one.signed for one in missing]
    if known is None:
        other = [at for at, signed in enumerate(roots) if signed.key != roots[-1].key]
        roots = roots[other[-1] + 1 :] if other else roots
    return witness.add(roots)


def ahead(known: SignedRoot | None, newest: Statement | None) -> str:
    """What is wrong if a second place keeps a root of more events than the store's ``newest``."""
    # INVARIANT J68: a store that was put back to an older state is told from one that is new
    size = newest.signed.size if newest else 0
    if known is None or known.size <= size:
        return ""
    return (
        f"is ahead of the store: it keeps a signed root of {known.size:,} events, the store's own "
        f"newest is of {size:,}: the store was put back or cut off; see `holdfast fsck "
        "--checkpoints`"
    )


class Signing:
    """Signs a store's roots from ``open`` to ``close``. ``troubles``: what is wrong with it now, by
    place ("" for signing itself); it is also logged, when it begins and when it is over."""

    def __init__(
        self,
        store: SqliteStore,
        key: SigningKey,
        witnesses: Sequence[Witness],
        *,
        policy: Callable[[], str],
        clock: Clock,
        dice: Dice,
    ) -> None:
        self.troubles: dict[str, str] = {}
        self._store = store
        self._key = key
        self._witnesses = witnesses
        self._policy = policy
        self._clock = clock
        self._dice = dice
        self._stop = asyncio.Event()
        self._again = dict.fromkeys((witness.place for witness in witnesses), 0)
        self._given = dict.fromkeys((witness.place for witness in witnesses), -1)
        self._beside: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin, on the running loop."""
        self._beside = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        """Sign what is left, hand it over, and stop."""
        self._stop.set()
        if self._beside is not None:
            await self._beside
        await self._once(last=True)

    async def _look(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), limits.SIGN_LOOK_SECONDS)
            if not self._stop.is_set():
                await self._once()

    async def _once(self, *, last: bool = False) -> None:
        """Sign if it is due, and give second places what they miss."""
        # INVARIANT J59: trouble with keys, disks or remotes is told, tried again, and stops no run
        try:
            found = await asyncio.to_thread(due, self._store, self._clock.now_ms())
            if found.count and (found.now or last):
                await sign(
                    self._store, self._key,
                    policy=self._policy(), clock=self._clock, dice=self._dice,
                )  # fmt: skip
            self._tell("", "")
        except Exception as error:  # noqa: BLE001 - J59
            self._tell("", _said(error))
            return
        await asyncio.to_thread(self._hand_over, last)

    def _hand_over(self, last: bool) -> None:
        size = due(self._store, 0).size
        for witness in self._witnesses:
            place, now = witness.place, self._clock.now_ms()
            if self._given[place] == size or (now < self._again[place] and not last):
                continue
            try:
                hand_over(self._store, witness)
            except Exception as error:  # noqa: BLE001 - J59
                self._again[place] = now + int(limits.WITNESS_RETRY_SECONDS * 1000)
                self._tell(place, _said(error))
            else:
                self._given[place] = size
                self._tell(place, "")

    def _tell(self, place: str, text: str) -> None:
        if self.troubles.get(place, "") == text:
            return
        if text:
            self.troubles[place] = text
            what = "a second place does not take signed roots" if place else "nothing is signed"
            _log.error("%s: %s", what, text)
        else:
            self.troubles.pop(place, None)
            _log.warning("%s: signed roots are kept again", place or "audit")


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, HoldfastError) else f"{type(error).__name__}: {error}"
