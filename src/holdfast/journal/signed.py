"""Signed roots: what is signed, how it reads, and whether one continues another.

What is signed is the text of a checkpoint as C2SP defines it (c2sp.org/tlog-checkpoint): a line
each for the origin, the number of leaves and the root in base64, then lines of our own for time and
policy. With the signature line of a signed note (c2sp.org/signed-note) below, tools of transparency
logs read it. Pure: whoever can verify Ed25519 hands that over.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from hashlib import sha256

import msgspec

from holdfast.journal.events import CheckpointSigned
from holdfast.journal.merkle import EMPTY_ROOT, continues
from holdfast.values.errors import Corrupt

Verify = Callable[[str, bytes, str], bool]
"""Whether (public key, message, signature) fit; key and signature in base64."""


class SignedRoot(msgspec.Struct, frozen=True, omit_defaults=True):
    """A signed statement about a store's first ``size`` events. The fields are those of
    `holdfast.journal.events.CheckpointSigned`, without ``peaks``."""

    origin: str
    size: int
    root: str
    time: int
    key: str
    signature: str
    policy: str = ""
    before: int = 0
    proof: tuple[str, ...] = ()


def statement(origin: str, size: int, root: str, time: int, policy: str) -> bytes:
    """The text that is signed."""
    top = base64.b64encode(bytes.fromhex(root)).decode()
    lines = [origin, str(size), top, f"time {time}"]
    if policy:
        lines.append(f"policy {policy}")
    return ("\n".join(lines) + "\n").encode()


def note(signed: SignedRoot) -> str:
    """The whole signed note."""
    text = message(signed).decode()
    public = base64.b64decode(signed.key)
    name = signed.origin.encode()
    mark = sha256(name + b"\n\x01" + public).digest()[:4]
    line = base64.b64encode(mark + base64.b64decode(signed.signature)).decode()
    return f"{text}\n\N{EM DASH} {signed.origin} {line}\n"


def message(signed: SignedRoot) -> bytes:
    """The text that the signature of ``signed`` is for."""
    return statement(signed.origin, signed.size, signed.root, signed.time, signed.policy)


def signed_body(body: CheckpointSigned, place: str) -> SignedRoot:
    """What the body of a ``checkpoint.signed`` event at ``place`` says; `Corrupt` if it is not a
    whole one."""
    found = SignedRoot(
        body.origin, body.size, body.root, body.time, body.key, body.signature, body.policy,
        body.before, body.proof,
    )  # fmt: skip
    wrong = misshapen(found)
    if wrong:
        raise Corrupt(f"signed root {place}: {wrong}")
    return found


def misshapen(signed: SignedRoot) -> str:
    """Why a root cannot be a signed one, "" if it can: nothing in it may end a line."""
    hashes = (signed.root, *signed.proof, *((signed.policy,) if signed.policy else ()))
    if not all(is_hash(one) for one in hashes):
        return "a hash in it is not 64 hex digits"
    if not signed.origin or not signed.origin.isprintable() or " " in signed.origin:
        return "its origin is not a name"
    if signed.size < 0 or signed.time < 0 or not 0 <= signed.before <= signed.size:
        return "its numbers make no sense"
    return ""


def is_hash(text: str) -> bool:
    """Whether ``text`` is a hash as it is written: 64 hex digits, small."""
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def distrusted(signed: SignedRoot, key: str, verify: Verify) -> str:
    """Why ``signed`` is not a statement of the owner of ``key``; "" if it is."""
    # INVARIANT J53: a root counts only under the public key that the asker holds
    wrong = misshapen(signed)
    if wrong:
        return wrong
    if signed.key != key:
        return f"is signed with another key ({signed.key[:12]}…)"
    if not verify(key, message(signed), signed.signature):
        return "its signature is wrong"
    return ""


def follows(before: SignedRoot | None, signed: SignedRoot) -> str:
    """Why ``signed`` does not continue the history that ``before`` states; "" if it does."""
    if before is None:
        old, top = 0, EMPTY_ROOT.hex()
    elif before.origin != signed.origin:
        return f"is of another store ({signed.origin}, not {before.origin})"
    else:
        old, top = before.size, before.root
    if signed.size < old:
        return f"is shorter ({signed.size:,} events, {old:,} are known already)"
    roots = (bytes.fromhex(top), bytes.fromhex(signed.root))
    proof = [bytes.fromhex(one) for one in signed.proof]
    if signed.before != old:
        return f"continues {signed.before:,} events, not the {old:,} that are known"
    if not continues(old, signed.size, roots, proof):
        return f"is another history than the {old:,} events that are known"
    return ""
