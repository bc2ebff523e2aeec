"""What one run has seen, and the facts of information flow that follow for its next action.

A context is a fold over the steps of a run: each is told once, in the order of the journal, so the
same journal gives the same facts. It holds the values that were seen (not the texts), where each
was found best, and the join of all labels. See docs/information-flow.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from holdfast.gate.asked import (
    ANYTHING,
    INSIDE,
    asked_in,
    is_asked,
    is_only_told,
    is_unasked,
    own_words,
    subject_of,
)
from holdfast.gate.content import Marked, new_links, secrets_in
from holdfast.gate.deciding import Leaf, amount_of, is_address, leaves, name_words, target_of
from holdfast.gate.facts import ORIGINS
from holdfast.gate.folding import plain, seen
from holdfast.gate.given import Given
from holdfast.gate.hearsay import numerals_in
from holdfast.gate.labels import CONFIDENTIALITY, PLAIN, Label, join, leaks
from holdfast.gate.naming import kind_of, named_ids, records_in, shape_of
from holdfast.gate.origins import (
    NOWHERE,
    PERSON,
    PROGRAM,
    REFERRED,
    TRUSTED,
    UNTRUSTED,
    Origin,
    Origins,
    Stored,
)
from holdfast.gate.records import Records
from holdfast.gate.tools import UNKNOWN_TOOL, ToolFacts
from holdfast.gate.values_in import Forms, Seen, atoms, host_of, link_of, may_link
from holdfast.gate.words import LABELS, STOP
from holdfast.values import limits

__all__ = ["Context", "amount_of", "flow", "target_of"]

_RANKS: Final = {"person": PERSON, "trusted": TRUSTED, "untrusted": UNTRUSTED}
_MONTH: Final = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mai|okt|dez|avr|juin|juil|aou|ene|abr|ago"
    r"|dic|gen|mag|giu|lug|set|ott|fev|out)[^\W\d_]{0,8}"
)
_MOMENT: Final = re.compile(
    rf"\b{_MONTH}\.? \d{{1,2}}\b|\b\d{{1,2}}(?:st|nd|rd|th|\.)? (?:of |de )?{_MONTH}\b"
    r"|\b\d{1,4} ?(?:sec|min|hour|day|week|month|year|stund|tag|woch|monat|jahr|heure|jour|semain"
    r"|mois|an[nsi]|hora|dia|seman|mes|or[ae]|giorn|settiman)[^\W\d_]{0,6}\b"
)
"""Days of months and spans of time: their numbers are no amounts."""
_FROM: Final = re.compile(r"\b(?:from|by|of|von|vom|de|del|da|par|per) +[^\s,;]+")
"""Whom something comes from, which is not where it shall go."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,3})?")
_SEVERAL: Final = (list, tuple, Mapping)
_NARROW: Final = re.compile(r"[\w .:+-]{0,40}")


class Context:
    """What one run has seen. Incremental, not safe for threads; never raises for odd values."""

    __slots__ = (
        "_asked",
        "_given",
        "_kinds",
        "_marked",
        "_origins",
        "_read",
        "_spoke",
        "_stored",
        "records",
    )  # fmt: skip

    def __init__(self) -> None:
        self._origins = Origins()
        self._marked = Marked()
        self._asked: set[str] = set()
        self._given = Given()
        self._kinds: set[str] = set()
        self._stored = Stored()
        self._read: Label | None = None
        self.records = Records()
        self._spoke = False

    @property
    def label(self) -> Label:
        """Join of the labels of all that was read so far."""
        return self._read or PLAIN

    def person(self, where: str, words: Any) -> None:
        """A person's words: the input of a run, an answer, a signal. ``where``: RUN@STEP."""
        self.given(where, words, Label("person"))

    def program(self, literals: Iterable[str | int | float]) -> None:
        """Constants of the agent's own code, and its own instructions to models."""
        # every program counts to two: that does not make a 1 in a request its own
        found = Seen([one for one in literals if len(str(one)) > 2])
        self._origins.add(found.atoms, PROGRAM, "program")

    def given(self, where: str, value: Any, label: Label) -> None:
        """The input of a child run, with the label its parent had."""
        rank = _RANKS[label.integrity]
        if rank != PERSON:
            self._add(where, Seen(value), rank, label)
            return
        # names of arguments are the program's words
        forms = Forms(list(value.values()) if isinstance(value, Mapping) else value)
        found = _spoken(forms)
        found.atoms |= numerals_in(forms.texts)
        self._spoke = True
        for text in forms.raw:
            self._asked |= asked_in(text)
            if is_only_told(text):
                rank = REFERRED
        if rank == PERSON:
            for text in forms.raw:
                self._given.add(text)
            for atom in Seen([_FROM.sub(" ", text) for text in forms.texts]).atoms:
                self._kinds.update(filter(None, (kind_of(atom), shape_of(atom))))
        self._add(where, found, rank, label)

    def result(
        self, where: str, tool: ToolFacts, args: Mapping[str, Any], value: Any, effect: str,
        name: str = "",
    ) -> Label:  # fmt: skip
        """The outcome of a step (a value, or the text of an error); returns the outcome's label.

        ``tool``: what the policy says of the tool; ``args``: as they were given to it; ``name``:
        the tool's.
        """
        if tool.derives:
            # INVARIANT G24: what is made from what was seen grounds nothing and hides nothing
            label = join(self.label, tool.output or PLAIN)
            self._join(label)
            return label
        given = Seen(args)
        every = leaves(args, tool)
        reads = effect == "read"
        ranks = [self._pointer(leaf) for leaf in every if leaf.decides or (reads and leaf.carries)]
        pointers = [rank for rank in ranks if rank != NOWHERE]
        label = self._label_of(tool, every, given)
        rank = _RANKS[label.integrity]
        if rank == UNTRUSTED and self._pointed(pointers, name):
            rank = REFERRED
        forms = Forms(value)
        found = Seen(forms)
        # INVARIANT G27: a value that an argument brought in is not made better by coming back, from
        # this result or, if the step could store it, from a later one
        found.atoms -= given.atoms
        found.alike -= given.atoms
        self._stored.add(given.atoms, effect, self._origins)
        if rank <= TRUSTED:
            found.atoms = self._stored.without(found.atoms)
        self._add(where, found, rank, label)
        if rank > TRUSTED:
            records = records_in(value)
            fields = self.records.add(where, records, forms, found.words[1:])
            if rank == UNTRUSTED and reads and not pointers:
                # nobody chose what it shows, but fields do not say what to do either
                self._origins.add(Seen(fields, small=True).atoms - given.atoms, REFERRED, where)
            ids = named_ids(records, lambda word: self._origins.find(word)[0] == PERSON)
            # what an argument brought in does not get better here either (G27)
            self._origins.add(self._stored.without(ids - given.atoms), TRUSTED, where)
        return label

    def narrow(self, where: str, value: Any, label: Label) -> Label:
        """A child's result of a narrow type (number, choice, date, yes or no); returns its label:
        trusted, as confidential as ``label`` says; ``label`` itself if the value is not narrow."""
        if not _is_narrow(value):
            self._add(where, Seen(value), _RANKS[label.integrity], label)
            return label
        trusted = Label("trusted", label.confidentiality)
        self._add(where, Seen(value), TRUSTED, trusted)
        return trusted

    def approve(self, args: Mapping[str, Any], tool: ToolFacts = UNKNOWN_TOOL) -> None:
        """A person approved an action with these arguments: what decides is a person's from now."""
        for leaf in leaves(args, tool):
            # what stands in a text was approved as that text
            if leaf.decides:
                self._given.mean(leaf.text)
                switch = isinstance(leaf.value, bool)
                found = {_switch(leaf)} if switch else Seen(leaf.value, small=True).atoms
                self._origins.add(found, PERSON, "approved")

    def origin(self, leaf: Leaf) -> Origin:
        """The origin of one deciding value."""
        if isinstance(leaf.value, bool):
            known = self._origins.find(_switch(leaf))
            if known[0] != NOWHERE:
                return known
            words = [self._origins.find(word) for word in name_words(leaf.name) - STOP]
            best = min(words, default=(NOWHERE, ""))
            return best if best[0] == PERSON else (NOWHERE, "")
        rank, where = self._origins.of(leaf.text)
        if rank == REFERRED and self._displaced(leaf.text):
            return UNTRUSTED, where
        if rank == NOWHERE and self.label.integrity == "untrusted":
            folded = plain(leaf.text).strip()
            if kind_of(folded) and folded not in self._stored.tried:
                # an address is not thought up: who read what anybody wrote may have put it together
                return UNTRUSTED, where
        return rank, where

    def meant(self, leaf: Leaf, origin: Origin) -> Origin:
        """``origin`` of a value that decides what leaves the world, given what else a person said
        of its kind."""
        unsure = self.label.integrity == "untrusted"
        if unsure and ANYTHING not in self._asked and self._given.spares(leaf.text):
            return UNTRUSTED, origin[1]
        if origin[0] not in (REFERRED, NOWHERE):
            return origin
        return (UNTRUSTED, origin[1]) if unsure and self._replaced(leaf, origin) else origin

    def asks(
        self, name: str, effect: str, kind: str, told: Mapping[str, Any], *, linked: bool
    ) -> bool:
        """Whether persons' words ask for this kind of action: to open a link (``linked``), to pass
        on a stranger's link or a credential (``told``, what `leaving` found) is one that they must
        name."""
        if effect == "read" and linked and self._asked.isdisjoint(("web", ANYTHING)):
            return False
        if told["new_links"] and self._asked.isdisjoint(("link", ANYTHING)):
            return False
        if told["secrets"] and self._asked.isdisjoint(("access", ANYTHING)):
            return False
        return is_asked(self._asked, self._spoke, name, effect, kind)

    def unasked(self, name: str, effect: str, kind: str, every: Sequence[Leaf]) -> bool:
        """Whether an action that is not asked for is surely not what persons want."""
        if is_unasked(self._asked, name, effect, kind):
            return True
        if kind != "tool" or effect == "read":
            return False
        # INVARIANT G39: what a stranger's text alone says, action and values, is no person's idea
        deciding = [leaf for leaf in every if leaf.decides]
        strange = [leaf.text for leaf in deciding if self.origin(leaf)[0] > PROGRAM]
        words, none_said = own_words(self._asked, name)
        alone = none_said and strange and len(strange) == len(deciding)
        if alone and all(map(self.records.hearsay.remarks, strange)):
            return True
        return any(self.records.hearsay.joins(text, words) for text in strange)

    def leaving(
        self, content: Sequence[str], linked: Sequence[str], clearance: str, effect: str
    ) -> dict[str, Any]:
        """The facts of what leaves: ``content``, and links that decide where to go."""
        carries, new, secrets, out = CONFIDENTIALITY[0], 0, 0, CONFIDENTIALITY[0]
        if content or linked:
            forms = Forms([*content, *(_data_of(link, self._origins) for link in linked)])
            if content:
                new = new_links(filter(may_link, forms.texts), self._origins.find)
            secrets = secrets_in(forms.raw)
            if not forms.whole:
                # INVARIANT G29: content that was not looked at to its end carries all that was read
                carries, new = self.label.confidentiality, new + 1
            elif self._marked:
                carries = self._marked.carried(Seen(forms), self._origins.find)
            # a world stays here: what it holds leaves only through a link
            if effect != "world" or linked or any("://" in text for text in forms.texts):
                out = carries
        return {
            "carries": carries,
            "clearance": clearance,
            "leaks": leaks(out, clearance),
            "new_links": new,
            "secrets": secrets,
        }

    # ---- inside ------------------------------------------------------------------------------

    def _pointer(self, leaf: Leaf) -> int:
        """How far a deciding value points for a person: what stands in a text that they pointed to
        does not point on, but a field does."""
        rank = self.origin(leaf)[0]
        if rank != REFERRED:
            return rank
        named = INSIDE in self._asked and leaf.text.replace(" ", "").isalpha()
        if not named and not self.records.hold(plain(leaf.text)):
            return UNTRUSTED
        return rank

    def _pointed(self, ranks: Sequence[int], name: str) -> bool:
        """Whether a person pointed to a result: named it, named something that it was found by, or
        named what the tool that takes no arguments is called after."""
        if not ranks:
            words = subject_of(name)
            return bool(words) and all(f"={word}" in self._asked for word in words)
        return max(ranks) <= REFERRED

    def _displaced(self, text: str) -> bool:
        """Whether a person gave an address of this kind themselves, so that another one which only
        stands in a text is not what they pointed to."""
        if ANYTHING in self._asked:
            return False
        folded = plain(text).strip()
        kind = kind_of(folded) or shape_of(folded)
        return bool(kind) and kind in self._kinds and not self.records.hold(folded)

    def _replaced(self, leaf: Leaf, origin: Origin) -> bool:
        """Whether a value stands where a person gave, or a record has in a field, another one."""
        # INVARIANT G36: whoever says which, of a kind, means none that only a stranger named
        if ANYTHING in self._asked:
            return False
        made = origin[0] == NOWHERE
        if self._given.excludes(leaf.name, leaf.text, made=made):
            return True
        folded = plain(leaf.text).strip()
        if self.records.hold(folded):
            return False
        kind = kind_of(folded)
        if kind == "account" and (kind, origin[1]) in self.records.kinds:
            return True
        if INSIDE in self._asked:
            return False
        if made:
            return False
        if kind in ("mail", "account"):
            return any(one == kind for one, _ in self.records.kinds)
        if kind == "link":
            return (
                "link" not in self._asked
                and self._origins.find(host_of(link_of(folded)))[0] > TRUSTED
            )
        named = leaf.name in self.records.keys and LABELS.isdisjoint(name_words(leaf.name))
        return named and isinstance(leaf.value, str)

    def _add(self, where: str, found: Seen, rank: int, label: Label) -> None:
        self._origins.add(found.atoms, rank, where)
        if found.alike:
            # letters that only look alike ground words, never addresses (G22)
            good = rank < NOWHERE
            alike = set(filter(str.isalpha, found.alike)) if good else found.alike
            self._origins.add(alike, rank, where)
        if not found.whole and rank > TRUSTED:
            self._origins.cut = self._origins.cut or where
        if rank > PROGRAM:
            self._marked.add(found, label.confidentiality)
        self._join(label)

    def _join(self, label: Label) -> None:
        self._read = label if self._read is None else join(self._read, label)

    def _label_of(self, tool: ToolFacts, every: Sequence[Leaf], given: Seen) -> Label:
        """The label of what a tool returned: its own, joined with those of its arguments."""
        own = tool.output
        if own is None:
            links = any("://" in leaf.text for leaf in every if leaf.decides)
            own = Label("untrusted", "public" if links else "internal")
        if tool.endorses and tool.output is not None:
            return own
        parts = [own, Label("person", self._marked.carried(given, self._origins.find))]
        for atom in given.atoms:
            if atom not in STOP and len(atom) > 2 and self._origins.find(atom)[0] in _SUSPECT:
                parts.append(Label("untrusted"))
                break
        else:
            if any(leaf.carries and leaf.text for leaf in every):
                made = any(self._origins.of(leaf.text)[0] >= NOWHERE for leaf in every)
                parts.append(Label(self.label.integrity if made else "person"))
        return join(*parts)


_SUSPECT: Final = (REFERRED, UNTRUSTED)


def _spoken(forms: Forms) -> Seen:
    """A person's words: small numbers count, but not those of dates and spans of time."""
    found = Seen(forms, small=True)
    kept: set[str] = set()
    for text in forms.texts:
        kept |= atoms(_MOMENT.sub(" ", text), [], small=True)
    found.atoms -= {atom for atom in found.atoms if atom[0] == "#" and len(atom) < 4} - kept
    return found


def _data_of(link: str, origins: Origins) -> str:
    """What a link tells its host beyond what somebody gave: "" for one that was seen whole."""
    one = link_of(plain(seen(link).strip()))
    if origins.find(one)[0] != NOWHERE:
        return ""
    if origins.find(host_of(one))[0] != NOWHERE:
        rest = link.partition("://")[2]
        return " ".join(re.split(r"[/?#&=]", rest)[1:])
    return link


def _switch(leaf: Leaf) -> str:
    return f"?{leaf.name.lower()}={leaf.text}"


def _is_narrow(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        # a longer one has room for an account
        return abs(float(value)) < 10**limits.FLOW_NARROW_CHARS
    if not isinstance(value, str) or not _NARROW.fullmatch(value):
        return False
    folded = plain(value)
    digits = sum(map(str.isdigit, folded))
    return "." not in folded.strip(".0123456789") and digits < 15 and not is_address(folded)


# ---- facts -----------------------------------------------------------------------------------


def flow(
    context: Context, args: Mapping[str, Any], tool: ToolFacts, name: str, effect: str, kind: str
) -> dict[str, Any]:
    """The facts of the group ``flow`` (`gate.facts.GROUPS`), all fourteen, by name: for
    ``Facts(**flow(...))``. ``name``, ``effect`` and ``kind`` are the proposal's."""
    every = leaves(args, tool)
    if effect != "read" and tool.deciding is None:
        every = list(map(context.records.told, every))
    worst: dict[str, Origin] = {}
    content: list[str] = []
    linked: list[str] = []
    known = True
    for leaf in every:
        if leaf.carries and leaf.text:
            content.append(leaf.text)
        if leaf.decides:
            origin = context.origin(leaf)
            if effect != "read":
                origin = context.meant(leaf, origin)
                known = known and context.records.know(leaf, origin[0])
            if leaf.arg not in worst or origin[0] > worst[leaf.arg][0]:
                worst[leaf.arg] = origin
            if "://" in leaf.text:
                linked.append(leaf.text)
    ranks = [rank for rank, _ in worst.values()]
    told = context.leaving(content, linked, tool.clearance, effect)
    return {
        "integrity": context.label.integrity,
        "confidentiality": context.label.confidentiality,
        "origin": {arg: ORIGINS[rank] for arg, (rank, _) in worst.items()},
        "via": {arg: where for arg, (_, where) in worst.items() if where},
        "worst": ORIGINS[max(ranks)] if ranks else "",
        "grounded": sum(rank <= TRUSTED for rank in ranks) / len(ranks) if ranks else 1.0,
        "recorded": known and effect != "read" and any(rank > TRUSTED for rank in ranks),
        "asked": (asked := context.asks(name, effect, kind, told, linked=bool(linked))),
        "unasked": not asked and context.unasked(name, effect, kind, every),
        **told,
    }
