"""Conversations in whatever dialect: found, given other words, told in the chat form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.explain.conversation import answered, asked, chat, neutral, with_words, words
from holdfast.models import chat as openai
from holdfast.models import messages, responses
from holdfast.models.bodies import Asking, body
from holdfast.values.errors import Misuse

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "how many?"},
    {"role": "assistant", "content": "I look",
     "calls": [{"id": "c1", "name": "look", "arguments": {"n": 1}}]},
    {"role": "tool", "id": "c1", "name": "look", "content": "twelve"},
]  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "content", "parts", "type", "text", "tool_calls", "request",
                         "messages", "function_call", "functionResponse", "output", "choices",
                         "message", "response", "candidates", "input", "calls", "function"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("dialect", [openai.NAME, responses.NAME, messages.NAME])
def test_all_dialects_say_the_same_in_the_chat_form(dialect: str):
    found = asked({"request": body(dialect, Asking("m", TALK)), "model": "m", "provider": "p"})
    told = chat(found.messages, found.system[1] if found.system else None)
    assert found.model == "p:m"
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"n": 1}}}
    texts = [(one["role"], one["content"]) for one in told if one["content"]]
    assert texts == [("system", "be brief"), ("user", "how many?"), ("assistant", "I look"),
                     ("tool", "twelve")]  # fmt: skip
    assert [call_ for one in told for call_ in one.get("tool_calls", ())] == [call]
    assert told[-1]["tool_call_id"] == "c1"


@pytest.mark.parametrize("dialect", [openai.NAME, responses.NAME, messages.NAME])
def test_other_words_keep_calls_and_ids(dialect: str):
    found = asked({"request": body(dialect, Asking("m", TALK))})
    other = [with_words(found.messages[-1], "thirteen")]
    last = chat(other)[-1]
    assert (last["content"], last["tool_call_id"]) == ("thirteen", "c1")
    assert words(with_words({"role": "user", "content": "a"}, "b")) == "b"


@given(JSON)
def test_whatever_was_recorded_is_shown_somehow(value: Any):
    talk = asked(value)
    for one in (*talk.messages, value):
        assert isinstance(words(one), str)
        told = chat([one])
        assert all(isinstance(said["content"], str) for said in told)
        try:
            with_words(one, "x")
        except Misuse:
            pass
    assert all(said["role"] == "assistant" for said in answered(value)[:1])
    assert type(neutral(value)) is type(value)


def test_neutral_keeps_the_shape():
    assert neutral({"a": [1, "x"], "b": 2.5, "c": True, "d": "text", "e": None}) == {
        "a": [], "b": 0.0, "c": False, "d": "", "e": None,
    }  # fmt: skip
