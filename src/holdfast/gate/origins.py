"""Origins: where a value was seen best, looked up atom by atom.

The best source of each atom counts, and the worst atom of a value. docs/information-flow.md has the
table of what grounds what.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final

from holdfast.gate.facts import ORIGINS
from holdfast.gate.folding import bare, plain, squeezed
from holdfast.gate.values_in import (
    LINK,
    MAIL,
    WORD,
    decoded,
    host_of,
    link_of,
    path_of,
    readings,
)
from holdfast.gate.words import STOP
from holdfast.values import limits

PERSON, PROGRAM, TRUSTED, REFERRED, NOWHERE, UNTRUSTED = range(len(ORIGINS))

Origin = tuple[int, str]
"""Place in `ORIGINS`, and where it was found ("" for nowhere)."""

_NOT_FOUND: Final[Origin] = (NOWHERE, "")
_NOT_SEEN: Final[Origin] = (len(ORIGINS), "")


class Origins:
    """The atoms that one run has seen, by how far their source is to be believed."""

    __slots__ = ("_found", "cut")

    def __init__(self) -> None:
        self._found: dict[str, Origin] = {}
        self.cut = ""
        """Where something untrusted was seen of which a part was not looked at."""

    def add(self, atoms: set[str], rank: int, where: str) -> None:
        """These were seen at ``where``; the first of the best places is kept."""
        found = self._found
        if len(found) > limits.FLOW_CONTEXT_ENTRIES:
            if rank > TRUSTED:
                self.cut = self.cut or where
            return
        origin = (rank, where)
        fresh = atoms.difference(found)
        if rank < UNTRUSTED and len(fresh) < len(atoms):
            for atom in atoms:
                if atom in found and found[atom][0] > rank:
                    found[atom] = origin
        found.update(dict.fromkeys(fresh, origin))

    def find(self, *atoms: str) -> Origin:
        """The best origin of several spellings of one value."""
        best = _NOT_SEEN
        for atom in atoms:
            origin = self._found.get(atom, _NOT_SEEN)
            if origin[0] < best[0]:
                best = origin
        return best if best is not _NOT_SEEN else _NOT_FOUND

    def of(self, text: str) -> Origin:
        """The origin of a text that decides something."""
        # INVARIANT G20: an origin is the worst over the atoms of a value of the best source of each
        folded = plain(text).strip()
        origin = self._of_plain(folded)
        if origin[0] != NOWHERE:
            return origin
        if not folded.isascii() and (alike := bare(folded)) != folded:
            # INVARIANT G22: what only looks like something that was seen is untrusted
            rank, where = self._of_plain(alike)
            if rank != NOWHERE:
                return UNTRUSTED, where
        forms = decoded(text)[0][1:]
        if forms:
            origin = max((self._of_plain(plain(form).strip()) for form in forms), key=_rank)
            if origin[0] != NOWHERE:
                return origin
        # INVARIANT G23: beside a source that was not looked at to its end, nothing is from nowhere
        return (UNTRUSTED, self.cut) if self.cut else _NOT_FOUND

    def _of_plain(self, text: str) -> Origin:
        if numbers := readings(text):
            return self.find(*("#" + number for number in numbers), "=" + squeezed(text))
        packed = squeezed(text)
        # an account number may be spaced here and packed where it was seen
        whole = (
            self.find("=" + packed, text, text if packed.isalpha() else packed)
            if len(text) <= 400
            else _NOT_FOUND
        )
        if whole[0] <= TRUSTED or not text:
            return whole
        parts = self._of_shape(text)
        # parts that somebody better named are better; parts that nobody named are not
        return whole if whole[0] != NOWHERE and parts[0] >= min(whole[0], NOWHERE) else parts

    def _of_shape(self, text: str) -> Origin:
        """By the parts that a text of this shape has."""
        if " " not in text and "\n" not in text:
            return self._of_token(text)
        tokens = text.split()
        exact = [one for token in tokens if not (one := token.strip(_EDGES)).isalpha() and one]
        if len(text) > limits.FLOW_LINE_CHARS or len(tokens) > 12:
            tokens = [one for one in exact if any(char in one for char in "@/\\.")] or tokens
        return self._worst(token.strip(_EDGES) for token in tokens)

    def _worst(self, tokens: Iterable[str]) -> Origin:
        worst, common = None, None
        for token in tokens:
            if not token:
                continue
            if token in STOP or len(token) == 1:
                common = common or self.find(token)
                continue
            origin = self._of_token(token)
            if worst is None or origin[0] > worst[0]:
                worst = origin
        return worst or common or _NOT_FOUND

    def _of_token(self, token: str) -> Origin:
        if token.isalpha():
            return self._of_word(token)
        if token[0] in "#@" and token[1:].isalpha():
            return min(self.find(token), self._of_word(token[1:]), key=_rank)
        if MAIL.fullmatch(token):
            return self._exact_or_made(token)
        if LINK.fullmatch(token) or token.startswith("//"):
            link = link_of(token)
            return self._below(link, ("//" + host_of(link), host_of(link)))
        if path := path_of(token):
            folders: list[str] = []
            folder = posixpath.dirname(path)
            while folder.count("/") > (1 if folder.startswith("/") else 0) or (
                "." in folder and len(folder) > 2
            ):
                folders.append(folder)
                above = posixpath.dirname(folder)
                if above == folder:  # "//": a root of two slashes is its own folder
                    break
                folder = above
            if path.count("/") > 1 or not path.startswith("/"):
                folders += [folder] if len(folder) > 2 else []
            return self._below(path, folders)
        if numbers := readings(token):
            return self.find(*("#" + number for number in numbers), "=" + squeezed(token))
        if "=" in token or "," in token or ";" in token:
            return self._worst(token.replace("=", " ").replace(",", " ").replace(";", " ").split())
        return self._exact_or_made(token)

    def _of_word(self, word: str) -> Origin:
        found = self.find(word)
        if found[0] != NOWHERE or len(word) < 4:
            return found
        found = self.find(word + "s", word.removesuffix("s"))
        if found[0] != NOWHERE or word.isascii():
            return found
        pairs = [word[at : at + 2] for at in range(len(word) - 1)]
        return max(map(self.find, pairs), key=_rank)

    def _below(self, whole: str, above: Iterable[str]) -> Origin:
        """A link or path: itself, or below a place that was named, which is a reference to it."""
        found = self.find(whole, "=" + squeezed(whole))
        if found[0] <= REFERRED:
            return found
        if ".." not in whole:
            for place in above:
                rank, where = self.find(place)
                if rank <= REFERRED:
                    return REFERRED, where
        return found if found[0] != NOWHERE else self._made(whole)

    def _exact_or_made(self, token: str) -> Origin:
        found = self.find(token, "=" + squeezed(token))
        return found if found[0] != NOWHERE else self._made(token)

    def _made(self, token: str) -> Origin:
        """Put together from parts: nowhere at best, whoever named the parts."""
        # INVARIANT G21: an address, link, path or id made of known parts is not known
        for word in WORD.findall(token):
            if len(word) > 3 and word not in STOP:
                origin = self.find(word)
                if origin[0] == UNTRUSTED:
                    return origin
        return _NOT_FOUND


class Stored:
    """Values that steps were given, up to a limit: ``tried``, and what could have been stored by
    one, to come back in the result of another."""

    __slots__ = ("_written", "tried")

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self._written: set[str] = set()

    def add(self, atoms: set[str], effect: str, origins: Origins) -> None:
        """A step of this effect was given these."""
        # beyond the limit an address counts as not tried, and so as put together
        if len(self.tried) <= limits.FLOW_GIVEN_ENTRIES:
            self.tried.update([atom for atom in atoms if not atom.isalpha()])
        if effect != "read" and len(self._written) <= limits.FLOW_GIVEN_ENTRIES:
            strange = [atom for atom in atoms if origins.find(atom)[0] > TRUSTED]
            self._written.update([atom for atom in strange if atom not in STOP])

    def without(self, atoms: set[str]) -> set[str]:
        """Those that no step could have stored; none once not all is known that could be."""
        if len(self._written) > limits.FLOW_GIVEN_ENTRIES:
            return set()
        return atoms - self._written


_EDGES: Final = ".,:;!?*()[]{}<>\"'`"


def _rank(origin: Origin) -> int:
    return origin[0]
