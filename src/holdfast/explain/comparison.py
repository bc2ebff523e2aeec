"""What a comparison of two runs says: the structs that screens show and ``--json`` encodes.

`holdfast.explain.compare` makes them. Texts in them are as recorded; whoever shows them cleans
them (`holdfast.explain.text`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

What = Literal["same", "moved", "arguments", "verdict", "outcome", "only_a", "only_b"]
"""How two steps that stand for each other differ: not at all; in nothing but their keys; in what
they were asked with; in what the gate said; in how they ended. Or the step is in one run only."""

AGREES: tuple[What, ...] = ("same", "moved")
"""What is no difference."""


class Score(msgspec.Struct, frozen=True):
    """What somebody thinks that a run is worth. ``by``: who said so; ``about``: position of the
    event that it is about."""

    good: bool | None
    score: float | None = None
    note: str = ""
    by: str = ""
    about: int = 0


class Side(msgspec.Struct, frozen=True):
    """One of the two runs. ``status``: done, failed, cancelled, or open while it has not ended;
    ``value``: what it returned, or its error as ``{"type", "text"}``; ``used``: sums of what its
    steps used, by unit (``money``, ``tokens``, ...), the past that it shares with the other
    included; ``work_us``: how long its steps were performed, added up; ``waited_ms``: how long at
    least one step waited for a person, a signal, a timer or a publication; ``span_ms``: from its
    first event to its newest; ``holds``: what leaves the world is held in it."""

    run: str
    agent: str
    status: str
    steps: int
    value: Any = None
    used: dict[str, float] = {}
    work_us: int = 0
    waited_ms: int = 0
    span_ms: int = 0
    holds: bool = False
    fork_of: str = ""
    fork_pos: int = 0
    score: Score | None = None


class Place(msgspec.Struct, frozen=True):
    """A step in its run: ``segment`` counts from 1; ``pos``: position of the event that ended it,
    else of its first event; ``status``: how it ended, or open; ``origin``: see `StepSettled`."""

    segment: int
    key: str
    pos: int
    status: str
    origin: str = ""


class Pair(msgspec.Struct, frozen=True):
    """Two steps that stand for each other, or one that stands alone. ``action``: what it is called;
    ``lines``: what differs, "-" in A, "+" in B (of the first COMPARE_TEXT_ITEMS only)."""

    what: What
    action: str
    a: Place | None
    b: Place | None
    lines: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether this is a difference: a step that only moved is none."""
        return self.what not in AGREES


class Item(msgspec.Struct, frozen=True):
    """Something that stood in the context of a decision: a message of a request (``place``: which,
    from 0; ``what``: whose) or a result that the program had received (``place``: the step;
    ``what``: its action). ``hash``: of its whole content; ``text``: the beginning of it."""

    place: str
    what: str
    hash: str
    text: str


class Facet(msgspec.Struct, frozen=True):
    """Something else that a decision hangs on and that differs: ``name`` is action, arguments,
    model, parameters, menu, code, policy, verdict, input, edit or answer. ``a``, ``b``: in short;
    ``lines``: the difference to read."""

    name: str
    a: str
    b: str
    lines: tuple[str, ...] = ()


class Divergence(msgspec.Struct, frozen=True):
    """Where two runs first differ, if only in their order. ``pair``: place in `Comparison.pairs`;
    ``a``, ``b``: the steps that the runs took there (None: the run had no more), which need not
    stand for each other.

    ``kind``: what was decided from: "model" (messages of a request) or "program" (results).
    ``same``: how many items stood in both contexts; ``only_a``, ``only_b``: those of one of them;
    ``lines``: the first differing item of each as a text difference; ``facets``: what else differs.
    ``reason``: a sentence that says what the difference follows from, as far as that is recorded.
    """

    pair: int
    a: Place | None
    b: Place | None
    kind: Literal["model", "program"]
    same: int
    only_a: tuple[Item, ...] = ()
    only_b: tuple[Item, ...] = ()
    lines: tuple[str, ...] = ()
    facets: tuple[Facet, ...] = ()
    reason: str = ""


class Changed(msgspec.Struct, frozen=True):
    """A path that is not the same in both worlds. ``kind``: added (only in B), removed (only in A),
    changed or mode."""

    path: str
    kind: str


class Worlds(msgspec.Struct, frozen=True):
    """How two worlds differ: their roots, paths (COMPARE_PATH_ITEMS at most), and how many differ;
    ``missing`` says why they could not be read, if they could not."""

    a: str
    b: str
    paths: tuple[Changed, ...] = ()
    count: int = 0
    missing: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """Two runs side by side.

    ``shared``: how many events they have in common, as forks do. ``pairs``: every step of both,
    once, in the order of A, those of B alone where B took them; ``same``, ``moved``: how many agree
    at the same key or at another; ``differ``: how many do not. ``first``: where they first differ,
    None if nowhere. ``now``: their worlds as they are; ``then``: as they were when they first
    differed. ``outcome``: whether they ended otherwise, None while one has not ended.
    """

    a: Side
    b: Side
    shared: int
    pairs: tuple[Pair, ...]
    same: int
    moved: int
    differ: int
    first: Divergence | None
    now: Worlds
    then: Worlds | None
    outcome: bool | None
