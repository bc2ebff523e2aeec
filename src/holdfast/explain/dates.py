"""Dates in texts, in the spellings of several languages, so that one date is found as another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_MONTHS: Final = (
    "jan ene gen", "feb fev fév", "mar mär maerz", "apr avr abr", "may mai mag", "jun giu juin",
    "jul lug juil", "aug ago aou aoû", "sep set", "oct okt ott out", "nov", "dec dez dic déc",
)  # fmt: skip
_MONTH_OF: Final = {start: at for at, row in enumerate(_MONTHS, 1) for start in row.split()}
_NAME: Final = "|".join(sorted(_MONTH_OF, key=len, reverse=True))
_ISO: Final = re.compile(r"(?<!\d)(\d{4})[-/.](\d\d?)[-/.](\d\d?)(?!\d)")
_SHORT: Final = re.compile(r"(?<!\d)(\d\d?)([./-])(\d\d?)\2(\d{4}|\d\d)(?!\d)")
_DAY_FIRST: Final = re.compile(
    rf"(?<!\d)(\d\d?)(?:st|nd|rd|th|\.|º)? (?:of |de )?({_NAME})[^\W\d_]*\.?,?"
    r"(?: (?:de )?(\d{4}))?"
)
_MONTH_FIRST: Final = re.compile(
    rf"\b({_NAME})[^\W\d_]*\.? (\d\d?)(?:st|nd|rd|th)?(?!\d)(?:,? (\d{{4}}))?"
)


def months(number: int) -> tuple[str, ...]:
    """How the names of a month begin."""
    return tuple(_MONTHS[number - 1].split())


class Day(NamedTuple):
    """A date as a text may mean it (year 0: unsaid), and where it stands."""

    year: int
    month: int
    day: int
    start: int
    end: int

    def same(self, other: Day) -> bool:
        """Whether both may mean one day."""
        years = self.year == other.year or 0 in (self.year, other.year)
        return years and (self.month, self.day) == (other.month, other.day)


def days_in(text: str) -> list[Day]:
    """The dates of a text in small letters; one that may be read in two ways gives both."""
    return (
        [day for day in _read(text) if 1 <= day.month <= 12 and 1 <= day.day <= 31]
        if any(map(str.isdigit, text))
        else []
    )


def _read(text: str) -> Iterator[Day]:
    for found in _ISO.finditer(text):
        yield Day(int(found[1]), int(found[2]), int(found[3]), *found.span())
    for found in _SHORT.finditer(text):
        year = int(found[4]) + (2000 if len(found[4]) == 2 else 0)
        one, two = int(found[1]), int(found[3])
        yield Day(year, two, one, *found.span())
        if one != two:
            yield Day(year, one, two, *found.span())
    for found in _DAY_FIRST.finditer(text):
        yield Day(int(found[3] or 0), _MONTH_OF[found[2]], int(found[1]), *found.span())
    for found in _MONTH_FIRST.finditer(text):
        yield Day(int(found[3] or 0), _MONTH_OF[found[1]], int(found[2]), *found.span())
