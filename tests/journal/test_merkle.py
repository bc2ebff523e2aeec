"""The Merkle tree against the definitions of RFC 6962, written down as they stand there."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.journal.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency,
    continues,
    grow,
    included,
    inclusion,
    root_of,
)


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """RFC 6962, 2.1.2."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


VECTORS = [bytes.fromhex(x) for x in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = {  # of the reference implementation of Certificate Transparency
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("size", ROOTS)
def test_known_roots(size: int):
    assert root_of(VECTORS[:size]).hex() == ROOTS[size]
    assert mth([]) == EMPTY_ROOT


@given(st.lists(st.binary(max_size=3), max_size=70), st.data())
def test_j50_roots_are_those_of_the_rfc_in_any_portions(leaves: list[bytes], data: st.DataObject):
    """INVARIANT J50"""
    cut = data.draw(st.integers(0, len(leaves)))
    frontier = Frontier()
    frontier.extend(leaves[:cut])
    again = Frontier(frontier.size, frontier.peaks)
    again.extend(leaves[cut:])
    assert again.root() == mth(leaves)


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=70), st.data())
def test_j51_inclusion(leaves: list[bytes], data: st.DataObject):
    """INVARIANT J51"""
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root = inclusion(leaves, index), mth(leaves)
    assert proof == path(index, leaves)
    assert included(leaves[index], index, len(leaves), proof, root)
    assert not included(leaves[index] + b"x", index, len(leaves), proof, root)
    assert not included(leaves[index], index, len(leaves), [*proof, root], root)
    assert not included(leaves[index], index, len(leaves), proof[:-1], root) or not proof
    for other in range(len(leaves)):
        if other != index:
            holds = included(leaves[index], other, len(leaves), proof, root)
            assert not holds or leaves[other] == leaves[index]


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=70), st.data())
def test_j52_consistency(leaves: list[bytes], data: st.DataObject):
    """INVARIANT J52"""
    old = data.draw(st.integers(1, len(leaves)))
    before = Frontier()
    before.extend(leaves[:old])
    proof = consistency(before, leaves[old:])
    assert proof == subproof(old, leaves, True)
    roots = (mth(leaves[:old]), mth(leaves))
    assert continues(old, len(leaves), roots, proof)
    place = data.draw(st.integers(0, old - 1))
    forged = [*leaves[:place], leaves[place] + b"x", *leaves[place + 1 :]]
    assert not continues(old, len(leaves), (mth(forged[:old]), roots[1]), proof)
    assert not continues(old, len(leaves), (roots[0], mth(forged)), proof)
    assert not continues(old, len(leaves), roots, [*proof, roots[0]])
    if old < len(leaves):
        assert not continues(len(leaves), old, (roots[1], roots[0]), proof)


def test_what_is_no_tree_is_refused():
    with pytest.raises(ValueError, match="peaks"):
        Frontier(3, [b"x"])
    with pytest.raises(ValueError, match="no leaf"):
        inclusion([b"x"], 1)
    assert not included(b"x", 0, 0, [], EMPTY_ROOT)
    assert continues(0, 1, (EMPTY_ROOT, mth([b"x"])), [])


def test_a_first_tree_keeps_no_parts():
    class Plain(Frontier):
        def extend(self, entries, made=None):
            assert made is None
            super().extend(entries)

    tree = Plain()
    assert grow(tree, [b"x" * 32] * 1000) == []
    assert tree.root() == root_of([b"x" * 32] * 1000)
