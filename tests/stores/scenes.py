"""Small journals with everything in them: forks, segments, nested content, worlds, merges."""

from __future__ import annotations

from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    BranchMerged,
    Draft,
    Failure,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
)
from holdfast.journal.like import shorten
from holdfast.journal.store import Batch, Store
from holdfast.values.canon import Blobs, digest, pack
from holdfast.values.errors import Corrupt
from holdfast.world import EMPTY, Stage, write_file


class Scene:
    """Appends to a store step by step, with a clock of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.at = 1_700_000_000_000
        self.pos: dict[str, int] = {}

    async def add(self, run: str, *bodies, world="", args=None, value=None, **more):
        """Append events; payloads belong to the last. Returns the last event."""
        blobs: Blobs = dict(more.pop("blobs", {}))
        drafts = [Draft(body, self._tick()) for body in bodies]
        packed = None if args is None else pack(args, blobs)
        drafts[-1] = Draft(
            bodies[-1], drafts[-1].at, world=world, args=packed,
            value=None if value is None else pack(value, blobs), **more,
        )  # fmt: skip
        events = await self.store.append((Batch(run, tuple(drafts), **self._lease(run)),), blobs)
        return events[-1]

    def _tick(self) -> int:
        self.at += 7
        return self.at

    def _lease(self, run: str) -> dict:
        if run in self.pos:
            return {"epoch": 1}
        self.pos[run] = 0
        return {"expect": -1, "lease": getattr(self.store, "name", "tester")}

    async def talk(self, run: str, turns: int, first: int = 1) -> None:
        """A conversation that is sent whole at every turn."""
        key, earlier = "", b""
        for turn in range(first, first + turns):
            blobs: Blobs = {}
            said = [
                {"role": "user", "text": f"{run} {number} " + "ü" * 300} for number in range(turn)
            ]
            skeleton = pack({"messages": said}, blobs)
            stored = shorten(skeleton, key, earlier) if key else None
            body = StepSettled(f"m{turn}", Plan("model", effect="idempotent"), took=turn)
            draft = Draft(
                body, self._tick(), args=stored or skeleton,
                value=pack({"text": f"answer {turn} " + "ö" * 400}, blobs),
                args_hash=digest(skeleton) if stored else "",
            )  # fmt: skip
            await self.store.append((Batch(run, (draft,), epoch=1),), blobs)
            key, earlier = f"m{turn}", skeleton

    async def world(self, root: str, path: str, content: bytes) -> tuple[str, Blobs]:
        """A root with one more file, and the blobs that it needs."""
        stage = Stage(self.store.get)
        return write_file(stage, root, path, content), stage.take()


async def rich(store: Store, scale: int = 9000) -> None:
    """Runs "a" (ended), its forks "b" and "c", a child "d" (ended) and "w" (waiting)."""
    scene = Scene(store)
    await scene.add("a", RunStarted("writer", ref="app:writer", role="clerk", code="c0de"),
                    args={"topic": "bees", "long": "l" * 600})  # fmt: skip
    await scene.add("a", StepSettled("0.1", Plan("dice", "dice"), inline=True), value=0.25)
    root, blobs = await scene.world(EMPTY, "src/app.py", b"print(1)\n" * 200)
    await scene.add("a", StepSettled("0.2", Plan("world.write", effect="world")), world=root,
                    args={"path": "src/app.py"}, value=None, blobs=blobs)  # fmt: skip
    await scene.talk("a", 12)
    nested = {"items": [{"text": "n" * 500, "raw": b"\x00\xfe" * 300}, "s" * 300] * 2}
    await scene.add("a", StepPlanned("0.3", Plan("mail", effect="once")), args=nested)
    late = Failure("TimeoutError", "late", retryable=True)
    failed = StepPlanned("0.3", Plan("mail", effect="once"), 2, failed=late, due=scene.at + 99)
    await scene.add("a", failed)
    await scene.add("a", StepSettled("0.3", took=12), value=nested)
    bigger, blobs = await scene.world(root, "data/big.bin", bytes(range(256)) * scale)
    await scene.add("a", StepSettled("0.4", Plan("world.run", effect="world")), world=bigger,
                    args={}, value={"exit": 0}, blobs=blobs)  # fmt: skip
    await scene.add("b", RunStarted("writer", fork_of="a", fork_pos=8))
    await scene.talk("b", 5, first=20)
    await scene.add("c", RunStarted("writer", fork_of="b", fork_pos=11, reuse=True))
    await scene.add("c", StepSettled("0.9", Plan("tool")), args={"$blob": "x"}, value="c")
    merged = BranchMerged("0.5", "b", root, bigger)
    await scene.add("a", merged)
    spawned = StepSettled("0.6", Plan("d", "spawn"), took=1)
    await scene.add("a", spawned, args={}, value={"run": "d"})
    await scene.add("d", RunStarted("child", parent="a", parent_key="0.6"), world=bigger, args={})
    await scene.add("d", RunEnded("done", steps=0), value="child's result " * 40)
    await scene.add("a", RunStarted("writer", segment=2, carry=(3,)), args={"state": 1})
    await scene.add("a", StepSettled("0.1", Plan("dice", "dice"), inline=True), value=0.5)
    await scene.add("a", RunEnded("done", steps=2), value={"answer": "bees " * 100})
    await store.append((Batch("a", (Draft(FindingAdded(3, "score", by="me"), scene.at),)),), {})
    await scene.add("w", RunStarted("waiter"), args={})
    await scene.add("w", StepPlanned("0.1", Plan("go", "signal")))
    await scene.add("w", ApprovalAsked("0.2", "action", "May I?", "d1", plan=Plan("pay")), args={})
    given = ApprovalGiven("0.2", "d1", "approve", by="ann")
    signal = SignalReceived("other", token="t")
    await store.append(
        (Batch("w", (Draft(given, scene.at), Draft(signal, scene.at, value=b"7"))),), {}
    )


def missing(store: Store, name: str) -> bool:
    """Whether a blob is absent."""
    try:
        store.get(name)
    except Corrupt:
        return True
    return False
