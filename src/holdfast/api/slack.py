"""Messages and callbacks of chats that speak as Slack does: pure functions on bytes and values.

Messages are Block Kit; callbacks are forms with a JSON ``payload``, signed with HMAC-SHA256 over
``v0:<timestamp>:<body>``. What agents say stands in ``plain_text`` only, where chats read no links,
mentions or markup.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs

import msgspec

from holdfast.engine.inbox import Open, Question
from holdfast.journal.quorum import missing
from holdfast.values import limits
from holdfast.values.errors import Misuse, Refused

_TEXT = 2_900
_CHOICES = 20


class Click(msgspec.Struct, frozen=True):
    """What somebody clicked: on which question (``run``, ``step``, ``digest``), which ``decision``
    (with ``choice``), ``who`` by the chat's id, and where the message can be replaced."""

    run: str
    step: str
    digest: str
    decision: str
    who: str
    reply: str = ""
    choice: str = ""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """The signature that a chat gives a request."""
    made = hmac.new(secret, b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256)
    return "v0=" + made.hexdigest()


def verify(secret: bytes, timestamp: str, body: bytes, signed: str, now_ms: int) -> None:
    """`Refused` if a request is not signed with the secret, or not now."""
    good = signature(secret, timestamp, body)
    if not hmac.compare_digest(good.encode(), signed.encode("utf-8", "replace")):
        raise Refused("the signature is wrong", rule="signature")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise Refused("the timestamp is no time", rule="signature")
    apart = abs(now_ms / 1000 - int(timestamp))
    if apart > limits.CALLBACK_SECONDS:
        raise Refused(f"it was signed {apart:.0f} s from now: too late", rule="late")


def read(body: bytes) -> Click:
    """The click that a callback tells of; `Misuse` if it is none of ours."""
    try:
        fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)
        payload = msgspec.json.decode(fields["payload"][0])
        (action,) = payload["actions"]
        named, who = msgspec.json.decode(action["value"]), payload["user"]["id"]
        decision, _, choice = str(action["action_id"]).partition(":")
        reply = payload.get("response_url") or ""
        click = msgspec.convert(
            {**named, "decision": decision, "who": who, "choice": choice, "reply": reply}, Click
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise Misuse("the callback is no click on a question of ours") from None
    if payload.get("type") != "block_actions" or decision not in ("approve", "deny", "answer"):
        raise Misuse("the callback is no click on a question of ours")
    return click


def message(found: Open, question: Question) -> dict[str, Any]:
    """A question as a message."""
    wait, verdict = found.wait, question.asked.verdict
    notes = [f"{found.place}  {found.row.agent}  {wait.digest[:12]}"]
    if verdict is not None:
        notes.append(f"rules {', '.join(verdict.rules)} of policy {verdict.policy}")
        if verdict.risk:
            notes.append(f"risk {verdict.risk:.0%}")
        origin = verdict.facts.get("origin", {})
        notes += [f"{name}: {word}" for name, word in origin.items()]
    if lacks := missing(wait.panels, wait.approved):
        notes.append(f"takes {lacks}")
    blocks = [_section(wait.text), _context(notes)]
    buttons = _buttons(found)
    if buttons:
        blocks.append({"type": "actions", "elements": buttons})
    else:
        blocks.append(_context([f"holdfast answer {found.place} VALUE"]))
    return {"text": f"{found.place} asks", "blocks": blocks}


def _buttons(found: Open) -> list[dict[str, Any]]:
    wait = found.wait
    value = msgspec.json.encode({"run": found.row.run, "step": wait.key, "digest": wait.digest})

    def button(action: str, text: str, style: str = "") -> dict[str, Any]:
        made = {
            "type": "button",
            "action_id": action,
            "value": value.decode(),
            "text": _plain(text),
        }
        return {**made, "style": style} if style else made

    if wait.about == "question":
        if not wait.choices or len(wait.choices) > _CHOICES:
            return []
        named = [button(f"answer:{place}", text) for place, text in enumerate(wait.choices)]
        return [*named, button("deny", "Decline", "danger")]
    return [button("approve", "Approve", "primary"), button("deny", "Deny", "danger")]


def answered(found: Open, text: str) -> dict[str, Any]:
    """What stands in a message once its question was answered: no button any more."""
    blocks = [_section(found.wait.text), _context([found.place, text])]
    return {"replace_original": True, "text": f"{found.place}: {text}"[:_TEXT], "blocks": blocks}


def gone(found: Open) -> dict[str, Any]:
    """That a question which was posted is asked no more, decided or expired, elsewhere."""
    text = f"{found.place}: decided elsewhere, or asked no more"
    return {"text": text, "blocks": [_section(text)]}


def told(text: str) -> dict[str, Any]:
    """Why a click did not count, for the one who clicked."""
    return {"response_type": "ephemeral", "replace_original": False, "text": text[:_TEXT],
            "blocks": [_section(text)]}  # fmt: skip


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _plain(text)}


def _context(notes: list[str]) -> dict[str, Any]:
    return {"type": "context", "elements": [_plain(note) for note in notes[:10]]}


def _plain(text: str) -> dict[str, Any]:
    shown = "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
    return {"type": "plain_text", "text": (shown or " ")[:_TEXT], "emoji": False}
