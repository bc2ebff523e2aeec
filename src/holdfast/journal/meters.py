"""Meters: sums by name over all runs of a store, kept as a view of what events charge.

An event says what it adds (``charges``, inside its hash); a store adds that in the transaction of
the append, and refuses an append that would take a meter over a cap given with it. What is absent
is 0. A unit finer than one is the charger's affair: meters are whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from holdfast.journal.events import Event, StepPlanned, StepSettled, body_decoder
from holdfast.values import limits
from holdfast.values.errors import Exceeded, Misuse

BUDGET = "budget/"
"""What names of meters that have a budget's limit for a cap begin with."""
CHARGING = ("step.planned", "step.settled")
"""Kinds of events that may charge meters."""


def charges_of(body: Any) -> dict[str, int]:
    """What the body of an event adds to meters, checked; `Misuse` for what no meter can hold."""
    if not isinstance(body, (StepPlanned, StepSettled)) or not body.charges:
        return {}
    charges = body.charges
    if len(charges) > limits.CHARGES_MAX_ITEMS:
        raise Misuse(
            f"step {body.key}: it charges {len(charges)} meters, "
            f"at most {limits.CHARGES_MAX_ITEMS} at once"
        )
    for name, amount in charges.items():
        check_name(name)
        # a bool would be written as one, and no reader would take it for a number
        if type(amount) is not int or abs(amount) > limits.CHARGE_MAX_UNITS:
            raise Misuse(
                f"meter {name}: it is charged {amount!r}, "
                f"not a whole number up to {limits.CHARGE_MAX_UNITS:,}"
            )
    return charges


def check_name(name: Any) -> None:
    """`Misuse` unless ``name`` can be the name of a meter: some printable text, without ``*``."""
    if type(name) is not str or not name or not name.isprintable() or "*" in name:
        raise Misuse(f"meter {name!r}: a name is printable text without '*'")
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > limits.METER_NAME_BYTES:
        raise Misuse(
            f"meter {name[:80]}...: its name has {size:,} bytes, "
            f"at most {limits.METER_NAME_BYTES} fit: put a hash into it"
        )


def charged_by(kind: str, body: bytes) -> dict[str, int]:
    """What an event adds to meters, from its stored body; unchecked, cheap for those that add
    nothing. Raises `msgspec.DecodeError` if the body is none."""
    if kind not in CHARGING or b'"charges":' not in body:
        return {}
    return body_decoder(kind).decode(body).charges


def add_up(sums: dict[str, int], charges: Mapping[str, int]) -> None:
    """Add ``charges`` to ``sums``; what comes to 0 is taken out."""
    for name, amount in charges.items():
        total = sums.get(name, 0) + amount
        if total:
            sums[name] = total
        else:
            sums.pop(name, None)


def fold_meters(events: Iterable[Event]) -> dict[str, int]:
    """The meters that ``events`` add up to: what a store that holds just these must show."""
    sums: dict[str, int] = {}
    for event in events:
        add_up(sums, charged_by(event.kind, event.body))
    return sums


def raised(
    charges: Mapping[str, int], caps: Mapping[str, int], value_of: Callable[[str], int]
) -> dict[str, int]:
    """New values of the meters that ``charges`` name; `Exceeded` if one would be over its cap.

    INVARIANT J41: a meter is never taken over a cap given with the append, whoever else appends.
    """
    values = {name: value_of(name) + amount for name, amount in charges.items()}
    for name, value in values.items():
        if abs(value) > limits.METER_MAX_UNITS:
            raise Misuse(f"meter {name}: {value:,} is beyond what a meter can hold")
    for name, cap in caps.items():
        value = values[name] if name in values else value_of(name)
        if value > cap:
            raise Exceeded(
                f"meter {name}: it would be {value:,}, its cap is {cap:,}; nothing was written",
                meter=name, cap=cap, value=value,
            )  # fmt: skip
    return values


def parts(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of meters asked for: exact ones, and what ``name*`` begin with."""
    exact = [name for name in names if not name.endswith("*")]
    return exact, [name[:-1] for name in names if name.endswith("*")]
