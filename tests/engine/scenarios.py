"""Scenarios for the crash sweep: each is driven the same way in every life, as an impatient person
would: start what is not there, resume what is, answer, signal, ask for the result."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import holdfast
from holdfast.engine.fork import fork
from holdfast.engine.held import held_by
from holdfast.engine.publish import publishing
from holdfast.gate import DEFAULT_POLICY, parse_policy
from holdfast.journal.events import body_of
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import RunRow, Wait
from holdfast.testing import oracles
from holdfast.testing.faults import Crashed, Plan, never
from holdfast.testing.lives import Life, Site
from holdfast.tools import world
from holdfast.values.errors import Conflict, HoldfastError, Outside
from tests.engine.support import until


@dataclass
class Case:
    """A site and how its work is driven to the end."""

    site: Site
    drive: Callable[[Life], Awaitable[Any]]
    signals: dict[str, tuple[str, ...]]


Make = Callable[[Store | None, Path], Case]
SCENARIOS: dict[str, Make] = {}


def scenario(**options: Any) -> Callable[[Callable[[Site], Any]], Callable[[Site], Any]]:
    """``signals``: what is sent, by run; other options go to the site."""
    signals = options.pop("signals", {})

    def declare(build: Callable[[Site], Any]) -> Callable[[Site], Any]:
        def make(store: Store | None, tmp: Path) -> Case:
            site = Site(store=store, caches=str(tmp), **options)
            return Case(site, build(site), signals)

        SCENARIOS[build.__name__] = make
        return build

    return declare


def program(site: Site, fn: Any, **options: Any) -> Any:
    made = holdfast.agent(**options)(fn) if options else holdfast.agent(fn)
    site.programs[made.name] = made
    return made


def tools(site: Site) -> Any:
    """look (read), send (idempotent, fails the first time), pay (once, can be looked up)."""

    class Tools:
        @staticmethod
        @holdfast.tool(effect="read")
        async def look(n: int) -> str:
            await asyncio.sleep(0.01)
            return f"seen {n} " + "x" * 300

        @staticmethod
        @holdfast.tool(effect="idempotent", retries=2, backoff=0.1)
        async def send(n: int) -> int:
            if holdfast.attempt() == 1:
                raise Outside("busy", retryable=True)
            site.outside.did("idempotent", "send", n)
            await asyncio.sleep(0.01)
            return n + 1

        @staticmethod
        def find(n: int) -> Any:
            return n * 2 if site.outside.count("once", "pay", n) else holdfast.NOT_DONE

    @holdfast.tool(effect="once", reconcile=Tools.find)
    async def pay(n: int) -> int:
        await asyncio.sleep(0.01)
        site.outside.did("once", "pay", n)
        await asyncio.sleep(0.01)
        return n * 2

    @holdfast.tool(effect="read")
    def peek(n: int) -> int:
        return n * 3

    Tools.pay, Tools.peek = pay, peek  # type: ignore[attr-defined]
    return Tools


@scenario()
def reads(site: Site) -> Any:
    use = tools(site)

    async def main(n: int) -> list[str]:
        found = [await use.look(i) for i in range(n)]
        return [*found, holdfast.now().isoformat()[:10], str(use.peek(2))]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 4)


@scenario(policy=DEFAULT_POLICY)
def once_with_approval(site: Site) -> Any:
    use = tools(site)

    async def main(n: int) -> list[Any]:
        first = await use.pay(n)
        word = await holdfast.ask("which?", choices=["a", "b"])
        return [first, word, await use.pay(n + 1)]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 1)


@scenario()
def retries(site: Site) -> Any:
    use = tools(site)

    async def main(n: int) -> list[int]:
        return [await use.send(n), await use.send(n + 10)]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 1)


CHECKED = parse_policy(
    """
version: 1
otherwise: allow
tools:
  - {tool: [pay, send], target: n, amount: n}
checks:
  - {name: small, kind: condition, that: "args.n < 5"}
  - {name: known, kind: tool, use: peek, give: {n: n}, that: "result == args.n * 3"}
rules:
  - {id: sure, when: {tool: pay}, then: verify, checks: [small, known]}
  - {id: many, when: {tool: pay}, if: "calls > 50 || uses > 50", then: deny}
  - {id: new, when: {tool: send}, if: "new_target && approved == 0", then: escalate}
""",
    "checked.yaml",
)


@scenario(policy=CHECKED)
def checked(site: Site) -> Any:
    """Facts, sums and checks: one payment passes its checks, one asks a person."""
    use = tools(site)
    peek = use.peek

    async def main(n: int) -> list[Any]:
        assert peek  # named, so that the check finds it
        paid = [await use.pay(n), await use.pay(n + 10)]
        return [*paid, await use.send(n), await use.send(n + 1)]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 1)


FLOWING = parse_policy(
    """
version: 1
otherwise: allow
tools:
  - {tool: look, output: untrusted/internal}
  - {tool: pay, deciding: [n], target: n, amount: n}
rules:
  - {id: unseen, when: {tool: pay}, if: "worst == 'untrusted' || depth > 9", then: escalate}
  - {id: leak, if: "leaks && secrets > 9", then: deny}
""",
    "flowing.yaml",
)


@scenario(policy=FLOWING)
def labelled(site: Site) -> Any:
    """Labels into a child and back, and a payment of what only it saw."""
    use = tools(site)

    async def reader(n: int) -> str:
        return await use.look(n)

    async def counter(n: int) -> int:
        await use.look(n)
        return n + 40_000

    read, count = program(site, reader), program(site, counter)

    async def main(n: int) -> list[Any]:
        seen = await (await holdfast.spawn(read, n)).result()
        number = await (await holdfast.spawn(count, n)).result()
        return [await use.pay(int(seen.split()[1])), await use.pay(number)]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 71_113)


@scenario()
def gathered(site: Site) -> Any:
    use = tools(site)

    async def lane(n: int) -> list[Any]:
        return [await use.look(n), await use.send(n), await use.pay(n)]

    async def main(n: int) -> list[Any]:
        found = await asyncio.gather(*[lane(i) for i in range(n)])
        async with asyncio.TaskGroup() as group:
            group.create_task(lane(10))
            group.create_task(lane(11))
        return found

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 2)


@scenario()
def spawned(site: Site) -> Any:
    async def child(n: int) -> int:
        await world.write(f"child{n}", f"{n}\n")
        return n

    async def main(n: int) -> list[Any]:
        await world.write("base", "base\n")
        children = [await holdfast.spawn(born, i) for i in range(n)]
        results = [await one.result() for one in children]
        merges = [(await holdfast.merge(one)).merged for one in children]
        return [results, merges, list(await world.list())]

    born = program(site, child)
    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 2)


@scenario(virtual=False, linger=0.01)
def worlds(site: Site) -> Any:
    async def main(n: int) -> list[Any]:
        await world.write("numbers", "1\n")
        done = await world.run(["sh", "-c", "cat numbers numbers > more; echo done"])
        await world.edit("more", "1\n1\n", f"{n}\n")
        return [done.exit, done.stdout, await world.read("more"), list(await world.glob("*"))]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 5)


@scenario(signals={"a": ("go", "go2", "go")})
def signalled(site: Site) -> Any:
    use = tools(site)

    async def main(n: int) -> list[Any]:
        first = await holdfast.wait_for("go")
        await holdfast.sleep(5)
        second = await asyncio.gather(holdfast.wait_for("go2"), use.pay(n))
        return [first, second, await holdfast.wait_for("go")]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 3)


@scenario(signals={"a": ("carried",)})
def continued(site: Site) -> Any:
    use = tools(site)

    async def main(n: int, total: int) -> int:
        total += await use.pay(100 + n)
        if n:
            await use.send(200 + n)
            holdfast.continue_as(n - 1, total)
        return total + len(await holdfast.wait_for("carried"))

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 2, 0)


@scenario()
def forked(site: Site) -> Any:
    use = tools(site)

    async def main(n: int) -> list[Any]:
        first = await use.send(n)
        middle = await use.look(n)
        await world.write("file", middle)
        last = await use.pay(first)
        return [first, middle, last, await use.send(first + 50)]

    agent = program(site, main)

    async def drive(life: Life) -> Any:
        source = await ensure(life, agent, "a", 1)
        with contextlib.suppress(Conflict):
            await fork(
                life.store, "a", "2", name="b", now_ms=site.clock.now_ms(),
                edits={"result": "another"}, live=True,
            )  # fmt: skip
        return [source, await (await life.host.resume("b")).result()]

    return drive


@scenario()
def published(site: Site) -> Any:
    """A fork holds, waits, is published twice; its child with it."""
    use = tools(site)

    @holdfast.tool(effect="once", reconcile=lambda n: None if told(n) else holdfast.NOT_DONE)
    async def tell(n: int) -> None:
        site.outside.did("once", "tell", n)
        await asyncio.sleep(0.01)

    def told(n: int) -> int:
        return site.outside.count("once", "tell", n)

    @holdfast.tool(effect="idempotent", preview=lambda n: n)
    async def book(n: int) -> int:
        site.outside.did("idempotent", "book", n)
        return n + 1

    async def child(n: int) -> None:
        await tell(n)

    async def main(n: int) -> list[Any]:
        if holdfast.run_id() == "a":
            return [await use.pay(n)]
        await tell(1)
        born = await holdfast.spawn(small, 2)
        await born.result()
        return [await book(3), await use.pay(n), await use.pay(50), await tell(4)]

    small, agent = program(site, child), program(site, main)
    site.programs[publishing.name] = publishing

    async def drive(life: Life) -> Any:
        await ensure(life, agent, "a", 9)
        with contextlib.suppress(Conflict):
            await fork(life.store, "a", "0", name="b", now_ms=site.clock.now_ms())
        found = await life.host.resume("b")

        async def stands() -> bool:
            return len(await held_by(life.store, "b")) == 4 or await found.status() == "done"

        await until(stands)
        # a name of their own: a publisher that was begun in another life is gone on with
        first = await ensure(life, publishing, "publish-1", "b")
        result = await found.result()
        last = await ensure(life, publishing, "publish-2", "b")
        return [result, [one.name for one in (*first.done, *last.done)], first.complete]

    return drive


@scenario()
def branched(site: Site) -> Any:
    """Branches in a run: merged with a check, nested, left."""
    use = tools(site)

    @holdfast.tool(effect="once", reconcile=lambda n: None if told(n) else holdfast.NOT_DONE)
    async def tell(n: int) -> None:
        site.outside.did("once", "tell", n)
        await asyncio.sleep(0.01)

    def told(n: int) -> int:
        return site.outside.count("once", "tell", n)

    async def good() -> bool:
        await world.write("litter", "x")
        return len(await world.list()) == 4

    async def beside() -> None:
        await world.write("beside", "1")
        await use.send(3)

    async def main(n: int) -> list[Any]:
        task = asyncio.create_task(beside())
        async with holdfast.fork() as branch:
            await asyncio.gather(world.write("a", "1"), tell(n))
            async with holdfast.fork() as inner:
                await world.write("b", "2")
                await tell(n + 1)
                await inner.merge()
            async with holdfast.fork():
                await world.write("c", "3")
                await tell(n + 2)
        await task
        async with holdfast.fork() as branch:
            await world.write("d", "1")
            await asyncio.gather(world.write("e", "1"), tell(n + 3))
            merged = await branch.merge(good)
        return [merged.merged, [one.step for one in merged.published.done],
                list(await world.list())]  # fmt: skip

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 1)


@scenario()
def rolled_back(site: Site) -> Any:
    """Transactions: one that fails within one that does not, with a cancelled step in it."""
    use = tools(site)

    @holdfast.tool(effect="idempotent")
    async def refund(n: int, result: int) -> None:
        site.outside.did("idempotent", "refund", [n, result])

    @holdfast.tool(effect="idempotent", undo=refund)
    async def charge(n: int) -> int:
        site.outside.did("idempotent", "charge", n)
        await asyncio.sleep(0.01)
        return n + 100

    async def slow() -> None:
        await charge(5)
        await holdfast.sleep(100)

    async def main(n: int) -> list[Any]:
        found: list[Any] = []
        async with holdfast.transaction():
            await world.write("kept", "1")
            await charge(n)
            try:
                async with holdfast.transaction():
                    await world.write("gone", "1")
                    await asyncio.gather(charge(n + 1), charge(n + 2))
                    try:
                        async with asyncio.timeout(5):
                            await slow()
                    except TimeoutError:
                        raise ValueError from None
            except ValueError:
                found.append(list(await world.list()))
            await use.send(n)
        return [*found, list(await world.list())]

    agent = program(site, main)
    return lambda life: ensure(life, agent, "a", 1)


@scenario()
def blocking(site: Site) -> Any:
    use = tools(site)

    def main(n: int) -> list[int]:
        return [use.peek(i) for i in range(n)]

    async def waits(n: int) -> list[Any]:
        async def slow() -> int:
            await holdfast.sleep(50)
            return 1

        first = await holdfast.race(slow(), use.send(n))
        try:
            async with asyncio.timeout(1):
                await holdfast.sleep(9)
        except TimeoutError:
            return [first, use.peek(n)]
        return []

    one, two = program(site, main), program(site, waits)

    async def drive(life: Life) -> Any:
        return [await ensure(life, one, "a", 3), await ensure(life, two, "b", 4)]

    return drive


# ---- driving ----------------------------------------------------------------------------------


async def ensure(life: Life, agent: Any, name: str, *args: Any) -> Any:
    """The result of a run that is started at most once."""
    return await (await life.start(agent, *args, name=name)).result()


def person(row: RunRow, wait: Wait) -> tuple[str, Any]:
    return ("answer", "a") if wait.about == "question" else ("approve", None)


async def sent(life: Life, run: str) -> list[str]:
    events = await oracles.all_events(life.site.inner)
    return [
        body_of(event).name
        for event in events
        if event.kind == "signal.received" and event.run == run and body_of(event).by == "somebody"
    ]


async def people(life: Life, case: Case) -> None:
    """Answers and signals, once each, as long as this life lasts."""
    while True:
        await asyncio.sleep(0.02)
        await life.answer_all(person)
        for run, names in case.signals.items():
            with contextlib.suppress(HoldfastError):
                already = await sent(life, run)
                for number, name in enumerate(names[len(already) :], len(already)):
                    await life.signal(run, name, f"{number}", token=f"{number}")


@dataclass
class Found:
    """What a scenario ended with."""

    result: Any
    worlds: dict[str, str]
    statuses: dict[str, str]
    effects: dict[str, set[tuple[str, str]]]
    lives: int
    appends: list[int]
    accepted_twice: int
    problems: list[str]


async def one_life(case: Case, life: Life) -> tuple[bool, Any]:
    """Drive until the end of the work or of this life."""

    async def work() -> Any:
        await life.resume_all()
        return await case.drive(life)

    working = asyncio.ensure_future(work())
    helping = asyncio.ensure_future(people(life, case))
    crashed = asyncio.ensure_future(life.crashed.wait())
    await asyncio.wait([working, crashed], timeout=3600, return_when=asyncio.FIRST_COMPLETED)
    alive = not life.store.crashed
    for task in (working, helping, crashed):
        if task is working and alive and task.done():
            continue
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, HoldfastError, Crashed):
            await task
    return (True, working.result()) if alive else (False, None)


def carry_out(make: Make, plans: list[Plan], store: Store | None, tmp: Path) -> Found:
    """Drive a scenario through lives with these fault plans, then one without faults."""
    case = make(store, tmp)
    site = case.site

    async def main() -> Found:
        appends: list[int] = []
        twice = 0
        lives = 0
        over, result = False, None
        for plan in [*plans, never]:
            lives += 1
            life = await site.live(plan)
            over, result = await one_life(case, life)
            appends.append(life.store.appends)
            twice += len(life.store.accepted_twice)
            if over:
                await life.host.close()
                break
        assert over
        rows = await site.inner.runs(RunQuery(limit=100))
        return Found(
            result,
            {row.run: (await site.inner.head(row.run)).world for row in rows},
            {row.run: row.status for row in rows},
            {kind: site.outside.of(kind) for kind in ("idempotent", "once")},
            lives,
            appends,
            twice,
            await oracles.everything(site.inner, site.outside, site.programs),
        )

    return site.run(main)
