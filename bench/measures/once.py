"""`once` steps under a policy that allows them: intent and outcome are durable one by one."""

from __future__ import annotations

from bench import programs
from bench.ground import Ground, Raw, Spent, rounds
from bench.report import Figure, median


async def measure(ground: Ground) -> list[Figure]:
    steps, raw = ground.size(1_000, 300), Raw(ground.folder("raw"))
    rates: list[float] = []
    shares: list[float] = []
    halves: list[float] = []
    async with ground.runtime("once") as runtime:
        await (await runtime.start(programs.acts, 100)).result()
        for _ in rounds(ground.size(9, 3)):
            before = raw.rate(steps)
            with Spent() as spent:
                await (await runtime.start(programs.acts, steps)).result()
            rates.append(steps / spent.seconds)
            halves.append((before + raw.rate(steps)) / 4)
            shares.append(rates[-1] / halves[-1])
    share = median(shares)
    return [
        Figure("once steps, share of half the raw rate", share, "", ">= 0.5", share >= 0.5,
               note=f"{median(rates):,.0f} steps/s, half the raw rate {median(halves):,.0f}"),
    ]  # fmt: skip
