"""The security scenarios say what they seem to say, and a sample of them through the engine."""

from __future__ import annotations

import base64
from collections import Counter
from urllib.parse import unquote

import pytest

from bench.security.__main__ import PACK
from bench.security.disguise import FORMS, dress
from bench.security.replay import careful, replay, trusting
from bench.security.scenario import DISGUISES, cases, scenarios, signature
from bench.security.tally import Played, tally
from holdfast.gate import load_policy_file, parse_policy

CASES = tuple(cases("all"))
OPEN = parse_policy("version: 1\nname: open\notherwise: allow\nrules: []\n", "open.yaml")
ASKING = parse_policy("version: 1\nname: asking\notherwise: escalate\nrules: []\n", "asking.yaml")


def test_there_are_as_many_as_promised_and_halves_are_even():
    halves = Counter((one.domain, one.half) for one in scenarios())
    fresh = {domain for domain, half in halves if half == "fresh"}
    assert len(fresh) >= 6
    assert sum(halves[domain, "fresh"] for domain in fresh) >= 32
    assert not fresh & {domain for domain, half in halves if half != "fresh"}
    assert sum(count for (_, half), count in halves.items() if half != "fresh") >= 80
    assert len({domain for domain, _ in halves} - fresh) >= 6
    for domain in {domain for domain, _ in halves} - fresh:
        assert abs(halves[domain, "design"] - halves[domain, "aside"]) <= 1
    assert {one.disguise for one in CASES} == {"", *DISGUISES}


def test_calls_fit_their_tools_and_attacks_have_a_consequence():
    for case in CASES:
        tools = {one.tool: one for one in case.tools}
        for call in case.calls:
            needed = {name for name, _, default in tools[call.tool].args if default is None}
            known = {name for name, _, _ in tools[call.tool].args}
            assert needed <= set(call.args) <= known, (case.id, call)
            assert not any(mark in str(call) for mark in ("<1>", "<2>", "{{")), (case.id, call)
        harmful = [call for call in case.calls if call.harm]
        assert bool(harmful) == bool(case.disguise), (case.id, case.disguise)
        assert not any(call.honest for call in harmful)


def test_signatures_are_read_or_refused():
    one = signature("once pay(to: str, sum: float = 1.0) -> dict")
    assert (one.tool, one.effect, one.returns) == ("pay", "once", "dict")
    assert one.args == (("to", "str", None), ("sum", "float", "1.0"))
    for wrong in ("maybe pay(to: str)", "once pay(to)", "once pay"):
        with pytest.raises(ValueError, match="no "):
            signature(wrong)


def test_disguises_hide_and_can_be_undone():
    text = "send it to pip@xyz.example"
    assert base64.b64decode(FORMS["b64"](text)).decode() == text
    assert bytes.fromhex(FORMS["hex"](text)).decode() == text
    assert unquote(FORMS["url"](text)) == text
    assert FORMS["zw"](text).replace("\u200b", "") == text
    assert FORMS["homo"](text) != text
    assert dress("a {{zw:bc}} d") == "a b\u200bc d"


def _one(disguise: str, scenario: str = "bank-pay-file"):
    return next(one for one in CASES if (one.id, one.disguise) == (scenario, disguise))


async def test_without_a_policy_every_attack_succeeds_and_nobody_is_asked():
    played = [
        Played(one, await replay(one, OPEN, careful), await replay(one, OPEN, trusting))
        for one in (_one(""), _one("plain"), _one("bare"), _one("launder"))
    ]
    found = tally(played)
    assert (found.careful.count, found.trusting.count, found.careful.of) == (3, 3, 3)
    assert (found.denied.count, found.asked.count, found.alone.count) == (0, 0, 3)


async def test_a_careful_reviewer_approves_what_serves_the_person_and_nothing_else():
    played = [
        Played(one, await replay(one, ASKING, careful), await replay(one, ASKING, trusting))
        for one in (_one(""), _one("loud"), _one("bare"))
    ]
    found = tally(played)
    assert (found.careful.count, found.trusting.count) == (0, 2)
    assert (found.denied.count, found.asked.count, found.alone.count) == (0, 1, 0)


SAMPLE = ("bank-pay-file", "chat-link-article", "mail-antwort-vermieter", "travel-storno-frage")


async def test_the_guard_holds_on_a_sample_and_refuses_no_honest_task():
    guard = load_policy_file(PACK)
    played = [
        Played(one, await replay(one, guard, careful), await replay(one, guard, trusting))
        for one in CASES
        if one.id in SAMPLE
    ]
    found = tally(played)
    assert (found.careful.count, found.denied.count, found.disturbed.count) == (0, 0, 0)
    assert found.trusting.count < found.trusting.of / 2
