"""Checks of a ``verify`` verdict: run before anything is planned, on what is dropped again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.gate import parse_policy
from holdfast.journal.events import Checked, Verdict
from holdfast.testing.lives import Life, Site
from holdfast.tools import world
from holdfast.world import EMPTY
from tests.engine import support

DID: list[str] = []
"""What tools of these tests really did."""


def policy(*checks: str) -> Any:
    """Each check applies to every ``pay`` and ``note``; everything else is allowed."""
    names = [check.partition("name: ")[2].partition(",")[0] for check in checks]
    entries = "\n".join(f"  - {{{check}}}" for check in checks)
    return parse_policy(
        f"""
version: 1
otherwise: allow
checks:
{entries}
rules:
  - {{id: sure, when: {{tool: [pay, note]}}, then: verify, checks: [{", ".join(names)}]}}
""",
        "verify.yaml",
    )


def preview_of_pay(to: str, amount: float) -> str:
    return f"would pay {to}" if amount < 30 else "too much"


@holdfast.tool(effect="once", preview=preview_of_pay)
async def pay(to: str, amount: float) -> str:
    DID.append(f"pay {to}")
    return f"paid {to}"


@holdfast.tool(effect="read")
async def limit_of(account: str) -> float:
    return 100.0 if account == "ann" else 1.0


@holdfast.tool(effect="read")
async def agrees(account: str) -> bool:
    return account == "ann"


@holdfast.tool(effect="once")
async def tells(account: str) -> bool:
    DID.append(f"tells {account}")
    return True


@holdfast.tool(effect="world")
async def note(path: str, text: str) -> int:
    await world.write.fn(path, text)
    await world.write.fn("log", text)
    return len(text)


@holdfast.agent
async def pays(to: str, amount: float) -> str:
    return await pay(to, amount)


@holdfast.agent
async def notes(path: str, text: str) -> list[str]:
    await note(path, text)
    return sorted(await world.list())


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    DID.clear()


def verdict(site: Site, key: str = "1") -> Verdict:
    found = [
        one.verdict
        for kind in ("step.planned", "approval.asked", "step.settled")
        for one in support.bodies(site, kind)
        if one.key == key and one.verdict is not None
    ]
    return found[0]


CONDITION = 'kind: condition, name: small, that: "args.amount < 50.0"'


def test_what_passes_is_allowed_and_says_what_passed():
    site = Site(policy=policy(CONDITION))
    assert support.run(site, pays, "ann", 20.0) == "paid ann"
    told = verdict(site)
    assert (told.decision, told.checked) == ("verify", (Checked("small", True),))
    assert DID == ["pay ann"]


@pytest.mark.parametrize("fails", ["escalate", "deny"])
def test_what_does_not_pass_asks_or_denies(fails: str):
    site = Site(policy=policy(CONDITION + f", fails: {fails}"))
    if fails == "deny":
        error = support.fails(site, pays, "ann", 70.0)
        assert "check 'small' did not pass: its condition is false" in str(error)
        assert DID == []
    else:

        async def main(life: Life) -> Any:
            handle = await life.start(pays, "ann", 70.0, name="a")
            (wait,) = await support.waits(site)
            assert "check 'small' did not pass" in wait.text
            assert DID == []
            await life.answer_all(lambda *_: ("approve", None))
            life.host.ring()
            return await handle.result()

        assert support.drive(site, main, pays) == "paid ann"
        assert verdict(site).checked == (Checked("small", False, "its condition is false"),)


def test_the_strictest_of_several_decides():
    site = Site(policy=policy(
        CONDITION, 'kind: condition, name: never, that: "args.amount < 0.0", fails: deny'
    ))  # fmt: skip
    error = support.fails(site, pays, "ann", 70.0)
    assert "check 'never' did not pass" in str(error)
    assert [one.passed for one in verdict(site).checked] == [False, False]


@pytest.mark.parametrize(
    ("check", "to", "passes"),
    [
        ('kind: preview, name: c, that: "size(result) == 10 + size(args.to)"', "ann", True),
        ('kind: preview, name: c, that: "size(result) == 8"', "ann", False),
        ('kind: tool, name: c, use: limit_of, give: {account: to}, that: "result >= args.amount"',
         "ann", True),
        ('kind: tool, name: c, use: limit_of, give: {account: to}, that: "result >= args.amount"',
         "bob", False),
        ("kind: tool, name: c, use: agrees, give: {account: to}", "ann", True),
        ("kind: tool, name: c, use: agrees, give: {account: to}", "bob", False),
        ("kind: tool, name: c, use: limit_of, give: {account: to}", "ann", False),
        # what cannot be run has not passed
        ("kind: tool, name: c, use: tells, give: {account: to}", "ann", False),
        ("kind: tool, name: c, use: nothing, give: {account: to}", "ann", False),
        ("kind: tool, name: c, use: agrees, give: {account: whom.name}", "ann", False),
        ("kind: tool, name: c, use: agrees, give: {other: to}", "ann", False),
        ("kind: fork, name: c", "ann", False),
        ('kind: preview, name: c, that: "result.nothing == 1"', "ann", False),
    ],
)  # fmt: skip
def test_kinds(check: str, to: str, passes: bool):
    """E55, E56: only reading tools are called, and what cannot be run has not passed."""
    site = Site(policy=policy(check + ", fails: deny"))
    if passes:
        assert support.run(site, pays, to, 20.0) == f"paid {to}"
        assert [f"pay {to}"] == DID
    else:
        support.fails(site, pays, to, 20.0)
        assert DID == []
    (checked,) = verdict(site).checked
    assert checked.passed == passes
    assert passes or checked.text


def test_why_a_check_cannot_be_run_is_said():
    site = Site(policy=policy("kind: tool, name: c, use: tells, give: {account: to}, fails: deny"))
    error = support.fails(site, pays, "ann", 1.0)
    assert "it cannot be run: tells is once: only tools that read may be called" in str(error)


def test_a_fork_is_looked_at_and_dropped():
    paths = "kind: fork, name: paths, that: \"changes.all(p, p in ['log', 'a.txt'])\", fails: deny"
    site = Site(policy=policy(paths))
    assert support.run(site, notes, "a.txt", "hello") == ["a.txt", "log"]
    assert verdict(site).checked == (Checked("paths", True),)

    site = Site(policy=policy(paths))
    error = support.fails(site, notes, "b.txt", "hello")
    assert "check 'paths' did not pass" in str(error)
    assert {one.world for one in support.events(site)} <= {"", EMPTY}


def test_a_check_of_what_changed_sees_the_result_too():
    site = Site(policy=policy('kind: fork, name: c, that: "result == 5", fails: deny'))
    assert support.run(site, notes, "a.txt", "hello") == ["a.txt", "log"]
    support.fails(Site(policy=site.policy), notes, "a.txt", "hello!")


@pytest.mark.parametrize("after", [False, True])
def test_a_command_checks_the_world(tmp_path: Path, after: bool):
    """Before the action, or on a branch after it."""
    kind = "fork" if after else "command"
    check = f'kind: {kind}, name: c, command: ["test", "-e", "log"], fails: deny'
    site = Site(policy=policy(check), caches=str(tmp_path), virtual=False)
    if after:
        assert support.run(site, notes, "a.txt", "hello") == ["a.txt", "log"]
    else:
        error = support.fails(site, notes, "a.txt", "hello")
        assert "the command ended with 1" in str(error)


def test_a_blocking_tool_is_checked_too():
    seen = 'kind: preview, name: p, that: "size(result) > 8", fails: deny'
    site = Site(policy=policy(CONDITION + ", fails: deny", seen))

    @holdfast.tool(effect="once", name="pay", preview=preview_of_pay)
    def pay_now(to: str, amount: float) -> str:
        DID.append(to)
        return to

    @holdfast.agent
    def blocks(amount: float) -> str:
        return pay_now("ann", amount)

    assert support.run(site, blocks, 20.0) == "ann"
    support.fails(Site(policy=site.policy), blocks, 40.0)
    assert DID == ["ann"]


def test_what_a_person_was_asked_about_is_not_checked_again():
    """While a person is asked, the run leaves memory; the check stands."""
    looked: list[str] = []

    @holdfast.tool(effect="read")
    async def counts(account: str) -> bool:
        looked.append(account)
        return False

    @holdfast.agent
    async def waits() -> str:
        assert counts
        return await pay("ann", 1.0)

    site = Site(policy=policy("kind: tool, name: c, use: counts, give: {account: to}"))

    async def main(life: Life) -> Any:
        handle = await life.start(waits, name="a")
        await support.waits(site)
        await support.until(lambda: life.host.resident_count() == 0)
        await life.answer_all(lambda *_: ("approve", None))
        life.host.ring()
        return await handle.result()

    assert support.drive(site, main, waits) == "paid ann"
    assert looked == ["ann"]


def test_two_steps_that_change_the_world_are_checked_one_after_the_other():
    """What was checked is what happens: nothing else changes the world in between."""
    one_file = 'kind: fork, name: c, that: "changes.size() == 2", fails: deny'
    site = Site(policy=policy(one_file))

    @holdfast.agent
    async def both() -> list[str]:
        await holdfast.gather(note("a", "1"), note("b", "2"), note("c", "3"))
        return sorted(await world.list())

    assert support.run(site, both) == ["a", "b", "c", "log"]
