"""Records: what untrusted results hold as whole fields, and whether a text speaks of it.

A value that stands alone in a field, of a record that no text of strangers speaks of, is most
likely what it says. What may sit there unseen all the same (a record that was changed) is the risk
that is left, so places which are hard to check never count: accounts, links, numbers to call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holdfast.gate.deciding import Leaf, is_prose
from holdfast.gate.folding import plain, squeezed
from holdfast.gate.hearsay import Hearsay, is_count
from holdfast.gate.naming import Record, is_sink, kind_of, names_of, short
from holdfast.gate.origins import NOWHERE, TRUSTED
from holdfast.gate.values_in import Forms
from holdfast.values import limits


class Records:
    """The fields of the untrusted results of one run, and what their texts mention."""

    __slots__ = ("_beside", "_fields", "hearsay", "keys", "kinds")

    def __init__(self) -> None:
        self._beside: dict[str, set[str]] = {}
        self._fields: set[str] = set()
        self.hearsay = Hearsay()
        self.keys: set[str] = set()
        """Names of fields that hold a text."""
        self.kinds: set[tuple[str, str]] = set()
        """Kinds of addresses that fields hold, and where."""

    def add(
        self, where: str, records: Iterable[Record], forms: Forms, hidden: Iterable[Sequence[str]]
    ) -> list[str]:
        """Take up a result, given its records and its text; returns its short fields. ``hidden``:
        words of what was encoded."""
        self.hearsay.add(forms, hidden)
        full = len(self._fields) >= limits.FLOW_CONTEXT_ENTRIES
        found: list[str] = []
        for record in records:
            fields = short(record)
            found += [text[: limits.FLOW_LINE_CHARS] for _, text in fields]
            if not full:
                self._take(where, fields)
                self.keys.update([key for key, item, _ in record if key and isinstance(item, str)])
        return found

    def _take(self, where: str, fields: list[tuple[str, str]]) -> None:
        names = names_of(fields)
        for key, text in fields:
            folded = plain(text[: limits.FLOW_LINE_CHARS])
            whole = squeezed(folded)
            self._fields.add(whole)
            if len(folded) > 7 and (kind := kind_of(folded)):
                self.kinds.add((kind, where))
            if not key:
                continue
            if len(text) > limits.FLOW_LINE_CHARS:
                whole = squeezed(plain(text))
            known = self._beside.setdefault(whole, set())
            if len(known) < limits.FLOW_BESIDE_ENTRIES:
                known.update([name for name in names if name != text])

    def hold(self, text: str) -> bool:
        """Whether a value is a whole field of some record."""
        return squeezed(plain(text).strip()) in self._fields

    def know(self, leaf: Leaf, rank: int) -> bool:
        """Whether a deciding value is grounded by its origin, or stands in a record that no text
        speaks of, or is only the agent's own number."""
        if rank <= TRUSTED:
            return True
        # INVARIANT G40: who speaks of a record by any of its names speaks of all its fields
        if self.hearsay.mentions(leaf.text):
            return False
        return (rank == NOWHERE and is_count(leaf.value)) or self._stand_alone(leaf.text)

    def told(self, leaf: Leaf) -> Leaf:
        """``leaf``, as content if it is a sentence of the agent's own."""
        own = leaf.decides and is_prose(leaf.text) and not self.hold(leaf.text)
        if own and not self.hearsay.mentions(leaf.text):
            return leaf._replace(decides=False, carries=True)
        return leaf

    def _stand_alone(self, text: str) -> bool:
        if not self.hold(text) or is_sink(plain(text).strip()):
            return False
        beside = self._beside.get(squeezed(plain(text).strip()), set())
        many = len(beside) >= limits.FLOW_BESIDE_ENTRIES
        return not many and not any(map(self.hearsay.mentions, beside))
