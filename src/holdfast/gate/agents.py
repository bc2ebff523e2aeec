"""Agents that a policy knows: who answers for them and how far they may go by themselves."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast.gate.budgets import AgentLimit, read_limit
from holdfast.gate.pattern import names_of, read_globs
from holdfast.gate.reading import Item, Reader, clip, entry, whole


class AgentCard(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``agents``; the first whose names match counts.

    ``agent``: names or globs. ``owner``: the person who answers for it (and so may not approve its
    actions alone, if a route says so). ``role``: overrides the program's own. ``team``,
    ``organisation``: scopes of budgets. ``autonomy``: 0 (suggests only) to 4 (acts alone). ``key``:
    its Ed25519 public key, base64, "" for none. ``stopped``: why nothing of it may happen now.
    Its ``limits`` are budgets of scope agent (`holdfast.gate.budgets.AgentLimit`), kept with these.
    With an ``agents`` section, an agent that no entry names is *pending*: it may only read.
    """

    agent: tuple[str, ...]
    owner: str = ""
    role: str = ""
    team: str = ""
    organisation: str = ""
    autonomy: int = 0
    key: str = ""
    stopped: str = ""


def _key(item: Item, what: str) -> str:
    text = item.text(what)
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        item.refuse(f"{what} must be an Ed25519 public key: 32 bytes in base64, not {clip(text)}")
    return text


_READERS: Final[dict[str, Reader]] = {
    "agent": read_globs,
    "owner": Item.text,
    "role": Item.text,
    "team": Item.text,
    "organisation": Item.text,
    "autonomy": whole(0, 4),
    "key": _key,
    "stopped": Item.sentence,
    "limits": lambda item, what: item.items(what),
}
Limits = list[tuple[Item, AgentLimit]]
"""Limits of agents, with the places where they stand."""


def read_agents(items: Iterable[Item]) -> tuple[tuple[AgentCard, ...], Limits]:
    """The entries of ``agents``, and the limits in them; raises `Misuse` with its line for what is
    not understood."""
    cards: list[AgentCard] = []
    limits: Limits = []
    for item in items:
        found = entry(item, _READERS, "an agent", ("agent",))
        earlier = tuple(dict.fromkeys(name for card in cards for name in card.agent))
        limits += [(each, read_limit(each, found["agent"], earlier))
                   for each in found.pop("limits", ())]  # fmt: skip
        cards.append(AgentCard(**found))
    return tuple(cards), limits


def card_of(cards: Iterable[AgentCard], agent: str) -> AgentCard | None:
    """What a policy says of an agent: the first entry whose names match; None if there is none."""
    return next((card for card in cards if names_of(card.agent).match(agent)), None)
