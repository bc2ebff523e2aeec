"""Models for tests: one that answers from a script, one that repeats what a real one said.

    ask = scripted(["Hello", {"calls": [{"name": "look_up", "arguments": {"x": 1}}]}, "It is 2."])
    ask = scripted(lambda request: f"you said {request.body['messages'][-1]['content']}")
    ask = recorded(holdfast.model("openai:gpt-5"), "tests/answers.json")

Both are models like any other (`holdfast.models.model.Model`): their answers are steps.
"""

from __future__ import annotations

import inspect
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from holdfast.models import chat
from holdfast.models.bodies import Asking, body
from holdfast.models.dialects import named
from holdfast.models.endpoint import Heard, Source, answered, failed, tell
from holdfast.models.exchange import pieces
from holdfast.models.model import Model
from holdfast.models.plain import dicts, string
from holdfast.models.replies import reply
from holdfast.testing.scripted import Answer, Request, Says, Script, read, whole
from holdfast.values.canon import digest, encode
from holdfast.values.errors import Corrupt, Misuse

_ASIDE = frozenset({"stream", "stream_options"})
"""Of a request, what says only how its answer is to be sent."""


def scripted(
    script: Script, *, name: str = "scripted:model", dialect: str = chat.NAME, retries: int = 0
) -> Model:
    """A model that answers from a script: a list, or a (possibly async) function of the `Request`.

    Of a list, a conversation that holds n answers of the model gets the answer n (from 0), among
    those whose ``when`` stands in the request: so it is the same one after a crash, too. Errors of
    the script (``{"error": 429}``) are those of an endpoint. `Misuse` when no answer is left.
    """
    provider, _, model = name.partition(":")
    return Model(provider, model, _Scripted(script, dialect), retries=retries)


def recorded(model: Model, path: str | Path, *, record: bool | None = None) -> Model:
    """``model``, whose answers stand in a file: asked once, then repeated from there.

    The file is JSON, to be read and kept beside the tests; no key stands in it. ``record``: None
    asks the model only while the file does not exist (and for the rest of that process), True for
    whatever is missing in it, False never. `Misuse` says which request has no recorded answer.
    """
    source = _Recorded(model.source, Path(path), record)
    return Model(
        model.provider, model.name, source, retries=model.retries, parameters=model.parameters
    )


class _Scripted:
    """Answers from a script, in a dialect's own form."""

    def __init__(self, script: Script, dialect: str) -> None:
        self.dialect = named(dialect).name
        self._script: Callable[[Request], Any] = (
            script if callable(script) else _by_turn(script, dialect)
        )

    def request(self, asking: Asking) -> dict[str, Any]:
        """The JSON body."""
        return body(self.dialect, asking)

    async def ask(self, args: Mapping[str, Any], heard: Heard | None) -> dict[str, Any]:
        """The next answer."""
        dialect, asked = named(self.dialect), dict(args["request"])
        number = _turn(asked, self.dialect) + 1
        request = Request("POST", dialect.path, {}, encode(asked), asked, self.dialect, number)
        said = self._script(request)
        answer = read(await said if inspect.isawaitable(said) else said)
        if answer.error:
            text = answer.message or f"scripted error {answer.error}"
            raise failed(f"model {args['provider']}:{args['model']}", answer.error, text)
        message = whole(answer, request)
        if heard is not None:
            for piece in pieces(answer.text, max(1, answer.size)):
                heard(piece)
        return answered(args, message, dialect.answer(message))


def _turn(body: dict[str, Any], dialect: str) -> int:
    """How many answers of the model stand in a conversation."""
    asked = named(dialect).request(body).messages
    count, inside = 0, False
    for one in asked:
        role, kind = string(one.get("role")), one.get("type")
        mine = role in ("assistant", "model") or kind in ("function_call", "reasoning")
        count += mine and not inside
        inside = mine and dialect == "openai.responses"  # there, an answer is several items
    return count


def _by_turn(script: Iterable[Says], dialect: str) -> Callable[[Request], Answer]:
    answers = [read(one) for one in script]

    def choose(request: Request) -> Answer:
        text = request.raw.decode("utf-8", "replace")
        fitting = [one for one in answers if one.when in text]
        turn = _turn(request.body, dialect)
        if turn < len(fitting):
            return fitting[turn]
        if fitting and fitting[-1].again:
            return fitting[-1]
        raise Misuse(f"the script has no answer {turn} (from 0) for this conversation")

    return choose


class _Recorded:
    """Answers of another source, by exactly what was asked; one that was asked several times is
    answered in the recorded order, and the last answer stays."""

    def __init__(self, source: Source, path: Path, record: bool | None) -> None:
        self.dialect = source.dialect
        self._source = source
        self._path = path
        self._asks = not path.exists() if record is None else record
        self._kept: list[dict[str, Any]] = self._load() if path.exists() else []
        self._answers: dict[str, deque[dict[str, Any]]] = {}
        for one in self._kept:
            self._answers.setdefault(_key(one), deque()).append(one["value"])

    def request(self, asking: Asking) -> dict[str, Any]:
        """As the source asks."""
        return self._source.request(asking)

    def _load(self) -> list[dict[str, Any]]:
        try:
            found = dicts(json.loads(self._path.read_text("utf-8")))
        except ValueError as error:
            raise Corrupt(f"{self._path}: no recorded answers: {error}") from None
        if any(not {"model", "dialect", "request", "value"} <= one.keys() for one in found):
            raise Corrupt(f"{self._path}: an entry lacks model, dialect, request or value")
        return found

    async def ask(self, args: Mapping[str, Any], heard: Heard | None) -> dict[str, Any]:
        """The recorded answer, or the source's, which is then recorded."""
        found = self._answers.get(_key(args))
        if found:
            value = found.popleft() if len(found) > 1 else found[0]
            if heard is not None:
                heard(reply(self.dialect, value, 0).text)
            tell(value)
            return value
        if not self._asks:
            said = args["request"].get("messages", args["request"].get("input"))
            last = encode(said[-1] if isinstance(said, list) and said else said).decode()[:300]
            raise Misuse(
                f"{self._path}: no answer is recorded to this request of {args['provider']}:"
                f"{args['model']}, whose last message is {last}; delete the file, or say "
                "record=True, to ask the model"
            )
        value = {**await self._source.ask(args, heard), "first_ms": None}
        self._kept.append({**args, "value": value})
        self._write()
        return value

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        text = msgspec.json.format(msgspec.json.encode(self._kept), indent=1)
        part.write_bytes(text + b"\n")
        part.replace(self._path)


def _key(args: Mapping[str, Any]) -> str:
    bare = {key: value for key, value in args["request"].items() if key not in _ASIDE}
    return digest(encode([args["dialect"], args["model"], bare]))
