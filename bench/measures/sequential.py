"""One run that takes one `read` step after the other; and what a step costs in CPU time."""

from __future__ import annotations

from bench import programs
from bench.ground import Ground, Raw, Spent, rounds
from bench.report import Figure, median


async def measure(ground: Ground) -> list[Figure]:
    steps, raw = ground.size(2_000, 500), Raw(ground.folder("raw"))
    rates: list[float] = []
    cpus: list[float] = []
    raws: list[float] = []
    raw_cpus: list[float] = []
    shares: list[float] = []
    peer: list[float] = []
    peer_cpu: list[float] = []
    async with ground.runtime("sequential") as runtime:
        await (await runtime.start(programs.reads, 300)).result()
        for _ in rounds(ground.size(9, 3)):
            before = raw.rate(steps // 2)
            with Spent() as spent:
                await (await runtime.start(programs.reads, steps)).result()
            rates.append(steps / spent.seconds)
            cpus.append(spent.cpu / steps * 1e6)
            raws.append((before + raw.rate(steps // 2)) / 2)
            raw_cpus.append(raw.cpu * 1e6)
            shares.append(rates[-1] / raws[-1])
            if ground.peer:
                some = ground.size(400, 100)
                took = await ground.peer.call("sequential", steps=some)
                peer.append(some / took["seconds"])
                peer_cpu.append(took["cpu"] / some * 1e6)
    rate, share, cpu = median(rates), median(shares), median(cpus)
    others = {"DBOS": median(peer)} if peer else {}
    return [
        Figure("sequential read steps, FULL", rate, "steps/s", ">= 3,000/s", rate >= 3000,
               {**others, "raw": median(raws)}, True, f"best {max(rates):,.0f}"),
        Figure("sequential, share of the raw one-row rate", share, "", ">= 0.5", share >= 0.5,
               note="median of the ratio in each round"),
        Figure("CPU per step, sequential", cpu, "us", "<= 80 us", cpu <= 80,
               {"DBOS": median(peer_cpu)} if peer else {},
               note=f"a raw commit alone: {median(raw_cpus):.0f} us"),
    ]  # fmt: skip
