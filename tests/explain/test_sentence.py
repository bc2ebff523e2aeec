"""The log of sentences: what it says, what it masks, and that hostile text does nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.explain.sentence import Line, Wanted, tell
from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Checked,
    Draft,
    FindingAdded,
    Panel,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
    Verdict,
)
from holdfast.journal.record import KILL, SWITCHES, keep_record
from holdfast.journal.store import Batch
from holdfast.stores.memory import MemoryStore
from holdfast.values.canon import pack
from holdfast.values.masking import MASK, fit, masked, named
from tests.stores.scenes import Scene

EVIL = "\x1b]0;owned\x07\u202e\nline two"
SEND = Plan("bank.send_money", effect="once")
ESCALATED = Verdict(
    "escalate", ("e13", "e2"), "a new target", policy="9f8e7d000000", approvers=("maria",),
    risk=0.71, parts={"base": -3.0, "new_target": 0.25, "amount_z": 0.2},
)  # fmt: skip


async def lines(wanted: Wanted | None = None) -> list[Line]:
    store = MemoryStore()
    scene = Scene(store)
    started = RunStarted("FinanceBot", by="joe", policy="9f8e7d" + "0" * 58)
    await scene.add("7k3", started, args={})
    asked = ApprovalAsked("1", "action", "May I?", "d", plan=SEND, verdict=ESCALATED)
    await scene.add("7k3", asked, args={"amount": 3})
    await scene.add("7k3", ApprovalGiven("1", "d", "approve", "maria", "password=hunter2 " + EVIL))
    await scene.add("7k3", StepPlanned("1", SEND))
    await scene.add("7k3", StepSettled("1"), value="paid")
    checked = (Checked("scan", True), Checked("tests", False))
    deny = Verdict("deny", ("d1",), "no " + EVIL, policy="9f8e7d000000", checked=checked)
    refused = StepSettled("2", Plan("rm" + EVIL), deny, "refused")
    await scene.add("7k3", refused, args={})
    await scene.add("7k3", StepSettled("3", Plan("dice", "dice"), inline=True), value=1)
    await scene.add("7k3", FindingAdded(2, "erased", "ann"),
                    value={"step": "1", "payloads": 2, "why": "asked"})  # fmt: skip
    await scene.add("7k3", RunEnded("done"))
    await keep_record(store, SWITCHES, 1, "t")
    killed = pack({"what": "tool", "name": "bank.*", "reason": "odd"}, {})
    thrown = Draft(SignalReceived(KILL, by="ann"), 1, value=killed)
    await store.append((Batch(SWITCHES, (thrown,)),), {})
    wanted = wanted or Wanted()
    return [one for one in tell(await store.tail(0), store.get) if wanted.takes(one)]


async def test_it_reads_as_sentences():
    said = [one.text for one in await lines()]
    assert said == [
        "joe started FinanceBot; policy 9f8e7d; run 7k3; event 1.",
        (
            "FinanceBot asked for bank.send_money; policy 9f8e7d (rule e13 and 1 more); "
            "risk 0.71 (new target +0.25, amount z +0.20); escalated to maria; run 7k3@1; event 2."
        ),
        (
            "maria approved FinanceBot's bank.send_money (password=[masked] ]0;owned line two); "
            "run 7k3@1; event 3."
        ),
        (
            "FinanceBot asked for rm ]0;owned line two; policy 9f8e7d (rule d1); denied after 2 "
            "checks (tests failed): no ]0;owned line two; run 7k3@2; event 6."
        ),
        "ann erased 2 payloads of step 1 (asked); run 7k3; event 8.",
        "FinanceBot ended: done; run 7k3; event 9.",
        "Holdfast began its record holdfast.switches; run holdfast.switches; event 10.",
        "ann stopped tool bank.* (odd); run holdfast.switches; event 12.",
    ]


async def test_j70_answers_that_did_not_count_are_said_to():
    """INVARIANT J70"""
    store = MemoryStore()
    scene = Scene(store)
    await scene.add("a", RunStarted("Bot"), args={})
    panels = (Panel({"maria": ("ben",)}),)
    asked = ApprovalAsked("1", "action", "?", "d", plan=SEND, panels=panels, barred=("Bot",))
    await scene.add("a", asked, args={})
    for decision, by, digest in (
        ("approve", "mallory", "d"), ("deny", "Bot", "d"), ("approve", "maria", "e"),
        ("approve", "ben", "d"), ("deny", "maria", "d"),
    ):  # fmt: skip
        note = "; run b; " if by == "mallory" else ""
        await scene.add("a", ApprovalGiven("1", digest, decision, by, note))
    said = [one for one in tell(await store.tail(0), store.get) if one.kind == "approval.given"]
    assert [one.decision for one in said] == ["", "", "", "approve", ""]
    counted = ["; this answer did not count; run a@1" not in one.text for one in said]
    assert counted == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        (Wanted(decision="deny"), [6]),
        (Wanted(decision="approve"), [3]),
        (Wanted(tool="bank.send_money"), [2, 3]),
        (Wanted(agent="holdfast.switches"), [10, 12]),
        (Wanted(run="7k3", decision="escalate"), [2]),
        (Wanted(since=1 << 60), []),
    ],
)
async def test_filters(wanted: Wanted, events: list[int]):
    assert [one.event for one in await lines(wanted)] == events


SECRETS = [
    "sk-abcdefghijklmnopqrstuvwx", "ghp_abcdefghijklmnopqrstuvwxyz0123", "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "xoxb-1234567890-abc",
    "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----", "Bearer abcdef0123456789",
    "https://user:pa55word@example.org/x", "password: 'two words'", "api_key=abc123",
    '{"client_secret": "s3cr3t"}', "AWS_SECRET_ACCESS_KEY=abcdefg",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_masked(secret: str):
    said = masked(f"before {secret} after")
    assert MASK in said
    assert said.startswith("before")
    for part in ("pa55word", "two words", "abc123", "s3cr3t", "abcdefg", "MIIB", "c2lnbmF0dXJl"):
        assert part not in said


HIDDEN = "hunter2-S3cret 991"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, HIDDEN) for name in (
            "password", "Password2", "db_passwd", "user_pwd", "client-secret", "secrets", "apiKey",
            "api_key", "accessToken", "token_value", "credentials", "private_key", "pin",
            "card_cvc",
        )),
        ("token", 12345),
        ("passwords", [HIDDEN, "other"]),
        ("login", {"user": "ann", "password": HIDDEN}),
        ("login", [{"apiKey": 'with " and \' ' + HIDDEN}]),
        ("body", "-----BEGIN PRIVATE KEY-----\n" + HIDDEN),
        ("body", "x " * 20 + "password: '" + HIDDEN + "' " + "x " * 5000),
        *(("text", f"see {secret}") for secret in SECRETS),
    ],
)  # fmt: skip
def test_arguments_that_are_credentials_are_masked(name: str, value: object):
    """INVARIANT E90"""
    said = named(name, value)
    assert said.startswith(f"{name}=")
    assert MASK in said
    assert not any(part in said for part in ("hunter2", "991", "12345", "pa55", "abc123", "s3cr3t"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("to", "bob"), ("max_tokens", 100), ("spin", 3), ("text", "the password was changed"),
     ("path", "/tmp/token.txt"), ("n", 12345), ("secretary", "ann"), ("sort_key", "name")],
)  # fmt: skip
def test_other_arguments_are_shown_as_they_are(name: str, value: object):
    assert named(name, value) == f"{name}={value!r}"


@given(st.text(max_size=400))
def test_j62_nothing_odd_is_shown(text: str):
    """INVARIANT J62"""
    said = fit(text)
    assert said.isprintable()
    assert len(said) <= 300
    assert fit(f"sk-{'a' * 20} {text}").startswith(MASK)
