"""A LangGraph checkpointer on a Holdfast journal (the extra ``langgraph``).

States are kept as `holdfast.adapters.states` keeps them. Nothing is pickled, and nothing but known
types is made from what was stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from holdfast.adapters.saved import loaded, stored
from holdfast.adapters.states import Dropping, States, at_once
from holdfast.adapters.threads import Place, Thread
from holdfast.journal.events import Draft
from holdfast.journal.store import Store
from holdfast.journal.views import STATE, WRITES
from holdfast.values.canon import Blobs, part
from holdfast.values.errors import Misuse
from holdfast.values.ports import Clock, SystemClock

_Typed = dict[str, Any]


class Checkpointer(BaseCheckpointSaver[int]):
    """Keeps the states of graphs in ``store``, for ``compile(checkpointer=...)``.

    ``allow``: classes of your own that states hold (messages and standard types need not be named);
    a state that holds another is refused with `Misuse` when it is read. ``serde``: a serializer
    instead, such as LangGraph's encrypting one; each value is then stored in one piece. Deleting
    and pruning make the journal forget what was said; its space goes with `holdfast gc`.
    """

    def __init__(
        self,
        store: Store,
        *,
        allow: Sequence[type] = (),
        serde: SerializerProtocol | None = None,
        clock: Clock | None = None,
    ) -> None:
        # INVARIANT D52: nothing is pickled, and only types known to LangGraph or named are made
        names = [(one.__module__, one.__qualname__) for one in allow]
        super().__init__(serde=serde or JsonPlusSerializer(allowed_msgpack_modules=names or None))
        self._plain = serde is None
        self.states = States(store, "langgraph", clock or SystemClock())

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The state that ``config`` names, or the newest of its thread and namespace."""
        return at_once(self.aget_tuple(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """`get_tuple` for asynchronous code."""
        name = _thread(config)
        thread = await self.states.look(name)
        place = thread.find(_ns(config), get_checkpoint_id(config))
        return None if place is None else await self._tuple(name, thread, place, {})

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """States, newest first: of a thread, or of all threads without ``config``."""
        found = self.alist(config, filter=filter, before=before, limit=limit)
        while (one := at_once(_next(found))) is not None:
            yield one

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """`list` for asynchronous code."""
        names = [_thread(config)] if config else await self.states.names()
        ns = config.get("configurable", {}).get("checkpoint_ns") if config else None
        only = get_checkpoint_id(config) if config else None
        until = get_checkpoint_id(before) if before else None
        threads = {name: await self.states.look(name) for name in names}
        places = [
            (place[1], name, place)
            for name, thread in threads.items() for place in thread.places()
            if ns in (None, place[0]) and only in (None, "", place[1])
            and (not until or place[1] < until)
        ]  # fmt: skip
        left = len(places) if limit is None else limit
        for _, name, place in sorted(places, reverse=True):
            if left <= 0:
                return
            found = await self._tuple(name, threads[name], place, filter or {})
            if found is not None:
                left -= 1
                yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a state; it is durable when this returns."""
        draft, blobs = self._state(config, checkpoint, metadata)
        self.states.append_now(_thread(config), [draft], blobs)
        return _config(_thread(config), (_ns(config), checkpoint["id"]))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """`put` for asynchronous code."""
        draft, blobs = self._state(config, checkpoint, metadata)
        await self.states.append(_thread(config), [draft], blobs)
        return _config(_thread(config), (_ns(config), checkpoint["id"]))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save what a task wrote at a state; it is durable when this returns."""
        draft, blobs = self._writes(config, writes, task_id, task_path)
        self.states.append_now(_thread(config), [draft], blobs)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """`put_writes` for asynchronous code."""
        draft, blobs = self._writes(config, writes, task_id, task_path)
        await self.states.append(_thread(config), [draft], blobs)

    def delete_thread(self, thread_id: str) -> None:
        """Drop all states of a thread; that there was one of this name stays known."""
        self.states.drop_now([(thread_id, ())])

    async def adelete_thread(self, thread_id: str) -> None:
        """`delete_thread` for asynchronous code."""
        await self.states.drop([(thread_id, ())])

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Drop what these runs of LangGraph saved, in any thread. It looks at all states."""
        self.states.drop_now(at_once(_of_runs(self, run_ids)))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """`delete_for_runs` for asynchronous code."""
        await self.states.drop(await _of_runs(self, run_ids))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Drop all states of threads but the newest of each namespace, and those that it is
        computed from; or, with ``strategy`` "delete", all."""
        self.states.drop_now(at_once(_old(self, thread_ids, strategy)))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """`prune` for asynchronous code."""
        await self.states.drop(await _old(self, thread_ids, strategy))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Save all states of a thread in another; their content is stored once."""
        self.states.append_now(target_thread_id, at_once(self.states.copies(source_thread_id)), {})

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """`copy_thread` for asynchronous code."""
        await self.states.append(target_thread_id, await self.states.copies(source_thread_id), {})

    def _state(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> tuple[Draft, Blobs]:
        dump, plain = self.serde.dumps_typed, self._plain
        metadata = get_checkpoint_metadata(config, metadata)
        blobs: Blobs = {}
        parts = {
            "id": part(checkpoint["id"], blobs),
            "metadata": stored(metadata, dump, blobs, plain=plain),
            "ns": part(_ns(config), blobs),
            "parent": part(get_checkpoint_id(config) or "", blobs),
            "state": {
                name: stored(one, dump, blobs, plain=plain) for name, one in checkpoint.items()
            },
        }
        return self.states.finding(STATE, parts), blobs

    def _writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task: str, path: str
    ) -> tuple[Draft, Blobs]:
        dump, plain = self.serde.dumps_typed, self._plain
        blobs: Blobs = {}
        parts: dict[str, Any] = {
            "id": part(get_checkpoint_id(config) or "", blobs),
            "ns": part(_ns(config), blobs),
            "path": part(path, blobs),
            "task": part(task, blobs),
            "writes": [
                [
                    WRITES_IDX_MAP.get(channel, n),
                    part(channel, blobs),
                    stored(one, dump, blobs, plain=plain),
                ]
                for n, (channel, one) in enumerate(writes)
            ],
        }
        return self.states.finding(WRITES, parts), blobs

    async def _tuple(
        self, name: str, thread: Thread, place: Place, wanted: Mapping[str, Any]
    ) -> CheckpointTuple | None:
        """A state, if its metadata are as wanted and nobody dropped it meanwhile."""
        states, load = self.states, self.serde.loads_typed
        saved = thread.saved(place)
        said = None if saved is None else await states.said(name, saved.pos)
        if saved is None or said is None:
            return None
        with _known_types(place):
            metadata = loaded(states.follow(said["metadata"]), load)
            if any(metadata.get(key) != one for key, one in wanted.items()):
                return None
            state = {key: loaded(states.follow(one), load) for key, one in said["state"].items()}
            writes: list[PendingWrite] = []
            said = {}
            for write in thread.writes(place):
                if write.pos not in said:
                    said[write.pos] = await states.said(name, write.pos) or {"writes": []}
                for _, channel, form in said[write.pos]["writes"][write.row : write.row + 1]:
                    value = loaded(states.follow(form), load)
                    writes.append((write.task, states.follow(channel), value))
        before = _config(name, (place[0], saved.parent)) if saved.parent else None
        whole = cast("Checkpoint", state)
        return CheckpointTuple(_config(name, place), whole, metadata, before, writes)


async def _of_runs(saver: Checkpointer, run_ids: Sequence[str]) -> Sequence[Dropping]:
    """What these runs of LangGraph saved."""
    found: dict[str, list[Place]] = {}
    if not run_ids:
        return ()
    async for one in saver.alist(None):
        if one.metadata.get("run_id") in run_ids:
            found.setdefault(_thread(one.config), []).append(_place(one.config))
    return list(found.items())


async def _old(saver: Checkpointer, thread_ids: Sequence[str], strategy: str) -> Sequence[Dropping]:
    """What pruning drops."""
    if strategy not in ("keep_latest", "delete"):
        raise Misuse(f"strategy={strategy!r}: choose keep_latest or delete")
    found: list[Dropping] = []
    for name in thread_ids:
        thread = await saver.states.look(name)
        places = thread.places()
        kept: set[Place] = set()
        for ns in {place[0] for place in places} if strategy == "keep_latest" else ():
            kept |= await _needed(saver, _config(name, (ns, "")))
        gone = [place for place in places if place not in kept]
        if gone:
            found.append((name, gone))
    return found


async def _needed(saver: Checkpointer, newest: RunnableConfig) -> set[Place]:
    """A state and those that it is computed from.

    INVARIANT D55: a state that is kept can be computed: with it stay those before it, back to where
    each channel that is stored as changes was last stored whole.
    """
    found: set[Place] = set()
    missing: set[str] | None = None
    one = await saver.aget_tuple(newest)
    while one is not None:
        found.add(_place(one.config))
        if missing is None:
            missing = set(one.metadata.get("counters_since_delta_snapshot") or ())
        missing -= set(one.checkpoint["channel_values"])
        if not missing or one.parent_config is None:
            break
        one = await saver.aget_tuple(one.parent_config)
    return found


async def _next(found: AsyncIterator[CheckpointTuple]) -> CheckpointTuple | None:
    return await anext(found, None)


def _thread(config: RunnableConfig) -> str:
    name = config.get("configurable", {}).get("thread_id")
    if name is None:
        raise Misuse('the config names no thread: {"configurable": {"thread_id": ...}}')
    return str(name)


def _ns(config: RunnableConfig) -> str:
    return config.get("configurable", {}).get("checkpoint_ns") or ""


def _place(config: RunnableConfig) -> Place:
    return _ns(config), get_checkpoint_id(config) or ""


def _config(thread: str, place: Place) -> RunnableConfig:
    ns, name = place
    named = {"thread_id": thread, "checkpoint_ns": ns}
    return {"configurable": named | ({"checkpoint_id": name} if name else {})}


_blocked: ContextVar[list[str] | None] = ContextVar("blocked", default=None)


def _heard(event: SerdeEvent) -> None:
    names = _blocked.get()
    if names is not None and event["kind"] in ("msgpack_blocked", "msgpack_method_blocked"):
        names.append(f"{event['module']}.{event['name']}")


register_serde_event_listener(_heard)


@contextlib.contextmanager
def _known_types(place: Place) -> Generator[None]:
    """LangGraph gives plain data in the place of an object whose type it may not make; here that is
    an error, since a graph would go on with something else than it saved."""
    names: list[str] = []
    token = _blocked.set(names)
    try:
        yield
    finally:
        _blocked.reset(token)
    if names:
        raise Misuse(
            f"state {place[1]} holds {', '.join(sorted(set(names)))}, which may not be made from "
            "what was stored: name the class, Checkpointer(store, allow=[...])"
        )
