"""The LangGraph checkpointer: LangGraph's own conformance suite, and what it does not ask."""

from __future__ import annotations

import importlib.util
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.adapters.saved import loaded, stored
from holdfast.adapters.threads import run_of
from holdfast.journal.proof import Chain, raw
from holdfast.stores.erase import erase
from holdfast.stores.fsck import check
from holdfast.stores.gc import collect
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SqliteStore
from holdfast.testing.faults import FAULTS, Crashed, FaultyStore, at
from holdfast.values.canon import Blobs, seal_parts, unpack
from holdfast.values.errors import Misuse

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("langgraph") is None, reason="the extra langgraph is not installed"
)


def saver(store, **more) -> Any:
    from holdfast.adapters.langgraph import Checkpointer

    return Checkpointer(store, **more)


def config(thread="t", ns="", name="") -> Any:
    named = {"thread_id": thread, "checkpoint_ns": ns}
    return {"configurable": named | ({"checkpoint_id": name} if name else {})}


def state(name: str, **values: Any) -> Any:
    return {
        "v": 1, "id": name, "ts": "", "channel_values": values,
        "channel_versions": dict.fromkeys(values, 1), "versions_seen": {}, "updated_channels": None,
    }  # fmt: skip


# ---- LangGraph's suite -----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["asynchronous", "blocking", "encrypting"])
async def test_the_published_conformance_suite(tmp_path: Path, way: str):
    """All of it, base and extended, through both halves of the interface."""
    from langgraph.checkpoint.conformance import checkpointer_test, validate
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    from holdfast.adapters.langgraph import Checkpointer

    class Blocking(Checkpointer):
        """The asynchronous methods, by the blocking ones of another."""

        def __init__(self, store) -> None:
            super().__init__(store)
            self.other = Checkpointer(store)

    for name in ("get_tuple", "put", "put_writes", "delete_thread", "delete_for_runs",
                 "copy_thread", "prune"):  # fmt: skip

        async def method(self, *args, _name=name, **more):
            return getattr(self.other, _name)(*args, **more)

        setattr(Blocking, f"a{name}", method)

    async def alist(self, *args, **more):
        for one in self.other.list(*args, **more):
            yield one

    Blocking.alist = alist

    class Xor:
        def encrypt(self, plaintext):
            return "xor", bytes(byte ^ 7 for byte in plaintext)

        def decrypt(self, ciphername, ciphertext):
            return bytes(byte ^ 7 for byte in ciphertext)

    @checkpointer_test(name=f"Holdfast {way}")
    async def ours():
        store = SqliteStore(tmp_path / ".holdfast", synchronous="NORMAL")
        if way == "blocking":
            yield Blocking(store)
        else:
            yield saver(store, serde=EncryptedSerializer(Xor()) if way == "encrypting" else None)
        await store.close()

    report = await validate(ours)
    failures = [line for one in report.results.values() for line in one.failures or ()]
    assert failures == []
    assert report.passed_all_base()
    assert report.passed_all()
    store = SqliteStore(tmp_path / ".holdfast")
    found = check(store.path)
    await store.close()
    assert found.problems == []


# ---- against LangGraph's own saver in memory ---------------------------------------------------

TEXTS = st.text(max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.floats(allow_nan=False)
    | TEXTS | st.binary(max_size=3) | st.text(min_size=300, max_size=310, alphabet="ab"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3)
    | st.tuples(inner, inner),
    max_leaves=12,
)  # fmt: skip
NAMES = st.sampled_from(["1", "2", "3"])
THREADS = st.sampled_from(["a", "b", "ü" * 200])
SPACES = st.sampled_from(["", "child:1", "x" * 300])
STEPS = st.one_of(
    st.tuples(st.just("put"), THREADS, SPACES, NAMES, NAMES, VALUES),
    st.tuples(st.just("writes"), THREADS, SPACES, NAMES, NAMES, st.lists(
        st.tuples(st.sampled_from(["ch", "__error__", "__interrupt__"]), VALUES), max_size=3)),
    st.tuples(st.just("delete"), THREADS),
)  # fmt: skip


@given(st.lists(STEPS, max_size=12))
@example([("writes", "a", "", "1", "1", [("ch", None)]), ("delete", "a"),
          ("put", "a", "", "1", "1", None)])  # fmt: skip
def test_d53_it_keeps_what_langgraphs_own_saver_in_memory_keeps(steps):
    """INVARIANT D53, and all else: two of them on one store, used in turn, are one saver."""
    from langgraph.checkpoint.memory import InMemorySaver

    store, model = MemoryStore(), InMemorySaver()
    pair = [saver(store), saver(store)]
    for number, (what, thread, *rest) in enumerate(steps):
        for one in (pair[number % 2], model):
            if what == "put":
                ns, name, parent, value = rest
                meta: Any = {"source": "loop", "step": number}
                where = config(thread, ns, "" if parent == name else parent)
                one.put(where, state(name, ch=value), meta, {"ch": number})
                if one is model:  # it keeps values by the versions that states name
                    model.blobs[(thread, ns, "ch", 1)] = model.serde.dumps_typed(value)
            elif what == "writes":
                ns, name, task, writes = rest
                one.put_writes(config(thread, ns, name), writes, task, f"path{task}")
            else:
                one.delete_thread(thread)
    seen = [_seen(one) for one in (*pair, saver(store))]
    assert seen[0] == seen[1] == seen[2]
    assert {where: rest[1:] for where, rest in seen[0].items()} == {
        where: rest[1:] for where, rest in _seen(model).items()
    }


def _seen(one) -> dict[Any, Any]:
    found = {}
    for tup in one.list(None):
        named = tup.config["configurable"]
        parent = (tup.parent_config or {}).get("configurable", {}).get("checkpoint_id")
        found[named["thread_id"], named["checkpoint_ns"], named["checkpoint_id"]] = (
            tup.checkpoint, tup.metadata, parent, tup.pending_writes,
        )  # fmt: skip
    return found


@given(VALUES, st.lists(VALUES, max_size=3), st.integers(0, 200))
def test_what_is_stored_comes_back_as_langgraph_would_bring_it_back(value, few, many):
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    serde, blobs = JsonPlusSerializer(), dict[str, bytes]()
    whole = {"x": value, "long": [*few, *range(many), "x" * 400, *few * 20], "$blob": few}
    form = stored(whole, serde.dumps_typed, blobs)
    back = loaded(unpack(seal_parts(form), blobs.__getitem__), serde.loads_typed)
    assert _typed(back) == _typed(serde.loads_typed(serde.dumps_typed(whole)))


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _typed(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return (type(value), [_typed(one) for one in value])
    return (type(value), value)


@given(st.lists(st.integers(0, 10**6), min_size=60, max_size=400), st.data())
def test_d51_a_list_that_differs_in_one_item_shares_the_rest(items, data):
    """INVARIANT D51"""
    place = data.draw(st.integers(0, len(items)))
    before: Blobs = {}
    after: Blobs = {}
    long = [f"{n:400}" for n in items]
    stored(long, _never, before)
    stored([*long[:place], "new" * 200, *long[place:]], _never, after)
    fresh = after.keys() - before.keys()
    assert len(fresh) <= 1 + 4 * 12  # the item; a few groups on each level


def _never(value):
    raise AssertionError(value)


# ---- what the journal gives --------------------------------------------------------------------


NOTHING: Any = {"items": []}


class Counted(TypedDict):
    items: Annotated[list[str], operator.add]


def counting(checkpointer: Any, performed: list[int] | None = None) -> Any:
    """A graph of three steps that write down that they happened."""
    from langgraph.graph import END, START, StateGraph

    def step(state: Counted) -> Any:
        number = len(state["items"])
        if performed is not None:
            performed.append(number)
        return {"items": [f"step {number}"]}

    graph = StateGraph(Counted)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda now: END if len(now["items"]) > 2 else "step")
    return graph.compile(checkpointer=checkpointer)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_graph_goes_on_after_a_crash_at_every_write(fault: str):
    whole = MemoryStore()
    wanted = counting(saver(whole)).invoke(NOTHING, config(), durability="sync")
    for number in range(1, len(whole.events) + 1):
        inner, performed = MemoryStore(), list[int]()
        died = FaultyStore(inner, at(number, fault))
        try:
            found = counting(saver(died), performed).invoke(NOTHING, config(), durability="sync")
        except Crashed:
            graph = counting(saver(inner), performed)
            begun = graph.get_state(config()).values
            found = graph.invoke(None if begun else NOTHING, config(), durability="sync")
        assert found == wanted
        assert counting(saver(inner)).get_state(config()).values == wanted
        assert len(performed) <= 4  # the step that was not saved, once more
        _sound(inner)


def _sound(store: MemoryStore) -> None:
    """Every chain proves itself."""
    for run, events in store.chains.items():
        chain = Chain(run)
        for event in events:
            chain.take(raw(event))


async def test_d50_d54_what_is_deleted_is_gone_and_the_chain_still_proven(tmp_path: Path):
    """INVARIANT D50, INVARIANT D54"""
    store = SqliteStore(tmp_path)
    kept, secret = "kept" * 200, "s3cr3t 4711"
    one = saver(store)
    for name in ("1", "2"):
        await one.aput(config(), state(name, said=kept + name), {}, {"said": 1})
    await one.aput(config(name="2"), state("3", said=secret), {"run_id": "r"}, {"said": 1})
    await one.aput_writes(config(name="3"), [("said", secret)], "task")
    await one.acopy_thread("t", "copy")
    before = [event.id for event in await store.read(run_of("t"))]
    await one.adelete_for_runs(["r"])
    assert [event.id for event in await store.read(run_of("t"))][: len(before)] == before
    assert sorted(tup.checkpoint["id"] for tup in saver(store).list(config())) == ["1", "2"]
    assert [tup.checkpoint["id"] for tup in saver(store).list(config("copy"))] == ["2", "1"]
    collect(store, grace_ms=0)
    assert check(store.path).problems == []
    names = store.ask(lambda conn: conn.execute("SELECT count(*) FROM blob").fetchone())
    assert secret.encode() in _bytes(tmp_path)  # in free pages and the log
    erase(store, run_of("copy"), by="ann")
    assert secret.encode() not in _bytes(tmp_path)
    assert list(saver(store).list(None)) == list(saver(store).list(config()))
    await one.aprune(["t"], strategy="delete")
    collect(store, grace_ms=0)
    assert store.ask(lambda conn: conn.execute("SELECT count(*) FROM blob").fetchone()) < names
    assert check(store.path).problems == []
    await store.close()


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("journal*"))


@pytest.mark.parametrize("fault", ["before", "after"])
def test_d54_a_crash_while_deleting_leaves_nothing_half(fault: str):
    """INVARIANT D54: what was dropped but not forgotten is forgotten by the next dropping."""
    inner = MemoryStore()
    for thread in ("t", "other"):
        for name in ("1", "2"):
            saver(inner).put(config(thread), state(name, said="x"), {}, {"said": 1})
    with pytest.raises(Crashed):
        saver(FaultyStore(inner, at(1, fault))).prune(["t"])
    left = [tup.checkpoint["id"] for tup in saver(inner).list(config())]
    assert left == (["2", "1"] if fault == "before" else ["2"])
    saver(inner).delete_thread("t")
    said = [one for one in inner.chains[run_of("t")] if one.kind == "finding.added"]
    assert not any(b'"x"' in (one.value or b"") for one in said)
    assert len(list(saver(inner).list(config("other")))) == 2
    _sound(inner)


async def test_d55_pruning_keeps_what_the_newest_state_is_computed_from():
    """INVARIANT D55: LangGraph's channels that are stored as changes."""
    store = MemoryStore()
    one = saver(store)
    counters = {"log": (1, 1)}
    place = config()
    for number in range(6):
        whole = {"log": ["whole"]} if number == 2 else {}
        meta: Any = {} if number == 2 else {"counters_since_delta_snapshot": counters}
        place = await one.aput(place, state(str(number), other=number, **whole), meta, {})
        await one.aput_writes(place, [("log", f"change {number}")], f"task {number}")
    history = await one.aget_delta_channel_history(config=place, channels=["log"])
    assert [write[2] for write in history["log"]["writes"]] == [f"change {n}" for n in (2, 3, 4)]
    await one.aprune(["t"])
    left = [tup.checkpoint["id"] async for tup in one.alist(config())]
    assert left == ["5", "4", "3", "2"]
    assert await one.aget_delta_channel_history(config=place, channels=["log"]) == history


class Mine:
    """A class of a user's."""

    def __init__(self, n: int) -> None:
        self.n = n


def test_d52_only_known_types_are_made_from_what_was_stored():
    """INVARIANT D52: of what an attacker wrote into a store, nothing runs."""
    from langchain_core.messages import HumanMessage
    from pydantic import create_model

    kind = create_model("Kind", n=(int, 1))
    kind.__module__, globals()["Kind"] = __name__, kind
    store = MemoryStore()
    known = HumanMessage("hello", id="1")
    saver(store).put(config(), state("1", said=[known], seen={1, 2}), {}, {"said": 1})
    found = saver(store).get_tuple(config())
    assert found.checkpoint["channel_values"] == {"said": [known], "seen": {1, 2}}
    saver(store).put(config(), state("2", said=kind(n=3)), {}, {"said": 1})
    with pytest.raises(Misuse, match=r"Kind.*allow="):
        saver(store).get_tuple(config())
    found = saver(store, allow=[kind]).get_tuple(config())
    assert found.checkpoint["channel_values"] == {"said": kind(n=3)}
    with pytest.raises(TypeError):
        saver(store).put(config(), state("3", said=Mine(1)), {}, {"said": 1})


def test_a_state_costs_what_is_new_in_it(tmp_path: Path):
    """A list that grows by a kilobyte at every step is not stored again at every step."""
    store = MemoryStore()
    one, items = saver(store), list[str]()
    for number in range(100):
        items.append(f"{number:1000}")
        one.put(config(), state(f"{number:03}", items=list(items)), {}, {"items": number})
    rows = sum(len(event.value or b"") for event in store.events)
    size = rows + sum(map(len, store.blobs.values()))
    assert size < 4 * 100 * 1000  # in one piece: 5,050,000
