"""Candidates from a model, over the OpenAI or the Anthropic wire; the answer is not trusted."""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.repair.candidates import LIKELY, Candidate
from examples.repair.edits import parses
from examples.repair.localise import Suspect

REQUEST_SECONDS = 120.0
"""How long a model may take."""

ANSWER_TOKENS = 4_000
"""Room for the answer."""

ANSWER_BYTES = 4 << 20
"""An answer that is larger is not read."""

LINES_SHOWN = 25
"""How many of the most suspicious lines are shown, each with what stands around it."""

AROUND = 6
"""Lines shown before and after a suspicious line."""

EDITS_TAKEN = 40
"""How many edits of an answer are looked at."""

OPENAI, ANTHROPIC = "OPENAI", "ANTHROPIC"
_BASES = {OPENAI: "https://api.openai.com/v1", ANTHROPIC: "https://api.anthropic.com"}
_MODELS = {OPENAI: "gpt-4.1", ANTHROPIC: "claude-sonnet-4-5"}


class ModelUnavailable(Exception):
    """The model could not be reached or refused; the message has no secret in it."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Which provider, where, and which model. The key is read when a request is made, not kept."""

    provider: str
    base_url: str
    model: str


def wire(settings: Mapping[str, str] | None = None) -> Wire | None:
    """The model to ask according to the environment; None where no key is set.

    OPENAI_API_KEY or ANTHROPIC_API_KEY chooses (the first wins), with OPENAI_BASE_URL,
    OPENAI_MODEL, ANTHROPIC_BASE_URL and ANTHROPIC_MODEL to change the address and the model.
    """
    settings = os.environ if settings is None else settings
    for provider in (OPENAI, ANTHROPIC):
        if settings.get(f"{provider}_API_KEY"):
            base = settings.get(f"{provider}_BASE_URL") or _BASES[provider]
            model = settings.get(f"{provider}_MODEL") or _MODELS[provider]
            return Wire(provider, base.rstrip("/"), model)
    return None


def prompt(suspects: Sequence[Suspect], sources: Mapping[str, str], failures: str) -> str:
    """What the model is asked: the failures, the suspicious places, the form of the answer."""
    parts = [
        (
            "A small bug (one line) makes tests of a Python library fail. Propose edits that might "
            "repair it, most likely first, at most twenty. Answer with a JSON array, each entry"
            ' {"path": file, "line": number, "old": the exact text of that line or a part of it, '
            '"new": its replacement, "why": a few words}.'
        ),
        "Failing tests:\n" + failures.strip()[:6_000],
    ]
    shown: dict[str, set[int]] = {}
    for suspect in suspects[:LINES_SHOWN]:
        near = range(suspect.line - AROUND, suspect.line + AROUND + 1)
        shown.setdefault(suspect.path, set()).update(near)
    for path, numbers in shown.items():
        lines = sources.get(path, "").splitlines()
        text = [f"{n:5} {lines[n - 1]}" for n in sorted(numbers) if 0 < n <= len(lines)]
        parts.append(f"Suspicious lines of {path}:\n" + "\n".join(text))
    return "\n\n".join(parts)


def ask(question: str, to: Wire, settings: Mapping[str, str] | None = None) -> str:
    """Send a question to a model and return the text of its answer."""
    settings = os.environ if settings is None else settings
    key = settings.get(f"{to.provider}_API_KEY", "")
    body: dict[str, object] = {
        "model": to.model,
        "messages": [{"role": "user", "content": question}],
    }
    headers = {"content-type": "application/json"}
    if to.provider == OPENAI:
        url = f"{to.base_url}/chat/completions"
        headers["authorization"] = f"Bearer {key}"
        body["max_completion_tokens"] = ANSWER_TOKENS
    else:
        url = f"{to.base_url}/v1/messages"
        headers |= {"x-api-key": key, "anthropic-version": "2023-06-01"}
        body["max_tokens"] = ANSWER_TOKENS
    if not url.startswith(("http://", "https://")):
        raise ModelUnavailable(f"{to.provider}_BASE_URL is no http address: {to.base_url}")
    return _answer(_post(url, headers, json.dumps(body).encode()))


def _post(url: str, headers: Mapping[str, str], body: bytes) -> object:
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            return json.loads(response.read(ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(500).decode(errors="replace")
        raise ModelUnavailable(f"{url} answered {error.code}: {said}") from None
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{url}: {error}") from None


def _answer(reply: object) -> str:
    """The text in a reply of either wire; empty when there is none."""
    if not isinstance(reply, dict):
        return ""
    choices, content = reply.get("choices"), reply.get("content")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def parse_edits(answer: str, sources: Mapping[str, str]) -> list[Candidate]:
    """The edits in an answer that fit the sources and leave valid Python, in its order.

    Anything else (prose, fences, unknown files, text that is not there) is passed over.
    """
    found: dict[tuple[str, str], Candidate] = {}
    for number, entry in enumerate(_json_array(answer)[:EDITS_TAKEN]):
        made = _candidate(entry, sources, LIKELY + number)
        if made is None:
            continue
        after = made.new_source(sources[made.path])
        if after != sources[made.path] and parses(after):
            found.setdefault((made.path, after), made)
    return list(found.values())


def _json_array(answer: str) -> list[Any]:
    """The first JSON array of objects in a text, or the array inside a JSON object."""
    decoder = json.JSONDecoder()
    for place in re.finditer(r"[\[{]", answer):
        try:
            value, _ = decoder.raw_decode(answer, place.start())
        except ValueError:
            continue
        if isinstance(value, dict):
            value = (
                [value]
                if "new" in value
                else next((part for part in value.values() if isinstance(part, list)), [])
            )
        if isinstance(value, list) and any(isinstance(part, dict) for part in value):
            return value
    return []


def _candidate(entry: object, sources: Mapping[str, str], cost: int) -> Candidate | None:
    if not isinstance(entry, dict):
        return None
    path, line = entry.get("path"), entry.get("line")
    old, new = entry.get("old"), entry.get("new")
    if not (isinstance(path, str) and isinstance(old, str) and isinstance(new, str)):
        return None
    old, source = old.strip("\n"), sources.get(path)
    if source is None or not old.strip():
        return None
    start = _nearest(source, old, line if type(line) is int else 1)
    if start is None:
        return None
    at = source.count("\n", 0, start) + 1
    why = " ".join(str(entry.get("why", "")).split())[:120] or "proposed by the model"
    return Candidate(path, at, why, cost, start, start + len(old), new.strip("\n"))


def _nearest(source: str, old: str, line: int) -> int | None:
    """Where `old` stands, nearest to a line: models miscount lines, seldom texts."""
    places = [match.start() for match in re.finditer(re.escape(old), source)]
    return min(places, key=lambda at: abs(source.count("\n", 0, at) + 1 - line), default=None)


def model_candidates(
    to: Wire, suspects: Sequence[Suspect], sources: Mapping[str, str], failures: str
) -> list[Candidate]:
    """Ask a model for candidates; raises ModelUnavailable when it cannot be asked."""
    return parse_edits(ask(prompt(suspects, sources, failures), to), sources)
