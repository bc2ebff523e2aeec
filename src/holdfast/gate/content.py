"""What leaves in content: links that nobody who is trusted named, credentials, marked material."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final

from holdfast.gate.labels import CONFIDENTIALITY
from holdfast.gate.origins import NOWHERE, PROGRAM, TRUSTED, Origin
from holdfast.gate.values_in import DATE, HOST, Seen, host_of, link_of, links_in
from holdfast.gate.words import STOP
from holdfast.values import limits

Find = Callable[..., Origin]

# ---- links -----------------------------------------------------------------------------------

_TOP: Final = frozenset(
    """
    com net org info biz io co ai app dev me tv cc xyz top site online shop store club live news
    link click icu work space website tech cloud page pro one life world today ru cn tk ml ga cf gq
    pw su eu de fr es it pt nl be ch at uk us ca au br mx in jp kr pl se no dk fi cz gr ie edu gov
    int mil example test invalid onion
    """.split()
)
"""Ends of names that make a bare name a host in running text (others need a scheme or a path)."""


def new_links(texts: Iterable[str], find: Find) -> int:
    """How many different links in folded texts neither a person, the program nor a trusted result
    named."""
    found: set[str] = set()
    for text in texts:
        if "." not in text and "://" not in text:
            continue
        found.update(links_in(text))
        for host, rest in HOST.findall(text):
            last = host.rpartition(".")[2]
            if last in _TOP or rest[:1] == "/" or host.startswith("www."):
                found.add(link_of(host + rest))
            elif last.isdigit() and host.count(".") == 3:
                found.add("//" + host)
    return sum(_is_new(link, find) for link in found)


def _is_new(link: str, find: Find) -> bool:
    # INVARIANT G26: a link that was not named is new, also below a host that was, if somebody
    # untrusted wrote it or it carries a query
    if find(link)[0] <= TRUSTED:
        return False
    host = host_of(link)
    if find(host, "//" + host)[0] > TRUSTED:
        return True
    return find(link)[0] != NOWHERE or "?" in link


# ---- credentials -----------------------------------------------------------------------------

_KEYS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"  # AWS access key
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{36,255}"  # GitHub
    r"|glpat-[A-Za-z0-9_-]{20,64}"  # GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,250}"  # Slack
    r"|sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{20,250}"  # Anthropic, OpenAI
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9]{24,250}"  # Stripe
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,500}"  # Google
    r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}"  # SendGrid
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,500}|hf_[A-Za-z0-9]{30,64}"
    r"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|dop_v1_[a-f0-9]{64}"  # Shopify, DigitalOcean
    r"|eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}"  # JWT
    r")|-----BEGIN (?:[A-Z]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
)
"""Forms that issuers publish for their own tokens, so that scanners can find them."""
_SIGNS: Final = (
    "AKIA", "ASIA", "ABIA", "ACCA", "gh", "glpat-", "xox", "sk-", "k_live_", "k_test_", "whsec_",
    "AIza", "ya29.", "SG.", "npm_", "pypi-AgE", "hf_", "shp", "dop_v1_", "eyJ", "-----BEGIN ",
)  # fmt: skip
_NEAR: Final = re.compile(
    r"(?:password|passwd|passphrase|pwd|passwort|kennwort|mot de passe|contrasena|contraseña|senha"
    r"|api[ _-]?key|secret[ _-]?key|access[ _-]?key|client[ _-]?secret|auth[ _-]?token"
    r"|access[ _-]?token|private[ _-]?key)[\"']?(?: (?:is|ist|est|es|e|é))?\s?[:=]?\s?[\"']?"
    r"([^\s\"'<>,;]{6,128})"
)
_NEAR_SIGNS: Final = (
    "pass", "pwd", "kennwort", "contrase", "senha", "key", "token", "secret",
)  # fmt: skip
_IN_LINK: Final = re.compile(r"://[^\s/:@]{1,64}:([^\s/@]{3,128})@")
_PLACEHOLDER: Final = re.compile(r"\*{3}|x{4}|\.{3}|your|example|placeholder|changeme|\$\{|\{\{|%s")


def secrets_in(texts: Iterable[str]) -> int:
    """How many different things in texts (case kept) look like credentials."""
    found: set[str] = set()
    for text in texts:
        if any(sign in text for sign in _SIGNS):
            found.update(_KEYS.findall(text))
        lower = text.lower()
        if any(sign in lower for sign in _NEAR_SIGNS):
            found.update(one for one in _NEAR.findall(lower) if _is_password(one))
        if "@" in text and "://" in text:
            found.update(one for one in _IN_LINK.findall(text) if not _PLACEHOLDER.search(one))
    return len(found)


def _is_password(text: str) -> bool:
    """A word after "password" is mostly a word; a password has a digit among letters or signs."""
    text = text.rstrip(".!?)")
    if len(text) < 6 or _PLACEHOLDER.search(text):
        return False
    digits = sum(map(str.isdigit, text))
    return 0 < digits < len(text) or (digits == len(text) and digits >= 6)


# ---- marked material -------------------------------------------------------------------------

_RUN: Final = 4
"""Words in a row that make a run."""
_RUNS: Final = 2
"""Runs in common that make a quotation."""


class Marked:
    """Values of results that not everybody may see, by how many may."""

    __slots__ = ("_atoms", "_count", "_full", "_runs", "cut")

    def __init__(self) -> None:
        self._atoms: dict[str, set[str]] = {level: set() for level in CONFIDENTIALITY[1:]}
        self._runs: dict[str, set[int]] = {level: set() for level in CONFIDENTIALITY[1:]}
        self._count = 0
        self._full = CONFIDENTIALITY[0]
        self.cut = CONFIDENTIALITY[0]
        """The highest level of which a part was not looked at."""

    def add(self, seen: Seen, level: str) -> None:
        """``seen`` stood in a result of this confidentiality."""
        if level == CONFIDENTIALITY[0]:
            return
        if self._count > limits.FLOW_MARKED_ENTRIES:
            self._full = max(self._full, level, key=CONFIDENTIALITY.index)
            return
        self._atoms[level].update(_distinctive(seen))
        for words in seen.words:
            self._runs[level].update(map(hash, _runs(words)))
        self._count = sum(map(len, (*self._atoms.values(), *self._runs.values())))
        if not seen.whole:
            self.cut = max(self.cut, level, key=CONFIDENTIALITY.index)

    def __bool__(self) -> bool:
        return self._count > 0 or self.cut != CONFIDENTIALITY[0]

    def carried(self, seen: Seen, find: Find) -> str:
        """The highest confidentiality of what ``seen`` repeats; what a person or the program said
        themselves is no secret of a result."""
        # INVARIANT G25: what carries is at least as confidential as the most confidential result of
        # which a distinctive value or a quotation stands in it, in any encoding
        atoms = set(_distinctive(seen))
        for one in seen.words:
            atoms.update("=" + first + second for first, second in pairwise(one))
        for level in reversed(CONFIDENTIALITY[1:]):
            if any(find(atom)[0] > PROGRAM for atom in atoms & self._atoms[level]):
                return level
            if self._runs[level] and any(self._quotes(one, level) for one in seen.words):
                return level
            if level == self.cut and any(find(atom)[0] >= NOWHERE for atom in atoms):
                return level
            if level == self._full and (
                any(find(atom)[0] > PROGRAM for atom in _distinctive(seen))
                or any(self._may_quote(one, find) for one in seen.words)
            ):
                return level
        return CONFIDENTIALITY[0]

    def _quotes(self, words: Sequence[str], level: str) -> bool:
        known = self._runs[level]
        shared = [run for run in set(_runs(words)) if hash(run) in known]
        return sum(sum(one not in STOP for one in run) > 1 for run in shared) >= _RUNS

    @staticmethod
    def _may_quote(words: Sequence[str], find: Find) -> bool:
        """Whether words could be a quotation of what is not remembered: not all are somebody's."""
        return len(words) > _RUN and any(
            word not in STOP and find(word)[0] > PROGRAM for word in words
        )


def _runs(words: Sequence[str]) -> Iterable[tuple[str, ...]]:
    return zip(*(words[at:] for at in range(_RUN)), strict=False)


def _distinctive(seen: Seen) -> list[str]:
    return [atom for atom in seen.atoms if not atom.isalpha() and is_distinctive(atom)]


def is_distinctive(atom: str) -> bool:
    """Whether an atom says where it comes from: addresses, ids, long numbers, whole fields; not
    words, dates, years or short numbers."""
    if atom[0] == "=":
        return (len(atom) > 8 and not atom[1:].isdigit()) or len(atom) > 9
    if atom[0] == "#":
        return len(atom) > 5 or (len(atom) == 5 and atom[1:3] not in ("19", "20"))
    if "@" in atom:
        return len(atom) > 5
    return len(atom) > 4 and any(map(str.isdigit, atom)) and not DATE.fullmatch(atom)
