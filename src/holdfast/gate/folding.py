"""Folding: one spelling for what a reader or a machine would take for the same value.

Two depths. *Plain* undoes what changes nothing for a machine: case, compatibility forms, characters
that nobody sees. *Bare* also maps letters that look alike and drops accents. What is only alike
when bare may be a disguise: it is looked for in text that is not trusted, and never grounds an
address.
"""

# ruff: noqa: RUF001  (a table of letters that look alike)

from __future__ import annotations

import re
import unicodedata
from typing import Final

_UNSEEN: Final[dict[int, str | None]] = {
    code: None
    for first, last in (
        (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
        (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
        (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
} | {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}  # fmt: skip
"""Default-ignorable code points (Unicode, DerivedCoreProperties), and tags as the text they spell.
"""

_LIKE: Final = (
    "аaеeоoрpсcуyхxіiјjѕsԁdһhӏlԛqԝwвbкkмmнhтtгrпnґrєeїi"  # Cyrillic
    "αaβbγyεeιiκkνvοoρpσoςcτtυuχxωwηnμu"  # Greek
    "ıiłløođdħhŋnſsƒfɑaɡgɩiʏyʜhոnսuօoցgհhԼlᴀaᴄcᴅdᴇeɪiᴊjᴋkʟlᴍmɴnᴏoᴘpʀrꜱsᴛtᴜuᴠvᴡwᴢz"
    "‐-‑-‒-–-—-―-−-﹘-’'‘'‚'‛'′'“\"”\"„\"‟\"″\"«\"»\"‹'›'⁄/∕/。.․.‚,꞉:∶:"
)
"""Pairs of a character and the one it is taken for (after Unicode's confusables.txt, the part that
can spell Latin text)."""

_ALIKE: Final[dict[int, str | None]] = {
    ord(_LIKE[at]): _LIKE[at + 1] for at in range(0, len(_LIKE), 2)
} | dict.fromkeys(range(0x0300, 0x0370))

_BEYOND: Final = re.compile(r"[^\x00-\x7f]")
_SQUEEZED: Final = bytes(
    code for code in range(128) if not chr(code).isalnum() and chr(code) != "\n"
)


def seen(text: str) -> str:
    """``text`` without what nobody sees and with compatibility forms replaced; case is kept."""
    if text.isascii():
        return text
    if not _UNSEEN.keys().isdisjoint(map(ord, _BEYOND.findall(text))):
        text = text.translate(_UNSEEN)
    return unicodedata.normalize("NFKC", text)


def plain(text: str) -> str:
    """The spelling that a machine takes for the same: seen, and without case."""
    if text.isascii():
        return text.lower()
    return seen(text).casefold()


def bare(text: str) -> str:
    """``text`` (already plain) in the letters that a reader takes it for."""
    if text.isascii():
        return text
    alike = unicodedata.normalize("NFKD", text.translate(_ALIKE)).translate(_ALIKE)
    return unicodedata.normalize("NFC", alike)


def squeezed(text: str) -> str:
    """``text`` (already plain) without spaces and punctuation; ends of lines stay."""
    # no byte of another character is one of these
    raw = text.encode("utf-8", "surrogatepass").translate(None, _SQUEEZED)
    return raw.decode("utf-8", "surrogatepass")
