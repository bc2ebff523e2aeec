"""Times on the command line: how long ago, or a day."""

from __future__ import annotations

import datetime as dt
import re

from holdfast.values.errors import Misuse

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def since_ms(text: str, now_ms: int) -> int:
    """The moment (ms since 1970) that ``text`` means: 90min, 12h, 7d, 2w ago, or a date (UTC);
    0 for "". `Misuse`."""
    if not text:
        return 0
    found = re.fullmatch(r"(\d{1,6})\s*(s|min|h|d|w)", text)
    if found:
        return now_ms - int(found[1]) * _UNITS[found[2]] * 1000
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(f"{text!r}: say how long ago, as 90min, 12h, 7d, or a date") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp() * 1000)
