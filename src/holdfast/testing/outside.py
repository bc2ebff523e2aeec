"""The world outside, as a list: what tools did, under which key, in which run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from holdfast.engine import scope


class Effect(NamedTuple):
    """One thing that was done to the outside."""

    kind: str
    """The tool's effect: read, world, idempotent or once."""
    name: str
    value: Any
    run: str
    step: str
    attempt: int
    key: str
    """The idempotency key."""


class Outside:
    """Call `did` in a tool at the moment when its effect happens. ``witness`` sees each one."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.witness: Callable[[Effect], None] = lambda effect: None

    def did(self, kind: str, name: str, value: Any) -> Effect:
        """Note an effect of the tool that is being performed."""
        here = scope.call.get()
        if here is None:
            effect = Effect(kind, name, value, "", "", 1, "")
        else:
            effect = Effect(
                kind, name, value, here.run, here.key, here.attempt, here.idempotency_key
            )
        self.effects.append(effect)
        self.witness(effect)
        return effect

    def count(self, kind: str, name: str, value: Any) -> int:
        """How often that was done."""
        return sum(one[:3] == (kind, name, value) for one in self.effects)

    def of(self, kind: str) -> set[tuple[str, str]]:
        """What was done with that effect, as a set of (name, value as text): what the receiver of
        idempotent requests ends with, however often they came."""
        return {(one.name, repr(one.value)) for one in self.effects if one.kind == kind}

    def broken_promises(self) -> Iterator[str]:
        """``once`` more than once at the same step; ``idempotent`` under two keys at the same step;
        one key for two different things. The name of the step stands for a call: programs under
        test give each call a value of its own."""
        done: dict[tuple[str, str, str], list[Effect]] = defaultdict(list)
        meant: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for one in self.effects:
            done[one.run, one.name, repr(one.value)].append(one)
            meant[one.key].add((one.name, repr(one.value)))
        for (run, name, value), effects in done.items():
            if effects[0].kind == "once" and len(effects) > 1:
                yield f"once {name}({value}) happened {len(effects)} times in run {run}"
            if effects[0].kind == "idempotent" and len({one.key for one in effects}) > 1:
                yield f"idempotent {name}({value}) of run {run} came under several keys"
        for key, things in meant.items():
            if key and len(things) > 1:
                yield f"key {key} stands for different things: {sorted(things)}"
