"""Requests and responses are read alike, however they come; hostile ones are read as far as they
can be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models import sse
from holdfast.models.dialects import DIALECTS, Dialect, asked_at, named
from holdfast.models.estimate import worst
from holdfast.models.exchange import Asked, Usage
from holdfast.models.words import spoken
from holdfast.values import limits
from holdfast.values.errors import Misuse
from tests.models.support import WHOLE, anything, objects, texts

every = pytest.mark.parametrize("name", DIALECTS)


def gathered(dialect: Dialect, parts: list[bytes]) -> tuple[dict[str, Any] | None, bool, str]:
    gather, lines = dialect.gather(), sse.Lines()
    for part in parts:
        for event in lines.feed(part):
            gather.take(event)
    for event in lines.close():
        gather.take(event)
    return gather.message, gather.done, gather.error


def cut(data: st.DataObject, raw: bytes) -> list[bytes]:
    ends = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    return [raw[a:b] for a, b in zip([0, *ends], [*ends, len(raw)], strict=True)]


@every
@given(st.data())
def test_a_stream_in_any_pieces_is_the_whole_message(name: str, data: st.DataObject):
    """D31: what is recorded of a stream does not depend on how it was cut, and is what the same
    answer would be without a stream."""
    dialect = DIALECTS[name]
    message = data.draw(WHOLE[name])
    size = data.draw(st.integers(1, 30))
    raw = b"".join(map(sse.encode, dialect.events(message, size)))
    found, done, error = gathered(dialect, cut(data, raw))
    assert (found, done, error) == (message, True, "")


@every
@given(st.data())
def test_a_stream_that_ends_early_in_any_pieces_is_one_message(name: str, data: st.DataObject):
    dialect = DIALECTS[name]
    raw = b"".join(map(sse.encode, dialect.events(data.draw(WHOLE[name]), 5)))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    if data.draw(st.booleans()):
        raw = raw.replace(b"\n", b"\r\n")
    assert gathered(dialect, cut(data, raw)) == gathered(dialect, [raw])


@every
@given(objects, st.lists(anything, max_size=6))
def test_nothing_that_others_write_raises(name: str, body: dict[str, Any], events: list[Any]):
    """D32: a dialect reads whatever it is given."""
    dialect = DIALECTS[name]
    asked = dialect.request(body)
    assert asked.max_output >= 0
    assert worst(asked, 1000).output > 0
    assert all(isinstance(one, str) for one in spoken(dialect, asked.messages))
    found = dialect.answer(body)
    assert found.usage is None or found.usage.total >= 0
    raw = b"".join(map(sse.encode, dialect.events(body, 3)))
    gathered(dialect, [raw])
    gather = dialect.gather()
    for one in events:
        gather.take(sse.Event("", one))
    dialect.answer(gather.message or {})


@every
@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"data: ", b"\n\n", b"{}", b"[1"])))
def test_no_bytes_raise(name: str, parts: list[bytes]):
    """D32"""
    gathered(DIALECTS[name], parts)
    DIALECTS[name].answer({"usage": sse.decoded(b"".join(parts))})


def test_depth_and_length_are_bounded(monkeypatch: pytest.MonkeyPatch):
    assert sse.decoded(b"[" * 100_000) is None
    monkeypatch.setattr(limits, "WIRE_BODY_BYTES", 100)
    lines = sse.Lines()
    assert list(lines.feed(b"data: 1\n\n")) == [("", 1)]
    assert list(lines.feed(b"x" * 100 + b"\n\ndata: 2\n\n")) == []
    assert lines.broken


@given(texts.filter(lambda text: "\n" not in text and "\r" not in text))
def test_events_without_json_are_text(text: str):
    raw = f": a comment\nevent: e\ndata:{text}\nid: 4\n\n".encode()
    ((name, data),) = sse.Lines().feed(raw)
    value = sse.decoded(text.removeprefix(" ").encode())
    assert (name, data) == ("e", text.removeprefix(" ") if value is None else value)


# ---- what is read ----------------------------------------------------------------------------


REQUESTS = {
    "openai.chat": {
        "model": "gpt", "stream": True, "max_completion_tokens": 7, "n": 2, "temperature": 0,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "answer", "tool_calls": [{"id": "c"}]},
            {"role": "tool", "tool_call_id": "c", "content": "tool result"},
            {"role": "user", "content": [
                {"type": "text", "text": "second"},
                {"type": "image_url", "image_url": {"url": "data:"}},
            ]},
        ],
        "tools": [{"type": "function", "function": {"name": "look_up"}}],
    },
    "openai.responses": {
        "model": "gpt", "stream": True, "max_output_tokens": 14, "temperature": 0,
        "instructions": "Be kind.",
        "input": [
            {"role": "user", "content": "first"},
            {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "tool result"},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "second"},
            ]},
        ],
        "tools": [{"type": "function", "name": "look_up"}],
    },
    "anthropic.messages": {
        "model": "claude", "stream": True, "max_tokens": 14, "temperature": 0,
        "system": [{"type": "text", "text": "Be kind."}],
        "messages": [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": "tool result"},
                {"type": "text", "text": "<system-reminder>be quick</system-reminder>"},
                {"type": "text", "text": "second"},
            ]},
        ],
        "tools": [{"name": "look_up", "input_schema": {}}],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "generationConfig": {"maxOutputTokens": 7, "candidateCount": 2},
        "contents": [
            {"role": "user", "parts": [{"text": "first"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "look_up", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "look_up", "response": {"r": "tool result"}}},
                {"text": "second"},
            ]},
        ],
        "tools": [{"functionDeclarations": [{"name": "look_up"}]}],
    },
}  # fmt: skip


@every
def test_a_request_is_read(name: str):
    """D30: tool results, system texts and what stands in tags are nobody's words."""
    dialect = DIALECTS[name]
    asked = dialect.request(REQUESTS[name])
    assert list(spoken(dialect, asked.messages)) == ["first", "second"]
    assert "Be kind." in json.dumps(asked.messages[0])
    assert len(asked.tools) == 1
    assert worst(asked, 3000) == Usage(input=1001, output=14)
    assert asked.stream == (name != "gemini")
    assert "temperature" in asked.parameters or name == "gemini"


def test_gemini_takes_every_name_in_two_forms():
    """What is reserved is what the provider reads, whichever form it was said in."""
    for config, tokens, count in (
        ("generation_config", "max_output_tokens", "candidate_count"),
        ("generation_config", "maxOutputTokens", "candidateCount"),
        ("generationConfig", "max_output_tokens", "candidate_count"),
    ):
        body = {config: {tokens: 70_000, count: 2},
                "tools": [{"function_declarations": [{"name": "look_up"}]}]}  # fmt: skip
        asked = DIALECTS["gemini"].request(body)
        assert worst(asked, 0).output == 140_000
        assert len(asked.tools) == 1
    both = {"generationConfig": {"maxOutputTokens": 7, "max_output_tokens": 9}}
    assert DIALECTS["gemini"].request(both).max_output == 9


USAGES = [
    (
        "openai.chat",
        {"usage": {
            "prompt_tokens": 2000, "completion_tokens": 300, "total_tokens": 2300,
            "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": 128},
        }},
        Usage(876, 300, 1024, 100, 128),
    ),
    (
        "openai.responses",
        {"usage": {
            "input_tokens": 2000, "output_tokens": 300, "total_tokens": 2300,
            "input_tokens_details": {"cached_tokens": 1024},
            "output_tokens_details": {"reasoning_tokens": 128},
        }},
        Usage(976, 300, 1024, 0, 128),
    ),
    (
        "anthropic.messages",
        {"usage": {
            "input_tokens": 1200, "output_tokens": 300, "cache_read_input_tokens": 1024,
            "cache_creation_input_tokens": 500,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 400},
        }},
        Usage(1200, 300, 1024, 500, 0, 400),
    ),
    (
        "gemini",
        {"usageMetadata": {
            "promptTokenCount": 2000, "candidatesTokenCount": 300, "cachedContentTokenCount": 1024,
            "thoughtsTokenCount": 128, "totalTokenCount": 2428,
        }},
        Usage(976, 428, 1024, 0, 128),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "message", "usage"), USAGES)
def test_usage_is_read_without_counting_twice(name: str, message: dict[str, Any], usage: Usage):
    """D33: cached tokens are counted once, and reasoning is part of the output."""
    found = DIALECTS[name].answer(message)
    assert found.usage == usage
    assert found.verbatim == next(iter(message.values()))
    assert DIALECTS[name].answer({}).usage is None


def test_an_anthropic_stream_as_providers_send_it():
    """From Anthropic's documentation: pings, usage in two places, a call's input in pieces."""
    begun = {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
             "model": "claude", "stop_reason": None, "stop_sequence": None,
             "usage": {"input_tokens": 472, "output_tokens": 2}}  # fmt: skip
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "text_delta", "text": "Okay"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": call},
        *(
            {"type": "content_block_delta", "index": 1,
             "delta": {"type": "input_json_delta", "partial_json": part}}
            for part in ("", '{"location":', ' "San Francisco, CA"}')
        ),
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
         "usage": {"output_tokens": 89}},
        {"type": "message_stop"},
    ]  # fmt: skip
    raw = b"".join(sse.encode(sse.Event(one["type"], one)) for one in said)
    message, done, _ = gathered(DIALECTS["anthropic.messages"], [raw])
    assert done
    assert message is not None
    found = DIALECTS["anthropic.messages"].answer(message)
    assert found.usage == Usage(input=472, output=89)
    assert found.calls == (("toolu_1", "get_weather", {"location": "San Francisco, CA"}),)
    assert (found.text, found.finish) == ("Okay", "tool_use")


def test_a_chat_stream_as_providers_send_it():
    """Calls told apart by index only, nulls between, usage in a last chunk without choices."""
    chunks: list[Any] = [
        {"delta": {"role": "assistant", "content": None}},
        {"delta": {"tool_calls": [{"index": 0, "id": "a", "type": "function",
                                   "function": {"name": "f", "arguments": ""}}]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\""}}]}},
        {"delta": {"tool_calls": [{"index": 1, "id": "b", "type": "function",
                                   "function": {"name": "g", "arguments": "{}"}}]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}},
        {"delta": {}, "finish_reason": "tool_calls"},
    ]  # fmt: skip
    events = [
        sse.Event("", {"id": "c", "model": "m", "usage": None,
                       "choices": [{"index": 0, "finish_reason": None, **one}]})
        for one in chunks
    ]  # fmt: skip
    last = {"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}}
    events += [sse.Event("", last), sse.Event("", "[DONE]")]
    dialect = DIALECTS["openai.chat"]
    message, done, _ = gathered(dialect, [b"".join(map(sse.encode, events))])
    assert done
    assert message is not None
    found = dialect.answer(message)
    assert found.calls == (("a", "f", '{"x":1}'), ("b", "g", "{}"))
    assert (found.finish, found.usage) == ("tool_calls", Usage(5, 6))


def test_an_error_in_a_stream_is_kept():
    for name, data in {
        "openai.chat": {"error": {"message": "overloaded"}},
        "anthropic.messages": {"type": "error", "error": {"message": "overloaded"}},
        "openai.responses": {"type": "error", "message": "overloaded"},
        "gemini": {"error": {"message": "overloaded"}},
    }.items():
        assert gathered(DIALECTS[name], [sse.encode(sse.Event("", data))])[2] == "overloaded"


def test_paths_say_the_dialect():
    assert asked_at("/v1/chat/completions") == ("openai.chat", False)
    assert asked_at("/openai/deployments/x/chat/completions") == ("openai.chat", False)
    assert asked_at("/v1/responses") == ("openai.responses", False)
    assert asked_at("/v1/messages") == ("anthropic.messages", False)
    assert asked_at("/v1/messages/count_tokens") == ("anthropic.messages", True)
    assert asked_at("/v1beta/models/g:streamGenerateContent") == ("gemini", False)
    assert asked_at("/v1beta/models/g:countTokens") == ("gemini", True)
    for other in ("/v1/messages/batches", "/v1/models", "/v1/files", "/", "/v1/responses/r/cancel"):
        assert asked_at(other) == ("", False)
    with pytest.raises(Misuse, match=r"openai\.chat"):
        named("openai")


def test_pictures_are_not_counted_as_text():
    picture = "A" * 400_000
    part = {"type": "image", "source": {"type": "base64", "data": picture}}
    asked = Asked("anthropic.messages", "m", messages=({"role": "user", "content": [part]},))
    assert worst(asked, 400_300).input < 10_000
