"""What an outsider proves with a store's file and a public key: signed roots, and single events."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from holdfast.journal.events import KINDS, Event, body_decoder, event_id
from holdfast.journal.merkle import Frontier, included, inclusion
from holdfast.journal.proof import Chain, raw
from holdfast.journal.record import AUDIT
from holdfast.journal.signed import SignedRoot, distrusted, follows, is_hash, note
from holdfast.stores import reading
from holdfast.stores.entries import (
    Statement,
    entries,
    leaf_count,
    newest_statement,
    place_of_event,
    statements,
)
from holdfast.stores.fsck import Report
from holdfast.stores.keys import verify
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.still import journal_path, reading_file
from holdfast.values.errors import Corrupt, HoldfastError, Misuse, NotFound
from holdfast.values.ids import NAME


class Proven(msgspec.Struct):
    """What signed roots say of a store. ``roots``: how many were proven, of the journal and of
    second places; ``covered``: events under the largest; ``left``: newer ones, which nobody signed
    yet; ``told``: what is odd and proves nothing, such as a clock that went back; ``places``: how
    many roots each second place keeps."""

    roots: int = 0
    covered: int = 0
    left: int = 0
    told: list[str] = msgspec.field(default_factory=list)
    places: dict[str, int] = msgspec.field(default_factory=dict)


def prove_roots(
    path: Path | str,
    keys: Collection[str],
    report: Report,
    kept: Sequence[tuple[str, list[SignedRoot]]] = (),
) -> Proven:
    """Hold the journal at ``path`` against every root that was signed with one of ``keys``: those
    in it, and those that second places kept (each with its name). Roots of other keys prove
    nothing, and are only told, unless one is the newest. Problems go into ``report``."""
    path = journal_path(path)
    proven = Proven()
    with reading_file(path) as conn:
        try:
            own = statements(conn)
        except (HoldfastError, msgspec.MsgspecError, sqlite3.Error) as error:
            report.add("signed", str(path), f"its signed roots cannot be read: {error}")
            own = []
        claims = _trusted(own, kept, keys, report, proven)
        if not claims:
            report.add("signed", str(path), "no root in it is signed with a key that was given")
            return proven
        _hold(conn, path, claims, report, proven)
        _tell_clock(conn, proven)
        proven.left = max(0, leaf_count(conn) - proven.covered)
    return proven


Claim = tuple[str, SignedRoot, tuple[str, ...]]
"""Where a signed root stands, the root, and the peaks of its tree if they are known."""


def _trusted(
    own: list[Statement],
    kept: Sequence[tuple[str, list[SignedRoot]]],
    keys: Collection[str],
    report: Report,
    proven: Proven,
) -> list[Claim]:
    """The roots that are signed with ``keys``, smallest first. Each source must be one history."""
    claims: list[Claim] = []
    strange: list[str] = []
    _take([(f"{AUDIT} event {one.seq}", one) for one in own], keys, claims, strange, report)
    for name, roots in kept:
        proven.places[name] = len(roots)
        # INVARIANT J69: a place from which roots were taken is told from one that kept them all
        expected = sum(bool(roots) and one.signed.size >= roots[0].size for one in own)
        if len(roots) < expected or not roots:
            report.add(
                "signed", name,
                f"keeps {len(roots)} signed roots, the journal has {expected or len(own)}: it was "
                "cut off, or never got them (then `holdfast audit sign` hands them over)",
            )  # fmt: skip
        placed = [(f"{name}, {one.size:,} events", Statement(0, one, ())) for one in roots]
        _take(placed, keys, claims, strange, report)
    for key in dict.fromkeys(strange):
        proven.told.append(
            f"{strange.count(key)} roots are signed with a key that was not given ({key})"
        )
    return sorted(claims, key=lambda claim: claim[1].size)


def _take(
    roots: Sequence[tuple[str, Statement]],
    keys: Collection[str],
    claims: list[Claim],
    strange: list[str],
    report: Report,
) -> None:
    """Sort the roots of one source into ``claims``, keys that were not given, and problems."""
    before: SignedRoot | None = None
    for number, (place, (seq, signed, peaks)) in enumerate(roots, 1):
        if signed.key not in keys and number < len(roots):
            strange.append(signed.key)
            before = signed
            continue
        key = signed.key if signed.key in keys else next(iter(keys), "")
        wrong = distrusted(signed, key, verify)
        if not wrong and (before is not None or seq or not signed.before):
            wrong = follows(before, signed)  # the place for a new key begins where that key began
        if not wrong and seq and signed.size >= seq:
            wrong = "covers itself"
        if not wrong and claims and signed.origin != claims[0][1].origin:
            wrong = f"is of another store ({signed.origin})"
        if wrong:
            report.add("signed", place, wrong)
        else:
            claims.append((place, signed, peaks))
        before = signed


def _hold(
    conn: sqlite3.Connection, path: Path, claims: list[Claim], report: Report, proven: Proven
) -> None:
    """Work out the root at every size that somebody signed, in one pass over the events."""
    # INVARIANT J57: an event that was changed, moved, added or taken away under a signed root is
    # found, also if every hash after it was worked out anew
    there = leaf_count(conn)
    leaves = entries(conn, path, 0, min(there, claims[-1][1].size))
    frontier, sound_to = Frontier(), 0
    for place, signed, peaks in claims:
        if signed.size > there:
            report.add(
                "signed", f"event {there + 1}",
                f"is missing, with all up to {signed.size:,}: they were there when {place} was "
                "signed",
            )  # fmt: skip
            return
        frontier.extend(islice(leaves, signed.size - frontier.size))
        if frontier.root().hex() != signed.root:
            first, last = _differing(frontier, peaks, sound_to, signed.size)
            report.add(
                "signed", _span(conn, first, last),
                f"differs from what was signed ({place}); all before it is as signed",
            )  # fmt: skip
            return
        proven.roots += signed.size > sound_to  # not again for each place that keeps it
        proven.covered = sound_to = signed.size


def _differing(
    frontier: Frontier, peaks: tuple[str, ...], sound_to: int, size: int
) -> tuple[int, int]:
    """First and last seq of the smallest part of a tree that is known to differ."""
    if len(peaks) == len(frontier.peaks):
        at = 0
        for peak, said in zip(frontier.peaks, peaks, strict=True):
            width = 1 << (size - at).bit_length() - 1
            if peak.hex() != said:
                return max(sound_to, at) + 1, at + width
            at += width
    return sound_to + 1, size


def _span(conn: sqlite3.Connection, first: int, last: int) -> str:
    try:
        place = f" ({place_of_event(conn, first)})"
    except (Corrupt, sqlite3.Error):
        place = ""
    return f"event {first}{place}" if first == last else f"an event from {first}{place} to {last}"


def _tell_clock(conn: sqlite3.Connection, proven: Proven) -> None:
    """Clocks may be set; whoever relies on times must know that they were."""
    row = conn.execute(
        "SELECT count(*),min(seq),max(step) FROM (SELECT seq,"
        "lag(at) OVER (PARTITION BY n ORDER BY pos)-at AS step FROM event) WHERE step>0"
    ).fetchone()
    if row[0]:
        proven.told.append(
            f"the clock went back {row[0]} times, by up to {row[2]:,} ms, first at event {row[1]}"
        )


FORMAT = "holdfast proof 1"
"""What a proof says of its form."""

# One event --------------------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True):
    """An event as its id is made of it: everything but what payloads say. ``args`` and ``value``
    are their hashes."""

    run: str
    pos: int
    parent: str
    kind: str
    at: int
    world: str
    args: str
    value: str
    body: str


class Proof(msgspec.Struct, frozen=True):
    """That an event is the one with ``seq`` in a store whose owner signed ``signed``. ``path``:
    from the leaf to the root, hex. ``note``: ``signed`` as tools of transparency logs read it."""

    id: str
    seq: int
    event: Entry
    path: tuple[str, ...]
    signed: SignedRoot
    note: str
    format: str = FORMAT


async def prove_event(store: SqliteStore, run: str, pos: int) -> Proof:
    """The proof of one event; `NotFound` if no signed root covers it yet."""
    (event,) = await store.read(run, pos, pos + 1)
    newest = store.ask(newest_statement)
    if newest is None or newest.signed.size < event.seq:
        raise NotFound(
            f"event {event.seq} is under no signed root yet: `holdfast audit sign` makes one"
        )
    size = newest.signed.size
    leaves = store.ask(lambda conn: list(entries(conn, store.path, 0, size)))
    hashes = store.ask(lambda conn: _payload_hashes(conn, run, pos))
    if event_id(event, *hashes) != event.id:
        raise Corrupt(f"event {run}#{pos} is not sound; see `holdfast fsck`")
    entry = Entry(
        event.run, event.pos, event.parent, event.kind, event.at, event.world, *hashes,
        event.body.decode(),
    )  # fmt: skip
    path = tuple(one.hex() for one in inclusion(leaves, event.seq - 1))
    return Proof(event.id, event.seq, entry, path, newest.signed, note(newest.signed))


def _payload_hashes(conn: sqlite3.Connection, run: str, pos: int) -> tuple[str, str]:
    """The hashes of an event's payloads, whole or erased."""
    from_start = reading.read_chain(conn, run, 0, pos + 1)
    chain = Chain("")
    for event in from_start:
        chain.run = event.run
        chain.take(raw(event))
    return chain.hashes


def read_proof(text: bytes) -> Proof:
    """The proof that ``text`` is; `Misuse` if it is none."""
    try:
        return msgspec.json.decode(text, type=Proof)
    except msgspec.MsgspecError as error:
        raise Misuse(f"this is no proof of an event: {error}") from None


def disproven(proof: Proof, key: str) -> str:
    """Why ``proof`` does not hold under the public ``key``; "" if it does."""
    wrong = distrusted(proof.signed, key, verify)
    if wrong:
        return f"the signed root {wrong}"
    wrong = _odd(proof)
    if wrong:
        return wrong
    entry = proof.event
    path = [bytes.fromhex(step) for step in proof.path]
    name, top = bytes.fromhex(proof.id), bytes.fromhex(proof.signed.root)
    if _id_of(entry) != proof.id:
        return "the event was changed: its fields do not give its id"
    if not included(name, proof.seq - 1, proof.signed.size, path, top):
        return "the event is not in the signed tree at its place"
    return ""


def _odd(proof: Proof) -> str:
    """Why a proof cannot be one that a store made; "" if it can."""
    # INVARIANT J66: the bytes of an id are read in one way: no field holds what ends it
    if proof.format != FORMAT:
        return f"is in another form ({proof.format!r}, not {FORMAT!r})"
    if proof.note != note(proof.signed):
        return "its note is not that of the signed root"
    entry = proof.event
    if entry.kind not in KINDS:
        return f"there is no kind of event {entry.kind!r}"
    optional = (entry.parent, entry.world, entry.args, entry.value)
    if not all(map(is_hash, (proof.id, *proof.path, *filter(None, optional)))):
        return "a hash in it is not 64 hex digits"
    if not NAME.fullmatch(entry.run) or entry.pos < 0 or entry.at < 0:
        return "its run, place or time cannot be"
    try:
        body_decoder(entry.kind).decode(entry.body)
    except msgspec.MsgspecError:
        return f"its body is not that of {entry.kind}"
    return ""


def _id_of(entry: Entry) -> str:
    event = Event(
        0, entry.run, entry.pos, "", entry.parent, entry.kind, entry.at, entry.world,
        entry.body.encode(), None, None,
    )  # fmt: skip
    return event_id(event, entry.args, entry.value)
