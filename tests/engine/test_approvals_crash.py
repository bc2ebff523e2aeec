"""A crash at every write while several people answer: it ends the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.engine.answers import answer
from holdfast.gate.routes import Route
from holdfast.journal.store import RunQuery, Store
from holdfast.journal.views import Wait
from holdfast.testing.faults import FAULTS
from holdfast.testing.lives import Life, Site
from holdfast.values.errors import HoldfastError
from tests.engine.scenarios import Case, Make, carry_out, ensure
from tests.engine.test_approvals import PAIR, pays, policy
from tests.engine.test_crash_sweep import sweep

Says = tuple[str, str, Any]
Script = Callable[[Wait], Says | None]


def next_of(wait: Wait) -> Says | None:
    return next((name, "approve", None) for name in ("ann", "cem") if name not in wait.approved)


def edits(wait: Wait) -> Says | None:
    return (
        next_of(wait) if wait.approved else ("bea", "edit", {"n": int(wait.key) * 10, "to": "bob"})
    )


def edits_late(wait: Wait) -> Says | None:
    if wait.approved == ("ann",):
        return ("bea", "edit", {"n": int(wait.key) * 10, "to": "bob"})
    return ("cem", "approve", None) if wait.approved else ("ann", "approve", None)


def misfits(wait: Wait) -> Says | None:
    return next_of(wait) if "do not fit" in wait.text else ("bea", "edit", {"n": "x"})


def denies(wait: Wait) -> Says | None:
    return ("bea", "deny", None) if wait.approved else ("ann", "approve", None)


def nobody(wait: Wait) -> Says | None:
    return None


SCRIPTS: dict[str, tuple[Script, list[str]]] = {
    "quorum": (next_of, ["paid 5 to bob", "paid 6 to bob"]),
    "edits": (edits, ["paid 10 to bob", "paid 20 to bob"]),
    "edits_late": (edits_late, ["paid 10 to bob", "paid 20 to bob"]),
    "misfits": (misfits, ["paid 5 to bob", "paid 6 to bob"]),
    "denies": (denies, ["refused: pay: refused by bea; ask for less"] * 2),
    "expires": (nobody, ["expired: pay: expired: nobody answered in time"] * 2),
}


def made(name: str) -> Make:
    script, _ = SCRIPTS[name]
    route = Route("finance", PAIR.people, needs=2, expires=90)

    def make(store: Store | None, tmp: Path) -> Case:
        rules = policy("finance", routes=(route,))
        site = Site(store=store, caches=str(tmp), policy=rules, linger=0.05)
        main = pays(site, ((5, "bob"), (6, "bob")))
        site.programs[main.name] = main

        async def drive(life: Life) -> Any:
            answering = asyncio.ensure_future(_people(life, script))
            try:
                return await ensure(life, main, "a")
            finally:
                answering.cancel()

        return Case(site, drive, {})

    return make


async def _people(life: Life, script: Script) -> None:
    while True:
        await asyncio.sleep(0.03)
        with contextlib.suppress(HoldfastError):
            for row in await life.store.runs(RunQuery()):
                for wait in row.waits:
                    if wait.kind == "person" and not wait.ready:
                        await _say(life, row.run, wait, script)


async def _say(life: Life, run: str, wait: Wait, script: Script) -> None:
    said = script(wait)
    if said is None:
        return
    by, decision, value = said
    now = life.site.clock.now_ms()
    await answer(life.store, run, wait.key, decision, by=by, now_ms=now, value=value)


@pytest.mark.parametrize("name", SCRIPTS)
def test_undisturbed(name: str, tmp_path: Path):
    clean = carry_out(made(name), [], None, tmp_path)
    assert clean.result == SCRIPTS[name][1]
    assert clean.problems == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_crash_at_every_write(name: str, fault: str, tmp_path: Path):
    """E61, E65, E66: answers that were given stay given, edits stay edits, and what expired stays
    expired, whenever a process dies."""
    crashes = sweep(made(name), fault, tmp_path)
    assert (crashes > 0) == (fault != "repeated")


def test_on_sqlite(tmp_path: Path):
    assert sweep(made("edits"), "after", tmp_path, every=3, sqlite=True)
