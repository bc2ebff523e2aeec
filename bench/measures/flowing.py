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


async def measure(ground: Ground) -> list[Figure]:
    added: list[float] = []
    judged: list[float] = []
    scanned: list[float] = []
    for number in rounds(ground.size(9, 5)):
        # each round reads other texts and each call has other arguments: nothing is known by heart
        dice = random.Random(number)
        texts = _texts(dice)
        context = Context()
        context.person("run@0", "Pay what is due to anna.berg@corp.example and write to her")
        added += [_took(context.result, "run@1", MAIL, {}, text, "read") for text in texts]
        calls = [_args(dice) for _ in range(ground.size(300, 50))]
        judged += [_took(flow, context, args, MAIL, "send_mail", "once", "tool") for args in calls]
        args = calls[0]
        values = [*args["recipients"], args["subject"], str(args["amount"]), *args["body"].split()]
        scanned += [_took(_scan, texts, values) for _ in range(10)]
    add, judge = median(added), median(judged)
    p99 = sorted(judged)[int(len(judged) * 0.99)]
    return [
        Figure("a result of 2 kB, added to what was seen, CPU", add, "us", "<= 400 us", add <= 400),
        Figure("flow facts of one call over 30 results of 2 kB, CPU", judge, "us", "<= 50 us",
               judge <= 50, {"substring scan": median(scanned)}, note=f"p99 {p99:.0f} us"),
    ]  # fmt: skip


def _took(call: Callable[..., Any], *args: Any) -> float:
    """Processor time of one call, in microseconds."""
    start = time.thread_time_ns()
    call(*args)
    return (time.thread_time_ns() - start) / 1e3


def _args(dice: random.Random) -> dict[str, Any]:
    first, second = dice.sample(range(1, 29), 2)
    return {
        "recipients": ["anna.berg@corp.example", f"j{first}@corp.example"],
        "subject": "Invoices of last month",
        "amount": first * 100 + 50.5,
        "body": f"Dear Anna, the invoices INV-2026-{first} and INV-2026-{second} are paid, see "
        "below. Regards",
    }


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
