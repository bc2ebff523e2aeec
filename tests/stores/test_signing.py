"""Signed roots: made, kept in second places, proven by an outsider, and tampering found."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pygit2
import pytest

from holdfast.journal.events import (
    KINDS,
    CheckpointSigned,
    Draft,
    Event,
    Plan,
    RunEnded,
    RunStarted,
    StepSettled,
    event_id,
)
from holdfast.journal.merkle import Frontier, consistency
from holdfast.journal.proof import Chain
from holdfast.journal.record import AUDIT
from holdfast.journal.signed import SignedRoot, distrusted, follows, message, note, statement
from holdfast.journal.store import Batch, RunQuery
from holdfast.runtime import Settings
from holdfast.runtime.maintenance import standing
from holdfast.runtime.signing import hand_over
from holdfast.stores import gc
from holdfast.stores.copying import copy_store
from holdfast.stores.entries import entries, newest_statement, statements
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.keys import SigningKey, make_key, read_public, verify
from holdfast.stores.notary import due, sign
from holdfast.stores.proving import _id_of, disproven, prove_event, prove_roots, read_proof
from holdfast.stores.sqlite import SqliteStore
from holdfast.stores.terse import raw_event
from holdfast.stores.witness import kept_in, witness_of
from holdfast.values import limits
from holdfast.values.errors import Conflict, Corrupt, Misuse, NotFound, Outside
from holdfast.values.ports import SystemClock, SystemDice
from tests.stores.scenes import Scene, rich

POLICY = "ab" * 32


async def signed(store: SqliteStore, key: SigningKey) -> SignedRoot | None:
    return await sign(store, key, policy=POLICY, clock=SystemClock(), dice=SystemDice())


async def some(store: SqliteStore, name: str, steps: int = 3) -> None:
    scene = Scene(store)
    await scene.add(name, RunStarted("agent"), args={"n": name})
    for number in range(steps):
        await scene.add(name, StepSettled(str(number + 1), Plan("t")), args={"n": number}, value=1)
    await scene.add(name, RunEnded("done", steps=steps), value=name)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_key(tmp_path / "key")


def problems(place: Path, key: str, *kept: tuple[str, list[SignedRoot]]) -> list[str]:
    report = check(place)
    prove_roots(place, [key], report, kept)
    return [str(one) for one in report.problems]


# Keys -------------------------------------------------------------------------------------------


def test_j54_keys(tmp_path: Path):
    """INVARIANT J54"""
    key = make_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    again = SigningKey(tmp_path / "key")
    assert again.public == key.public
    assert verify(key.public, b"text", again.sign(b"text"))
    assert not verify(key.public, b"other", key.sign(b"text"))
    assert not verify("", b"text", key.sign(b"text"))
    assert not verify(key.public, b"text", "not base64!")
    with pytest.raises(Misuse, match="never overwritten"):
        make_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Misuse, match="others may read"):
        SigningKey(tmp_path / "key")
    (tmp_path / "bad").write_text("no key")
    (tmp_path / "bad").chmod(0o600)
    with pytest.raises(Corrupt):
        SigningKey(tmp_path / "bad")
    with pytest.raises(NotFound, match="audit key"):
        SigningKey(tmp_path / "absent")
    (tmp_path / "public").write_text(key.public + "\n")
    assert read_public(str(tmp_path / "public")) == read_public(key.public) == key.public
    with pytest.raises(Misuse, match="neither"):
        read_public("nothing")


def test_j53_a_root_counts_under_one_key_only(tmp_path: Path):
    """INVARIANT J53"""
    key, other = make_key(tmp_path / "key"), make_key(tmp_path / "other")
    text = statement("holdfast/x", 3, "0" * 64, 17, POLICY)
    root = SignedRoot("holdfast/x", 3, "0" * 64, 17, key.public, key.sign(text), POLICY)
    assert distrusted(root, key.public, verify) == ""
    assert "another key" in distrusted(root, other.public, verify)
    for name, value in (
        ("origin", "holdfast/y"), ("size", 4), ("root", "1" * 64), ("time", 18),
        ("policy", ""), ("signature", other.sign(text)), ("key", other.public),
    ):  # fmt: skip
        changed = msgspec.structs.replace(root, **{name: value})
        assert distrusted(changed, changed.key, verify), name
    for name, value in (
        ("origin", "a\nb"), ("origin", ""), ("root", "x"), ("size", -1), ("policy", "p\n"),
        ("before", 4),
    ):  # fmt: skip
        assert distrusted(msgspec.structs.replace(root, **{name: value}), key.public, verify)
    lines = note(root).splitlines()
    assert lines[:5] == message(root).decode().splitlines()
    assert lines[5] == ""
    assert lines[6].startswith("\N{EM DASH} holdfast/x ")


# Signing ----------------------------------------------------------------------------------------


async def test_roots_follow_each_other(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    before = None
    for number in range(5):
        await some(store, f"r{number}", number)
        made = await signed(store, key)
        assert made is not None
        assert distrusted(made, key.public, verify) == ""
        assert follows(before, made) == ""
        assert await signed(store, key) is None  # nothing is left
        before = made
    assert before is not None
    assert len(store.ask(statements)) == 5
    leaves = store.ask(lambda conn: list(entries(conn, store.path, 0, before.size)))
    tree = Frontier()
    tree.extend(leaves)
    assert tree.root().hex() == before.root
    await store.close()
    assert problems(tmp_path / "s", key.public) == []


async def test_when_a_root_is_due(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    scene = Scene(store)
    await scene.add("a", RunStarted("agent"))
    at = scene.at
    assert not due(store, at).now
    assert due(store, at + int(limits.SIGN_SECONDS * 1000)).now
    await scene.add("a", RunEnded("done"))
    assert due(store, at).now
    await signed(store, key)
    assert due(store, at + 10**9) == due(store, 0)
    assert due(store, 0).count == 0
    await scene.add("b", RunStarted("agent"))
    steps = [StepSettled(str(n), Plan("t")) for n in range(limits.SIGN_EVENTS)]
    await scene.add("b", *steps)
    assert due(store, scene.at).now
    await store.close()


async def test_j55_one_signer_at_a_time(tmp_path: Path, key: SigningKey):
    """INVARIANT J55"""
    store, other = SqliteStore(tmp_path / "s"), SqliteStore(tmp_path / "s")
    await some(store, "a")
    await signed(store, key)
    await some(store, "b")
    epoch = await other.claim(AUDIT, other.name)
    assert await signed(store, key) is None
    head = (await other.head(AUDIT)).pos
    assert await other.release(AUDIT, epoch, head)
    assert await signed(store, key) is not None
    await store.close()
    await other.close()


async def test_another_key_begins_from_the_events(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    await some(store, "a")
    await signed(store, key)
    await some(store, "b")
    newer = make_key(tmp_path / "newer")
    assert await signed(store, newer) is not None
    await store.close()
    place = tmp_path / "s"
    assert problems(place, newer.public) == []  # the newest is over everything
    assert "another key" in problems(place, key.public)[0]
    report = check(place)
    proven = prove_roots(place, [newer.public], report)
    assert (proven.roots, report.sound) == (1, True)
    assert f"1 roots are signed with a key that was not given ({key.public})" in proven.told[0]
    both = prove_roots(place, [key.public, newer.public], report)
    assert (both.roots, both.told, report.sound) == (2, [], True)


async def test_a_forged_last_root_is_not_built_upon(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    await some(store, "a")
    await signed(store, key)
    await some(store, "b")
    last = store.ask(newest_statement)
    assert last is not None
    forged = CheckpointSigned(
        "0" * 64, key.public, last.signed.signature, last.signed.origin, 9, 1, POLICY
    )
    epoch = await store.claim(AUDIT, store.name)
    await store.append((Batch(AUDIT, (Draft(forged, 1),), epoch=epoch),), {})
    with pytest.raises(Corrupt, match="nothing more is signed"):
        await signed(store, key)
    await store.close()


# Tampering --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A rich store with two signed roots, the second over everything but itself."""
    return asyncio.run(_sound(tmp_path_factory.mktemp("sound")))


async def _sound(place: Path) -> tuple[Path, str]:
    key = make_key(place / "key")
    store = SqliteStore(place / "s")
    await rich(store, scale=20)
    await signed(store, key)
    await some(store, "late")
    await signed(store, key)
    witness = witness_of(str(place / "roots"), store.directory)
    hand_over(store, witness)
    await store.close()
    return place, key.public


def rehash(directory: Path) -> None:
    """What somebody without the key can do: work out every hash of every chain anew."""
    conn = sqlite3.connect(directory / "journal.db")
    names = dict(conn.execute("SELECT n,run FROM run"))
    kinds = "SELECT pos,kind,at,id,world,CAST(body AS BLOB),args,value,n,seq FROM event"
    chains: dict[int, Chain] = {}
    ids: dict[tuple[str, int], str] = {}
    last: dict[int, str] = {}
    for *columns, number, seq in conn.execute(f"{kinds} ORDER BY seq").fetchall():
        raw = raw_event(columns)
        body = json.loads(raw.body)
        if number not in chains:
            chains[number] = Chain(names[number])
            last[number] = ""
            if body.get("fork_of"):
                last[number] = ids[body["fork_of"], body["fork_pos"]]
        chain = chains[number]
        chain.take(raw)
        event = Event(
            0, names[number], raw.pos, "", last[number], KINDS[raw.code], raw.at,
            raw.world.hex() if raw.world else "", raw.body, None, None,
        )  # fmt: skip
        last[number] = ids[names[number], raw.pos] = event_id(event, *chain.hashes)
        for name, n in ((one, m) for m, one in names.items()):
            base = next((b for b in (body,) if b.get("fork_of") == name and n == number), None)
            if base:  # the past that a fork shares
                for (run, pos), known in list(ids.items()):
                    if run == base["fork_of"] and pos <= base["fork_pos"]:
                        ids.setdefault((names[number], pos), known)
        conn.execute("UPDATE event SET id=? WHERE seq=?", (bytes.fromhex(last[number]), seq))
    conn.commit()
    conn.close()


def change(directory: Path, statement: str) -> None:
    conn = sqlite3.connect(directory / "journal.db")
    assert conn.execute(statement).rowcount != 0, statement
    conn.commit()
    conn.close()


def swap(first: int, second: int) -> str:
    return (
        f"UPDATE event SET seq=CASE seq WHEN {first} THEN -{second} ELSE -{first} END "
        f"WHERE seq IN ({first},{second})"
    )


LATE = "n=(SELECT n FROM run WHERE run='late')"
TAMPERED = {
    "time": f"UPDATE event SET at=at+1 WHERE {LATE} AND pos=1",
    "world": f"UPDATE event SET world=zeroblob(32) WHERE {LATE} AND pos=1",
    "kind and body": (
        f'UPDATE event SET kind=7,body=\'{{"about":0,"type":"x"}}\' WHERE {LATE} AND pos=1'
    ),
    "body": f"UPDATE event SET body=replace(body,'\"t\"','\"u\"') WHERE {LATE} AND pos=1",
    "arguments": f"UPDATE event SET args='{{\"n\":7}}' WHERE {LATE} AND pos=2",
    "no arguments": f"UPDATE event SET args=NULL WHERE {LATE} AND pos=2",
    "value": f"UPDATE event SET value='2' WHERE {LATE} AND pos=3",
    "an erased value": (
        f'UPDATE event SET value=\'{{"$erased":"{"0" * 64}"}}\' WHERE {LATE} AND pos=3'
    ),
    "position": f"UPDATE event SET pos=77 WHERE {LATE} AND pos=4",
    "run": f"UPDATE event SET n=(SELECT n FROM run WHERE run='d'),pos=2 WHERE {LATE} AND pos=4",
    "name of the run": (
        "UPDATE run SET run='early',row=replace(row,'late','early') WHERE run='late'"
    ),
    "deleted": f"DELETE FROM event WHERE {LATE} AND pos=4",
    "added": (
        "INSERT INTO event SELECT (SELECT max(seq)+1 FROM event),n,5,kind,at,id,world,body,args,"
        f"value FROM event WHERE {LATE} AND pos=1"
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
@pytest.mark.parametrize("rehashed", [False, True], ids=["", "all hashes anew"])
async def test_j57_tampering_is_seen(sound: tuple[Path, str], tmp_path: Path, name: str,
                                     rehashed: bool):  # fmt: skip
    """INVARIANT J57"""
    shutil.copytree(sound[0] / "s", tmp_path / "s")
    change(tmp_path / "s", TAMPERED[name])
    if rehashed:
        rehash(tmp_path / "s")
    found = problems(tmp_path / "s", sound[1])
    if (
        name == "added" and rehashed
    ):  # a newer event, which nobody signed: that is what appending is
        return
    assert found


async def test_a_run_that_was_deleted_whole(sound: tuple[Path, str], tmp_path: Path):
    shutil.copytree(sound[0] / "s", tmp_path / "s")
    change(tmp_path / "s", f"DELETE FROM event WHERE {LATE}")
    change(tmp_path / "s", "DELETE FROM run WHERE run='late'")
    assert "events are missing" in str(check(tmp_path / "s").problems[0])
    change(tmp_path / "s", "INSERT OR REPLACE INTO counter SELECT 'seq',max(seq) FROM event")
    assert check(tmp_path / "s").problems == []  # as `gc` leaves it, see docs/audit.md
    (said,) = problems(tmp_path / "s", sound[1])
    assert "differs from what was signed" in said


async def test_rehashing_is_undone_work_on_a_sound_store(sound: tuple[Path, str], tmp_path: Path):
    """The sweep above would prove nothing if this changed something."""
    shutil.copytree(sound[0] / "s", tmp_path / "s")
    rehash(tmp_path / "s")
    assert problems(tmp_path / "s", sound[1]) == []


async def test_bits(sound: tuple[Path, str], tmp_path: Path):
    """One bit in every hash-covered column of every event."""
    conn = sqlite3.connect(sound[0] / "s" / "journal.db")
    seqs = [seq for (seq,) in conn.execute("SELECT seq FROM event")]
    conn.close()
    seen = 0
    for column in ("id", "at", "kind", "pos", "body", "args", "value"):
        for seq in seqs[:: 7 if column in ("kind", "pos") else 5]:
            conn = sqlite3.connect(sound[0] / "s" / "journal.db")
            (value,) = conn.execute(f"SELECT {column} FROM event WHERE seq=?", (seq,)).fetchone()
            conn.close()
            if value is None or value == "":
                continue
            if isinstance(value, int):
                flipped: object = value ^ 1
            elif isinstance(value, bytes):
                flipped = bytes([*value[:-1], value[-1] ^ 1])
            else:
                middle = len(value) // 2
                flipped = value[:middle] + chr(ord(value[middle]) ^ 1) + value[middle + 1 :]
            shutil.rmtree(tmp_path / "s", ignore_errors=True)
            shutil.copytree(sound[0] / "s", tmp_path / "s")
            conn = sqlite3.connect(tmp_path / "s" / "journal.db")
            try:
                conn.execute(f"UPDATE event SET {column}=? WHERE seq=?", (flipped, seq))
            except sqlite3.IntegrityError:
                conn.close()
                continue
            conn.commit()
            conn.close()
            assert problems(tmp_path / "s", sound[1]), (column, seq)
            seen += 1
    assert seen > 30


async def test_order(sound: tuple[Path, str], tmp_path: Path):
    """Two events of different runs change places: no chain notices, the root does."""
    conn = sqlite3.connect(sound[0] / "s" / "journal.db")
    rows = list(conn.execute("SELECT seq,n FROM event ORDER BY seq"))
    conn.close()
    first = next(a for a, b in itertools.pairwise(rows) if a[1] != b[1])[0]
    shutil.copytree(sound[0] / "s", tmp_path / "s")
    change(tmp_path / "s", swap(first, first + 1))
    change(tmp_path / "s", "UPDATE event SET seq=-seq WHERE seq<0")
    said = problems(tmp_path / "s", sound[1])
    assert any("differs from what was signed" in one for one in said)


async def test_a_cut_tail_is_seen_by_a_second_place(sound: tuple[Path, str], tmp_path: Path):
    shutil.copytree(sound[0] / "s", tmp_path / "s")
    conn = sqlite3.connect(tmp_path / "s" / "journal.db")
    first = conn.execute(f"SELECT min(seq) FROM event WHERE {LATE}").fetchone()[0]
    conn.close()
    change(tmp_path / "s", f"DELETE FROM event WHERE seq>={first}")
    change(tmp_path / "s", "DELETE FROM run WHERE run='late'")
    assert problems(tmp_path / "s", sound[1]) == []  # what is left is whole, and signed
    place = str(sound[0] / "roots")
    (said,) = problems(tmp_path / "s", sound[1], (place, kept_in(place)))
    assert f"event {first}: is missing" in said


async def test_without_the_key_nothing_counts(sound: tuple[Path, str], tmp_path: Path):
    other = make_key(tmp_path / "other")
    said = problems(sound[0] / "s", other.public)
    assert "another key" in said[0]
    assert any("no root in it is signed with a key that was given" in one for one in said)


async def test_a_clock_that_goes_back_is_told(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    drafts = (Draft(RunStarted("a"), 1_000_000), Draft(RunEnded("done"), 400_000))
    await store.append((Batch("a", drafts, expect=-1),), {})
    await signed(store, key)
    await store.close()
    report = check(tmp_path / "s")
    proven = prove_roots(tmp_path / "s", [key.public], report)
    assert report.sound
    assert "the clock went back 1 times, by up to 600,000 ms" in proven.told[0]
    assert (proven.roots, proven.left) == (1, 1)


async def test_only_new_roots_are_read(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    for number in range(3):
        await some(store, f"r{number}")
        await signed(store, key)
    one, two, three = store.ask(statements)
    assert one.signed.size < two.signed.size < three.signed.size
    for after, found in ((0, [one, two, three]), (one.signed.size, [two, three]), (1 << 40, [])):
        assert store.ask(lambda conn, after=after: statements(conn, after)) == found
    await store.close()
    change(tmp_path / "s", f"UPDATE event SET body='no json' WHERE seq={one.seq}")
    store = SqliteStore(tmp_path / "s")
    assert store.ask(lambda conn: statements(conn, two.signed.size)) == [three]
    with pytest.raises(msgspec.DecodeError):
        store.ask(statements)
    await store.close()


# Deletion, proofs, copies -----------------------------------------------------------------------


async def test_j58_deleted_runs_stay_provable(tmp_path: Path, key: SigningKey):
    """INVARIANT J58"""
    store = SqliteStore(tmp_path / "s")
    await some(store, "before", 2)  # deleted before anything was signed
    await some(store, "a", 700)
    assert collect(store, only=("before",)).events == 4
    await signed(store, key)
    await some(store, "b")
    await signed(store, key)
    assert collect(store, only=("a",)).events == 702
    await some(store, "c")
    await signed(store, key)
    with pytest.raises(Misuse, match="own record"):
        collect(store, only=(AUDIT,))
    assert collect(store, ended_before=1 << 50).runs == 2
    await signed(store, key)
    assert (await store.run(AUDIT)).ended
    await store.close()
    assert problems(tmp_path / "s", key.public) == []
    store = SqliteStore(tmp_path / "s")
    copy_store(store, tmp_path / "copy", payloads=False)
    await store.close()
    assert problems(tmp_path / "copy", key.public) == []


async def test_j58_a_first_root_between_the_record_and_the_deletion(
    tmp_path: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANT J58"""
    store, other = SqliteStore(tmp_path / "s"), SqliteStore(tmp_path / "s")
    await some(store, "a")
    await some(store, "b")
    keep_ids = gc._keep_ids

    def then_signed(*args):
        kept = keep_ids(*args)
        with monkeypatch.context() as once, ThreadPoolExecutor(1) as beside:
            once.setattr(gc, "_keep_ids", keep_ids)
            assert beside.submit(lambda: asyncio.run(signed(other, key))).result() is not None
        return kept

    monkeypatch.setattr(gc, "_keep_ids", then_signed)
    with pytest.raises(Conflict, match="began to sign"):
        await asyncio.to_thread(collect, store, only=("a",))
    assert problems(tmp_path / "s", key.public) == []
    monkeypatch.setattr(gc, "_keep_ids", keep_ids)
    assert collect(store, only=("a",)).runs == 1
    await store.close()
    await other.close()
    assert problems(tmp_path / "s", key.public) == []


async def test_j66_the_proof_of_one_event(tmp_path: Path, key: SigningKey):
    """INVARIANT J66"""
    store = SqliteStore(tmp_path / "s")
    await rich(store, scale=5)
    with pytest.raises(NotFound, match="audit sign"):
        await prove_event(store, "a", 2)
    await signed(store, key)
    for run in ("a", "c", "w"):
        for event in await store.read(run):
            one = await prove_event(store, event.run, event.pos)
            assert (one.id, one.seq) == (event.id, event.seq)
            assert disproven(one, key.public) == ""
    proof = await prove_event(store, "a", 2)
    again = read_proof(msgspec.json.encode(proof))
    assert again == proof
    other = make_key(tmp_path / "other")
    assert "another key" in disproven(proof, other.public)
    for name, value in (("at", 1), ("run", "x"), ("pos", 3), ("args", "0" * 64)):
        entry = msgspec.structs.replace(proof.event, **{name: value})
        changed = msgspec.structs.replace(proof, event=entry)
        assert "the event was changed" in disproven(changed, key.public)
    front, _, rest = proof.event.body.partition('",')  # the same bytes, cut at another place
    for name, value in (
        ("value", f'{proof.event.value}",{front}'), ("value", "A" * 64), ("args", "x"),
        ("world", "0" * 63), ("parent", "0" * 65), ("run", 'a",1'), ("run", ""), ("body", rest),
        ("body", "[]"), ("kind", "run"), ("pos", -1), ("at", -1),
    ):  # fmt: skip
        entry = msgspec.structs.replace(proof.event, **{name: value})
        if name == "value" and '"' in str(value):
            entry = msgspec.structs.replace(entry, body=rest)
            assert _id_of(entry) == proof.id
        changed = msgspec.structs.replace(proof, event=entry)
        assert disproven(changed, key.public), name
    for name, value in (("note", "x"), ("format", "holdfast proof 2"), ("id", proof.id.upper())):
        changed = msgspec.structs.replace(proof, **{name: value})
        assert disproven(changed, key.public), name
    moved = msgspec.structs.replace(proof, seq=proof.seq - 1)
    assert "not in the signed tree" in disproven(moved, key.public)
    with pytest.raises(Misuse, match="no proof"):
        read_proof(b"{}")
    await store.close()


@pytest.mark.parametrize("payloads", [True, False])
async def test_a_copy_for_auditors(tmp_path: Path, key: SigningKey, payloads: bool):
    store = SqliteStore(tmp_path / "s")
    await rich(store)
    await signed(store, key)
    events = copy_store(store, tmp_path / "copy", payloads=payloads)
    assert events == await store.last_seq()
    with pytest.raises(Misuse, match="already"):
        copy_store(store, tmp_path / "copy")
    await store.close()
    assert problems(tmp_path / "copy", key.public) == []
    there = b"".join(path.read_bytes() for path in (tmp_path / "copy").iterdir())
    assert (b"print(1)" in there) or not payloads
    assert (b"bees bees" not in there) or payloads
    again = SqliteStore(tmp_path / "copy", create=False)
    assert len(await again.runs(RunQuery())) == 6
    await again.close()


# Second places ----------------------------------------------------------------------------------


def repository(path: Path) -> str:
    pygit2.init_repository(str(path), bare=True)
    return f"git:{path}#roots"


@pytest.fixture(params=["file", "git"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return repository(tmp_path / "r") if request.param == "git" else str(tmp_path / "roots")


async def test_j56_a_second_place_keeps_everything_and_refuses_another_history(
    tmp_path: Path, key: SigningKey, place: str
):
    """INVARIANT J56"""
    store = SqliteStore(tmp_path / "s")
    witness = witness_of(place, store.directory)
    assert witness.newest() is None
    for number in range(4):
        await some(store, f"r{number}", number)
        await signed(store, key)
        if number != 1:  # it was away: nothing is lost
            hand_over(store, witness)
    mine = [one.signed for one in store.ask(statements)]
    assert witness.all() == kept_in(place) == mine
    assert hand_over(store, witness) == 0

    thief = SqliteStore(tmp_path / "t")  # the key was stolen, and the past written anew
    await some(thief, "other", 60)
    await signed(thief, key)
    with pytest.raises(Conflict, match="another store"):
        hand_over(thief, witness)
    last = mine[-1]
    tree = Frontier()
    tree.extend([b"x" * 32] * 99)
    root = tree.root().hex()
    text = statement(last.origin, 99, root, 5, POLICY)
    forged = SignedRoot(last.origin, 99, root, 5, key.public, key.sign(text), POLICY, last.size)
    with pytest.raises(Conflict, match="another history"):
        witness.add([forged])
    whole = msgspec.structs.replace(forged, before=0)
    with pytest.raises(Conflict, match="continues 0 events"):
        witness.add([whole])
    other = make_key(tmp_path / "other")
    before = Frontier()
    before.extend(store.ask(lambda conn: list(entries(conn, store.path, 0, last.size))))
    proof = tuple(one.hex() for one in consistency(before, [b"y" * 32]))
    before.extend([b"y" * 32])
    text = statement(last.origin, last.size + 1, before.root().hex(), 5, "")
    stranger = SignedRoot(
        last.origin, last.size + 1, before.root().hex(), 5, other.public, other.sign(text), "",
        last.size, proof,
    )  # fmt: skip
    with pytest.raises(Conflict, match="another key"):
        witness.add([stranger])
    assert witness.all() == mine
    await store.close()
    await thief.close()


async def test_j56_a_place_for_a_new_key_begins_with_it(
    tmp_path: Path, key: SigningKey, place: str
):
    """INVARIANT J56"""
    store, newer = SqliteStore(tmp_path / "s"), make_key(tmp_path / "newer")
    old = witness_of(str(tmp_path / "old"), store.directory)
    for number, one in enumerate([key, key, newer, newer, newer]):
        await some(store, f"r{number}", number)
        await signed(store, one)
        if one is key:
            hand_over(store, old)
    with pytest.raises(Conflict, match="name a new place for roots of a new key"):
        hand_over(store, old)
    witness = witness_of(place, store.directory)
    assert hand_over(store, witness) == 3
    await some(store, "more")
    await signed(store, newer)
    assert hand_over(store, witness) == 1
    mine = [one.signed for one in store.ask(statements)]
    assert (old.all(), witness.all()) == (mine[:2], mine[2:])
    assert mine[2].before == mine[1].size
    await store.close()
    report = check(tmp_path / "s")
    kept = [(place, kept_in(place))]
    proven = prove_roots(tmp_path / "s", [newer.public, key.public], report, kept)
    assert (report.problems, proven.places, proven.roots) == ([], {place: 4}, 6)
    change(tmp_path / "s", "UPDATE event SET at=at+1 WHERE seq=2")
    rehash(tmp_path / "s")
    assert problems(tmp_path / "s", newer.public, (place, kept_in(place)))


async def test_j68_a_store_that_was_put_back_is_told(tmp_path: Path, key: SigningKey, place: str):
    """INVARIANT J68"""
    store = SqliteStore(tmp_path / "s")
    witness = witness_of(place, store.directory)
    settings = Settings(store=str(tmp_path / "s"), witness=(place,))
    await some(store, "a")
    await store.close()
    shutil.copytree(tmp_path / "s", tmp_path / "unsigned")
    store = SqliteStore(tmp_path / "s")
    await signed(store, key)
    await store.close()
    shutil.copytree(tmp_path / "s", tmp_path / "old")
    store = SqliteStore(tmp_path / "s")
    await some(store, "b")
    await signed(store, key)
    assert hand_over(store, witness) == 2
    assert standing(store, settings).ahead == ()
    await store.close()
    for older in ("unsigned", "old"):
        shutil.rmtree(tmp_path / "s")
        shutil.copytree(tmp_path / older, tmp_path / "s")
        store = SqliteStore(tmp_path / "s")
        with pytest.raises(Conflict, match=r"is ahead of the store.*put back or cut off"):
            hand_over(store, witness)
        found = standing(store, settings)
        assert found.ahead == (place,)
        assert "is ahead of the store" in str(found.places[place])
        await store.close()
    store = SqliteStore(tmp_path / "s")
    await some(store, "c", 20)  # and went on beyond what is known
    await signed(store, key)
    with pytest.raises(Conflict, match="continues"):
        hand_over(store, witness)
    await store.close()


async def test_j69_a_place_that_lost_roots_is_told(tmp_path: Path, key: SigningKey):
    """INVARIANT J69"""
    store = SqliteStore(tmp_path / "s")
    for number in range(3):
        await some(store, f"r{number}")
        await signed(store, key)
    roots = tmp_path / "roots"
    hand_over(store, witness_of(str(roots), store.directory))
    await store.close()
    lines = roots.read_bytes().splitlines(keepends=True)
    for kept in (lines, lines[:2], lines[:1], [lines[0], lines[2]], []):
        roots.write_bytes(b"".join(kept))
        found = problems(tmp_path / "s", key.public, ("there", kept_in(str(roots))))
        told = [one for one in found if f"keeps {len(kept)} signed roots, the journal has 3" in one]
        assert len(told) == (kept is not lines), found


async def test_what_is_not_mounted_is_not_made(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    await some(store, "a")
    await signed(store, key)
    witness = witness_of(str(tmp_path / "mnt" / "roots"), store.directory)
    with pytest.raises(Outside, match=f"there is no directory {tmp_path}/mnt: mount it"):
        hand_over(store, witness)
    assert not (tmp_path / "mnt").exists()
    (tmp_path / "mnt").mkdir()
    assert hand_over(store, witness) == 1
    await store.close()


async def test_a_remote_is_pushed_to_and_never_forced(tmp_path: Path, key: SigningKey):
    far = tmp_path / "far"
    repository(far)
    place = f"{repository(tmp_path / 'near')}@origin"
    near = pygit2.Repository(str(tmp_path / "near"))
    near.remotes.create("origin", str(far))
    store = SqliteStore(tmp_path / "s")
    await some(store, "a")
    await signed(store, key)
    assert hand_over(store, witness_of(place, store.directory)) == 1
    assert len(kept_in(f"git:{far}#roots")) == 1
    witness = witness_of(place, store.directory)
    witness.check()
    far.rename(tmp_path / "gone")
    await some(store, "b")
    await signed(store, key)
    with pytest.raises(Outside, match="push to origin failed"):
        hand_over(store, witness_of(place, store.directory))
    with pytest.raises(Outside, match="ls-remote to origin failed"):
        witness.check()
    (tmp_path / "gone").rename(far)
    with pytest.raises(Outside, match=r"origin has .*`holdfast audit sign` pushes again"):
        witness.check()
    settings = Settings(store=str(tmp_path / "s"), witness=(place,))
    assert "origin has" in str(standing(store, settings).places[place])
    hand_over(store, witness_of(place, store.directory))  # what was not pushed is pushed now
    assert len(kept_in(f"git:{far}#roots")) == 2
    witness.check()
    pygit2.Repository(str(far)).references.delete("refs/heads/roots")
    with pytest.raises(Outside, match="origin has nothing"):
        witness.check()
    await store.close()


async def test_places_that_cannot_be(tmp_path: Path, key: SigningKey):
    store = SqliteStore(tmp_path / "s")
    await some(store, "a")
    await signed(store, key)
    for place in (str(tmp_path / "s" / "roots"), "", "git:"):
        with pytest.raises(Misuse, match="outside of the store"):
            witness_of(place, store.directory)
    with pytest.raises(Outside, match="not a Git repository"):
        hand_over(store, witness_of(f"git:{tmp_path / 'none'}", store.directory))
    with pytest.raises(NotFound):
        kept_in(str(tmp_path / "none"))
    half = tmp_path / "half"
    hand_over(store, witness_of(str(half), store.directory))
    half.write_bytes(half.read_bytes()[:-9])
    with pytest.raises(Corrupt, match="cut off"):
        hand_over(store, witness_of(str(half), store.directory))
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(Corrupt, match="no signed root"):
        hand_over(store, witness_of(str(tmp_path / "text"), store.directory))
    await store.close()
