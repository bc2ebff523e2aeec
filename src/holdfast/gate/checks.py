"""Checks: what a ``verify`` verdict runs before an action may happen."""

from __future__ import annotations

from typing import Final

import msgspec

CHECK_KINDS: Final = ("condition", "preview", "tool", "command", "fork")


class Check(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``checks``, named in a rule's ``checks``.

    ``kind`` condition: only ``that``. preview: the tool's own preview; its result is ``result``.
    tool: call the tool ``use`` (a second source, a cheaper model) with ``give`` (its argument:
    ours, in dotted form); it returns ``result``. command: ``command`` (a list of words) in the
    sandbox on the world, must exit with 0. fork: perform the action on a branch of the world that
    is dropped again; ``changes`` (paths) and ``result`` are there. ``that``: a CEL condition over
    ``args``, ``result`` and ``changes``. ``fails``: what a failed check means, escalate or deny.
    """

    name: str
    kind: str
    that: str = ""
    use: str = ""
    give: dict[str, str] = {}
    command: tuple[str, ...] = ()
    fails: str = "escalate"
