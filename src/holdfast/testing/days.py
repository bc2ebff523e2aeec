"""Journals of simulated days: agents at work, some of their runs with planted anomalies.

What is simulated is what an anomaly detector sees of agents: an assistant that answers strangers, a
bookkeeper that always pays the same few, a coder with long runs and many errors, a watcher that
asks the same until it is done. Everything follows from the seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from holdfast.journal.events import (
    NO_HEAD,
    Body,
    Draft,
    Event,
    Failure,
    Head,
    Plan,
    RunEnded,
    RunStarted,
    StepPlanned,
    StepSettled,
    body_of,
    seal,
)
from holdfast.journal.store import Batch, Store
from holdfast.values.canon import encode

PLANTED = ("loop", "cost", "sink", "order", "errors", "latency")
"""Kinds of anomalies that can be planted."""
SHOWN_BY: dict[str, frozenset[str]] = {
    "loop": frozenset({"loop"}),
    "cost": frozenset({"cost", "tokens", "spent", "cost.drift", "tokens.drift"}),
    "sink": frozenset({"sink"}),
    "order": frozenset({"order", "tool"}),
    "errors": frozenset({"errors", "order"}),
    "latency": frozenset({"latency", "latency.drift"}),
}
"""By which parts an alarm names each."""
_DAY = 86_400_000


@dataclass
class Days:
    """Days of a store. ``events``: all so far; ``planted``: the kind of anomaly by run."""

    seed: int
    events: list[Event] = field(default_factory=list[Event])
    planted: dict[str, str] = field(default_factory=dict[str, str])
    day: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def live(self, runs: int = 60, plant: tuple[str, ...] = ()) -> None:
        """One more day: so many runs, and one more for each kind of anomaly to plant."""
        kinds = ["", *plant]
        order = [""] * runs + list(plant)
        self.dice.shuffle(order)
        assert set(order) <= set(kinds)
        for number, kind in enumerate(order):
            at = (20_000 + self.day) * _DAY + number * (_DAY // (len(order) + 1))
            name = f"day{self.day}-{number}"
            agents = [one for one in AGENTS if not kind or kind in AGENTS[one][1]]
            agent = self.dice.choice(agents)
            if kind:
                self.planted[name] = kind
            life = Life(self, name, agent, at, kind)
            life.append(RunStarted(agent))
            AGENTS[agent][0](life)
            life.append(RunEnded("done"))
        self.day += 1


class Life:
    """One run as it goes on."""

    def __init__(self, days: Days, run: str, agent: str, at: int, kind: str) -> None:
        self.days = days
        self.dice = days.dice
        self.run = run
        self.agent = agent
        self.at = at
        self.kind = kind
        self._head: Head = NO_HEAD
        self._key = 0

    def append(self, body: Body, args: bytes | None = None, value: bytes | None = None) -> None:
        """The next event of the run."""
        seq = len(self.days.events) + 1
        event = seal(Draft(body, self.at, args=args, value=value), self.run, self._head, seq)
        self.days.events.append(event)
        self._head = Head(event.pos, event.id, "")

    def model(self, scale: float = 1.0) -> None:
        """A model is asked."""
        tokens = round(self.dice.lognormvariate(7.0, 0.35) * scale)
        usage = {"tokens": float(tokens), "money": tokens * 4e-6}
        slow = 3.0 if self.kind == "latency" else 1.0
        took = round(self.dice.lognormvariate(14.0, 0.3) * slow)
        self._step("model.small", "read", {"n": self._key}, kind="model", usage=usage, took=took)

    def call(
        self, name: str, effect: str = "read", *, fails: float = 0.02, same: bool = False,
        **args: object,
    ) -> None:  # fmt: skip
        """A tool is called; ``same``: with a result that never changes."""
        if self.kind == "errors":
            fails = 0.9
        failed = self.dice.random() < fails
        took = round(self.dice.lognormvariate(9.0, 0.5))
        said: object = "same" if same else self.dice.getrandbits(60)
        self._step(name, effect, args, failed=failed, took=took, said=said)

    def _step(
        self, name: str, effect: str, args: object, *, kind: str = "tool", failed: bool = False,
        usage: dict[str, float] | None = None, took: int = 0, said: object = "",
    ) -> None:  # fmt: skip
        self._key += 1
        key, plan = str(self._key), Plan(name, kind, effect)
        asked: bytes | None = encode(args)
        if effect != "read":
            self.append(StepPlanned(key, plan), args=asked)
            asked = None
        self.at += 200 + took // 1000
        error = Failure("Outside", "it failed") if failed else None
        body = StepSettled(
            key, plan if asked is not None else None, status="error" if failed else "value",
            error=error, took=took, usage=usage or {},
        )  # fmt: skip
        self.append(body, args=asked, value=None if failed else encode(said))


def _assistant(life: Life) -> None:
    dice = life.dice
    for _ in range(dice.randint(1, 4)):
        life.model(5.0 if life.kind == "cost" else 1.0)
        life.call("crm.find", query=f"case {dice.getrandbits(30)}")
        if dice.random() < 0.3:
            life.call("docs.search", query=f"text {dice.getrandbits(30)}")
    life.model()
    if life.kind == "loop":
        for _ in range(8):
            life.call("crm.find", query="the same", same=True, fails=0)
    life.call("mail.send", "once", to=f"customer{dice.getrandbits(20)}@example.com", body="...")


def _bookkeeper(life: Life) -> None:
    life.model()
    life.call("ledger.read", account="2100")
    for _ in range(life.dice.randint(1, 3)):
        to = life.dice.choice(("rent@bank", "power@bank", "wages@bank"))
        life.model(5.0 if life.kind == "cost" else 1.0)
        life.call("bank.pay", "once", recipient=to, amount=life.dice.randint(10, 900))
    if life.kind == "sink":
        life.call("bank.pay", "once", recipient="stranger@elsewhere", amount=50)
    if life.kind == "order":
        life.call("ledger.export", "once", recipient="rent@bank")
        life.call("ledger.delete", "once", recipient="rent@bank")
    life.call("ledger.read", account="2100")


def _coder(life: Life) -> None:
    dice = life.dice
    for _ in range(dice.randint(5, 20)):
        life.model(5.0 if life.kind == "cost" else 1.0)
        for _ in range(dice.randint(0, 3)):
            life.call("repo.read", path=f"src/{dice.randint(1, 60)}.py")
        life.call("repo.edit", "world", path=f"src/{dice.randint(1, 60)}.py", text="...")
        life.call("repo.test", fails=0.35)
    if life.kind == "loop":
        for _ in range(7):
            life.call("repo.read", path="src/1.py", same=True, fails=0)
            life.call("repo.test", same=True, fails=0)


def _watcher(life: Life) -> None:
    life.call("build.start", "once", branch="main")
    for _ in range(life.dice.randint(2, 12)):
        life.call("build.status", same=True)
    life.model()
    if life.kind == "order":
        life.call("build.start", "once", branch="main")
        life.call("build.start", "once", branch="main")
        life.call("build.start", "once", branch="main")


async def pour(store: Store, events: Iterable[Event], owner: str, *, later_ms: int = 0) -> None:
    """Append such events to a store, run by run, at times that much later."""
    for run, mine in itertools.groupby(events, lambda event: event.run):
        drafts = tuple(
            Draft(body_of(one), one.at + later_ms, args=one.args, value=one.value) for one in mine
        )
        await store.append((Batch(run, drafts, -1, lease=owner),), {})


AGENTS: dict[str, tuple[Callable[[Life], None], tuple[str, ...]]] = {
    "assistant": (_assistant, ("loop", "cost", "errors", "latency")),
    "bookkeeper": (_bookkeeper, ("sink", "order", "cost", "errors", "latency")),
    "coder": (_coder, ("loop", "cost", "errors", "latency")),
    "watcher": (_watcher, ("order", "errors")),
}
"""What each agent does, and which anomalies can be planted in its runs."""
