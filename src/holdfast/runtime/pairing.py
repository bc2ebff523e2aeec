"""Runs that share a beginning, found in a store, as pairs for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from holdfast.explain.outcome import Wanted
from holdfast.explain.pairs import Known, Pair, couples, known, pair
from holdfast.explain.past import chain
from holdfast.journal.store import RunQuery, Store
from holdfast.values import limits
from holdfast.values.canon import encode
from holdfast.values.errors import TooLarge


async def pairs_of(
    store: Store, runs: Sequence[str], wanted: Wanted
) -> tuple[list[Pair], Mapping[str, int]]:
    """The pairs among runs and their forks, each content once, and why others make none, with how
    many. `TooLarge` for more than PAIRS_RUNS of them."""
    family: list[Known] = [
        known(await chain(store, run), wanted, store.get) for run in await _with_forks(store, runs)
    ]
    found: dict[bytes, Pair] = {}
    left: Counter[str] = Counter()
    for right, wrong in couples(family):
        made = pair(right, wrong, store.get)
        if isinstance(made, str):
            left[made] += 1
        elif found.setdefault(encode([made.prompt, made.chosen, made.rejected]), made) is not made:
            left["they say the same as another pair"] += 1
    return list(found.values()), left


async def _with_forks(store: Store, runs: Sequence[str]) -> list[str]:
    """The runs and all their forks, and theirs."""
    forks: dict[str, list[str]] = {}
    before = 0
    while page := await store.runs(RunQuery(1000, before)):
        for row in page:
            if row.fork_of:
                forks.setdefault(row.fork_of, []).append(row.run)
        before = page[-1].number
    found: dict[str, None] = {}
    todo = list(reversed(runs))
    while todo:
        run = todo.pop()
        if run not in found:
            found[run] = None
            todo += forks.get(run, [])
        if len(found) > limits.PAIRS_RUNS:
            raise TooLarge(f"more than {limits.PAIRS_RUNS} runs: name fewer of them")
    return list(found)
