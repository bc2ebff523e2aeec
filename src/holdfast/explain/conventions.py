"""Names of OpenTelemetry and OpenInference attributes: the one table that exported spans use.

Pinned to one published snapshot: the GenAI conventions still change, and a new snapshot is a change
of this module alone. What the snapshot has no word for stands under ``holdfast.``.
"""

from __future__ import annotations

from typing import Any

import msgspec

SNAPSHOT = "1.41.0"
"""Version of the OpenTelemetry semantic conventions (the last of one piece that holds GenAI)."""
SCHEMA = f"https://opentelemetry.io/schemas/{SNAPSHOT}"
"""Where the snapshot's schema is published."""

AGENT = "invoke_agent"
CHAT = "chat"
TOOL = "execute_tool"
EVALUATION = "gen_ai.evaluation.result"

PROVIDERS = {"google": "gcp.gemini", "gemini": "gcp.gemini", "mistral": "mistral_ai",
             "bedrock": "aws.bedrock", "azure": "azure.ai.openai", "xai": "x_ai"}  # fmt: skip
"""What the snapshot calls providers that we call otherwise."""

REQUEST = {
    "max_tokens": "gen_ai.request.max_tokens", "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens", "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p", "seed": "gen_ai.request.seed",
}  # fmt: skip
"""Parameters of a request that have a name."""

KINDS = {AGENT: "AGENT", CHAT: "LLM", TOOL: "TOOL", EVALUATION: "EVALUATOR"}
"""OpenInference's kind of span, by operation; CHAIN for all else."""


class Tokens(msgspec.Struct, frozen=True):
    """Tokens as model steps record them: disjoint, but ``reasoning`` is part of ``output``."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What is read of a model step's value; the rest is content."""

    usage: Tokens | None = None
    first_ms: float | None = None
    finish: str | None = None
    response: Any = None
    price: Any = None


class Asking(msgspec.Struct, frozen=True):
    """What is read of a model step's arguments."""

    provider: str = ""
    model: str = ""
    request: Any = None


def tokens(used: Tokens, *, also: bool) -> dict[str, Any]:
    """Attributes of tokens; ``also``: those of OpenInference too. Cached ones are part of what both
    call input."""
    read = used.input + used.cache_read + used.cache_write
    found = {
        "gen_ai.usage.input_tokens": read,
        "gen_ai.usage.output_tokens": used.output,
        "gen_ai.usage.cache_read.input_tokens": used.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": used.cache_write,
        "gen_ai.usage.reasoning.output_tokens": used.reasoning,
    }
    if also:
        found |= {
            "llm.token_count.prompt": read,
            "llm.token_count.completion": used.output,
            "llm.token_count.total": read + used.output,
            "llm.token_count.prompt_details.cache_read": used.cache_read,
            "llm.token_count.prompt_details.cache_write": used.cache_write,
            "llm.token_count.completion_details.reasoning": used.reasoning,
        }
    return found


def messages(request: Any) -> list[dict[str, Any]]:
    """The conversation of a request, in the snapshot's form: roles with parts."""
    if not isinstance(request, dict):
        return []
    said = request.get("messages", request.get("input", request.get("contents")))
    told = [{"role": "user", "content": said}] if isinstance(said, str) else said
    system = request.get("system", request.get("instructions"))
    first = [{"role": "system", "content": system}] if system else []
    return [_message(one) for one in (*first, *(told if isinstance(told, list) else ()))]


def answers(response: Any, finish: str) -> list[dict[str, Any]]:
    """The messages of a response, in the snapshot's form."""
    if not isinstance(response, dict):
        return []
    if isinstance(choices := response.get("choices"), list):
        found = [one.get("message") for one in choices if isinstance(one, dict)]
    elif isinstance(output := response.get("output", response.get("candidates")), list):
        found = [one.get("content", one) if isinstance(one, dict) else one for one in output]
        found = [{"content": found}]
    else:
        found = [{"content": response.get("content", response.get("text"))}]
    return [{**_message(one), "role": "assistant", "finish_reason": finish} for one in found]


def _message(one: Any) -> dict[str, Any]:
    if not isinstance(one, dict):
        return {"role": "", "parts": [{"type": "text", "content": str(one)}]}
    content = one.get("content", one.get("parts"))
    parts = [_part(item) for item in (content if isinstance(content, list) else [content])]
    calls = one.get("tool_calls")
    parts += [{"type": "tool_call", **call} if isinstance(call, dict) else _part(call)
              for call in (calls if isinstance(calls, list) else ())]  # fmt: skip
    return {"role": str(one.get("role", "")), "parts": [part for part in parts if part]}


def _part(item: Any) -> dict[str, Any]:
    if item is None:
        return {}
    if isinstance(item, dict):
        text = item.get("text")
        if isinstance(text, str):
            return {"type": "text", "content": text}
        return {"type": "generic", **item}
    return {"type": "text", "content": item if isinstance(item, str) else str(item)}
