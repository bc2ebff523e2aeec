"""Text from journals and arguments, fit to be shown: one line, no control signs, no secrets."""

from __future__ import annotations

import re
from typing import Final

from holdfast.values import limits

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
_NAMES: Final = (
    r"(?:password|passwd|passphrase|passcode|passwort|pwd|secret|credentials?|api[_-]?key"
    r"|(?:access|private|signing|secret)[_-]?key|token|authorization|otp|cvv|cvc)"
)
_NAMED: Final = re.compile(
    rf"(?i)(?<![\w-])(?P<name>[\w-]*{_NAMES}"
    r"[\"']?\s*[:=]\s*)(?P<value>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[^\s,;)}\]]+)"
)
_CALLED: Final = re.compile(rf"(?i){_NAMES}(?:s|[_-]?[0-9]+|[_-](?:value|text))?\Z|(?:\b|_)pin\Z")


def masked(text: str) -> str:
    """``text`` with what looks like a credential masked."""
    text = _SECRETS.sub(MASK, text)
    return _NAMED.sub(lambda found: found["name"] + MASK, text)


def named(name: str, value: object) -> str:
    """``name=value`` as Python writes it, masked: wholly if the name says that it is a credential,
    else where a part of it does, or looks like one."""
    if _CALLED.search(name) and not (name.lower().endswith("tokens") and isinstance(value, int)):
        return f"{name}={MASK}"  # but max_tokens=100 says how many
    return f"{name}={masked(repr(value)[: limits.MASKED_CHARS])}"


def fit(text: str, most: int = 300) -> str:
    """``text`` masked, on one line of at most ``most`` characters, without control characters,
    direction marks and the like."""
    # INVARIANT J62: nothing of a journal is shown with control characters or credentials in it
    text = masked(text)
    plain = "".join(char if char.isprintable() else " " for char in text)
    plain = " ".join(plain.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
