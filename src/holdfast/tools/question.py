"""The built-in agent that asks a person what a client of ours wants to know."""

from __future__ import annotations

from typing import Any

from holdfast.engine.declare import agent
from holdfast.engine.verbs import ask


@agent(name="holdfast.question")
async def question(text: str, choices: list[str], client: str) -> Any:
    """Ask a person ``text`` on behalf of ``client``, and give their answer."""
    return await ask(f"{client} asks: {text}", choices=choices)
