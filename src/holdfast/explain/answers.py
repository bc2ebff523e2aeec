"""Which answers of persons counted, when a record is read from its beginning."""

from __future__ import annotations

import msgspec

from holdfast.journal.events import ApprovalAsked, ApprovalGiven, Event
from holdfast.journal.quorum import met
from holdfast.journal.views import hear

Open = dict[tuple[str, str], ApprovalAsked]
"""Questions that wait for answers, by run and step."""


def follow(waiting: Open, event: Event, body: object) -> bool:
    """Note what an event does to the questions of its run; whether an answer in it counted: one to
    the very question that waited, in time, of a person who might answer and had not yet."""
    # INVARIANT J70: an answer is evidence only if it counted for the run
    place = event.run, str(getattr(body, "key", ""))
    if isinstance(body, ApprovalAsked):
        waiting[place] = body
    elif event.kind == "step.settled":
        waiting.pop(place, None)
    elif isinstance(body, ApprovalGiven) and place in waiting:
        asked = waiting[place]
        heard = hear(asked, body, event.at) if body.digest == asked.digest else None
        if heard is None or (body.decision == "approve" and heard == asked.approved):
            return False
        if body.decision != "approve" or met(asked.panels, heard):
            del waiting[place]
        else:
            waiting[place] = msgspec.structs.replace(asked, approved=heard)
        return True
    return False
