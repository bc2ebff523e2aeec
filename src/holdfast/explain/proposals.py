"""The model's part in a decision: which answer asked for a call, what it was shown, what else it
proposed, and what it said beside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from holdfast.explain import turns
from holdfast.explain.because import Alternative, Said
from holdfast.explain.chain import Chain, Found, Lost
from holdfast.explain.text import cut, one_line
from holdfast.explain.turns import Reply, Shown, Wanted
from holdfast.gate.folding import plain, squeezed
from holdfast.gate.words import STOP
from holdfast.values.canon import encode

LOOKED: Final = 24
"""Answers of models before a step that are looked at for the one that asked for it."""
_TEXT: Final = 600
"""Characters of what a model said that are shown."""
_CALL: Final = 160
"""Characters of another call that are shown."""


class Turn(NamedTuple):
    """One model step: what it was shown (``lost`` messages were too many to look at), its answer,
    the names it could call; ``call``: the call of its answer that became the step, if one did."""

    step: Found
    shown: list[Shown]
    lost: int
    reply: Reply
    menu: tuple[str, ...]
    call: Wanted | None
    gone: str


def turn_of(chain: Chain, name: str, args: Any, before: int) -> tuple[Turn | None, list[Turn]]:
    """The model step whose answer asked for a call of ``name`` with ``args``, None if none did; and
    the newest ones that ran before."""
    near: list[Turn] = []
    best: Turn | None = None
    for step in chain.models_before(before):
        if len(near) >= LOOKED:
            break
        reply, gone = _reply(chain, step)
        turn = Turn(step, [], 0, reply, (), None, gone)
        near.append(turn)
        for call in reply.calls:
            if turns.same_tool(call.name, name):
                if _same(call.args, args):
                    return _opened(chain, turn._replace(call=call)), near
                if best is None and _alike(call.args, args):
                    best = turn._replace(call=call)
    return (None if best is None else _opened(chain, best)), near


def own_turn(chain: Chain, step: Found) -> Turn:
    """A model step itself, with all that it was shown."""
    reply, gone = _reply(chain, step)
    return _opened(chain, Turn(step, [], 0, reply, (), None, gone))


def _reply(chain: Chain, step: Found) -> tuple[Reply, str]:
    value = chain.plain(step.last.value)
    if isinstance(value, Lost):
        return Reply([], [], []), value.why
    response = value.get("response") if isinstance(value, dict) else value
    return turns.reply_in(response), ""


def _opened(chain: Chain, turn: Turn) -> Turn:
    args = chain.args(turn.step)
    if isinstance(args, Lost):
        return turn._replace(gone=turn.gone or args.why)
    request = args.get("request") if isinstance(args, dict) else args
    shown, lost = turns.shown(request)
    return turn._replace(shown=shown, lost=lost, menu=turns.menu_in(request))


def _same(one: dict[str, Any], args: Any) -> bool:
    return isinstance(args, dict) and encode(one) == encode(args)


def _alike(one: dict[str, Any], args: Any) -> bool:
    """Whether all that the model gave reached the call, or most of it: defaults were added, or a
    framework put it into other words."""
    if not isinstance(args, dict):
        return False
    if not one or not args:
        return not one and not args
    equal = sum(key in args and args[key] == value for key, value in one.items())
    return equal * 2 >= len(one)


def said(turn: Turn) -> Iterator[Said]:
    """What the model gave as its reason."""
    sample = turn.call.sample if turn.call is not None else None
    for kind, texts in (("thinking", turn.reply.thoughts), ("text", turn.reply.texts)):
        for of, text in texts:
            if sample in (None, of):
                yield Said(turn.step.place, kind, cut(text, _TEXT))


def others(turn: Turn) -> Iterator[Alternative]:
    """Other calls of the same answer, and other answers to the same request."""
    place = turn.step.place
    taken = turn.call
    for call in turn.reply.calls:
        if taken is not None and (call is taken or call == taken):
            continue
        text = one_line(f"{call.name}({', '.join(f'{k}={v!r}' for k, v in call.args.items())})")
        if taken is not None and call.sample != taken.sample:
            yield Alternative("sample", place, cut(text, _CALL), "another answer was taken")
        else:
            yield Alternative("call", place, cut(text, _CALL), "asked for in the same answer")
    if taken is not None:
        for of, text in turn.reply.texts:
            if of != taken.sample:
                shown = cut(one_line(text), _CALL)
                yield Alternative("sample", place, shown, "another answer was taken")


def packed(turn: Turn) -> str:
    """All that a model was shown, without case, spaces and punctuation; its own words are none."""
    texts = [one.text for one in turn.shown if one.role != "assistant"]
    return squeezed(plain("\n".join(texts).replace("\\n", " ")).replace("\n", ""))


def passed(near: list[Turn], text: str) -> str:
    """The nearest model step whose answer holds a value, "" if none does."""
    needle = squeezed(plain(text).replace("\n", ""))
    if len(needle) < 2 or needle in STOP:
        return ""
    for turn in near:
        texts = [one for _, one in turn.reply.texts]
        texts += [str(call.args) for call in turn.reply.calls]
        if needle in squeezed(plain(" ".join(texts)).replace("\n", "")):
            return turn.step.place
    return ""
