"""Strategies: JSON of others, and whole messages of each dialect."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
plain = (
    st.none() | st.booleans() | st.integers(-(2**40), 2**62) | st.floats(allow_nan=False) | texts
)

KEYS = """
messages input contents tools content text type role user assistant system choices message delta
tool_calls function arguments name id index usage prompt_tokens completion_tokens output output_text
prompt_tokens_details cached_tokens error response item part output_index content_index item_id
content_block partial_json input_json_delta text_delta stop_reason stream model max_tokens n parts
candidates functionCall usageMetadata promptTokenCount generationConfig output_tokens input_tokens
cache_creation finish_reason status instructions systemInstruction logprobs citation citations
""".split()
WORDS = """
message_start content_block_start content_block_delta content_block_stop message_delta message_stop
error text input_json_delta text_delta citations_delta user tool_use function_call message
response.created response.output_item.added response.content_part.added response.output_text.delta
response.output_item.done response.completed response.failed [DONE]
""".split()
leaf = plain | st.sampled_from(WORDS)
anything: st.SearchStrategy[Any] = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | texts, inner, max_size=6)
    ),
    max_leaves=25,
)
objects = st.dictionaries(st.sampled_from(KEYS), anything, max_size=8)
names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=12)
arguments = st.dictionaries(names, plain | st.lists(plain, max_size=3), max_size=3)
counts = st.integers(0, 100_000)
filled = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    """A whole Chat Completions response."""
    choices: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 2))):
        message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | filled)}
        if draw(st.booleans()):
            message["reasoning_content"] = draw(filled)
        calls = draw(st.lists(st.tuples(names, names, texts), max_size=2))
        if calls:
            message["tool_calls"] = [
                {"id": one, "type": "function", "function": {"name": name, "arguments": text}}
                for one, name, text in calls
            ]
        finish = draw(st.sampled_from(["stop", "length", "tool_calls"]))
        choices.append({"index": index, "message": message, "finish_reason": finish})
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": choices,
        "usage": {"prompt_tokens": draw(counts), "completion_tokens": draw(counts)},
    }  # fmt: skip


@st.composite
def anthropics(draw: st.DrawFn) -> dict[str, Any]:
    """A whole Messages response."""
    text = st.builds(lambda one: {"type": "text", "text": one}, filled)
    thinking = st.builds(
        lambda one, sign: {"type": "thinking", "thinking": one, "signature": sign}, filled, filled
    )
    call = st.builds(
        lambda one, name, args: {"type": "tool_use", "id": one, "name": name, "input": args},
        names, names, arguments,
    )  # fmt: skip
    found = {"type": "web_search_tool_result", "tool_use_id": "x", "content": [{"url": "u"}]}
    blocks = draw(st.lists(text | thinking | call | st.just(found), max_size=4))
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": blocks,
        "stop_reason": draw(st.sampled_from(["end_turn", "tool_use", "stop_sequence"])),
        "stop_sequence": draw(st.none() | filled),
        "usage": {"input_tokens": draw(counts), "output_tokens": draw(counts)},
    }  # fmt: skip


@st.composite
def openais(draw: st.DrawFn) -> dict[str, Any]:
    """A whole Responses response."""
    part = st.builds(lambda one: {"type": "output_text", "text": one, "annotations": []}, filled)
    refusal = st.builds(lambda one: {"type": "refusal", "refusal": one}, filled)
    message = st.builds(
        lambda parts: {
            "type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": parts,
        },
        st.lists(part | refusal, max_size=2),
    )  # fmt: skip
    call = st.builds(
        lambda name, text: {
            "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name,
            "arguments": text, "status": "completed",
        },
        names, texts,
    )  # fmt: skip
    other = st.just({"type": "reasoning", "id": "rs_1", "summary": []})
    usage = {"input_tokens": draw(counts), "output_tokens": draw(counts)}
    return {
        "id": "resp_1", "object": "response", "status": "completed", "error": None, "model": "m",
        "output": draw(st.lists(message | call | other, max_size=3)), "usage": usage,
    }  # fmt: skip


@st.composite
def geminis(draw: st.DrawFn) -> dict[str, Any]:
    """A whole generateContent response."""
    text = st.builds(lambda one: {"text": one}, filled)
    thought = st.builds(lambda one: {"text": one, "thought": True}, filled)
    call = st.builds(
        lambda name, args: {"functionCall": {"name": name, "args": args}}, names, arguments
    )
    parts: list[dict[str, Any]] = []
    for one in draw(st.lists(text | thought | call, max_size=4)):
        kinds = [("text" in last, last.get("thought")) for last in parts[-1:]]
        if "text" not in one or kinds != [(True, one.get("thought"))]:
            parts.append(one)  # two texts of one kind in a row are one text
    return {
        "candidates": [
            {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": draw(counts), "candidatesTokenCount": draw(counts)},
        "modelVersion": "m",
    }  # fmt: skip


WHOLE = {
    "openai.chat": chats(),
    "openai.responses": openais(),
    "anthropic.messages": anthropics(),
    "gemini": geminis(),
}
