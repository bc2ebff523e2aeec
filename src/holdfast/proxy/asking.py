"""Asking the person at the client whether a call may happen, as one view of the queue."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from holdfast.engine.answers import answer, open_question
from holdfast.journal.store import Store
from holdfast.journal.views import Wait
from holdfast.proxy import eras, frames
from holdfast.proxy.call import Call
from holdfast.values.errors import Conflict, Expired, Misuse, Refused
from holdfast.values.masking import masked

WAYS = ("client", "inbox", "both")
"""Where a call that needs a person asks: the one at the client first, the inbox alone, or both at
once."""

_PLACE = re.compile(r"holdfast (?:approve|answer) ([^\s@`]+)@([^\s`]+)")
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]+")


class Asking:
    """Asks through the client or not (``way``), answers as ``by``; ``ring`` wakes what waits for
    it. ``both``: others may answer meanwhile."""

    def __init__(
        self,
        store: Store,
        *,
        way: str,
        by: str,
        now_ms: Callable[[], int],
        ring: Callable[[], None],
    ) -> None:
        if way not in WAYS:
            raise Misuse(f"--ask {way}: say {' or '.join(WAYS)}")
        self._store = store
        self._way = way
        self.both = way == "both"
        self._by = by
        self._now_ms = now_ms
        self._ring = ring

    def may(self, call: Call) -> bool:
        """Whether the person at the client is asked first."""
        return self._way != "inbox" and eras.elicits(call.who.capabilities)

    async def ask(self, call: Call, said: str) -> bool:
        """Ask about the step that waits (``said`` names it); whether it was decided here. What the
        policy does not let this person decide is left to the inbox."""
        found = _PLACE.search(said)
        if found is None:
            return False
        run, key = found[1], found[2].rpartition(":")[2]
        try:
            wait = open_question((await self._store.run(run)), key)
        except Misuse:
            return True  # it was decided meanwhile
        if wait.about != "action" or not self._may_answer(wait):
            return False
        try:
            given = (await call.ask({"holdfast": _form(wait)}))["holdfast"]
        except frames.RpcError:
            return False  # it cannot, after all
        decision, note = _decided(given)
        if not decision:
            return False
        try:
            await answer(
                self._store, run, key, decision, by=self._by, now_ms=self._now_ms(), note=note,
                digest=wait.digest,
            )  # fmt: skip
        except (Refused, Misuse, Expired, Conflict):
            return False  # somebody was faster, or may and this one may not: the inbox knows
        self._ring()
        return True

    def _may_answer(self, wait: Wait) -> bool:
        # INVARIANT D19: the person at the client decides only what the policy lets them decide
        listed = not wait.approvers or self._by in wait.approvers
        return listed and self._by not in wait.barred and self._by not in wait.approved


def _form(wait: Wait) -> dict[str, Any]:
    # what agents and servers say is shown as text: nothing in it commands a terminal
    text = _ODD.sub(" ", masked(wait.text))
    return {
        "method": "elicitation/create",
        "params": {
            "mode": "form",
            "message": f"{text}\n\nMay this happen?",
            "requestedSchema": {
                "type": "object",
                "properties": {
                    "decision": {
                        "type": "string",
                        "title": "Decision",
                        "enum": ["approve", "deny"],
                        "enumNames": ["Approve this once", "Deny"],
                    },
                    "note": {"type": "string", "title": "Why (kept in the journal)"},
                },
                "required": ["decision"],
            },
        },
    }


def _decided(given: Any) -> tuple[str, str]:
    """The decision in what a client answered, "" for none, and the note."""
    if not isinstance(given, dict):
        return "", ""
    if given.get("action") == "decline":
        return "deny", "declined at the client"
    content = given.get("content")
    if given.get("action") != "accept" or not isinstance(content, dict):
        return "", ""
    decision, note = content.get("decision"), content.get("note")
    return (
        decision if decision in ("approve", "deny") else "",
        note if isinstance(note, str) and note else "at the client",
    )
