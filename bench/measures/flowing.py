"""Where an action's values come from, beside searching all texts that the run has read for them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from bench.ground import Ground, rounds
from bench.report import Figure, median
from holdfast.gate.context import Context, flow
from holdfast.gate.labels import Label
from holdfast.gate.tools import ToolFacts

MAIL = ToolFacts(("*",), output=Label("untrusted", "internal"))
ARGS: dict[str, Any] = {
    "recipients": ["anna.berg@corp.example", "j17@corp.example"],
    "subject": "Invoices of last month",
    "amount": 1250.5,
    "body": "Dear Anna, the invoices INV-2026-17 and INV-2026-23 are paid, see below. Regards",
}


async def measure(ground: Ground) -> list[Figure]:
    texts = _texts(random.Random(4))
    values = [*ARGS["recipients"], ARGS["subject"], "1250.5", *ARGS["body"].split()]
    added: list[float] = []
    judged: list[float] = []
    scanned: list[float] = []
    for _ in rounds(ground.size(9, 5)):
        context = Context()
        context.person("run@0", "Pay what is due to anna.berg@corp.example and write to her")
        added += [_took(context.result, "run@1", MAIL, {}, text, "read") for text in texts]
        for _ in range(ground.size(300, 50)):
            judged.append(_took(flow, context, ARGS, MAIL, "send_mail", "once", "tool"))
            scanned.append(_took(_scan, texts, values))
    add, judge = median(added), median(judged)
    return [
        Figure("a result of 2 kB, added to what was seen", add, "us", "<= 500 us", add <= 500),
        Figure("flow facts of one call over 30 results of 2 kB", judge, "us", "<= 50 us",
               judge <= 50, {"substring scan": median(scanned)}),
    ]  # fmt: skip


def _took(call: Callable[..., Any], *args: Any) -> float:
    start = time.perf_counter()
    call(*args)
    return (time.perf_counter() - start) * 1e6


def _scan(texts: list[str], values: list[str]) -> list[list[int]]:
    """What matching without an index costs, and without any normalisation."""
    return [[at for at, text in enumerate(texts) if value in text] for value in values]


def _texts(dice: random.Random) -> list[str]:
    words = ["".join(dice.choices("aeioubdfgklmnprst", k=dice.randint(2, 9))) for _ in range(2000)]
    odd = ("on 2026-05-{n:02}", "j{n}@corp.example", "{n}50.50 EUR", "INV-2026-{n}",
           "https://corp.example/p/{n}")  # fmt: skip
    texts: list[str] = []
    for _ in range(30):
        lines = (
            " ".join(dice.choices(words, k=11))
            + " "
            + dice.choice(odd).format(n=dice.randint(1, 28))
            for _ in range(40)
        )
        texts.append("\n".join(lines)[:2048])
    return texts
