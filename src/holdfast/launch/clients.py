"""What is known of coding agents: where their prompt stands, what they are told at their start."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

from holdfast.values.errors import Misuse

AFTER = {
    "claude": ("-p", "--print"),
    "gemini": ("-p", "--prompt", "-i", "--prompt-interactive"),
    "aider": ("-m", "--message", "--msg"),
    "cursor-agent": ("-p", "--print"),
}
"""Options that a prompt stands after."""
BELOW = {"codex": ("exec", "e"), "opencode": ("run",)}
"""Commands whose last word is the prompt."""

HOOK = str(Path(__file__).with_name("hook.py"))
"""What an agent runs to ask about a tool of its own."""


def called(words: Sequence[str]) -> str:
    """What a command is called: the name of its program."""
    name = PurePath(words[0]).name
    return name.removesuffix(".js").removesuffix(".exe") or "command"


def led(words: Sequence[str], base: str, key: str) -> tuple[str, ...]:
    """The command as it is started: a client that takes no base URL from its environment is told
    at its own options. ``base``: of the OpenAI wire; ``key``: the variable that holds the token, ""
    if the client has a log-in of its own."""
    if called(words) != "codex":
        return tuple(words)
    auth = f'env_key="{key}"' if key else "requires_openai_auth=true"
    made = f'{{name="Holdfast",base_url="{base}",wire_api="responses",{auth}}}'
    told = ("-c", 'model_provider="holdfast"', "-c", f"model_providers.holdfast={made}")
    return (words[0], *told, *words[1:])


def asking(words: Sequence[str]) -> tuple[str, ...]:
    """The command as it is started so that it asks about its own tools too, if it can."""
    if called(words) != "claude":
        return tuple(words)
    if any(word.partition("=")[0] == "--settings" for word in words):
        raise Misuse("--enforce gives claude its own --settings, to be asked about its own tools: "
                     "put yours into .claude/settings.local.json")  # fmt: skip
    python = shlex.join((sys.executable, "-I", "-S", HOOK))
    hook = {"matcher": "*", "hooks": [{"type": "command", "command": python, "timeout": 3600}]}
    settings = json.dumps({"hooks": {"PreToolUse": [hook]}})
    return (words[0], "--settings", settings, *words[1:])


def request_of(words: Sequence[str]) -> str:
    """What the person asks an agent for, as far as its command line says so; else ""."""
    name, rest = called(words), list(words[1:])
    for option in AFTER.get(name, ()):
        for place, word in enumerate(rest):
            if word.startswith(f"{option}=") and option.startswith("--"):
                return word.partition("=")[2]
            if word == option and place + 1 < len(rest) and not rest[place + 1].startswith("-"):
                return rest[place + 1]
    for verb in BELOW.get(name, ()):
        if verb in rest:
            last = rest[-1]
            return "" if last == verb or last.startswith("-") else last
    return ""
