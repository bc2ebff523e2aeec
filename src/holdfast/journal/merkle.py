"""The Merkle tree over a store's events: roots, proofs of one entry, proofs of growth.

RFC 6962 (section 2.1) with the algorithms of RFC 9162 (2.1.1 to 2.1.4): SHA-256, a zero byte before
leaves and a one byte before inner nodes, so that neither can be taken for the other. Leaf ``i`` is
the id (32 bytes) of the event with seq ``i + 1``; no bytes at all if that event was deleted before
anything was signed. Pure: whoever reads a store hands over ids in the order of seq.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves."""


def leaf(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """The right edge of a tree: what is needed to add leaves and to know the root.

    ``size``: how many leaves; ``peaks``: roots of the largest complete trees they make up, from the
    left, one for each bit that is set in ``size``.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError(f"{len(self.peaks)} peaks are not those of {size} leaves")

    def extend(
        self, entries: Iterable[bytes], made: dict[tuple[int, int], bytes] | None = None
    ) -> None:
        """Add leaves. The roots of complete trees that come to be go into ``made``, by first leaf
        and width."""
        # INVARIANT J50: adding leaves one by one, in any portions, gives the root of RFC 6962
        peaks, size, digest = self.peaks, self.size, sha256
        for entry in entries:
            top = digest(b"\0" + entry).digest()
            size += 1
            if made is not None:
                made[size - 1, 1] = top
            bits, width = size, 1
            while not bits & 1:
                top = digest(b"\1" + peaks.pop() + top).digest()
                bits >>= 1
                if made is not None:
                    width *= 2
                    made[size - width, width] = top
            peaks.append(top)
        self.size = size

    def root(self) -> bytes:
        """The root of the whole tree."""
        return bag(self.peaks)


def bag(peaks: Sequence[bytes]) -> bytes:
    """The root over complete trees, from the left."""
    if not peaks:
        return EMPTY_ROOT
    top = peaks[-1]
    for peak in reversed(peaks[:-1]):
        top = node(peak, top)
    return top


def root_of(entries: Sequence[bytes]) -> bytes:
    """The root of the tree with these leaves."""
    frontier = Frontier()
    frontier.extend(entries)
    return frontier.root()


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def inclusion(entries: Sequence[bytes], index: int) -> list[bytes]:
    """The proof that leaf ``index`` is in the tree of ``entries`` (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < len(entries):
        raise ValueError(f"a tree of {len(entries)} leaves has no leaf {index}")
    path: list[bytes] = []
    start, stop = 0, len(entries)
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(root_of(entries[middle:stop]))
            stop = middle
        else:
            path.append(root_of(entries[start:middle]))
            start = middle
    path.reverse()
    return path


def included(entry: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves that leaf ``index`` of the tree with ``root`` is ``entry``
    (RFC 9162, 2.1.3.2)."""
    # INVARIANT J51: a proof holds for one entry, index, size and root only
    if not 0 <= index < size:
        return False
    fn, sn, top = index, size - 1, leaf(entry)
    for step in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            top = node(step, top)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            top = node(top, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and top == root


def consistency(before: Frontier, added: Sequence[bytes]) -> list[bytes]:
    """The proof that the tree with leaves ``added`` behind those of ``before`` continues it
    (RFC 9162, 2.1.4.1)."""
    return grow(Frontier(before.size, before.peaks), added)


def grow(frontier: Frontier, added: Sequence[bytes]) -> list[bytes]:
    """Add leaves to ``frontier``, and return the proof that the tree then continues the one before.

    What lies before is needed only as its peaks: every part of the proof is one of them, or made of
    new leaves alone.
    """
    old = frontier.size
    if not old:  # a first tree continues nothing, so no part of it needs to be kept
        frontier.extend(added)
        return []
    known: dict[tuple[int, int], bytes] = {}
    at = 0
    for peak, width in zip(frontier.peaks, _bits(old), strict=True):
        known[at, width] = peak
        at += width
    frontier.extend(added, known)
    new = frontier.size
    proof: list[bytes] = []
    if old == new:
        return proof
    start, stop, whole = 0, new, True
    while old != stop:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(_over(known, middle, stop))
            stop = middle
        else:
            proof.append(_over(known, start, middle))
            start, whole = middle, False
    if not whole or start:
        proof.append(_over(known, start, stop))
    proof.reverse()
    return proof


def _over(known: dict[tuple[int, int], bytes], start: int, stop: int) -> bytes:
    """The root over leaves start to stop, from complete trees by first leaf and width."""
    peaks: list[bytes] = []
    for width in _bits(stop - start):
        peaks.append(known[start, width])
        start += width
    return bag(peaks)


def _bits(size: int) -> list[int]:
    """The powers of two that make up ``size``, largest first."""
    return [1 << place for place in reversed(range(size.bit_length())) if size >> place & 1]


def continues(old: int, new: int, roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the tree of ``new`` leaves begins with that of ``old`` leaves;
    ``roots``: of both (RFC 9162, 2.1.4.2). The empty tree is the beginning of any."""
    # INVARIANT J52: no proof makes a tree the continuation of one that it does not begin with
    if old == new:
        return not proof and roots[0] == roots[1]
    if old == 0:
        return not proof and roots[0] == EMPTY_ROOT
    if old > new or old < 0:
        return False
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, roots[0])
    if not steps:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node(step, first), node(step, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node(second, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (first, second) == roots
