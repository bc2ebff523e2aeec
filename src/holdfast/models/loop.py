"""A small agent loop: ask a model, call the tools it asks for, until it is done.

All of it is plain steps: in an agent's run or a guest it is durable, waits for approvals, and is
the same again after a crash.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.engine import scope
from holdfast.engine.declare import Tool
from holdfast.engine.described import Described
from holdfast.engine.verbs import gather, step
from holdfast.models.bodies import Message, conversation
from holdfast.models.menu import menu
from holdfast.models.model import Model, Unfit
from holdfast.models.plain import number
from holdfast.models.replies import Reply, ToolCall
from holdfast.values import limits
from holdfast.values.canon import digest, encode
from holdfast.values.errors import Expired, HoldfastError, Misuse, Outside, Refused
from holdfast.values.ids import check_name


class Stop(StrEnum):
    """Why a loop ended."""

    DONE = "done"
    """The model gave its answer."""
    REFUSED = "refused"
    """The model refused; or the policy or a person refused to let it be asked."""
    BUDGET = "out of budget"
    TURNS = "too many turns"
    LENGTH = "length"
    """The answer, or the conversation, is longer than the model allows."""
    FILTER = "filter"
    """The provider's content filter cut the answer off."""
    UNFIT = "unfit"
    """The structured answer does not fit its type, and did not after it was told so."""


@dataclass(frozen=True)
class Ended:
    """How a loop ended. ``stop``: why, and ``why`` in words; ``text``: what the model said last;
    ``output``: the structured answer; ``messages``: the conversation, to go on from; ``used``:
    turns, calls (of tools), tokens, and money (USD) if the price is known."""

    stop: Stop
    why: str
    text: str = ""
    output: Any = None
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    used: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def done(self) -> bool:
        """Whether the model gave its answer."""
        return self.stop is Stop.DONE


_STOPS = {
    "length": (Stop.LENGTH, "the model's limit of length cut its answer off"),
    "filter": (Stop.FILTER, "the provider's filter cut the answer off"),
    "refused": (Stop.REFUSED, "the model refused"),
}
UNITS = ("turns", "calls", "tokens", "money")


async def loop(
    model: Model,
    tools: Iterable[Tool[..., Any]],
    asked: str | Sequence[Message],
    *,
    system: str = "",
    output: Any = None,
    max_turns: int = limits.LOOP_TURNS_STEPS,
    budget: Mapping[str, float] | None = None,
    context: int = limits.LOOP_CONTEXT_CHARS,
    name: str = "",
    **parameters: Any,
) -> Ended:
    """Let ``model`` work on what it is ``asked`` with ``tools``, until it is done; how it ended.

    Tools that are called together go side by side. What is refused, fails or does not exist comes
    back to the model as an error of the tool. ``output``: the type of the answer. ``max_turns``:
    answers of the model; ``budget``: at most so many ``calls``, ``tokens`` or ``money`` (USD), of
    this loop alone, checked before each request and each round of calls; the policy's budgets count
    besides. ``context``: characters of a conversation beyond which older results of tools stand in
    it by reference; the model reads them back with the tool ``recall``. ``name``: in a guest, its
    calls are counted under it: loops that go side by side there need one each. ``parameters``: as
    in `Model`. Raises what `Model` raises for an endpoint that fails.
    """
    unknown = set(budget or {}) - set(UNITS)
    if unknown or max_turns < 1:
        raise Misuse(f"loop: max_turns is at least 1, and a budget is of {', '.join(UNITS)}")
    limits_of = {"turns": max_turns, **(budget or {})}
    going = _Going(model, tools, conversation(asked, system), limits_of, context)
    with _counted(name):
        while True:
            stopped = going.over()
            if stopped is not None:
                return stopped
            going.compact()
            found = await going.ask(output, parameters)
            if isinstance(found, Ended):
                return found
            if found is not None:
                await going.call(found.calls)


@contextmanager
def _counted(name: str) -> Generator[None]:
    """A loop in a guest whose code starts again from the top: its calls are counted under ``name``.

    INVARIANT D196: two loops side by side never count together, for after a crash they could swap
    places: where they have one name, or none, the second is `Misuse`."""
    guest = scope.guest.get()
    under = f"{check_name(name, 'loop')}." if name else ""
    if guest is None or not guest.rerun or scope.lane.get() or scope.call.get():
        yield
        return
    counting: set[str] = guest.counting
    if under in counting:
        raise Misuse(
            f"loop {name!r}: another loop of that name goes on in this guest, and after a crash "
            "they could swap places: give each a name of its own (name=)"
        )
    counting.add(under)
    token = scope.counted.set(under)
    try:
        yield
    finally:
        scope.counted.reset(token)
        counting.discard(under)


class _Going:
    """One loop: its conversation, what it used, and the results that stand there by reference."""

    def __init__(
        self,
        model: Model,
        tools: Iterable[Tool[..., Any]],
        messages: list[dict[str, Any]],
        most: Mapping[str, float],
        context: int,
    ) -> None:
        self.model = model
        self.messages = messages
        self.used: dict[str, float] = dict.fromkeys(UNITS, 0)
        self.text = ""
        self._most = most
        self._context = context
        self._whole: dict[str, str] = {}
        self._unpriced = False
        self._fixes = 0
        recall = Described(
            "recall", self._recall, effect="read", description=_RECALL, schema=_RECALLED
        )
        self.tools = [*tools, recall]
        self._menu = menu(self.tools)

    def ended(self, stop: Stop, why: str, output: Any = None) -> Ended:
        """How it ended."""
        unknown = {"money"} if self._unpriced else set[str]()
        used = {unit: n for unit, n in self.used.items() if unit not in unknown}
        return Ended(stop, why, self.text, output, self.messages, used)

    def over(self, more: Mapping[str, float] | None = None) -> Ended | None:
        """Whether a limit was reached, or would be exceeded by ``more``."""
        for unit, most in self._most.items():
            used = self.used[unit]
            ahead = (more or {}).get(unit, 0)
            if (used + ahead > most) if ahead else used >= most:
                stop = Stop.TURNS if unit == "turns" else Stop.BUDGET
                asks = f", and {ahead:g} more are asked for" if ahead else ""
                return self.ended(stop, f"{used:g} of {most:g} {unit} used{asks}")
        if self._unpriced and "money" in self._most:
            name = f"{self.model.provider}:{self.model.name}"
            return self.ended(Stop.BUDGET, f"nobody knows what {name} costs")
        return None

    async def ask(self, output: Any, parameters: Mapping[str, Any]) -> Reply | Ended | None:
        """Ask once: the reply if it calls tools, how it ended, or None: it is to be asked again."""
        unfit = ""
        try:
            reply = await self.model(self.messages, tools=self.tools, output=output, **parameters)
        except Unfit as error:
            reply, unfit = error.reply, str(error)
        except Refused as error:
            return self.ended(Stop.REFUSED, f"the request was refused: {error}")
        self._count(reply)
        self.text = reply.text
        self.messages.append(reply.message)
        end = self._end(reply, unfit)
        if end is None and not unfit:
            return reply
        # a call without an answer is no conversation to a provider, and one may go on from this
        why = f"not performed: {unfit if end is None else end.why}"
        self.messages.extend(_result(call, why, error=True) for call in reply.calls)
        if end is None:
            again = f"{unfit}. Answer again, with JSON that fits."
            self.messages.append({"role": "user", "content": again})
        return end

    def _end(self, reply: Reply, unfit: str) -> Ended | None:
        """How it ended, if it did with this answer."""
        if unfit:
            self._fixes += 1
            last = self._fixes > limits.LOOP_FIXES_ATTEMPTS
            return self.ended(Stop.UNFIT, unfit) if last else None
        if reply.stop == "done":
            return self.ended(Stop.DONE, "the model is done", reply.output)
        if reply.stop in _STOPS:
            return self.ended(*_STOPS[reply.stop])
        return self.over({"calls": len(reply.calls)})

    def _count(self, reply: Reply) -> None:
        self.used["turns"] += 1
        used = reply.usage or {}
        kinds = ("input", "output", "cache_read", "cache_write")
        self.used["tokens"] += sum(number(used.get(kind)) for kind in kinds)
        money = (reply.price or {}).get("money")
        self._unpriced = self._unpriced or money is None
        self.used["money"] += money or 0

    async def call(self, calls: Sequence[ToolCall]) -> None:
        """Call tools side by side; their results join the conversation in order."""
        self.used["calls"] += len(calls)
        found = await gather(*(self._one(call) for call in calls))
        for call, (text, error) in zip(calls, found, strict=True):
            shown = text
            if len(text) > limits.LOOP_RESULT_CHARS:
                shown = f"{text[: limits.LOOP_RESULT_CHARS]}\n{self._stub(text, 'cut here')}"
            self.messages.append(_result(call, shown, error=error))

    async def _one(self, call: ToolCall) -> tuple[str, bool]:
        """One call's result as text, and whether it is an error.

        INVARIANT D67: what the gate refuses, and what tools raise, the model reads as a result;
        suspension, divergence and a process that stops pass through.
        """
        entry = self._menu.get(call.name)
        if entry is None:
            return f"there is no tool {call.name!r}; there are {', '.join(self._menu)}", True
        if call.broken:
            return "the arguments are no JSON object", True
        try:
            entry.tool.bind((), call.arguments)
        except Misuse as error:
            return str(error), True
        try:
            result = await step(entry.tool, call.arguments)
        except Refused as error:
            return f"refused, and not performed: {error}", True
        except Expired as error:
            text = f"not performed: {error} (nobody answered in time; it may be asked for again)"
            return text, True
        except Outside as error:
            return f"it failed: {error}", True
        except HoldfastError:
            raise
        except Exception as error:  # noqa: BLE001 - outside of a run, tools raise what they like
            return f"it failed: {error}", True
        return _text(entry.tool, result), False

    # Context ----------------------------------------------------------------------------------

    def compact(self) -> None:
        """Put older results of tools into the conversation by reference, if it is too long.

        INVARIANT D68: what stands there by reference can be read back whole, and which results do
        follows from the conversation alone.
        """
        size = sum(len(str(one.get("content", ""))) for one in self.messages)
        if size <= self._context:
            return
        results = [at for at, one in enumerate(self.messages) if one["role"] == "tool"]
        for at in results[: -limits.LOOP_KEPT_ITEMS]:
            text = self.messages[at]["content"]
            if len(text) > limits.LOOP_OLD_CHARS:
                self.messages[at] = {**self.messages[at], "content": self._stub(text, "left out")}

    def _stub(self, text: str, what: str) -> str:
        reference = digest(text.encode("utf-8", "surrogatepass"))[:16]
        self._whole[reference] = text
        return f"[{what}: {len(text):,} characters; recall(reference={reference!r}) reads them]"

    def _recall(self, args: dict[str, Any]) -> str:
        reference, start = str(args.get("reference")), number(args.get("start"))
        text = self._whole.get(reference)
        if text is None:
            raise Outside(f"recall: there is no reference {reference!r} in this conversation")
        size = limits.LOOP_RESULT_CHARS - 200  # so that a page, with its last line, is never cut
        page, rest = text[start : start + size], len(text) - start - size
        return page if rest <= 0 else f"{page}\n[{rest:,} more from start={start + size}]"


_RECALL = (
    "Read a result of a tool again that was cut or left out of this conversation, by its "
    "reference, from a character on."
)
_RECALLED: dict[str, Any] = {
    "type": "object",
    "properties": {"reference": {"type": "string"}, "start": {"type": "integer", "default": 0}},
    "required": ["reference"],
    "additionalProperties": False,
}


def _result(call: ToolCall, text: str, *, error: bool) -> dict[str, Any]:
    """The message that answers a call."""
    result = {"role": "tool", "id": call.id, "name": call.name, "content": text}
    return {**result, "error": True} if error else result


def _text(tool: Tool[..., Any], result: Any) -> str:
    """A result as a model reads it: text as it is, anything else as JSON."""
    if isinstance(result, str):
        return result
    return encode(tool.returns.plain(result)).decode()
