"""Why: what each kind of edge looks like, what always holds of edges, and hostile content."""

from __future__ import annotations

import base64
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.explain.because import Argument, Edge, Why
from holdfast.explain.matching import Body, Value, leaves, locate
from holdfast.explain.sources import MOST
from holdfast.explain.why import read_why
from holdfast.journal.events import (
    ApprovalAsked,
    ApprovalGiven,
    Checked,
    Failure,
    FindingAdded,
    Plan,
    RunEnded,
    RunStarted,
    SignalReceived,
    StepPlanned,
    StepSettled,
    Verdict,
    erased,
)
from holdfast.journal.views import CAUSED
from holdfast.values.errors import Misuse, NotFound
from tests.explain.labelled import FAMILIES, HELD_OUT, Labelled, Tape, modelled


def asked(tape: Tape, key: str, arg: str = "") -> Why:
    return read_why(tape.events, tape.fetch, key, arg)


def argument(found: Why, path: str) -> Argument:
    return next(one for one in found.arguments if one.path == path)


def best(found: Why, path: str) -> Edge:
    return argument(found, path).edges[0]


def reads(*results: Any, request: str = "Do what is needed.") -> Tape:
    tape = Tape()
    tape.start(request)
    for at, value in enumerate(results):
        tape.call("look", {"page": at}, value, label="untrusted/internal")
    return tape


# ---- edges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "value", "how", "piece"),
    [
        ("write to bob@corp.example now", "bob@corp.example", "exact", "bob@corp.example"),
        ("write to Bob@Corp.example now", "bob@corp.example", "normalised", "Bob@Corp.example"),
        ("IBAN DE12 3456 7890 1234", "DE12345678901234", "normalised", "DE12 3456 7890 1234"),
        ("the sum is 1,200.50 euro", 1200.5, "normalised", "1,200.50"),
        ("send two of them", 2, "normalised", ""),
        ("see you on 3. März 2027", "2027-03-03", "normalised", "3. märz 2027"),
        ("at May 4, 2027", "04.05.2027", "normalised", "may 4, 2027"),
        (base64.b64encode(b"pay to 7781-22").decode(), "7781-22", "encoded", ""),
        ("open%20https%3A%2F%2Fx.example%2Fa", "https://x.example/a", "encoded", ""),
        ("https://x.example/a", "https%3A%2F%2Fx.example%2Fa", "encoded", "https://x.example/a"),
        ({"who": ["x", "Ann Novak"]}, "Ann Novak Ltd", "partial", "Novak"),
    ],
)  # fmt: skip
def test_a_value_is_found_in_its_spelling(result: Any, value: Any, how: str, piece: str):
    tape = reads("nothing of interest", result, "something else")
    key = tape.call("act", {"x": value}, None, "once")
    edge = best(asked(tape, key), "x")
    assert (edge.source.place, edge.source.kind, edge.how) == ("r1@2", "result", how)
    assert edge.grade == "carried"
    assert edge.piece.lower() == piece.lower()
    assert edge.source.integrity == "untrusted"


def test_a_quotation_of_a_long_text_shows_its_longest_piece():
    sentence = "the harbour will be closed for repairs until the first of June"
    tape = reads("Dear all, nothing new.", f"We write to say that {sentence}. Bye.", "The harbour.")
    key = tape.call(
        "post", {"text": f"Hello! As we hear, {sentence}, so plan ahead."}, None, "once"
    )
    edge = best(asked(tape, key), "text")
    assert edge.source.step == "2"
    assert edge.how == "partial"
    assert sentence in edge.piece


@pytest.mark.parametrize(
    ("text", "value"),
    [("144719", "4471"), ("4471.5", 4471), ("2024-4471", 4471), ("bobby@x.example", "bob"),
     ("1990", 90), ("no", True), ("none", None), ("", "x1y2z3")],
)  # fmt: skip
def test_what_only_looks_like_it_is_no_edge(text: str, value: Any):
    assert locate(Value("x", value), Body("result", text)) is None


def test_a_persons_words_an_edit_and_nowhere():
    """INVARIANT X2, X3: answers that did not count, and values that a person gave. X4: what was
    found nowhere is named."""
    tape = Tape()
    tape.start("Send 300 to Quarto.")
    verdict = Verdict(
        "escalate", ("big",), "too much", "less", "abc", ("ann",), {}, 0.4, {"a": 1.0}
    )
    plan = Plan("pay", effect="once")
    args = {"amount": 300, "to": "Quarto", "code": "zz-91-k"}
    tape.add(ApprovalAsked("1", "action", "May it?", "d1", plan, verdict), args=args)
    tape.add(ApprovalGiven("1", "other", "approve", "eve"))
    tape.add(ApprovalGiven("1", "d1", "edit", "bob", "only half"), value={**args, "amount": 150})
    tape.add(StepPlanned("1", plan), args=args)
    tape.add(StepSettled("1", took=20), value="ok")
    found = asked(tape, "1")
    assert best(found, "to").source.kind == "input"
    assert best(found, "to").source.integrity == "person"
    edited = argument(found, "amount")
    assert edited.edited
    assert (edited.edges[0].source.kind, edited.edges[0].source.by) == ("edit", "bob")
    assert argument(found, "code").found == "nowhere"
    assert any(text.startswith("code: found in nothing") for text in found.untraced)
    assert found.action.asked == args
    assert found.action.args == {**args, "amount": 150}
    assert [(one.by, one.decision, one.counted) for one in found.ruling.answers] == [
        ("eve", "approve", False), ("bob", "edit", True)]  # fmt: skip
    assert found.ruling.answers[1].edits == {"amount": "150"}
    assert (found.ruling.risk, found.ruling.rules) == (0.4, ("big",))
    assert [one.kind for one in found.alternatives] == ["edited"]
    assert found.cost.waited == 3000
    assert found.initiators[0].words == ("Send 300 to Quarto.",)


def test_signals_answers_children_and_errors_are_sources():
    tape = reads("x")
    signal = Plan("paid", "signal")
    tape.add(SignalReceived("paid", by="ann"), value={"ref": "K-4410"})
    tape.add(StepSettled("s", signal, cause=2), value={"ref": "K-4410"})
    tape.add(StepSettled("q", Plan("ask", "ask")), args={"q": "who?"}, value="Tanaka")
    child = Plan("$child:r9", "signal")
    tape.add(StepSettled("c", child), value={"value": "lot 7719", "label": "untrusted/public"})
    failure = Failure("Outside", "quota of project P-5521 is used up")
    tape.add(StepSettled("e", Plan("try_it"), status="error", error=failure), args={})
    args = {"ref": "K-4410", "who": "Tanaka", "lot": "7719", "project": "P-5521"}
    key = tape.call("book", args, None, "once")
    found = asked(tape, key)
    kinds = {one.path: one.edges[0].source.kind for one in found.arguments}
    assert kinds == {"ref": "signal", "who": "answer", "lot": "child", "project": "result"}
    assert {"r9", "r1@c"} <= set(found.asks)


def test_a_model_is_on_the_way_and_what_only_it_wrote_is_named():
    case = modelled(FAMILIES["account"](random.Random(4)), anthropic=True)
    found = asked(case.tape, case.key)
    edge = best(found, "iban")
    assert edge.source.step in case.true
    assert edge.through == (f"r1@m{case.key}",)
    assert edge.in_context
    assert found.said[0].text == "Next."
    assert "bank_transfer" in found.menu
    assert found.saw.by == f"r1@m{case.key}"
    assert {one.role for one in found.saw.glimpses} == {"user", "assistant", "tool"}
    assert found.cost.decision == {"tokens": 50.0, "money": 0.001}
    amount = argument(found, "amount")
    assert amount.found == "nowhere"
    assert [edge.source.kind for edge in amount.edges] == ["model"]
    assert any("the model wrote it" in text for text in found.untraced)


def test_other_samples_other_calls_and_results_of_foreign_tools():
    tape = Tape()
    tape.start("Go on.")
    call = {"id": "1", "function": {"name": "mail_send", "arguments": '{"to":"eve@x.example"}'}}
    other = {"id": "2", "function": {"name": "wait", "arguments": "{}"}}
    choices = [
        {"index": 0, "message": {"content": "Nothing to do.", "reasoning_content": "hm"}},
        {"index": 1, "message": {"content": "I send it.", "tool_calls": [call, other]}},
    ]
    messages = [
        {"role": "user", "content": "Go on."},
        {"role": "tool", "tool_call_id": "0", "content": "reply to eve@x.example"},
    ]
    request = {"messages": messages, "tools": [{"function": {"name": "mail_send"}}]}
    tape.add(
        StepSettled("m", Plan("p.m", "model")), args={"dialect": "openai.chat", "request": request},
        value={"response": {"choices": choices}},
    )  # fmt: skip
    key = tape.call("mail.send", {"to": "eve@x.example"}, None, "once")
    found = asked(tape, key)
    assert sorted(one.kind for one in found.alternatives) == ["call", "sample"]
    assert [one.text for one in found.said] == ["I send it."]
    edge = best(found, "to")
    assert (edge.source.kind, edge.source.place) == ("context", "r1@m")
    assert any("no door of ours saw" in text for text in found.untraced)
    model = asked(tape, "m")
    assert model.saw.total == 2
    assert any("not traced word by word" in text for text in model.untraced)


def test_refused_proposals_checks_and_findings():
    tape = reads("pay 77812 to K. Larsen")
    denied = Verdict("deny", ("no-pay",), "never")
    failure = Failure("Refused", "no")
    pay = Plan("bank.pay", effect="once")
    tape.add(StepSettled("d", pay, denied, "refused", failure), args={"amount": 77812})
    checked = Verdict("verify", ("v",), checked=(Checked("limits", True),), observed="deny")
    key = tape.call("bank.send_money", {"amount": 77812}, None, "once", verdict=checked)
    about = len(tape.events) - 1
    value = {"step": key, "intervention": "without mail 1", "flips": 4, "of": 5, "low": 0.4,
             "high": 0.97}  # fmt: skip
    tape.add(FindingAdded(about, CAUSED, "bisect"), value=value)
    found = asked(tape, key)
    assert [(one.kind, one.place, one.why) for one in found.alternatives] == [
        ("refused", "r1@d", "no")]  # fmt: skip
    assert found.ruling.checks[0].passed
    assert found.ruling.observed == "deny"
    assert [(one.place, one.flips, one.of) for one in found.caused] == [(f"r1@{key}", 4, 5)]


def test_forks_segments_and_the_ending():
    base = Tape("r1")
    base.start("Look up the code.")
    base.call("look", {}, {"code": "QX-7731"})
    fork = Tape("r2")
    fork.events, fork.blobs, fork.steps = list(base.events), base.blobs, 1
    fork.add(RunStarted("clerk", fork_of="r1", fork_pos=1, by="bob"))
    key = fork.call("use", {"code": "QX-7731"}, "used QX-7731", "once")
    fork.add(RunEnded("done", steps=2), value={"used": "QX-7731"})
    found = asked(fork, key)
    assert best(found, "code").source.place == "r1@1"
    assert [(one.run, one.how) for one in found.initiators] == [("r2", "forked"), ("r1", "started")]
    end = asked(fork, "")
    assert end.action.kind == "ending"
    assert best(end, "result.used").source.place == "r1@1"
    with pytest.raises(Misuse, match="has not ended"):
        asked(base, "")


def test_arguments_are_named_by_path_and_errors_name_the_way_out():
    tape = reads({"items": [{"price": 8123}]})
    tape.steps = 10
    key = tape.call(
        "buy", {"order": {"items": [{"price": 8123, "n": 1}], "note": "x"}}, None, "once"
    )
    found = asked(tape, f"{key}.order.items[0].price")
    assert [one.path for one in found.arguments] == ["order.items[0].price"]
    assert found.arguments[0].edges[0].path == "result.items[0].price"
    with pytest.raises(NotFound, match=r"its newest are .*11"):
        asked(tape, "77")
    with pytest.raises(NotFound, match=r"there are order\.items\[0\]\.n, "):
        asked(tape, key, "nothing")


def test_erased_and_deleted_content_is_named():
    tape = reads("gone K-5512", "x" * 400)
    event = tape.events[1]
    tape.events[1] = msgspec.structs.replace(event, value=erased(event.value or b""))
    tape.blobs.clear()
    found = asked(tape, tape.call("act", {"ref": "K-5512"}, None, "once"))
    assert argument(found, "ref").found == "nowhere"
    assert any("Erased or deleted" in text and "r1@1" in text for text in found.untraced)


# ---- what always holds -----------------------------------------------------------------------

_TEXT = st.text(st.sampled_from('abc 12.-@/%éß\n"{[=İﬁ'), max_size=24)
_VALUE = st.recursive(
    st.one_of(
        _TEXT,
        st.integers(-10, 10**9),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.none(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=6,
)


def places(found: Why) -> set[tuple[str, str, str]]:
    return {
        (one.path, edge.source.place, edge.how) for one in found.arguments for edge in one.edges
    }


@pytest.mark.hypothesis
@given(st.lists(_VALUE, max_size=5), st.dictionaries(st.sampled_from("abcd"), _VALUE, max_size=3))
def test_what_an_edge_says_stands_there(results: list[Any], args: dict[str, Any]):
    """INVARIANT X1."""
    tape = reads(*results)
    found = asked(tape, tape.call("act", args, None, "once"))
    for edge in [*found.led, *(edge for one in found.arguments for edge in one.edges)]:
        if edge.source.kind != "result":
            continue
        texts = dict(leaves("result", results[int(edge.source.step) - 1]))
        if edge.path:
            assert edge.path in texts
        if edge.end:
            assert texts[edge.path][edge.start : edge.end].startswith(edge.piece)
        assert 0.0 <= edge.score <= 1.0
    assert found == asked(tape, str(len(results) + 1))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Why) == found


@pytest.mark.hypothesis
@given(st.integers(0, 10**6), st.lists(st.sampled_from("zebra quiet lamp"), max_size=4))
def test_more_events_after_it_or_beside_it_remove_no_edge(seed: int, more: list[str]):
    """INVARIANT X5."""
    dice = random.Random(seed)
    every = {**FAMILIES, **HELD_OUT}
    case: Labelled = every[dice.choice(list(every))](dice)
    before = asked(case.tape, case.key)
    for text in more:
        case.tape.call("look", {"q": "lamp"}, text)
    assert places(asked(case.tape, case.key)) >= places(before)


def test_many_sources_are_sifted_and_the_true_one_is_among_them():
    """INVARIANT X6."""
    tape = reads(
        *[f"mail {at} from host{at}.example, code {at * 37 + 100000}" for at in range(900)]
    )
    key = tape.call("act", {"host": "host417.example", "code": 417 * 37 + 100000}, None, "once")
    found = asked(tape, key)
    assert {one.edges[0].source.step for one in found.arguments} == {"418"}
    assert any("Of 901 inputs" in text for text in found.untraced)
    assert MOST < 900


def test_long_content_is_read_late_but_is_read():
    filler = "nothing of any interest is said in this rather long mail. " * 6
    texts = [f"{filler} code {at}" for at in range(1500)]
    texts[600] += " the key is 99812-K, keep it"
    tape = reads(*[{"body": text} for text in texts])
    key = tape.call("act", {"key": "99812-K"}, None, "once")
    assert best(asked(tape, key), "key").source.step == "601"


# ---- hostile content -------------------------------------------------------------------------


def test_hostile_content_is_bounded():
    deep: Any = "bottom 55123-Q"
    for _ in range(60):
        deep = [deep]
    tape = reads(
        "\x1b[2J\u202e pay 8841-Z \x00", deep, "w " * 200_000, {"k" * 500: {"\x1b]0;x": "8841-Z"}},
        "%25" * 5000, "A" * 20_000, "[" * 3000, '{"a":' * 500, ["9" * 400] * 50,
    )  # fmt: skip
    args = {"ref": "8841-Z", "q": "55123-Q", "big": "w " * 100_000, "many": list(range(500)),
            "deep": deep, "odd": "\x1b\x00\u202e", "e": 10**300, "n": "9" * 5000}  # fmt: skip
    found = asked(tape, tape.call("act", args, "x" * 100_000, "once"))
    assert best(found, "ref").source.step == "1"
    assert best(found, "q").source.step == "2"
    assert len(found.arguments) <= 60
    assert any("Too large" in text for text in found.untraced)
    assert any("values of its arguments 60 were traced" in text for text in found.untraced)
    assert len(msgspec.json.encode(found)) < 300_000


def test_no_step_of_odd_models_breaks_it():
    for response in (None, 5, "text", [], {"choices": None}, {"choices": [None, {"message": 3}]},
                     {"content": [{"type": "tool_use", "name": 5, "input": "x"}]},
                     {"name": "act", "arguments": "{"}):  # fmt: skip
        for request in (None, "x", [], {"messages": "hi", "tools": [None, 3, {"name": 4}]},
                        {"messages": [None, 4, {"content": [3, {"text": None}]}]}):  # fmt: skip
            tape = Tape()
            tape.start("Hi.")
            tape.add(StepSettled("m", Plan("p.m", "model")), args={"request": request},
                     value={"response": response})  # fmt: skip
            key = tape.call("act", {"a": "b77"}, None)
            assert asked(tape, key).action.name == "act"
            assert asked(tape, "m").action.kind == "model"
