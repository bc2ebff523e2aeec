"""Providers that are known by name: where they are, and the variables that lead to them."""

from __future__ import annotations

import msgspec

from holdfast.models import chat, messages


class Known(msgspec.Struct, frozen=True):
    """One provider. ``host``: its address, ``below``: what follows it in base URLs; ``dialect``: in
    which it is asked from here ("": it is not); ``bases``: variables by which clients take a base
    URL, and ``keys``: those that hold a key, each with the style in which that is said if it is not
    the usual one: the first of either is the one that is told."""

    host: str
    below: str
    dialect: str
    bases: tuple[str, ...]
    keys: tuple[tuple[str, str], ...]

    @property
    def url(self) -> str:
        """The base URL."""
        return self.host + self.below


PROVIDERS = {
    "openai": Known(
        "https://api.openai.com", "/v1", chat.NAME, ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        (("OPENAI_API_KEY", ""), ("CODEX_API_KEY", "")),
    ),
    "anthropic": Known(
        "https://api.anthropic.com", "", messages.NAME,
        ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"),
        (("ANTHROPIC_API_KEY", ""), ("ANTHROPIC_AUTH_TOKEN", "bearer"),
         ("CLAUDE_CODE_OAUTH_TOKEN", "bearer")),
    ),
    "gemini": Known(
        "https://generativelanguage.googleapis.com", "", "",
        ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_BASE"),
        (("GEMINI_API_KEY", ""), ("GOOGLE_API_KEY", "")),
    ),
}  # fmt: skip
"""By name."""
