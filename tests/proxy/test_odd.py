"""Clients that give calls up, and clients and servers that say odd things, at one front."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.engine.answers import answer
from holdfast.gate import parse_policy
from holdfast.proxy import eras, frames
from holdfast.proxy.exchange import Exchange, Peer
from holdfast.proxy.front import Front
from holdfast.proxy.opening import fronted
from holdfast.proxy.upstream import Server
from holdfast.runtime import Runtime
from holdfast.runtime.settings import Settings
from holdfast.values import limits
from tests.proxy.support import ALLOW, INITIALIZE, LEDGER, lines_of, text_of

pytestmark = pytest.mark.timeout(300)

ODD = str(Path(__file__).parent / "odd.py")
ASKS = "version: 1\nrules: [{id: ask, when: {tool: '*'}, then: escalate}]\n"
MODERN = {eras.VERSION: eras.MODERN, eras.CAPABILITIES: {}}


class Here(Peer):
    """A client in this process, which hears everything."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front = front
        self.answers: dict[Any, Any] = {}
        self.last = 0

    def push(self, frame: bytes, about: Exchange | None) -> None:
        pass

    async def deliver(self, frame: bytes, about: Exchange) -> bool:
        assert about.id not in self.answers
        self.answers[about.id] = json.loads(frame)
        return True

    def say(self, **said: Any) -> None:
        self.front.take(self, frames.parse(json.dumps({"jsonrpc": "2.0", **said}).encode()))

    def begin(self, method: str, params: Any = None) -> int:
        self.last += 1
        self.say(id=self.last, method=method, params=params or {})
        return self.last

    async def answer(self, about: int) -> Any:
        await until(lambda: about in self.answers)
        return self.answers[about]

    async def asks(self, method: str, params: Any = None) -> Any:
        return await self.answer(self.begin(method, params))

    async def call(self, name: str) -> Any:
        return await self.asks("tools/call", {"name": name, "arguments": {}})

    def cancel(self, about: Any) -> None:
        self.say(method="notifications/cancelled", params={"requestId": about})


async def until(holds: Callable[[], Any]) -> None:
    """Wait for a condition, which may be awaited."""
    while True:
        found = holds()
        if await found if inspect.isawaitable(found) else found:
            return
        await asyncio.sleep(0.005)


class Place:
    def __init__(self, runtime: Runtime, front: Front, file: Path) -> None:
        self.runtime = runtime
        self.front = front
        self.file = file
        guest: Any = front.stepping.guest
        self.run = guest.id

    async def client(self) -> Here:
        found = Here(self.front)
        await found.asks("initialize", INITIALIZE)
        return found

    def go(self) -> None:
        Path(f"{self.file}.go").touch()

    async def asked(self) -> bool:
        return "action" in await self.waits()

    async def waits(self) -> list[str]:
        return [one.about for one in (await self.runtime.store.run(self.run)).waits]


@asynccontextmanager
async def opened(
    tmp_path: Path, *more: str, policy: str = ALLOW, script: str = ODD
) -> AsyncGenerator[Place]:
    server = Server("odd", command=(sys.executable, script, str(tmp_path / "odd"), *more))
    settings = Settings(store=str(tmp_path / "store"), user="ann")
    async with Runtime(settings, policy=parse_policy(policy, "test")) as runtime:
        async with fronted(runtime, [server], agent="tester", patience=0) as front:
            place = Place(runtime, front, tmp_path / "odd")
            yield place


async def test_a_server_that_obeys_a_cancel_leaves_no_call_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """INVARIANTS D12, D13: nobody knows whether it happened; the same call asks, and repeats
    nothing."""
    monkeypatch.setattr(limits, "CANCEL_SECONDS", 0.05)
    async with opened(tmp_path) as place:
        client = await place.client()
        about = client.begin("tools/call", {"name": "obey", "arguments": {}})
        await until(lambda: lines_of(place.file) == ["obey"])
        client.cancel(about)
        await asyncio.wait_for(client.answered_all(), 100)
        again = await client.call("obey")
        assert again["result"]["isError"]
        assert "holdfast" in text_of(again)
        assert about not in client.answers
        assert sorted(lines_of(place.file)) == ["cancelled", "obey"]
        assert await place.waits() == ["unknown"]
        assert not place.front.busy


async def test_an_outcome_that_comes_though_it_was_cancelled_counts(tmp_path: Path):
    """INVARIANT D13: as long as the server is given time, what it says is recorded."""
    async with opened(tmp_path, script=LEDGER) as place:
        client = await place.client()
        about = client.begin("tools/call", {"name": "slow", "arguments": {}})
        await until(lambda: lines_of(place.file))
        client.cancel(about)
        place.go()
        assert text_of(await client.call("slow")) == "slow "
        assert len(lines_of(place.file)) == 1


async def test_a_call_cancelled_before_a_person_decided_is_not_performed(tmp_path: Path):
    """INVARIANT D12: approved later, nothing happens until the same call comes."""
    async with opened(tmp_path, policy=ASKS) as place:
        place.front.stepping.patience = 1_000.0
        client = await place.client()
        about = client.begin("tools/call", {"name": "look", "arguments": {}})
        await until(place.asked)
        client.cancel(about)
        await until(lambda: not place.front._calls())
        row = await place.runtime.store.run(place.run)
        await answer(place.runtime.store, place.run, row.waits[0].key, "approve", by="ann",
                     now_ms=1, digest=row.waits[0].digest)  # fmt: skip
        place.runtime.host.ring()
        assert (await client.asks("ping"))["result"] == {}
        other = await client.asks("tools/list")  # the server has had its turn
        assert other["result"]["tools"]
        assert lines_of(place.file) == []
        assert text_of(await client.call("look")) == "look"
    assert lines_of(tmp_path / "odd") == ["look"]


async def test_a_run_whose_client_was_told_everything_ends(tmp_path: Path):
    """INVARIANT D25: also one that waited for a person meanwhile."""
    settings = Settings(store=str(tmp_path / "store"), user="ann")
    async with opened(tmp_path, policy=ASKS) as place:
        client = await place.client()
        assert "holdfast approve" in text_of(await client.call("look"))
        run = place.run
    async with opened(tmp_path, policy=ASKS) as place:
        assert place.run == run  # it waits
        row = await place.runtime.store.run(run)
        await answer(place.runtime.store, run, row.waits[0].key, "approve", by="ann",
                     now_ms=1, digest=row.waits[0].digest)  # fmt: skip
        place.runtime.host.ring()
        client = await place.client()
        assert text_of(await client.call("look")) == "look"
    async with Runtime(settings) as runtime:
        assert (await runtime.store.run(run)).status == "done"


@pytest.mark.parametrize("tool", ["text", "list"])
async def test_an_answer_that_cannot_be_read_says_not_that_nothing_happened(
    tool: str, tmp_path: Path
):
    """INVARIANT D15: it is a question to a person, and is not repeated."""
    async with opened(tmp_path) as place:
        client = await place.client()
        for _ in range(2):
            said = await client.call(tool)
            assert said["result"]["isError"]
            assert "holdfast" in text_of(said)
        assert await place.waits() == ["unknown"]
        assert lines_of(place.file) == [tool]


@pytest.mark.parametrize("about", [[], {}, None, True, 1.5, [[]]])
async def test_an_odd_cancel_is_no_matter(about: Any, tmp_path: Path):
    """INVARIANT D20."""
    async with opened(tmp_path) as place:
        client = await place.client()
        client.begin("tools/call", {"name": "obey", "arguments": {}})
        client.cancel(about)
        assert (await client.asks("ping"))["result"] == {}


async def test_capabilities_that_are_no_object_are_none(tmp_path: Path):
    """INVARIANT D20: a server whose capabilities are a list can do nothing, and is spoken to."""
    async with opened(tmp_path, '["tools"]') as place:
        client = Here(place.front)
        assert "result" in await client.asks("initialize", INITIALIZE)
        assert not client.exchanges
        assert (await client.asks("ping"))["result"] == {}


async def test_what_nobody_foresaw_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """INVARIANT D20: an error of our own is an answer; its id may be used again."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("nobody foresaw this")

    async with opened(tmp_path) as place:
        client = Here(place.front)
        monkeypatch.setattr(eras, "server_capabilities", broken)
        said = await client.asks("initialize", INITIALIZE)
        assert said["error"]["code"] == frames.INTERNAL_ERROR
        assert not client.exchanges
        assert (await client.asks("ping"))["result"] == {}


async def test_odd_changes_of_a_server_break_no_answer(tmp_path: Path):
    """INVARIANT D20: whatever stands where an object should."""
    async with opened(tmp_path) as place:
        client = Here(place.front)
        wanted = {"notifications": {"toolsListChanged": True}, "_meta": MODERN}
        client.begin("subscriptions/listen", wanted)
        call = {"name": "notes", "arguments": {}, "_meta": MODERN}
        assert text_of(await client.asks("tools/call", call)) == "noted"
        legacy = await place.client()
        assert text_of(await legacy.call("notes")) == "noted"
