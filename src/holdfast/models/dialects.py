"""The dialects by name, and which one a path speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from holdfast.models import chat, gemini, messages, responses
from holdfast.models.exchange import Answered, Asked
from holdfast.models.sse import Event
from holdfast.values.errors import Misuse


class Gather(Protocol):
    """The whole message of a stream, event by event."""

    message: dict[str, Any] | None
    """None before anything came."""
    done: bool
    """The stream said its last word."""
    error: str
    """The text of an error that came in the stream."""

    def take(self, event: Event) -> None:
        """One more event."""
        ...


class Events(Protocol):
    """A whole message as a stream, texts in pieces of ``size`` characters."""

    def __call__(
        self, message: dict[str, Any], size: int, *, usage: bool = True
    ) -> Iterator[Event]: ...


class Dialect(NamedTuple):
    """How one kind of endpoint is read and written. None of it raises, whatever it is given."""

    name: str
    path: str
    """Where it is asked, below the base URL."""
    request: Callable[[dict[str, Any]], Asked]
    answer: Callable[[dict[str, Any]], Answered]
    said: Callable[[tuple[dict[str, Any], ...]], Iterator[str]]
    """The texts of a conversation that stand as the person's."""
    error: Callable[[int, str, str], dict[str, Any]]
    """The body of an error, from its status, kind and text."""
    gather: Callable[[], Gather]
    events: Events


def _dialect(module: Any) -> Dialect:
    return Dialect(
        module.NAME, module.PATH, module.request, module.answer, module.said, module.error,
        module.Gather, module.events,
    )  # fmt: skip


DIALECTS: Mapping[str, Dialect] = {
    one.name: one for one in map(_dialect, (chat, responses, messages, gemini))
}


def named(name: str) -> Dialect:
    """The dialect of that name; `Misuse` for another."""
    if name not in DIALECTS:
        raise Misuse(f"no dialect is named {name!r}: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def asked_at(path: str) -> tuple[str, bool]:
    """The dialect that a path (without its query) asks a model in, and whether it only counts
    tokens; empty for any other path. Base URLs differ, so only the end counts."""
    if "/models/" in path and ":" in path:
        verb = path.rpartition(":")[2]
        if verb in {"generateContent", "streamGenerateContent"}:
            return gemini.NAME, False
        return (gemini.NAME, True) if verb == "countTokens" else ("", False)
    for end, name in (("/chat/completions", chat.NAME), ("/messages", messages.NAME),
                      ("/responses", responses.NAME)):  # fmt: skip
        if path.endswith(end):
            return name, False
    if path.endswith("/messages/count_tokens"):
        return messages.NAME, True
    return ("", False) if not path.endswith("/responses/input_tokens") else (responses.NAME, True)
