"""What a policy may look at besides the action itself: one closed table of facts.

Facts are computed purely from the journal (the run's own prefix, and meters that sum over others)
and are stored with the verdict, so that another policy can judge the same decision again. They hold
numbers, words of closed lists, names of arguments and places in journals; never a payload, because
payloads can be erased.
"""

from __future__ import annotations

from typing import Final

import msgspec

ORIGINS: Final = ("person", "program", "trusted", "referred", "nowhere", "untrusted")
"""Where a deciding argument's value was found, best first: in a person's words, in the program's
own text, in a trusted result, in an untrusted result that the person pointed to, nowhere, or only
in an untrusted result. An argument made of several values has the worst of theirs."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The facts of one action. Every field has a default, which means "nothing of the kind"; only
    others are stored.

    Of the run: ``calls`` (actions judged before this one), ``calls_of_tool`` (of the same tool),
    ``calls_last_minute``, ``denials`` (refused in a row just before), ``spent`` (money so far),
    ``tokens`` (so far), ``depth`` (runs above this one), ``alarms`` (anomalies found in it that no
    person called normal), ``alarm_score`` (how unusual the worst of these is, 0 to 1).

    Of the past of the agent with this tool, over all runs: ``uses`` (calls that ended well),
    ``target_uses`` (of them, with this target), ``new_target`` (its target was never used before),
    ``amount`` (of this call), ``amount_z`` (how unusual it is, in standard deviations of the
    logarithm; 0 without history), ``approved`` (this very action, by persons), ``approved_like``
    and ``refused_like`` (same tool and target), ``schema_changed`` (the tool's definition is
    neither the first one that was used, nor one of a call that a person approved).

    Of information flow: ``integrity`` and ``confidentiality`` (join of all that the run has read),
    ``origin`` (word of `ORIGINS` by deciding argument), ``via`` (where it was found, RUN@STEP, by
    deciding argument), ``worst`` (the worst origin, "" without deciding arguments), ``grounded``
    (share of deciding arguments that come from person, program or trusted results), ``recorded``
    (some come from elsewhere, and each of these is a field of a record that no stranger's text
    speaks of), ``asked`` (the person's words ask for this kind of action), ``unasked`` (they surely
    do not; neither holds where they are not understood), ``carries`` (confidentiality of what
    content arguments carry), ``clearance`` (what the place where it goes may see), ``leaks`` (it
    may not see that), ``new_links`` (links in the content that only untrusted results or nobody
    named), ``secrets`` (things in the content that look like credentials).

    Of the agent: ``registered``, ``autonomy`` (0 to 4), ``pending`` (unknown, until somebody owns
    it). ``harm``: what a wrong call of it may cost, in units of money, from the tool's facts.

    ``groups``: which of `GROUPS` were computed; a default in any other means nothing.
    """

    calls: int = 0
    calls_of_tool: int = 0
    calls_last_minute: int = 0
    denials: int = 0
    spent: float = 0.0
    tokens: int = 0
    depth: int = 0
    alarms: int = 0
    alarm_score: float = 0.0
    uses: int = 0
    target_uses: int = 0
    new_target: bool = False
    amount: float = 0.0
    amount_z: float = 0.0
    approved: int = 0
    approved_like: int = 0
    refused_like: int = 0
    schema_changed: bool = False
    integrity: str = "trusted"
    confidentiality: str = "public"
    origin: dict[str, str] = {}
    via: dict[str, str] = {}
    worst: str = ""
    grounded: float = 1.0
    recorded: bool = False
    asked: bool = False
    unasked: bool = False
    carries: str = "public"
    clearance: str = "secret"
    leaks: bool = False
    new_links: int = 0
    secrets: int = 0
    registered: bool = False
    autonomy: int = 0
    pending: bool = False
    harm: float = 0.0
    groups: tuple[str, ...] = ()


NO_FACTS: Final = Facts()

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "run": (
        "calls", "calls_of_tool", "calls_last_minute", "denials", "spent", "tokens", "depth",
        "alarms", "alarm_score",
    ),
    "past": (
        "uses", "target_uses", "new_target", "amount", "amount_z", "approved", "approved_like",
        "refused_like", "schema_changed", "harm",
    ),
    "flow": (
        "integrity", "confidentiality", "origin", "via", "worst", "grounded", "recorded", "asked",
        "unasked", "carries", "clearance", "leaks", "new_links", "secrets",
    ),
    "agent": ("registered", "autonomy", "pending"),
}  # fmt: skip
"""Facts that are computed together. Only the groups that a policy looks at are computed."""
