"""Agents that a policy knows: who answers for them and how far they may go by themselves."""

from __future__ import annotations

import msgspec


class AgentCard(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``agents``; the first whose names match counts.

    ``agent``: names or globs. ``owner``: the person who answers for it (and so may not approve its
    actions alone, if a route says so). ``role``: overrides the program's own. ``team``,
    ``organisation``: scopes of budgets. ``autonomy``: 0 (suggests only) to 4 (acts alone). ``key``:
    its Ed25519 public key, base64, "" for none. ``stopped``: why nothing of it may happen now.
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
