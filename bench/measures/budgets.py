"""What a step costs that two budgets count, beside one that none counts, under the same policy."""

from __future__ import annotations

import dataclasses

import holdfast
from bench import programs
from bench.ground import Ground, Spent, rounds
from bench.report import Figure, median
from holdfast.gate import DEFAULT_POLICY
from holdfast.gate.budgets import Budget

COUNTED = {"tool": ("act", "counted_look")}
POLICY = dataclasses.replace(
    DEFAULT_POLICY,
    budgets=(Budget("calls", "calls", 1e9, "agent", "day", COUNTED),
             Budget("tokens", "tokens", 1e9, "run", "", COUNTED)),
)  # fmt: skip


@holdfast.tool(effect="read", estimate=lambda i: {"tokens": 100})
async def counted_look(i: int) -> int:
    holdfast.spent(tokens=40)
    return i


@holdfast.agent
async def counted_reads(steps: int) -> int:
    return sum([await counted_look(i) for i in range(steps)])


async def measure(ground: Ground) -> list[Figure]:
    steps = ground.size(1_000, 200)
    plain: list[float] = []
    beside: list[float] = []
    charged: list[float] = []
    async with ground.runtime("unpriced") as runtime:
        await (await runtime.start(programs.reads, 100)).result()
        settings = ground.settings(ground.folder("priced"))
        async with holdfast.Runtime(settings, policy=POLICY) as priced:
            await (await priced.start(counted_reads, 100)).result()
            for _ in rounds(ground.size(9, 3)):
                for found, place, program in (
                    (plain, runtime, programs.reads), (beside, priced, programs.reads),
                    (charged, priced, counted_reads),
                ):  # fmt: skip
                    with Spent() as spent:
                        await (await place.start(program, steps)).result()
                    found.append(spent.cpu / steps * 1e6)
    without, uncounted, with_budgets = median(plain), median(beside), median(charged)
    return [
        Figure("CPU per step, counted by two budgets", with_budgets, "us", "<= 4 x without",
               with_budgets <= 4 * without, {"without budgets": without},
               note="two appends instead of one"),
        Figure("CPU per step that no budget of the policy counts", uncounted, "us",
               "<= 1.2 x without", uncounted <= 1.2 * without, {"without budgets": without}),
    ]  # fmt: skip
