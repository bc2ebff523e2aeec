"""Golden journals: written once per format, read for ever.

python -m tests.golden.write        write what is not there yet (never over a golden file)
python -m tests.golden.write shape  write shape.txt anew, after a deliberate change of format
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import zstandard

from holdfast.journal import events
from holdfast.journal.events import (
    FORMAT,
    Draft,
    Edit,
    Failure,
    Plan,
    RunEnded,
    RunStarted,
    StepSettled,
    Verdict,
    encode_body,
)
from holdfast.journal.store import Batch, RunQuery, Store
from holdfast.stores.archive import export_runs
from holdfast.stores.lines import VERSION
from holdfast.stores.memory import MemoryStore
from holdfast.stores.schema import APPLICATION_ID, SCHEMA
from holdfast.stores.terse import terse
from holdfast.values import limits
from holdfast.values.canon import Blobs, encode, pack
from holdfast.world import EMPTY
from tests.stores.scenes import Scene, rich

HERE = Path(__file__).parent
CURRENT = HERE / f"{FORMAT:04}"


async def small(store: Store) -> None:
    """One run: begins, one step, ends."""
    scene = Scene(store)
    await scene.add("small", RunStarted("hello", ref="app:hello"), args={"name": "Ann"})
    await scene.add("small", StepSettled("1", Plan("greet"), took=3), args={"n": 1}, value="hi")
    await scene.add("small", RunEnded("done", steps=1), value="hi")


async def full(store: Store) -> None:
    """Every field of every kind is set; values of every tagged form."""
    scene = Scene(store)
    verdict = Verdict("escalate", ("r1", "r2"), "because", "less", "abc123abc123", ("ann", "bo"))
    plan, failure = Plan("pay", "tool", "once"), Failure("E", 'text\u2028\n"', True)
    value = {"$blob": [float("nan"), b"\x00", -0.0, 2**70], "ü": "x" * 300, "b": b"y" * 300}
    edit = Edit("1", "result.x", {"a": [1, "é"]})
    await scene.add("base", RunStarted("base"), args={})
    started = RunStarted(
        "agent",
        "m:agent",
        "clerk",
        2,
        "base",
        "1",
        "base",
        0,
        True,
        (edit,),
        "p1",
        "c0de",
        "ann",
        (0,),
    )
    await scene.add("full", started, world=EMPTY, args=value)
    bodies = [
        events.StepPlanned("2", plan, 3, verdict, failure, 1_800_000_000_000),
        events.StepSettled(
            "2", plan, verdict, "error", failure, 5, 3, "reconcile", 1, True, True, "a" * 64
        ),
        events.ApprovalAsked("3", "action", "May I?", "d1", plan, verdict, ("yes", "no")),
        events.ApprovalGiven("3", "d1", "answer", "ann", "a note"),
        events.SignalReceived("go", "token", "bo"),
        events.BranchMerged("4", "base", EMPTY, EMPTY, 2),
        events.FindingAdded(2, "score", "judge"),
        events.CheckpointSigned("root", "key", "signature"),
        events.RunEnded("failed", failure, 4),
    ]
    blobs: Blobs = {}
    drafts = [Draft(body, scene.at + n, value=pack(value, blobs)) for n, body in enumerate(bodies)]
    await store.append((Batch("full", tuple(drafts), epoch=1),), blobs)


async def held(store: Store) -> None:
    """A fork that holds: branches, previews, what is published, undone and dropped."""
    scene = Scene(store)
    await scene.add("source", RunStarted("agent"), args={})
    await scene.add("fork", RunStarted("agent", fork_of="source", holds=True), args={})
    say, pay = Plan("say", "tool", "once"), Plan("pay", "tool", "once")
    bodies = [
        StepSettled("1", Plan("begin", "fork"), inline=True, branch="1", root=EMPTY),
        StepSettled("2", say, status="held", branch="1", of="other@2:3"),
        StepSettled("3", pay, origin="preview"),
        events.BranchMerged("4", "@1", EMPTY, EMPTY, into="1"),
        StepSettled("4", Plan("branch 1", "merge", "world"), branch="1"),
        StepSettled("5", Plan("leave", "fork"), inline=True, branch="1"),
        StepSettled("6", Plan("rollback", "transaction", "world"), drops=("3",)),
        events.StepPlanned("7", pay, held=True, branch="1", of="other@4"),
        events.SignalReceived("$published:7", "publisher@3", "publisher"),
        StepSettled("7", origin="publish", cause=9, of="other@4", differs=True),
    ]
    blobs: Blobs = {}
    drafts = [
        Draft(body, scene.at + n, args=pack({}, blobs) if getattr(body, "plan", None) else None)
        for n, body in enumerate(bodies)
    ]
    await store.append((Batch("fork", tuple(drafts), epoch=1),), blobs)


SCENES: dict[str, Callable[[Store], Awaitable[None]]] = {
    "small": small,
    "full": full,
    "held": held,
    "rich": lambda store: rich(store, scale=20),
}


async def lines_of(name: str) -> tuple[str, dict[str, str]]:
    """A scene as archive lines (without compression), and its heads."""
    store = MemoryStore()
    await SCENES[name](store)
    with tempfile.TemporaryDirectory() as place:
        await export_runs(store, None, Path(place) / "file")
        with (Path(place) / "file").open("rb") as file:
            text = zstandard.ZstdDecompressor().stream_reader(file).read().decode()
    rows = await store.runs(RunQuery())
    return text, {row.run: (await store.head(row.run)).id for row in rows}


def shape() -> str:
    """Everything that decides how a journal's bytes look, as text for a diff."""
    numbers = (
        "PART_MIN_BYTES", "LIKE_MIN_BYTES", "CHUNK_BYTES", "CHUNK_DATABASE_BYTES", "CHUNK_FANOUT",
        "DIRECTORY_SPLIT_ENTRIES",
    )  # fmt: skip
    out = [f"format {FORMAT}", f"archive version {VERSION}", f"application id {APPLICATION_ID:#x}"]
    out += [f"{name} {getattr(limits, name)}" for name in numbers]
    out += [f"empty world {EMPTY}", ""]
    structs = [Verdict, Failure, Plan, Edit]
    kinds = dict(zip(events.Body.__args__, events.KINDS, strict=True))
    for struct in (*structs, *kinds):
        out.append(f"{kinds.get(struct, '(part)')} {struct.__name__}")
        for field in msgspec.structs.fields(struct):
            default = "" if field.required else f" = {field.default!r}"
            kind = field.type.__name__ if isinstance(field.type, type) else field.type
            out.append(f"    {field.encode_name}: {kind}{default}")
    sample = events.seal(
        Draft(StepSettled("1", Plan("greet")), 7, "a" * 64, b"{}", b'"hi"'), "run",
        events.Head(4, "b" * 64, ""),
    )  # fmt: skip
    out += ["", f"sample body {encode_body(StepSettled('1', Plan('greet'))).decode()}"]
    out += [f"sample id {sample.id}"]
    for tag, digits in (("blob", "61"), ("raw", "62")):
        written = encode({tag: digits * 32}).replace(b'{"', b'{"$')
        out += [f"sample column {terse(part)!r}" for part in (written, encode(written.decode()))]
    out += ["", SCHEMA.strip(), ""]
    return "\n".join(line.replace("holdfast.journal.events.", "") for line in out)


def main() -> None:
    if sys.argv[1:] == ["shape"]:
        (HERE / "shape.txt").write_text(shape(), encoding="utf-8")
        return
    for name in SCENES:
        target = CURRENT / f"{name}.jsonl"
        if not target.exists():
            text, heads = asyncio.run(lines_of(name))
            target.write_text(text, encoding="utf-8")
            heads_file = target.with_suffix(".heads.json")
            heads_file.write_text(json.dumps(heads, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
