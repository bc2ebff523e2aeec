"""Steps of a single run: keys, values, errors, retries, time limits, validation."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pydantic
import pytest

import holdfast
from holdfast.testing.lives import Site
from holdfast.values.errors import Misuse, Outside, ToolError
from tests.engine.support import again, bodies, drive, events, fails, run


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Order(pydantic.BaseModel):
    name: str
    points: list[Point]


@holdfast.tool(effect="read")
async def double(n: int) -> int:
    return n * 2


@holdfast.tool(effect="read")
def triple(n: int) -> int:
    return n * 3


def test_outside_a_run_a_tool_is_just_its_function():
    assert triple(2) == 6
    assert asyncio.run(double(2)) == 4
    assert len(holdfast.uuid()) == 36
    assert 0 <= holdfast.random() < 1


def test_keys_are_paths_of_tasks_whatever_the_timing():
    """E1: the key is the path of the lane plus a counter, fixed when a task is made."""

    @holdfast.tool(effect="read")
    async def slow(n: int, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return n

    @holdfast.agent
    async def main(first: float, second: float) -> list[list[int]]:
        async def lane(n: int, seconds: float) -> list[int]:
            return [await slow(n, seconds), await slow(n + 10, seconds)]

        return list(await asyncio.gather(lane(1, first), lane(2, second)))

    recorded: list[dict[str, bytes | None]] = []
    for first, second in [(0.1, 1.0), (1.0, 0.1)]:
        site = Site()
        assert run(site, main, first, second) == [[1, 11], [2, 12]]
        settled = events(site, "a", "step.settled")
        keys = [body.key for body in bodies(site, "step.settled")]
        recorded.append(dict(zip(keys, [one.value for one in settled], strict=True)))
        assert keys[0] == ("1.1" if first < second else "2.1")
    assert recorded[0] == recorded[1]


def test_values_of_every_kind_come_back_the_same_from_the_journal():
    @holdfast.tool(effect="read")
    async def order(point: Point, raw: bytes, long: str) -> Order:
        assert isinstance(point, Point)
        return Order(name=long + raw.decode(), points=[point] * 3)

    @holdfast.agent
    async def main(point: Point) -> Order:
        found = await order(point, b"bytes", "x" * 1000)
        await holdfast.sleep(3600)
        assert isinstance(found, Order)
        assert isinstance(found.points[0], Point)
        return found

    found = run(Site(linger=0), main, Point(1, 2.5))
    assert found == Order(name="x" * 1000 + "bytes", points=[Point(1, 2.5)] * 3)


def test_clock_and_chance_are_recorded():
    seen: list[Any] = []

    @holdfast.agent
    async def main() -> list[Any]:
        drawn = [holdfast.now().isoformat(), holdfast.random(), holdfast.uuid()]
        seen.append(drawn)
        await holdfast.sleep(100)
        return [*drawn, holdfast.now().isoformat()]

    site = Site(linger=0)
    found = run(site, main)
    assert seen[0] == found[:3]
    assert all(one == seen[0] for one in seen)
    assert found[3] > found[0]


def test_blocking_agents_and_tools():
    @holdfast.agent
    def main(n: int) -> int:
        return sum(triple(i) for i in range(n))

    site = Site()
    assert run(site, main, 4) == 18
    assert all(body.inline for body in bodies(site, "step.settled"))


def test_holdfast_call_runs_blocking_tools_beside_each_other():
    @holdfast.agent
    async def main() -> list[int]:
        return list(await asyncio.gather(*[holdfast.call(triple, i) for i in range(3)]))

    assert run(Site(), main) == [0, 3, 6]


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [ValueError, KeyError, FileNotFoundError, ZeroDivisionError])
def test_tool_errors_are_caught_as_builtins_live_and_on_replay(wrong: type[Exception]):
    @holdfast.tool(effect="read")
    async def broken() -> None:
        raise wrong("it broke")

    @holdfast.agent
    async def main() -> str:
        try:
            await broken()
        except wrong as error:
            await holdfast.sleep(100)
            return f"{isinstance(error, ToolError)}: {error}"
        return "nothing"

    found = run(Site(linger=0), main)
    assert found.startswith("True: ")
    assert "it broke" in found


def test_an_error_nobody_catches_fails_the_run():
    @holdfast.tool(effect="read")
    async def broken() -> None:
        raise ValueError("it broke")

    @holdfast.agent
    async def main() -> None:
        await broken()

    error = fails(Site(), main)
    assert error.error_type == "ValueError"
    assert "it broke" in str(error)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda double: double("many"), ["tool double", "argument n", "many"]),
        (lambda double: double(), ["tool double", "n"]),
        (lambda double: double(1, m=2), ["tool double", "m"]),
    ],
)
def test_wrong_arguments_name_tool_argument_and_value(call: Any, words: list[str]):
    @holdfast.agent
    async def main() -> None:
        await call(double)

    site = Site()
    error = fails(site, main)
    assert error.error_type == "Misuse"
    assert all(word in str(error) for word in words), error
    assert not events(site, "a", "step.settled", "step.planned")


def test_wrong_input_of_an_agent_starts_nothing():
    @holdfast.agent
    async def main(n: int) -> int:
        return n

    async def start(life: Any) -> None:
        with pytest.raises(Misuse, match="agent main, argument n"):
            await life.host.start(main, ("many",), name="a")
        assert await life.store.last_seq() == 0

    drive(Site(), start, main)


@pytest.mark.parametrize("value", ["x", object(), float, {1: object()}])
def test_a_result_that_does_not_fit_or_cannot_be_recorded_is_an_error_not_a_hang(value: Any):
    @holdfast.tool(effect="read")
    async def wrong() -> int:
        return value

    @holdfast.tool(effect="read")
    async def untyped() -> Any:
        return value

    @holdfast.agent
    async def main(typed: bool) -> Any:
        return await (wrong() if typed else untyped())

    error = fails(Site(), main, True)
    assert error.error_type == "Misuse"
    assert "tool wrong" in str(error)
    if value != "x":
        assert "tool untyped" in str(fails(Site(), main, False))


@pytest.mark.parametrize("value", ["x", object()])
def test_a_result_of_a_program_that_cannot_be_recorded_fails_it(value: Any):
    @holdfast.agent
    async def main() -> int:
        return value

    site = Site()
    assert "cannot be recorded" in str(fails(site, main))
    assert not again(site, main).in_flight


def test_text_that_is_no_unicode_does_no_harm():
    @holdfast.tool(effect="read")
    async def broken() -> None:
        raise ValueError("\ud800")

    @holdfast.agent
    async def main() -> None:
        await broken()

    assert fails(Site(), main).error_type == "ValueError"


def test_a_tool_that_raises_cancelled_error_has_failed():
    @holdfast.tool(effect="read")
    async def gone() -> None:
        raise asyncio.CancelledError

    @holdfast.agent
    async def main() -> str:
        try:
            await gone()
        except ToolError as error:
            return error.error_type
        return "nothing"

    assert run(Site(), main) == "CancelledError"


def test_exit_in_an_agent_fails_its_run_only():
    @holdfast.agent
    async def main() -> None:
        raise SystemExit(3)

    assert fails(Site(), main).error_type == "SystemExit"


# ---- retries, time limits ---------------------------------------------------------------------


def test_retries_with_backoff_are_events():
    site = Site()

    @holdfast.tool(effect="idempotent", retries=3, backoff=10.0)
    async def flaky() -> str:
        site.outside.did("idempotent", "flaky", 0)
        if holdfast.attempt() < 4:
            raise Outside("busy", retryable=True)
        return holdfast.idempotency_key()

    @holdfast.agent
    async def main() -> str:
        return await flaky()

    key = run(site, main)
    assert {one.key for one in site.outside.effects} == {key}
    planned = bodies(site, "step.planned")
    assert [body.attempt for body in planned] == [1, 2, 3, 4]
    assert [body.failed.text for body in planned[1:]] == ["busy"] * 3
    starts = [body.due - site.clock.now_ms() for body in planned[1:]]
    assert starts[1] - starts[0] == 20_000
    assert starts[2] - starts[1] == 40_000
    assert 70 <= site.clock.ticks_ns() / 1e9 < 70.1  # 10 + 20 + 40, woken on time


def test_retries_end():
    site = Site()

    @holdfast.tool(effect="read", retries=2, backoff=0.1)
    async def flaky() -> None:
        site.outside.did("read", "flaky", 0)
        raise ConnectionError("no route")

    @holdfast.agent
    async def main() -> None:
        await flaky()

    assert fails(site, main).error_type == "ConnectionError"
    assert len(site.outside.effects) == 3


def test_an_error_that_repeating_does_not_help_is_not_retried():
    site = Site()

    @holdfast.tool(effect="read", retries=2)
    async def broken() -> None:
        site.outside.did("read", "broken", 0)
        raise ValueError

    @holdfast.agent
    async def main() -> None:
        await broken()

    fails(site, main)
    assert len(site.outside.effects) == 1


def test_time_limit_of_a_tool():
    @holdfast.tool(effect="read", timeout=5)
    async def slow() -> None:
        await asyncio.sleep(100)

    @holdfast.agent
    async def main() -> str:
        try:
            await slow()
        except TimeoutError as error:
            return str(error)
        return "in time"

    site = Site()
    assert "within 5 s" in run(site, main)
    assert 5 <= site.clock.ticks_ns() / 1e9 < 5.2


def test_sleep_takes_the_time_it_says_in_memory_or_not():
    @holdfast.agent
    async def main() -> None:
        for seconds in (0.01, 0.5, 1.5, 3.0, 700.0):
            await holdfast.sleep(seconds)

    for linger in (0.0, 0.2, 1.0):
        site = Site(linger=linger)
        run(site, main)
        assert 705.01 <= site.clock.ticks_ns() / 1e9 < 705.1, linger


# ---- concurrency ------------------------------------------------------------------------------


def test_max_parallel_bounds_the_steps_of_one_run():
    now: list[int] = []
    most: list[int] = []

    @holdfast.tool(effect="read")
    async def slow(n: int) -> int:
        now.append(n)
        most.append(len(now))
        await asyncio.sleep(1)
        now.remove(n)
        return n

    @holdfast.agent(max_parallel=3)
    async def main() -> list[int]:
        return list(await asyncio.gather(*[slow(n) for n in range(10)]))

    assert run(Site(), main) == list(range(10))
    assert max(most) == 3


def test_gather_with_a_limit_and_its_failure():
    @holdfast.tool(effect="read")
    async def slow(n: int) -> int:
        await asyncio.sleep(n)
        if n == 3:
            raise ValueError("three")
        return n

    @holdfast.agent
    async def main(limit: int) -> Any:
        first = await holdfast.gather(slow(1), slow(2), limit=limit)
        try:
            await holdfast.gather(slow(3), slow(100), slow(100), limit=limit)
        except ValueError as error:
            return [first, str(error)]

    for limit in (0, 2):
        site = Site()
        assert run(site, main, limit) == [[1, 2], "three"]
        assert site.clock.ticks_ns() / 1e9 < 20, "the rest was not cancelled"


def test_race_takes_the_first_and_cancels_the_others():
    site = Site(linger=0)

    @holdfast.tool(effect="idempotent")
    async def slow(n: int) -> int:
        await asyncio.sleep(n)
        site.outside.did("idempotent", "slow", n)
        return n

    @holdfast.agent
    async def main() -> list[Any]:
        first = await holdfast.race(slow(5), slow(1), slow(9))
        await holdfast.sleep(100)
        return [first, await holdfast.race(holdfast.sleep(50), slow(2))]

    assert run(site, main) == [1, 2]
    assert site.outside.of("idempotent") == {("slow", "1"), ("slow", "2")}


def test_what_nobody_will_ever_set_is_found_out():
    @holdfast.agent
    async def main() -> None:
        await double(1)
        await asyncio.Event().wait()

    site = Site()
    assert "no step will bring" in str(fails(site, main))


@pytest.mark.parametrize("name", ["run_in_executor", "getaddrinfo"])
def test_the_outside_is_out_of_reach_for_agent_code(name: str):
    @holdfast.agent
    async def main() -> None:
        await getattr(asyncio.get_running_loop(), name)(None, print)

    assert "in a tool" in str(fails(Site(), main))


def test_max_runs_bounds_the_runs_of_an_agent():
    now: list[int] = []
    most: list[int] = []

    @holdfast.tool(effect="read")
    async def slow(n: int) -> None:
        now.append(n)
        most.append(len(now))
        await asyncio.sleep(1)
        now.remove(n)

    @holdfast.agent(max_runs=2)
    async def main(n: int) -> int:
        await slow(n)
        return n

    async def start(life: Any) -> list[int]:
        handles = [await life.start(main, n, name=f"r{n}") for n in range(6)]
        return [await handle.result() for handle in handles]

    assert drive(Site(), start, main) == list(range(6))
    assert max(most) == 2


def test_closing_a_host_with_queued_runs_loses_none():
    @holdfast.agent(max_runs=1)
    async def main(n: int) -> int:
        await holdfast.sleep(10)
        return n

    site = Site(linger=100)

    async def first(life: Any) -> None:
        for n in range(4):
            await life.start(main, n, name=f"r{n}")

    async def second(life: Any) -> list[int]:
        await life.resume_all()
        return [await life.host.result(f"r{n}") for n in range(4)]

    drive(site, first, main)
    assert drive(site, second, main) == list(range(4))
