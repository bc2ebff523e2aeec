"""One verdict of a policy engine outside: question, answer and what it means, over loopback and
over a unix socket. The engine is a stand-in (`holdfast.testing.decider`) in a process of its own,
or the `opa` on the PATH with the pack of policies/opa."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench.ground import Ground
from bench.report import Figure, median
from holdfast.adapters.opa import Opa
from holdfast.gate import Proposal
from holdfast.gate.document import Output
from holdfast.gate.facts import Facts
from holdfast.gate.outside import question, ruling
from holdfast.gate.policy import Engine

PACK = Path(__file__).parents[2] / "policies" / "opa" / "payments.rego"
PROPOSAL = Proposal("clerk", "", "tool", "pay_invoice", "once", {"to": "ann", "amount": 20.0})
FACTS = Facts(worst="person", target_uses=4, amount=20.0, origin={"to": "person"})

STAND_IN = """
import sys
from holdfast.testing.decider import Decider
with Decider(lambda _: {"decision": "allow", "rules": ["known-payee"]}, sys.argv[1]) as decider:
    print(decider.address, flush=True)
    sys.stdin.read()
"""


@contextmanager
def stand_in(place: str) -> Generator[str]:
    """The address of a stand-in in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", STAND_IN, place], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


@contextmanager
def real(place: str) -> Generator[str]:
    """The address of a real OPA with the pack."""
    address = f"unix://{place}" if place else "127.0.0.1:18181"
    process = subprocess.Popen(
        ["opa", "run", "--server", "--log-level", "error", "--addr", address, str(PACK)]
    )
    try:
        yield f"unix:{place}" if place else f"http://{address}"
    finally:
        process.terminate()
        process.wait()


async def _asked(address: str, times: int) -> list[float]:
    """Microseconds of each question, after some that are not counted."""
    opa, engine = Opa(), Engine(address)
    took: list[float] = []
    try:
        for _ in range(100):  # until it answers, and is warm
            if isinstance(ruling(await opa.ask(engine, question(PROPOSAL, FACTS, {}))), str):
                await asyncio.sleep(0.1)
        for _ in range(times):
            start = time.perf_counter()
            found = ruling(await opa.ask(engine, question(PROPOSAL, FACTS, dict(PROPOSAL.args))))
            took.append((time.perf_counter() - start) * 1e6)
            assert isinstance(found, Output), found
    finally:
        opa.close()
    return took


async def measure(ground: Ground) -> list[Figure]:
    found = shutil.which("opa")
    begin, name = (real, "opa") if found else (stand_in, "a stand-in")
    figures: list[Figure] = []
    for way, place in (("loopback", ""), ("unix socket", str(ground.folder("opa") / "s"))):
        with begin(place) as address:
            took = sorted(await _asked(address, ground.size(5_000, 1_000)))
        middle = median(took)
        size = len(json.dumps(question(PROPOSAL, FACTS, {})))
        figures.append(Figure(
            f"verdict of an engine outside, {way}", middle, "us", "<= 400 us", middle <= 400,
            note=f"{name}, p99 {took[len(took) * 99 // 100]:,.0f} us, {size:,} bytes asked",
        ))  # fmt: skip
    return figures
