"""Text from journals, made fit to be shown: one line, no control characters, no secrets."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "[masked]"

_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"  # keys of model and payment services
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[a-z]-[A-Za-z0-9-]{10,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON web tokens
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password in a link
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/=-]{12,}",
    re.DOTALL,
)
_NAMED: Final = re.compile(
    r"(?i)\b(?P<name>[\w-]*(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|token)"
    r"[\"']?\s*[:=]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;)}\]]+)"
)


def masked(text: str) -> str:
    """``text`` with what looks like a credential masked."""
    text = _SECRETS.sub(MASK, text)
    return _NAMED.sub(lambda found: found["name"] + MASK, text)


def fit(text: str, most: int = 300) -> str:
    """``text`` masked, on one line of at most ``most`` characters, without control characters,
    direction marks and the like."""
    # INVARIANT J62: nothing of a journal is shown with control characters or credentials in it
    text = masked(text)
    plain = "".join(char if char.isprintable() else " " for char in text)
    plain = " ".join(plain.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
