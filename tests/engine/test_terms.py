"""Under which policy a run that was begun under another may go on."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.engine.host import _same_terms
from holdfast.gate import FORMER_DEFAULTS, Policy, default_policy, parse_policy
from holdfast.journal.events import Draft, RunStarted
from holdfast.journal.store import Batch
from holdfast.stores.memory import MemoryStore
from holdfast.values.errors import Misuse

NAMED = parse_policy("version: 1\nrules:\n  - {id: a, when: {tool: x}, then: allow}\n", "p.yaml")


def goes_on(begun: str, policy: Policy) -> None:
    async def main() -> None:
        store = MemoryStore()
        started = Draft(RunStarted("a", policy=begun), 1, args=b"{}")
        await store.append((Batch("r", (started,), expect=-1, lease="me"),), {})
        await _same_terms(store, await store.run("r"), policy)

    asyncio.run(main())


@pytest.mark.parametrize("begun", ["", *FORMER_DEFAULTS, default_policy().hash])
def test_a_default_of_any_version_is_no_named_policy(begun: str):
    goes_on(begun, default_policy())


def test_a_named_policy_is_not_lost_and_may_be_changed():
    """E92"""
    with pytest.raises(Misuse, match="was started under policy"):
        goes_on(NAMED.hash, default_policy())
    goes_on("0" * 64, NAMED)
    goes_on(default_policy().hash, NAMED)


def test_todays_default_is_not_listed_as_former():
    assert default_policy().hash not in FORMER_DEFAULTS
